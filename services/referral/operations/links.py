"""Codes of members, the links that they stand in, and the clicks on these."""

import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

import crawleruseragents

from services.kernel import batcher, db, due, ids, pages, requests
from services.kernel import errors as kernel_errors
from services.referral import codes as writing
from services.referral import errors, model, signals
from services.referral.operations.context import FORGET, Context
from services.referral.signals import Kind
from services.referral.store import codes, programs, referrals

CODES_PER_MEMBER_MAX = 20
# Two random codes, or tags, meet less than once in a million; five times in a row means that something else is wrong.
RANDOM_ATTEMPTS_MAX = 5
RANDOM_BITS = 128
# Longer than a click may lead to a referral.
CLICK_LIFE = timedelta(days=400)
FORGET_AT_ONCE = 5000
# Five million clicks; what is left after that is for the next month's work, which takes all that is older.
FORGET_ROUNDS_MAX = 1000
AGENTS_REMEMBERED = 10_000
TAGS_REMEMBERED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Follow:
    """Somebody follows a link."""

    code_key: str
    link: str
    client_ip: str
    user_agent: str
    is_counted: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """Where a link leads, and whether the click was counted; nowhere where there is no such code."""

    location: str = ""
    is_counted: bool = False


async def create_code(
    context: Context, program_id: str, *, member_id: str, referral_program_id: str, vanity_code: str, request_id: str
) -> tuple[model.Code, bool]:
    """Gives a member a code; tells whether the answer stood before. A random one is made once and then told again.

    Raises FIELD_INVALID, REQUEST_ID_REUSED, REFERRAL_PROGRAM_NOT_FOUND, REFERRAL_PROGRAM_ARCHIVED, CODE_TAKEN and
    CODE_LIMIT.
    """
    if vanity_code and not writing.VANITY.fullmatch(vanity_code):
        raise kernel_errors.field_invalid(kernel_errors.Violation("vanityCode", "must be 4 to 24 letters and digits"))
    content = {"memberId": member_id, "referralProgramId": referral_program_id, "vanityCode": vanity_code}
    key = ids.request_key(request_id)

    async def work(connection: db.Connection) -> tuple[model.Code, bool]:
        # Whoever counts a member's codes holds the member, so that no race makes more of them.
        await referrals.lock_referrers(connection, program_id, [member_id])
        prior = await codes.find_request(connection, program_id, key)
        if prior is not None:
            differing = requests.differing_fields(prior[1], content)
            if differing:
                raise kernel_errors.request_id_reused(differing)
            found = (await codes.find_codes(connection, program_id, [prior[0]]))[prior[0]]
            return await _linked(context, connection, program_id, found), True
        await _require_live(connection, program_id, referral_program_id)
        now = await context.time.now(connection)
        wanted = model.Code(
            writing.fold(vanity_code), vanity_code.upper(), member_id, referral_program_id, bool(vanity_code), 0, now
        )
        made = await (_make_vanity if vanity_code else _make_random)(connection, program_id, wanted)
        await codes.insert_request(connection, program_id, key, made.code_key, requests.fingerprint(content))
        return await _linked(context, connection, program_id, made), False

    return await db.transaction(context.pool, work)


