"""Instants between protobuf, Python and text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from services.kernel import fields, times
from tests.support.databases import Databases

INSTANTS = st.datetimes(timezones=st.just(UTC)).filter(lambda each: times.EARLIEST <= each <= times.LATEST)


@given(instant=INSTANTS)
def test_instant_survives_the_way_there_and_back(instant: datetime) -> None:
    """Every instant from the year 1 to the year 9999 comes back from protobuf as it was, to the microsecond."""
    assert times.from_proto(times.to_proto(instant)) == instant


@given(instant=INSTANTS)
def test_instant_is_what_protobuf_says(instant: datetime) -> None:
    """The message is the one that protobuf's own conversion makes."""
    expected = Timestamp()
    expected.FromDatetime(instant)

    assert times.to_proto(instant) == expected


@given(seconds=st.integers(fields.TIMESTAMP_SECONDS_MIN, fields.TIMESTAMP_SECONDS_MAX), nanos=st.integers(0, 10**9 - 1))
def test_finer_than_microsecond_is_cut_off(seconds: int, nanos: int) -> None:
    """Any valid timestamp can be read, and is cut to the microsecond before or at it."""
    read = times.from_proto(Timestamp(seconds=seconds, nanos=nanos))

    if times.EARLIEST < read < times.LATEST:
        assert times.to_proto(read) == Timestamp(seconds=seconds, nanos=nanos - nanos % 1000)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(fields.TIMESTAMP_SECONDS_MIN, 0), (fields.TIMESTAMP_SECONDS_MAX, 999_999_999)]
)
async def test_ends_of_time_are_instants(databases: Databases, seconds: int, nanos: int) -> None:
    """The first and the last instant of the contract come back from the database as instants like any other."""
    instant = times.from_proto(Timestamp(seconds=seconds, nanos=nanos))
    connection = await databases.admin()
    back = await connection.fetchval("SELECT $1::timestamptz", instant)
    await connection.close()

    assert back == instant
    assert abs(times.to_proto(back).seconds - seconds) == 0


def test_zone_does_not_matter_to_an_instant() -> None:
    """One instant said in two zones is one message and one text."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    there = noon.astimezone(timezone(timedelta(hours=5, minutes=30)))

    assert times.to_proto(there) == times.to_proto(noon)
    assert times.to_text(there) == times.to_text(noon) == "2026-03-01T12:00:00Z"


def test_no_instant_is_no_message() -> None:
    """What has no instant has no message; an instant is the message it always is."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert times.optional_to_proto(None) is None
    assert times.optional_to_proto(noon) == times.to_proto(noon)
