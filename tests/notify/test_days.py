"""What a day sets off: on the member's local day, once, whatever the clocks do, with the clock turned by hand."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from plaudit.notify.v1 import notify_pb2

from services.kernel import calendar
from tests.conftest import START
from tests.support.notify import NotifyHarness, outcomes, states

ZONES = (
    "Pacific/Kiritimati",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
    "Asia/Tokyo",
    "Asia/Kolkata",
    "Asia/Beirut",
    "Europe/Berlin",
    "UTC",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/New_York",
    "Pacific/Pago_Pago",
)
HOUR = timedelta(hours=1)
INBOX = [notify_pb2.CHANNEL_INBOX]
# The days on which clocks change in March 2026 (New York on the 8th, Berlin and Beirut on the 29th), and one between.
SPRING = (date(2026, 3, 8), date(2026, 3, 18), date(2026, 3, 29))
AUTUMN = (date(2026, 10, 25), date(2026, 11, 1))


async def prepare(notify: NotifyHarness, **source: Any) -> None:
    """Makes a trigger of days that goes into the inbox."""
    await notify.template()
    await notify.trigger("day", channels=INBOX, **source)


async def turn_until(notify: NotifyHarness, end: datetime, step: timedelta = 3 * HOUR) -> None:
    """Turns the clock by hand, working after each turn."""
    while notify.time.value < end:
        notify.time.value = min(end, notify.time.value + step)
        await notify.work()


async def received(notify: NotifyHarness, zones: dict[str, str]) -> dict[str, list[str]]:
    """Tells on which local days and hours the members of some zones got messages."""
    rows = await notify.context.pool.fetch("SELECT member_id, created_at FROM messages ORDER BY created_at")
    found: dict[str, list[str]] = {name: [] for name in zones}
    for row in rows:
        local = row["created_at"].astimezone(ZoneInfo(zones[row["member_id"]]))
        found[row["member_id"]].append(local.strftime("%Y-%m-%d"))
    return found


async def test_birthdays_fire_on_the_local_day_once(notify: NotifyHarness) -> None:
    """Sixty birthdays over twelve zones and both changes of the clock fire on the local day, once, not before nine."""
    await prepare(notify, on_date=notify_pb2.OnDate(date=notify_pb2.DATE_KIND_BIRTHDAY))
    zones: dict[str, str] = {}
    days: dict[str, str] = {}
    for zone in ZONES:
        for day in (*SPRING, *AUTUMN):
            name = f"{zone}-{day}".replace("/", "_")
            zones[name], days[name] = zone, day.isoformat()
            await notify.member(name, time_zone=zone, birthday=day.replace(year=1990).isoformat())
    await turn_until(notify, datetime(2026, 3, 31, tzinfo=UTC), 12 * HOUR)
    notify.time.value = datetime(2026, 10, 23, tzinfo=UTC)
    # The days between are turned late, one after the other, and nothing of them is sent any more.
    await turn_until(notify, datetime(2026, 11, 3, tzinfo=UTC), 12 * HOUR)

    assert await received(notify, zones) == {name: [day] for name, day in days.items()}


async def test_inactivity_fires_after_local_days(notify: NotifyHarness) -> None:
    """Ten local days after the last event a message goes, once, in every zone; who came back gets none."""
    await prepare(notify, on_inactivity=notify_pb2.OnInactivity(days=10))
    zones = {f"m{number}": zone for number, zone in enumerate(ZONES)}
    last = datetime(2026, 3, 1, 11, 30, tzinfo=UTC)
    for name, zone in zones.items():
        await notify.member(name, time_zone=zone)
        await notify.happen(member_id=name, at=last)
    await notify.member("back", time_zone="UTC")
    await notify.happen(member_id="back", at=last)
    await turn_until(notify, datetime(2026, 3, 11, 8, tzinfo=UTC))
    await notify.happen(member_id="back")
    await turn_until(notify, datetime(2026, 3, 14, tzinfo=UTC))
    expected = {
        name: [(calendar.period_start(last, calendar.Period.DAY, zone) + timedelta(days=10)).isoformat()]
        for name, zone in zones.items()
    }

    assert await received(notify, {**zones, "back": "UTC"}) == {**expected, "back": []}
    assert states(await notify.list_deliveries("back")) == [("CANCELLED", "NO_LONGER_TRUE")]


async def test_expiry_fires_before_the_local_day(notify: NotifyHarness) -> None:
    """Thirty, seven and one local days before value ends a message goes, in every zone, while the ledger has some."""
    await prepare(notify, on_expiry=notify_pb2.OnExpiry(days=[30, 7, 1]))
    zones = {f"m{number}": zone for number, zone in enumerate(ZONES)}
    ends = datetime(2026, 4, 10, 3, 0, tzinfo=UTC)
    for name, zone in zones.items():
        await notify.member(name, time_zone=zone)
        await notify.earn(name, 100, ends)
        notify.wallet.amounts[name] = 100
    await turn_until(notify, datetime(2026, 3, 15, tzinfo=UTC), 12 * HOUR)
    notify.wallet.amounts["m0"] = 0  # spent meanwhile
    await turn_until(notify, datetime(2026, 4, 12, tzinfo=UTC), 12 * HOUR)
    last = {name: calendar.period_start(ends, calendar.Period.DAY, zone) for name, zone in zones.items()}
    expected = {
        name: [(day - timedelta(days=days)).isoformat() for days in ((30, 7, 1) if name != "m0" else (30,))]
        for name, day in last.items()
    }

    assert await received(notify, zones) == expected


async def test_leap_day_is_kept_on_the_day_before(notify: NotifyHarness) -> None:
    """Who was born on 29 February is congratulated on the 28th in a year without one."""
    await prepare(notify, on_date=notify_pb2.OnDate(date=notify_pb2.DATE_KIND_BIRTHDAY))
    notify.time.value = datetime(2027, 2, 26, 12, tzinfo=UTC)
    await notify.member(birthday="2000-02-29")
    await turn_until(notify, datetime(2027, 3, 3, tzinfo=UTC), 12 * HOUR)

    assert await received(notify, {"m1": "UTC"}) == {"m1": ["2027-02-28"]}


async def test_anniversary_counts_years(notify: NotifyHarness) -> None:
    """The day on which a member joined is no anniversary; a year later is one, and an attribute counts likewise."""
    await prepare(notify, on_date=notify_pb2.OnDate(date=notify_pb2.DATE_KIND_JOINED))
    await notify.trigger(
        "contract",
        channels=INBOX,
        on_date=notify_pb2.OnDate(date=notify_pb2.DATE_KIND_ATTRIBUTE, attribute="signed_on"),
    )
    await notify.member(attributes={"signed_on": "2024-03-03"})
    await turn_until(notify, datetime(2026, 3, 5, tzinfo=UTC), 12 * HOUR)
    now = await received(notify, {"m1": "UTC"})
    notify.time.value = START + timedelta(days=364)
    await turn_until(notify, START + timedelta(days=367), 12 * HOUR)

    assert now == {"m1": ["2026-03-03"]}
    assert (await received(notify, {"m1": "UTC"}))["m1"] == ["2026-03-03", "2027-03-01", "2027-03-03"]


async def test_day_long_over_is_too_late(notify: NotifyHarness) -> None:
    """A day that is turned days later, since nobody worked, is decided as too late, and nothing is sent."""
    await prepare(notify, on_date=notify_pb2.OnDate(date=notify_pb2.DATE_KIND_BIRTHDAY))
    await notify.member(birthday="1990-03-03")
    notify.time.value += timedelta(days=10)
    await notify.work()

    assert outcomes(await notify.list_decisions()) == [("NOT_SENT", "TOO_LATE")]


async def test_member_chooses_the_time(notify: NotifyHarness) -> None:
    """What a day sets off goes at the time that the member wants, before that of the trigger."""
    await prepare(notify, on_schedule=notify_pb2.OnSchedule(weekdays=[1]), clock="08:00")
    await notify.member()
    await notify.member("m2")
    await notify.prefer("m2", clock="17:30")
    await turn_until(notify, datetime(2026, 3, 2, 8, tzinfo=UTC), HOUR)
    first = [bool(await notify.inbox(name)) for name in ("m1", "m2")]
    notify.time.value = datetime(2026, 3, 2, 17, 29, tzinfo=UTC)
    await notify.work()
    second = bool(await notify.inbox("m2"))
    notify.time.value += timedelta(minutes=1)
    await notify.work()

    assert (first, second, bool(await notify.inbox("m2"))) == ([True, False], False, True)


async def test_program_that_moves_takes_its_members_along(notify: NotifyHarness) -> None:
    """Members without a zone of their own live in that of their program, also when it moves."""
    await prepare(notify, on_schedule=notify_pb2.OnSchedule(weekdays=[1]))
    await notify.member()
    await notify.settings(time_zone="Asia/Tokyo")
    await turn_until(notify, datetime(2026, 3, 2, 0, tzinfo=UTC), HOUR)

    assert [each.title for each in await notify.inbox()] == ["News"]