async def list_codes(
    context: Context, program_id: str, member_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Code], str]:
    """Lists a page of a member's codes, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "referral_codes", program_id, member_id, parse=pages.parse_text) or ""

    async def work(connection: db.Connection) -> list[model.Code]:
        found = await codes.list_codes(connection, program_id, member_id, after, limit + 1)
        tag = await context.tag(connection, program_id)
        return [replace(code, link=writing.link_code(tag, code.code)) for code in found]

    found = await db.read(context.pool, work)
    if len(found) <= limit:
        return found, ""
    token = pages.encode_token([found[limit - 1].code_key], "referral_codes", program_id, member_id)
    return found[:limit], token


async def _require_live(connection: db.Connection, program_id: str, referral_program_id: str) -> None:
    program = await programs.get_program(connection, program_id, referral_program_id)
    if program is None:
        raise errors.referral_program_not_found(referral_program_id)
    if program.state is model.ProgramState.ARCHIVED:
        raise errors.referral_program_archived(referral_program_id)


async def _make_vanity(connection: db.Connection, program_id: str, wanted: model.Code) -> model.Code:
    if await codes.count_codes(connection, program_id, wanted.member_id) >= CODES_PER_MEMBER_MAX:
        raise errors.code_limit(CODES_PER_MEMBER_MAX)
    if not await codes.insert_code(connection, program_id, wanted):
        raise errors.code_taken(wanted.code)
    return wanted


async def _make_random(connection: db.Connection, program_id: str, wanted: model.Code) -> model.Code:
    for _ in range(RANDOM_ATTEMPTS_MAX):
        found = await codes.find_random_code(connection, program_id, wanted.member_id, wanted.referral_program_id)
        if found is not None:
            return found
        code = writing.spell(secrets.randbits(RANDOM_BITS), writing.CODE_LENGTH)
        made = replace(wanted, code=code, code_key=writing.fold(code))
        if await codes.insert_code(connection, program_id, made):
            return made
    raise AssertionError("Random codes do not meet again and again.")


async def _linked(context: Context, connection: db.Connection, program_id: str, code: model.Code) -> model.Code:
    """Adds the link; a program gets its tag with its first code."""
    for _ in range(RANDOM_ATTEMPTS_MAX):
        tag = await context.tag(connection, program_id)
        if tag:
            return replace(code, link=writing.link_code(tag, code.code))
        await codes.insert_tag(connection, writing.spell(secrets.randbits(RANDOM_BITS), writing.TAG_LENGTH), program_id)
    raise AssertionError("Random tags do not meet again and again.")


@lru_cache(maxsize=AGENTS_REMEMBERED)
def is_bot(user_agent: str) -> bool:
    """Tells whether a user agent is a bot's or a link preview's, by the list of crawler-user-agents (MIT)."""
    return not user_agent.strip() or bool(crawleruseragents.is_crawler(user_agent))


class Links:
    """The links of all programs over one database."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._programs: dict[str, str] = {}
        self.writes: batcher.Batcher[Follow, Followed] = batcher.Batcher("links", self._run)

    async def follow(self, link: str, *, client_ip: str, user_agent: str, headers_only: bool) -> tuple[str, Followed]:
        """Tells the program of a link and where it leads; counts the click unless no person made it.

        Raises CODE_NOT_FOUND, QUEUE_FULL, DRAINING and DEPENDENCY_UNAVAILABLE.
        """
        tag, code_key = writing.split_link(link)
        program_id = await self._program_of(tag) if tag else None
        if program_id is None:
            raise errors.code_not_found(link)
        is_counted = not headers_only and not is_bot(user_agent)
        [outcome] = await self.writes.submit(program_id, [Follow(code_key, link, client_ip, user_agent, is_counted)])
        if isinstance(outcome, kernel_errors.DomainError):
            raise outcome
        if not outcome.location:
            raise errors.code_not_found(link)
        return program_id, outcome

    async def close(self) -> None:
        """Waits for what is under way."""
        await self.writes.close()

    async def _program_of(self, tag: str) -> str | None:
        """Tells the program of a tag; remembers it, since a tag is given once and for ever."""
        known = self._programs.get(tag)
        if known is None:
            known = await db.read(self._context.pool, lambda connection: codes.find_program(connection, tag))
            if known is not None:
                if len(self._programs) >= TAGS_REMEMBERED_MAX:
                    self._programs.clear()
                self._programs[tag] = known
        return known

    async def _run(self, program_id: str, items: list[Follow]) -> list[Followed]:
        return await db.transaction(self._context.pool, lambda connection: self._follow(connection, program_id, items))

    async def _follow(self, connection: db.Connection, program_id: str, items: list[Follow]) -> list[Followed]:
        found = await codes.find_codes(connection, program_id, sorted({item.code_key for item in items}))
        wanted = {code.referral_program_id for code in found.values()}
        live = {each: await programs.get_program(connection, program_id, each) for each in sorted(wanted)}
        now = await self._context.time.now(connection)
        key = self._context.program_key(program_id)
        followed: list[Followed] = []
        clicks: list[model.Click] = []
        for item in items:
            code = found.get(item.code_key)
            program = live.get(code.referral_program_id) if code else None
            if program is None:
                followed.append(Followed())
            elif item.is_counted and program.state is model.ProgramState.ACTIVE:
                click = _click(key, item, now)
                clicks.append(click)
                followed.append(
                    Followed(writing.landing(program.landing_url, writing.sign_click(key, click.click_id)), True)
                )
            else:
                followed.append(Followed(writing.landing(program.landing_url, item.link.upper())))
        if clicks:
            await codes.insert_clicks(connection, program_id, clicks)
            await due.schedule(connection, [_forgetting(program_id, now)])
        return followed


def _click(key: bytes, item: Follow, now: datetime) -> model.Click:
    hashes = {each.kind: each.value_hash for each in signals.of_address(key, item.client_ip)}
    agent = signals.hashed(key, Kind.AGENT, item.user_agent)
    return model.Click(
        click_id=ids.new_id(),
        code_key=item.code_key,
        clicked_at=now,
        ip_hash=hashes.get(Kind.IP, b""),
        subnet_hash=hashes.get(Kind.SUBNET, b""),
        agent_hash=agent.value_hash,
    )


def _forgetting(program_id: str, now: datetime) -> due.DueItem:
    """Makes the row that clicks of this month are forgotten by: one a program and month."""
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    work_id = ids.derived_id(FORGET, program_id, month.isoformat())
    return due.DueItem(
        program_id, FORGET, work_id, {"month": month.isoformat()}, month + timedelta(days=31) + CLICK_LIFE
    )


async def forget_clicks(context: Context, item: due.DueItem) -> None:
    """Deletes the clicks of a month and all before; due work."""
    month = datetime.fromisoformat(item.payload["month"])
    before = codes.first_id(month + timedelta(days=31))
    for _ in range(FORGET_ROUNDS_MAX):
        count = await db.transaction(
            context.pool, lambda c: codes.forget_clicks(c, item.program_id, before, FORGET_AT_ONCE)
        )
        if count < FORGET_AT_ONCE:
            return
