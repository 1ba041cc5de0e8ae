"""The liability report as CSV: everything comes back, and nothing in it is a formula."""

import csv
import io
import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ledger import export, revenue
from services.ledger.revenue import Cohort, Figures, Line
from tests.support import cohorts

AS_OF = datetime(2026, 11, 1, tzinfo=UTC)
LINE = revenue.assess(
    Cohort("2026-10", "spring, early", "points"),
    Figures(
        issued=1_000,
        redeemed=450,
        expired=30,
        clawed_back=20,
        open=500,
        pending=7,
        allocated_value=900,
        clawed_back_value=18,
    ),
    9_700,
)
TEXT = """\
"as_of","month","campaign_id","asset","redemption_rate_bps","issued","redeemed","expired","clawed_back","open",\
"pending","expected","breakage","allocated_value","clawed_back_value","recognised_value","deferred_value"
"2026-11-01T00:00:00Z","2026-10","spring, early","points",9700,1000,450,30,20,500,7,950,30,900,18,418,464
"""


def read(content: bytes, delimiter: str = ",") -> list[list[str]]:
    """Reads CSV as a spreadsheet does."""
    return list(csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter))


def armed(cell: str) -> str:
    """Gives back the text that was disarmed, as the docstring of `disarm` says."""
    return re.sub(r"(\A|[;\t\r\n])'", r"\1", cell)


def with_campaign(campaign_id: str) -> Line:
    """Gives a line of a campaign."""
    return revenue.assess(Cohort("2026-10", campaign_id, "points"), LINE.figures, LINE.redemption_rate_bps)


def test_csv_is_as_documented() -> None:
    """Header, columns, quotes, line ends and figures of the file are those that are documented."""
    assert export.encode_csv([LINE], as_of=AS_OF) == TEXT.replace("\n", "\r\n").encode()


def test_csv_without_lines_has_its_header() -> None:
    """A report of nothing is a table without rows."""
    assert export.encode_csv([], as_of=AS_OF).decode() == TEXT.partition("\n")[0] + "\r\n"


def test_csv_tells_its_instant_in_utc() -> None:
    """The instant of the report is written in UTC, whatever zone it is given in."""
    there = AS_OF.astimezone(timezone(timedelta(hours=9)))
    assert export.encode_csv([LINE], as_of=there) == export.encode_csv([LINE], as_of=AS_OF)


@given(cohorts.lines())
def test_csv_gives_every_value_back(lines: list[Line]) -> None:
    """Whoever reads the file and takes the apostrophes away has the values of every line, in the order of cohorts."""
    header, *rows = read(export.encode_csv(lines, as_of=AS_OF))
    table = export.columns(lines, as_of=AS_OF)

    assert header == list(table)
    assert [armed(cell) for row in rows for cell in row[1:4]] == [
        text
        for line in sorted(lines, key=lambda line: line.cohort)
        for text in (line.cohort.month, line.cohort.campaign_id, line.cohort.asset)
    ]
    numbers = [table[name] for name in export.AMOUNTS]
    assert [tuple(int(cell) for cell in row[4:]) for row in rows] == list(zip(*numbers, strict=True))


@given(cohorts.lines(), st.data())
def test_csv_is_the_same_in_any_order(lines: list[Line], data: st.DataObject) -> None:
    """The same lines give the same bytes, in whatever order they come."""
    shuffled = data.draw(st.permutations(lines))
    assert export.encode_csv(shuffled, as_of=AS_OF) == export.encode_csv(lines, as_of=AS_OF)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@given(campaign_id=st.text(max_size=20) | st.text(alphabet="=+-@\t\r\n\0＝'\";, a1", max_size=20))
@example(campaign_id="=1+1")
@example(campaign_id="+1")
@example(campaign_id="-1")
@example(campaign_id="@SUM(A1)")
@example(campaign_id="\t=1")
@example(campaign_id=" =1")
@example(campaign_id="＝1")
@example(campaign_id="a;=1;")
@example(campaign_id="a; =1;")
@example(campaign_id='a",=1,"')
def test_csv_holds_no_formula(delimiter: str, campaign_id: str) -> None:
    """No cell begins a formula, even for a spreadsheet that separates by semicolons or tabs and so splits texts."""
    content = export.encode_csv([with_campaign(campaign_id)], as_of=AS_OF)
    for row in read(content, delimiter):
        for cell in row:
            assert re.match(r" *([\w'\",]|\Z)", cell), f"{cell!r} may be calculated."


@given(st.text() | st.text(alphabet="'=; \ta"))
def test_disarmed_text_comes_back(text: str) -> None:
    """Taking one apostrophe away at each place gives the text back, apostrophes of its own included."""
    assert armed(export.disarm(text)) == text


@given(st.from_regex(r"[\w]+([ .,:/-] ?\w+)*", fullmatch=True))
def test_disarm_leaves_harmless_texts(text: str) -> None:
    """An ordinary id is written as it is."""
    assert export.disarm(text) == text
