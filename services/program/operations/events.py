"""Events: recorded once, decided by rules, posted to the ledger exactly once."""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from services.kernel import batcher, db, due, errors, feed, ids, logs
from services.program import errors as program_errors
from services.program import model, ports, rules
from services.program.model import Decision, Event, Recorded
from services.program.operations.context import Context, ProgramRules
from services.program.store import events, members
from services.program.store import rules as rules_store

Denied = dict[tuple[str, int], model.Denial]  # what the ledger refused, by event and place

POST_EFFECTS = "post_effects"
# The caller of the call posts at once; the sweep takes over what that caller did not finish in this time.
POST_AGAIN_AFTER = timedelta(seconds=10)
# How long a call waits for the ledger before it answers with pending effects.
POST_WAIT_S = 8.0
KNOWN_MEMBERS_MAX = 200_000


@dataclass(slots=True)
class Outcome:
    """How one event ended: recorded now or before, or refused. `posting` brings its effects to the ledger."""

    recorded: Recorded | None = None
    is_duplicate: bool = False
    refusal: errors.DomainError | None = None
    posting: "asyncio.Task[Denied | None] | None" = None


class Events:
    """Events over one database."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._known: set[tuple[str, str]] = set()
        self._postings: set[asyncio.Task[Denied | None]] = set()
        self.writes: batcher.Batcher[Event, Outcome] = batcher.Batcher("events", self._run)

    async def record(self, program_id: str, recorded: Sequence[Event]) -> list[Outcome]:
        """Records 1 to 1,000 events, each judged alone, and gives their outcomes in order.

        Effects that the ledger took in time are no longer pending. Raises PROGRAM_NOT_FOUND, QUEUE_FULL, DRAINING and
        DEPENDENCY_UNAVAILABLE for all of them.
        """
        outcomes = [
            Outcome(refusal=outcome) if isinstance(outcome, errors.DomainError) else outcome
            for outcome in await self.writes.submit(program_id, recorded)
        ]
        postings = {outcome.posting for outcome in outcomes if outcome.posting is not None}
        if postings:
            # Shielded by not being cancelled: a caller that goes away leaves the posting to finish.
            await asyncio.wait(postings, timeout=POST_WAIT_S)
        return [_posted(outcome) for outcome in outcomes]

    async def record_within(self, connection: db.Connection, program_id: str, recorded: Sequence[Event]) -> None:
        """Records events in the caller's transaction, each judged alone; a worker posts what they give.

        Raises the refusal of one that is refused.
        """
        outcomes = await self._record(connection, program_id, list(recorded), ids.new_id(), post_after=timedelta(0))
        for outcome in outcomes:
            if outcome.refusal is not None:
                raise outcome.refusal

    async def get(self, program_id: str, event_id: str) -> tuple[Recorded, dict[tuple[str, int], model.Rule]]:
        """Tells an event with its decisions, and the rule versions that decided. Raises EVENT_NOT_FOUND."""

        async def work(connection: db.Connection) -> tuple[Recorded, dict[tuple[str, int], model.Rule]]:
            found = await events.find_events(connection, program_id, [event_id])
            if event_id not in found:
                raise program_errors.event_not_found(event_id)
            versions = [(each.rule_id, each.rule_version) for each in found[event_id].decisions]
            return found[event_id], await rules_store.read_rule_versions(connection, program_id, versions)

        return await db.read(self._context.pool, work)

    async def post_due(self, item: due.DueItem) -> None:
        """Posts what an earlier call left pending; due work. Raises DEPENDENCY_UNAVAILABLE."""
        event_ids = item.payload["event_ids"]
        found = await db.read(
            self._context.pool, lambda connection: events.find_events(connection, item.program_id, event_ids)
        )
        paid = [
            (each.event, decision) for each in found.values() for decision in each.decisions if decision.denial is None
        ]
        await self._post(item.program_id, item.work_id, paid)

    async def close(self) -> None:
        """Waits for what is under way."""
        await self.writes.close()
        if self._postings:
            await asyncio.wait(self._postings, timeout=POST_WAIT_S)

    async def _run(self, program_id: str, items: list[Event]) -> list[Outcome]:
        posting_id = ids.new_id()
        outcomes = await db.transaction(
            self._context.pool, lambda connection: self._record(connection, program_id, items, posting_id)
        )
        if len(self._known) > KNOWN_MEMBERS_MAX:
            self._known.clear()
        self._known.update((program_id, item.member_id) for item in items)
        new = [each.recorded for each in outcomes if each.recorded is not None and not each.is_duplicate]
        paid = [(each.event, decision) for each in new for decision in each.decisions if decision.denial is None]
        if paid:
            task = asyncio.create_task(self._post_now(program_id, posting_id, paid))
            self._postings.add(task)
            task.add_done_callback(self._postings.discard)
            posted_now = {event.event_id for event, _ in paid}
            for outcome in outcomes:
                if outcome.recorded is not None and outcome.recorded.event.event_id in posted_now:
                    outcome.posting = task
        return outcomes

    async def _record(
        self,
        connection: db.Connection,
        program_id: str,
        items: list[Event],
        posting_id: uuid.UUID,
        *,
        post_after: timedelta = POST_AGAIN_AFTER,
    ) -> list[Outcome]:
        program_rules, now = await self._context.rules(connection, program_id)
        stored = await events.find_events(connection, program_id, [item.event_id for item in items])
        limit = now + timedelta(seconds=model.AHEAD_MAX_S)
        fresh: dict[str, Event] = {}
        for item in items:
            if item.event_id not in stored and item.occurred_at <= limit:
                fresh.setdefault(item.event_id, item)
        created = await self._create_members(connection, program_id, list(fresh.values()), now)
        decided = await self._decide(connection, program_id, program_rules, list(fresh.values()), created, now=now)
        recorded = {
            event.event_id: Recorded(event, now, decided[event.event_id], _is_paid(decided[event.event_id]))
            for event in fresh.values()
        }
        if recorded:
            await self._write(connection, program_id, recorded, posting_id)
            await self._schedule(connection, program_id, recorded, posting_id, due_at=now + post_after)
        published: list[model.Published] = [model.MemberChanged(member) for member in created]
        published += [model.EventRecorded(each.event, each.decisions) for each in recorded.values()]
        await feed.append(connection, program_id, now, [self._context.encode(event) for event in published])
        first = set(recorded)
        return [_outcome(item, stored.get(item.event_id) or recorded.get(item.event_id), first) for item in items]

    async def _create_members(
        self, connection: db.Connection, program_id: str, fresh: list[Event], now: datetime
    ) -> list[model.Member]:
        unknown = {event.member_id: event.org_id for event in fresh if (program_id, event.member_id) not in self._known}
        if not unknown:
            return []
        return await members.create_members(connection, program_id, sorted(unknown.items()), now)

    async def _decide(
        self,
        connection: db.Connection,
        program_id: str,
        program_rules: ProgramRules,
        fresh: list[Event],
        created: list[model.Member],
        *,
        now: datetime,
    ) -> dict[str, tuple[Decision, ...]]:
        """Evaluates, locks the members whose claims or usage count, and settles in the order of arrival.

        Recipients who were never seen are added to `created`.
        """
        concerned = [event for event in fresh if event.type in program_rules.by_type and event.depth < model.DEPTH_MAX]
        seen = await members.read_members(connection, program_id, sorted({event.member_id for event in concerned}))
        reckoning = rules.Reckoning(now, program_rules.program.time_zone)
        candidates = {
            event.event_id: rules.evaluate(
                program_rules.by_type[event.type],
                event,
                seen.get(event.member_id) or model.Member(event.member_id, org_id=event.org_id),
                reckoning,
            )
            for event in concerned
        }
        payable = [each for some in candidates.values() for each in some if each.decision.denial is None]
        others = {each.decision.recipient_id for each in payable} - {event.member_id for event in fresh}
        if others:
            newcomers = [(member_id, "") for member_id in sorted(others)]
            created += await members.create_members(connection, program_id, newcomers, now)
        state = await self._load_state(connection, program_id, [each for each in payable if each.rule.is_stateful])
        decided = {
            event.event_id: tuple(
                replace(rules.settle(candidate, state), place=place)
                for place, candidate in enumerate(candidates.get(event.event_id, ()))
            )
            for event in fresh
        }
        if state.new_claims:
            await rules_store.insert_claims(connection, program_id, state.new_claims)
        if state.touched:
            touched = [(key, state.usage[key]) for key in sorted(state.touched)]
            await rules_store.put_usage(connection, program_id, touched)
        return decided

    async def _load_state(
        self, connection: db.Connection, program_id: str, stateful: list[rules.Candidate]
    ) -> rules.State:
        if not stateful:
            return rules.State()
        # The recipient's row is the lock, so that two batches never see the same room under a cap.
        recipients = sorted({each.decision.recipient_id for each in stateful})
        await members.lock_members(connection, program_id, recipients)
        claims = [each.claim for each in stateful if each.claim is not None]
        keys = sorted({key for each in stateful for _, key in each.usage})
        return rules.State(
            claims=await rules_store.find_claims(connection, program_id, claims) if claims else set(),
            usage=await rules_store.find_usage(connection, program_id, keys) if keys else {},
        )

    async def _write(
        self, connection: db.Connection, program_id: str, recorded: dict[str, Recorded], posting_id: uuid.UUID
    ) -> None:
        # In the order of their ids, so that two transactions that share events wait rather than deadlock.
        rows = [(recorded[event_id].event, recorded[event_id].is_pending) for event_id in sorted(recorded)]
        now = next(iter(recorded.values())).recorded_at
        await events.insert_events(connection, program_id, rows, now=now, posting_id=posting_id)
        decisions = [decision for each in recorded.values() for decision in each.decisions]
        if decisions:
            await events.insert_decisions(connection, program_id, decisions)

    async def _schedule(
        self,
        connection: db.Connection,
        program_id: str,
        recorded: dict[str, Recorded],
        posting_id: uuid.UUID,
        *,
        due_at: datetime,
    ) -> None:
        paid = [event_id for event_id, each in recorded.items() if each.is_pending]
        if paid:
            item = due.DueItem(program_id, POST_EFFECTS, posting_id, {"event_ids": paid}, due_at)
            await due.schedule(connection, [item])

    async def _post_now(
        self, program_id: str, posting_id: uuid.UUID, paid: list[tuple[Event, Decision]]
    ) -> Denied | None:
        """Posts in the background of the call; None where the ledger was away.

        Then the due work stands, and a worker posts under the same ids: nothing is lost and nothing is twice.
        """
        try:
            return await self._post(program_id, posting_id, paid)
        except errors.DomainError as error:
            logs.get_logger().warning("posting_left_to_worker", posting_id=str(posting_id), error=error.reason)
            await self._context.kick(POST_EFFECTS, POST_AGAIN_AFTER.total_seconds())
            return None

    async def _post(self, program_id: str, posting_id: uuid.UUID, paid: list[tuple[Event, Decision]]) -> Denied:
        """Posts what rules paid and ends the due work; gives what the ledger refused, by event and place."""
        denied: Denied = {}
        for start in range(0, len(paid), ports.EARNS_MAX):
            chunk = paid[start : start + ports.EARNS_MAX]
            refusals = await self._context.ledger.earn(
                program_id, [earn_of(event, decision) for event, decision in chunk]
            )
            for (_, decision), refusal in zip(chunk, refusals, strict=True):
                if refusal is not None:
                    key = (decision.event_id, decision.place)
                    denied[key] = model.Denial(refusal.reason, refusal.message)
        refused = [
            (decision, denied[key]) for _, decision in paid if (key := (decision.event_id, decision.place)) in denied
        ]

        async def end(connection: db.Connection) -> None:
            if refused:
                await _deny(connection, program_id, refused)
            await due.complete(connection, program_id, POST_EFFECTS, posting_id)

        await db.transaction(self._context.pool, end)
        return denied


async def _deny(connection: db.Connection, program_id: str, refused: Sequence[tuple[Decision, model.Denial]]) -> None:
    """Records what the ledger refused; it counts in no cap and claims nothing any more. Once for all who find out."""
    # As those do who decide, so that nobody looks at the room under a cap while it changes.
    await members.lock_members(connection, program_id, sorted({decision.recipient_id for decision, _ in refused}))
    denied_now = await events.deny_decisions(connection, program_id, refused)
    if denied_now:
        await rules_store.return_claims(connection, program_id, denied_now)
    returned = rules.returned_usage(denied_now)
    if returned:
        await rules_store.return_usage(connection, program_id, returned)


def _is_paid(decisions: tuple[Decision, ...]) -> bool:
    return any(decision.denial is None for decision in decisions)


def earn_of(event: Event, decision: Decision) -> ports.Earn:
    """Gives what the ledger is told of a decision that paid."""
    return ports.Earn(
        # From its cause, so that any retry, replay or race pays once.
        request_id=str(ids.derived_id("effect", decision.event_id, decision.rule_id, str(decision.place))),
        member_id=decision.recipient_id,
        asset=decision.asset,
        amount=decision.amount,
        occurred_at=event.occurred_at,
        expires_at=decision.expires_at,
        event_id=decision.event_id,
        rule_id=decision.rule_id,
        rule_version=decision.rule_version,
        terms=decision.terms,
    )


def _outcome(item: Event, known: Recorded | None, first: set[str]) -> Outcome:
    """Tells how an item ended; the first item of a new id takes it out of `first`, later ones are duplicates."""
    if known is None:
        occurred = item.occurred_at.isoformat()
        return Outcome(refusal=program_errors.occur_time_ahead(occurred, model.AHEAD_MAX_S))
    differing = known.event.differing_fields(item)
    if differing:
        return Outcome(refusal=errors.request_id_reused(differing))
    if item.event_id in first:
        first.discard(item.event_id)
        return Outcome(recorded=known)
    return Outcome(recorded=known, is_duplicate=True)


def _posted(outcome: Outcome) -> Outcome:
    """Brings in what the posting came to: nothing pending any more, and what the ledger refused is denied."""
    task = outcome.posting
    if task is None or outcome.recorded is None or not task.done():
        return outcome
    denied = task.result()
    if denied is None:
        return outcome
    decisions = tuple(
        decision.denied(denied[key].reason, denied[key].message)
        if (key := (decision.event_id, decision.place)) in denied
        else decision
        for decision in outcome.recorded.decisions
    )
    return replace(outcome, recorded=replace(outcome.recorded, decisions=decisions, is_pending=False))
