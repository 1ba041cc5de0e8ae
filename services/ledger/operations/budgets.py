"""Budgets and exchange rates: made, told, listed; and budgets watched, so that the feed tells how much of them is used.

What moves value into a budget or out of it is posted like all value (`posting`).
"""

from itertools import groupby
from typing import Any

from services.kernel import db, pages, requests
from services.kernel import errors as kernel_errors
from services.ledger import errors, model
from services.ledger.decisions.budgets import reached_percents
from services.ledger.operations.posting import Ledger
from services.ledger.store import budgets

# How often a rate is tried to be stored while others are stored between the same assets: each time one of them is.
RATE_ATTEMPTS_MAX = 100
# Budgets looked at in one go: one submission of the batcher, which locks all shards of those that there is news of.
BUDGETS_PER_ROUND = 100
WATCH_ROUNDS_MAX = 10_000


async def create_budget(ledger: Ledger, program_id: str, budget: model.NewBudget) -> tuple[model.BudgetView, bool]:
    """Makes a budget, empty and open; tells whether the answer stood before, which is given again as it was.

    Raises REQUEST_ID_REUSED, and BUDGET_EXISTS, which is no outcome but stays, since no budget ever goes.
    """

    async def work(connection: db.Connection) -> tuple[model.BudgetView, bool]:
        is_made = await budgets.insert_budget(connection, program_id, budget, await ledger.time.now(connection))
        prior = await budgets.find_budget_request(connection, program_id, budget.key)
        if prior is None:
            raise errors.budget_exists(budget.budget_id)
        fingerprint, view = prior
        _check_same(fingerprint, budget.content)
        return view, not is_made

    return await db.transaction(ledger.pool, work)


async def get_budget(ledger: Ledger, program_id: str, budget_id: str) -> model.BudgetView:
    """Tells how a budget stands. Raises BUDGET_NOT_FOUND."""
    view = await db.read(ledger.pool, lambda connection: budgets.get_budget(connection, program_id, budget_id))
    if view is None:
        raise errors.budget_not_found(budget_id)
    return view


async def list_budgets(
    ledger: Ledger, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.BudgetView], str]:
    """Lists a page of budgets by their ids, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "budgets", program_id, parse=pages.parse_text) or ""
    found = await db.read(
        ledger.pool, lambda connection: budgets.list_budgets(connection, program_id, after, limit + 1)
    )
    if len(found) <= limit:
        return found, ""
    return found[:limit], pages.encode_token([found[limit - 1].budget_id], "budgets", program_id)


async def set_rate(ledger: Ledger, program_id: str, rate: model.NewRate) -> tuple[model.Rate, bool]:
    """Stores the rate between two assets from now on, as the next version; tells whether the answer stood before.

    Raises REQUEST_ID_REUSED, and CONCURRENT_UPDATE where too many others store one at the same time.
    """

    async def work(connection: db.Connection) -> tuple[model.Rate, bool]:
        for _ in range(RATE_ATTEMPTS_MAX):
            prior = await budgets.find_rate_request(connection, program_id, rate.key)
            if prior is not None:
                _check_same(prior[0], rate.content)
                return prior[1], True
            # Asked anew each time: who waited for another one's version comes after it.
            now = await ledger.time.now(connection)
            version = await budgets.insert_rate(connection, program_id, rate, now)
            if version is not None:
                stored = model.Rate(
                    rate.from_asset, rate.to_asset, version, rate.numerator, rate.denominator, set_at=now
                )
                return stored, False
        raise kernel_errors.concurrent_update("exchange rate", f"{rate.from_asset}/{rate.to_asset}")

    return await db.transaction(ledger.pool, work)


async def list_rates(
    ledger: Ledger, program_id: str, *, page_size: int, page_token: str
) -> tuple[list[model.Rate], str]:
    """Lists a page of the rates in force by their assets, and the token of the next one."""
    limit = pages.page_size(page_size)
    after = pages.read_cursor(page_token, "rates", program_id, parse=_parse_pair) or ("", "")
    found = await db.read(ledger.pool, lambda connection: budgets.list_rates(connection, program_id, after, limit + 1))
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], pages.encode_token([last.from_asset, last.to_asset], "rates", program_id)


def _parse_pair(from_asset: Any, to_asset: Any) -> tuple[str, str]:
    return pages.parse_text(from_asset), pages.parse_text(to_asset)


def _check_same(fingerprint: bytes, content: dict[str, Any]) -> None:
    differing = requests.differing_fields(fingerprint, content)
    if differing:
        raise kernel_errors.request_id_reused(differing)


async def watch_budgets(ledger: Ledger) -> int:
    """Tells by the feed of shares of budgets that are used, and gives the number of what it told.

    Looks without locks first: only what such a look finds to have news is looked at again under its locks, and that is
    what counts. Each share is told once until a look finds use below it.
    """
    told, after = 0, ("", "")
    for _ in range(WATCH_ROUNDS_MAX):
        found = await _list_watched(ledger, after)
        for program_id, some in groupby(filter(_has_news, found), key=lambda budget: budget.program_id):
            told += await _watch(ledger, program_id, [model.Watch(budget.budget_id) for budget in some])
        if len(found) < BUDGETS_PER_ROUND:
            break
        after = (found[-1].program_id, found[-1].budget_id)
    return told


async def _list_watched(ledger: Ledger, after: tuple[str, str]) -> list[model.WatchedBudget]:
    return await db.read(
        ledger.pool, lambda connection: budgets.list_watched_budgets(connection, after, BUDGETS_PER_ROUND)
    )


def _has_news(budget: model.WatchedBudget) -> bool:
    """Tells whether a budget has come to another share than it was last seen at, up or down."""
    reached = reached_percents(budget.alert_percents, used=budget.used, left=budget.remaining)
    return budget.told_percent != (reached[-1] if reached else 0)


async def _watch(ledger: Ledger, program_id: str, watches: list[model.Watch]) -> int:
    outcomes = await ledger.writes.submit(program_id, watches)
    return sum(len(outcome) for outcome in outcomes if not isinstance(outcome, kernel_errors.DomainError))
