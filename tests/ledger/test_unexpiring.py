"""What expired is given back to a whole program: page by page, each page the same however often it is asked for."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from plaudit.ledger.v1 import ledger_pb2, ledger_service_pb2

from services.kernel import clock, errors, times
from services.ledger import model
from services.ledger.decisions import giving
from services.ledger.operations import booking, forgetting, unexpiring
from services.ledger.store import members
from tests.conftest import START
from tests.ledger.histories import HOUR
from tests.ledger.test_server import MICROSECOND, assert_sound
from tests.support.harness import LEDGER_SCOPES, LedgerHarness, credential
from tests.support.ledger import claw_back, earn, expire, hold, reverse, spend, unexpire
from tests.support.refusals import refusal

NOW = START + 10 * HOUR
Response = ledger_service_pb2.UnexpireLotsResponse


async def unexpire_lots(ledger: LedgerHarness, *, program: str = "demo", **other: Any) -> Response:
    """Gives back what expired between the first and the fifth hour, without an end of its own."""
    asked = {
        "request_id": "u1",
        "asset": "points",
        "expired_from_time": START + HOUR,
        "expired_until_time": START + 5 * HOUR,
        "reason": "The law changed",
        "actor": "staff-1",
        **other,
    }
    instants = {name: times.to_proto(value) for name, value in asked.items() if isinstance(value, datetime)}
    request = ledger_service_pb2.UnexpireLotsRequest(**{**asked, **instants})
    return await ledger.stub.UnexpireLots(request, metadata=credential(program, LEDGER_SCOPES))


async def all_pages(ledger: LedgerHarness, size: int, **other: Any) -> list[tuple[str, int]]:
    """Asks until there is no token."""
    found, token = [], ""
    for _ in range(100):
        page = await unexpire_lots(ledger, page_size=size, page_token=token, **other)
        found += [(each.member_id, each.amount) for each in page.members]
        token = page.next_page_token
        if not token:
            return found
    raise AssertionError("The pages come to an end.")


async def expire_of(ledger: LedgerHarness, time: clock.ManualClock, count: int) -> None:
    """Lets a lot of each of some members expire, of each another amount, and turns the clock to long after that."""
    time.value = START
    await ledger.post(*(earn(f"e{n}", f"m{n:02}", n + 1, expires=START + 2 * HOUR) for n in range(count)))
    time.value = NOW


async def test_unexpire_gives_back_what_expired_in_the_time(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What ended from the beginning on and before the end is given back; what was spent or is held is not."""
    await ledger.post(
        earn("first", "in", 1, expires=START + HOUR),
        earn("last", "in", 2, expires=START + 4 * HOUR),
        earn("spent", "in", 4, expires=START + 4 * HOUR, priority=0),
        earn("other", "in", 100, expires=START + 2 * HOUR, asset="credits"),
        earn("early", "out", 8, expires=START + HOUR / 2),
        earn("late", "out", 16, expires=START + 5 * HOUR),
        earn("live", "out", 32),
    )
    await ledger.post(earn("of-other", "in", 64, expires=START + 2 * HOUR), program="other")
    time.value = START + 2 * HOUR
    await ledger.post(spend("s1", "in", 4), hold("h1", "in", 1, timeout_s=36_000))
    time.value = NOW
    page = await unexpire_lots(ledger)

    assert [(each.member_id, each.amount) for each in page.members] == [("in", 2)]
    assert page.next_page_token == ""
    balance = await ledger.balance("in")
    assert (balance.available, balance.held, balance.lifetime_expired) == (2, 1, 0)
    assert not balance.HasField("next_expiry")
    [line, *_] = await ledger.statement("in")
    assert (line.kind, line.amount, line.reason, line.actor) == (
        ledger_pb2.ENTRY_KIND_UNEXPIRY,
        1,
        "The law changed",
        "staff-1",
    )
    assert (await ledger.balance("in", program="other")).lifetime_expired == 64
    await booking.book_due(ledger.ledger)
    await assert_sound(ledger)


