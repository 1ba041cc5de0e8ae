"""How a recording is read, row by row."""

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.devstack.errors import CannotRunError
from services.devstack.replay.purchases import PURCHASES
from services.devstack.replay.rows import Event, RecordingFile

HEADER = "purchase_id,customer_id,purchased_on,quantity,amount_cents\n"
GOOD = "p1,c1,1997-01-01,2,1177\n"


def read(path: Path) -> tuple[list[Event], list[str]]:
    """Reads a whole recording: its events and its complaints."""
    complaints: list[str] = []
    with RecordingFile(PURCHASES, path) as file:
        return list(file.events(complaints.append)), complaints


def test_reads_copy_in_the_project() -> None:
    """The project's own copy holds the 69,659 purchases of 23,570 customers, with nothing malformed."""
    assert PURCHASES.default_file is not None
    events, complaints = read(PURCHASES.default_file)

    assert complaints == []
    assert len({event["eventId"] for event in events}) == len(events) == 69_659
    assert len({event["memberId"] for event in events}) == 23_570
    days = {event["occurTime"] for event in events}
    assert (min(days), max(days)) == ("1997-01-01T12:00:00Z", "1998-06-30T12:00:00Z")


def test_reads_row_as_event(tmp_path: Path) -> None:
    """A row becomes the event that the contract wants, at noon of its day."""
    (tmp_path / "rows.csv").write_text(HEADER + GOOD)
    [event], complaints = read(tmp_path / "rows.csv")

    assert complaints == []
    assert event == {
        "eventId": "p1",
        "type": "purchase.completed",
        "memberId": "c1",
        "occurTime": "1997-01-01T12:00:00Z",
        "properties": {"amount_cents": 1177, "quantity": 2},
    }


def test_reads_gzip_by_content(tmp_path: Path) -> None:
    """A packed recording is recognised whatever its name is, and columns may come in any order, among others."""
    text = "\ufeffnote,amount_cents,quantity,purchased_on,customer_id,purchase_id\nx,1177,2,1997-01-01,c1,p1\n"
    (tmp_path / "rows").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "plain").write_text(HEADER + GOOD)

    assert read(tmp_path / "rows") == read(tmp_path / "plain")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("p1,c1,1997-01-01,2,abc", 'amount_cents is not a whole number: "abc"'),
        ("p1,c1,1997-01-01,2,11.5", 'amount_cents is not a whole number: "11.5"'),
        ("p1,c1,1997-01-01,٣,100", 'quantity is not a whole number: "٣"'),
        ("p1,c1,1997-02-30,2,100", 'purchased_on is not a day of the form YYYY-MM-DD: "1997-02-30"'),
        ("p1,c1,1997-W01-1,2,100", 'purchased_on is not a day of the form YYYY-MM-DD: "1997-W01-1"'),
        (",c1,1997-01-01,2,100", "purchase_id is empty"),
        ("p1,,1997-01-01,2,100", "customer_id is empty"),
        ("p1,c1,1997-01-01,2", "4 columns where 5 are expected"),
        ('p1,"c1"x,1997-01-01,2,100', "',' expected after '\"'"),
    ],
)
def test_complains_of_malformed_row_and_goes_on(tmp_path: Path, row: str, complaint: str) -> None:
    """A malformed row is told with its line, and the rows around it are read."""
    (tmp_path / "rows.csv").write_text(f"{HEADER}{GOOD}\n{row}\n{GOOD}")
    events, complaints = read(tmp_path / "rows.csv")

    assert complaints == [f"line 4: {complaint}"]
    assert len(events) == 2


def test_complains_of_bytes_that_are_no_text(tmp_path: Path) -> None:
    """A row that is not UTF-8 is malformed, not the end."""
    (tmp_path / "rows.csv").write_bytes(HEADER.encode() + b"p\xff,c1,1997-01-01,2,100\n" + GOOD.encode())
    events, complaints = read(tmp_path / "rows.csv")

    assert complaints == ["line 2: it is not UTF-8"]
    assert len(events) == 1


def test_refuses_file_without_columns(tmp_path: Path) -> None:
    """A file of another kind is refused with the columns that it lacks."""
    (tmp_path / "rows.csv").write_text("purchase_id,customer_id\n")

    with pytest.raises(CannotRunError, match=r"lacks the columns purchased_on, quantity, amount_cents$"):
        read(tmp_path / "rows.csv")


def test_refuses_missing_file(tmp_path: Path) -> None:
    """A file that is not there is named."""
    with pytest.raises(CannotRunError, match=r"cannot read .*none\.csv: No such file or directory"):
        read(tmp_path / "none.csv")


def test_tells_where_packed_file_is_damaged(tmp_path: Path) -> None:
    """A packed recording that was cut off gives what it has, and then says after which line it is damaged."""
    whole = gzip.compress((HEADER + GOOD * 1000).encode(), compresslevel=0)
    (tmp_path / "rows.csv.gz").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(CannotRunError, match=r"is damaged after line \d+: "):
        read(tmp_path / "rows.csv.gz")


@given(st.binary(max_size=300))
def test_survives_any_bytes(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    """Whatever a row holds, it becomes an event or one complaint; reading goes on either way."""
    path = tmp_path_factory.mktemp("junk") / "rows.csv"
    path.write_bytes(HEADER.encode() + junk.replace(b'"', b"") + b"\n" + GOOD.encode())
    events, complaints = read(path)

    assert events[-1]["eventId"] == "p1"
    assert all(complaint.startswith("line ") for complaint in complaints)