async def test_pages_are_the_whole(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Pages of any size put together are all members, and repeated under the same id they say the same again."""
    await expire_of(ledger, time, 11)
    whole = await all_pages(ledger, 3)

    assert sorted(whole) == [(f"m{n:02}", n + 1) for n in range(11)]
    for size in (1, 3, 5, 11, 12, 1000):
        assert await all_pages(ledger, size) == whole
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal WHERE kind = 'UNEXPIRY'") == 11
    await assert_sound(ledger)


async def test_page_repeated_changes_nothing(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A page that is asked for again answers the same and writes nothing, whatever happened to its members since."""
    await expire_of(ledger, time, 4)
    first = await unexpire_lots(ledger, page_size=2)
    time.value = NOW + HOUR
    await ledger.post(spend("s1", "m00", 1), earn("new", "m01", 50, at=START, expires=START + 2 * HOUR))
    count = await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal")

    assert await unexpire_lots(ledger, page_size=2) == first
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM journal") == count


async def test_earn_that_was_given_back_can_be_taken_back(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The refund of a purchase takes of what the program gave back what is the purchase's own, and of nobody else's."""
    await ledger.post(*(earn(f"e{n}", "m1", n, expires=START + 2 * HOUR) for n in (1, 2, 4)))
    time.value = NOW
    await unexpire_lots(ledger)
    [result] = await ledger.post(claw_back("k1", "e2"))

    assert [part.amount for part in result.posting.allocations] == [2]
    assert (await ledger.balance("m1")).available == 5
    await assert_sound(ledger)


async def test_what_ends_after_the_first_call_is_left_out(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What had not expired when it was first asked for is not given back by a later page of the same request."""
    await ledger.post(
        earn("e1", "m1", 1, expires=START + 2 * HOUR),
        earn("e2", "m2", 2, expires=START + 4 * HOUR),
        earn("e3", "m2", 4, expires=START + 2 * HOUR),
    )
    time.value = START + 3 * HOUR
    first = await unexpire_lots(ledger, page_size=1)
    time.value = NOW
    second = await unexpire_lots(ledger, page_size=1, page_token=first.next_page_token)

    given = [(each.member_id, each.amount) for page in (first, second) for each in page.members]
    assert given == [("m1", 1), ("m2", 4)]


async def test_other_content_is_refused(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """The same id with anything else but the page is refused with what differs, and as an operation too."""
    await expire_of(ledger, time, 2)
    await unexpire_lots(ledger, page_size=1)

    changes: tuple[tuple[str, Any], ...] = (
        ("asset", "credits"),
        ("expired_from_time", START),
        ("expired_until_time", START + 6 * HOUR),
        ("expire_time", NOW + HOUR),
        ("reason", "Another law changed"),
        ("actor", "staff-2"),
    )
    for field, value in changes:
        found = await refusal(unexpire_lots(ledger, **{field: value}))
        assert (found.code, found.reason) == (errors.Code.ALREADY_EXISTS, "REQUEST_ID_REUSED")
        assert [each.field for each in found.violations] == [
            "".join(part.title() if place else part for place, part in enumerate(field.split("_")))
        ]
    [result] = await ledger.post(earn("u1"))
    assert result.refusal.reason == "REQUEST_ID_REUSED"
    assert len((await unexpire_lots(ledger)).members) == 2


async def test_empty_time_is_refused(ledger: LedgerHarness) -> None:
    """A time that does not end after its beginning is refused by its field."""
    found = await refusal(unexpire_lots(ledger, expired_until_time=START + HOUR))

    assert [each.field for each in found.violations] == ["expiredUntilTime"]


async def test_end_that_has_passed_is_refused_for_ever(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """An end that is over is refused, to the letter the same when it is asked later, and nothing is given back."""
    await expire_of(ledger, time, 1)
    first = await refusal(unexpire_lots(ledger, expire_time=NOW))
    time.value = NOW + HOUR
    again = await refusal(unexpire_lots(ledger, expire_time=NOW))

    assert (first.code, first.reason) == (errors.Code.FAILED_PRECONDITION, "LOT_LIFE_EMPTY")
    assert (first.message, dict(first.metadata)) == (again.message, dict(again.metadata))
    assert (await ledger.balance("m00")).available == 0


async def test_member_who_is_too_rich_is_told(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member whose balance would be too large is told with the refusal, and the others have theirs back."""
    await expire_of(ledger, time, 2)
    await ledger.post(earn("new", "m00", 8))
    monkeypatch.setattr(model, "BALANCE_MAX", 8)
    page = await unexpire_lots(ledger)

    assert [(each.member_id, each.amount, each.refusal.reason) for each in page.members] == [
        ("m00", 0, "BALANCE_LIMIT"),
        ("m01", 2, ""),
    ]
    assert await unexpire_lots(ledger) == page


async def test_page_size_is_bounded(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """No size means 50, and a negative one is refused."""
    await expire_of(ledger, time, 52)

    assert len((await unexpire_lots(ledger)).members) == 50
    assert (await refusal(unexpire_lots(ledger, page_size=-1))).violations[0].field == "pageSize"


@pytest.mark.parametrize("token", ["x", "é", "A" * 1024])
async def test_garbage_token_is_refused(ledger: LedgerHarness, token: str) -> None:
    """What is no token of this request is refused by its field."""
    assert (await refusal(unexpire_lots(ledger, page_token=token))).violations[0].field == "pageToken"


async def test_token_belongs_to_its_request(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """A token is refused under another request id and in another program."""
    await expire_of(ledger, time, 3)
    token = (await unexpire_lots(ledger, page_size=1)).next_page_token

    for other in ({"request_id": "u2"}, {"program": "other"}):
        found = await refusal(unexpire_lots(ledger, page_token=token, **other))
        assert found.violations[0].field == "pageToken"


async def test_long_way_between_members_is_gone_in_pages(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks through so many wallets at most; where none has anything, it is empty and says how to go on."""
    await expire_of(ledger, time, 9)
    monkeypatch.setattr(unexpiring, "EXAMINED_MAX", 2)
    pages = await all_pages(ledger, 1000)
    empty = await unexpire_lots(ledger, request_id="u2", expired_from_time=START + 4 * HOUR)

    assert len(pages) == 9
    assert list(empty.members) == []
    assert empty.next_page_token


async def test_wallet_with_too_many_lots_takes_rounds(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member with more lots than one operation gives back has all of them back, and the same when asked again."""
    await ledger.post(*(earn(f"e{n}", "m1", 1, expires=START + 2 * HOUR) for n in range(10)))
    time.value = NOW
    monkeypatch.setattr(giving, "LOTS_MAX", 3)
    page = await unexpire_lots(ledger)

    assert [(each.member_id, each.amount) for each in page.members] == [("m1", 10)]
    assert await unexpire_lots(ledger) == page
    await assert_sound(ledger)


async def test_forgotten_members_get_nothing(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Whoever was forgotten is no member any more: nothing is given back to nobody."""
    await expire_of(ledger, time, 2)
    request = ledger_service_pb2.ForgetMemberRequest(member_id="m00", request_id="f1")
    await ledger.stub.ForgetMember(request, metadata=credential("demo", LEDGER_SCOPES))

    assert [each.member_id for each in (await unexpire_lots(ledger)).members] == ["m01"]


async def test_member_forgotten_meanwhile_stays_forgotten(
    ledger: LedgerHarness, time: clock.ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is forgotten once a page has been listed and before it is posted is not brought back by it."""
    await expire_of(ledger, time, 2)
    await booking.book_due(ledger.ledger)
    listed = members.list_expired_wallets

    async def list_and_forget(*arguments: Any, **asked: Any) -> Any:
        found = await listed(*arguments, **asked)
        await forgetting.forget_member(ledger.ledger, "demo", "m00", "f1")
        return found

    monkeypatch.setattr(members, "list_expired_wallets", list_and_forget)
    page = await unexpire_lots(ledger)

    assert [each.member_id for each in page.members] == ["m01"]
    assert await ledger.ledger.pool.fetchval("SELECT count(*) FROM wallets WHERE member_id = 'm00'") == 0
    assert await unexpire_lots(ledger) == page
    await assert_sound(ledger)


async def test_unexpire_raced_by_64_callers_happens_once(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """64 callers with one request id give back once and are told the same."""
    await expire_of(ledger, time, 5)
    pages = await asyncio.gather(*(unexpire_lots(ledger) for _ in range(64)))

    assert len({page.SerializeToString(deterministic=True) for page in pages}) == 1
    assert await ledger.ledger.pool.fetchval("SELECT sum(balance) FROM wallets") == 15
    await assert_sound(ledger)


async def test_what_ends_as_it_is_asked_for_has_expired(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What ends at the very instant of the first call has expired by it, and what ends a microsecond later has not."""
    end = START + 2 * HOUR
    await ledger.post(earn("e1", "m1", 1, expires=end), earn("e2", "m1", 2, expires=end + MICROSECOND))
    time.value = end
    first = await unexpire_lots(ledger)
    time.value = NOW

    assert [(each.member_id, each.amount) for each in first.members] == [("m1", 1)]
    assert await unexpire_lots(ledger) == first


async def test_later_page_leaves_out_what_was_posted_since(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What is posted after the first call, however far back it is dated, is given back by no later page of it."""
    for number, member in enumerate(("m1", "m2")):
        await ledger.post(earn(f"e{member}", member, number + 1, expires=START + 2 * HOUR))
    await ledger.post(earn("e3", "m3", 4))
    time.value = NOW
    first = await unexpire_lots(ledger, page_size=1)
    time.value = NOW + HOUR
    await ledger.post(*(earn(f"b{each}", each, 50, at=START, expires=START + 2 * HOUR) for each in ("m2", "m3")))
    rest = await unexpire_lots(ledger, page_token=first.next_page_token)

    given = [(each.member_id, each.amount) for page in (first, rest) for each in page.members]
    assert given == [("m1", 1), ("m2", 2)]
    await assert_sound(ledger)


async def test_later_page_leaves_out_what_came_back_since(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """Of a lot that had expired in part, what comes back after the first call stays lost on a later page of it."""
    await ledger.post(earn("e1", "m1", 1, expires=START + 2 * HOUR), earn("e2", "m2", 10, expires=START + 2 * HOUR))
    await ledger.post(spend("s1", "m2", 7))
    time.value = NOW
    first = await unexpire_lots(ledger, page_size=1)
    time.value = NOW + HOUR
    await ledger.post(reverse("r1", "s1"))
    rest = await unexpire_lots(ledger, page_token=first.next_page_token)

    assert [(each.member_id, each.amount) for page in (first, rest) for each in page.members] == [("m1", 1), ("m2", 3)]
    assert (await ledger.balance("m2")).available == 3
    await assert_sound(ledger)


async def test_page_repeated_after_a_reversal_says_the_same(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What comes back to a lot that is over after the first call had not expired by it."""
    await ledger.post(earn("e1", "m1", 10, expires=START + 2 * HOUR), spend("s1", "m1", 10))
    time.value = NOW
    first = await unexpire_lots(ledger)
    time.value = START + 21 * HOUR
    await ledger.post(reverse("r1", "s1"))

    assert await unexpire_lots(ledger) == first
    await assert_sound(ledger)


@pytest.mark.parametrize("sweeps", [True, False])
async def test_page_repeated_after_a_hold_timed_out_says_the_same(
    ledger: LedgerHarness, time: clock.ManualClock, *, sweeps: bool
) -> None:
    """What a hold reserved until after the first call had not expired by it."""
    await ledger.post(earn("e1", "m1", 10, expires=START + 2 * HOUR), hold("h1", "m1", 10, timeout_s=20 * 3600))
    time.value = NOW
    first = await unexpire_lots(ledger)
    time.value = START + 21 * HOUR
    if sweeps:
        await booking.book_due(ledger.ledger)

    assert await unexpire_lots(ledger) == first


@pytest.mark.parametrize("sweeps", [True, False])
async def test_what_a_hold_that_is_over_reserved_is_given_back(
    ledger: LedgerHarness, time: clock.ManualClock, *, sweeps: bool
) -> None:
    """What a hold had all of when its lot ended, and that is over too, is given back, whether it is booked or not."""
    await ledger.post(earn("e1", "m1", 10, expires=START + 2 * HOUR), hold("h1", "m1", 10, timeout_s=3 * 3600))
    time.value = NOW
    if sweeps:
        await booking.book_due(ledger.ledger)

    assert (await ledger.balance("m1")).lifetime_expired == 10
    assert [(each.member_id, each.amount) for each in (await unexpire_lots(ledger)).members] == [("m1", 10)]
    await assert_sound(ledger)


async def test_what_was_ended_early_stays_ended(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What the staff ended before its time is left out of what a whole program has back, and is given back to one."""
    await ledger.post(
        earn("kept", "m1", 1, expires=START + 2 * HOUR),
        earn("ended", "m2", 2, expires=START + 9 * HOUR),
        earn("held", "m2", 4, expires=START + 9 * HOUR, priority=0),
        earn("over", "m2", 8, expires=START + 2 * HOUR, promotional=True),
        hold("h1", "m2", 4, timeout_s=4 * 3600),
    )
    time.value = START + 3 * HOUR
    await ledger.post(expire("x1", "m2"))
    time.value = NOW
    page = await unexpire_lots(ledger)

    assert [(each.member_id, each.amount) for each in page.members] == [("m1", 1), ("m2", 8)]
    [result] = await ledger.post(unexpire("one", "m2", since=START + HOUR, until=START + 5 * HOUR))
    assert result.posting.amount == 6
    await assert_sound(ledger)


async def test_early_end_that_was_refused_ended_nothing(ledger: LedgerHarness, time: clock.ManualClock) -> None:
    """What ends by itself in the instant in which an early end is refused has ended by itself."""
    await ledger.post(earn("e1", "m1", 10, expires=START + 2 * HOUR))
    time.value = START + 2 * HOUR
    [refused] = await ledger.post(expire("x1", "m1", earn_id="nobody"))
    assert refused.refusal.reason == "EARN_NOT_FOUND"
    time.value = NOW

    assert [(each.member_id, each.amount) for each in (await unexpire_lots(ledger)).members] == [("m1", 10)]
