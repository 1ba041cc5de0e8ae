"""The liability report as a table, and that table as CSV.

A row is a line, in the order of cohorts; a column is one of these, none of them ever empty but `campaign_id`:

    as_of                  the instant of the report, UTC; in CSV as RFC 3339
    month                  of issue in the program's zone, as 2026-10
    campaign_id            empty where there was none
    asset                  what is counted
    redemption_rate_bps    the estimate in force, in basis points
    issued                 = redeemed + expired + clawed_back + open; in units of the asset, as all down to breakage
    redeemed
    expired
    clawed_back
    open                   the liability in units of the asset
    pending                not in effect, and in no other column
    expected               to be redeemed in all
    breakage               = issued - clawed_back - expected
    allocated_value        = clawed_back_value + recognised_value + deferred_value; in minor units of money, as these
    clawed_back_value      the price of earns that were undone; not that of what is clawed_back, which may be others'
    recognised_value
    deferred_value         the liability in money

Amounts are whole and fit 64 bits. There is no row of sums, so that files of several months can be put together.
Parquet is written from the same columns in services/devstack/parquet.py: its library would add a third to the packages
of every service's image, and no service needs it.
"""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter

from services.kernel import times
from services.ledger.revenue import Line

AS_OF = "as_of"
TEXTS = {"month": "cohort.month", "campaign_id": "cohort.campaign_id", "asset": "cohort.asset"}
AMOUNTS = {
    "redemption_rate_bps": "redemption_rate_bps",
    "issued": "figures.issued",
    "redeemed": "figures.redeemed",
    "expired": "figures.expired",
    "clawed_back": "figures.clawed_back",
    "open": "open",
    "pending": "figures.pending",
    "expected": "expected",
    "breakage": "breakage",
    "allocated_value": "figures.allocated_value",
    "clawed_back_value": "clawed_back_value",
    "recognised_value": "recognised_value",
    "deferred_value": "deferred_value",
}

Columns = dict[str, Sequence[datetime] | Sequence[str] | Sequence[int]]

# The beginning of whatever a spreadsheet may see as a cell, where what follows is no word or number.
FORMULA_BEGINS = re.compile(r"(\A|[;\t\r\n])(?= *[^\w ])")


def columns(lines: Iterable[Line], *, as_of: datetime) -> Columns:
    """Gives the table by columns, each with a value a line, in the order of cohorts."""
    ordered = sorted(lines, key=attrgetter("cohort"))
    table: Columns = {AS_OF: [as_of] * len(ordered)}
    for name, path in {**TEXTS, **AMOUNTS}.items():
        table[name] = [attrgetter(path)(line) for line in ordered]
    return table


def encode_csv(lines: Iterable[Line], *, as_of: datetime) -> bytes:
    """Writes the table as RFC 4180 says: UTF-8 without a mark, a header, CRLF, texts quoted and numbers bare.

    No text is a formula to a spreadsheet: see `disarm`. The same lines in any order give the same bytes.
    """
    table = columns(lines, as_of=as_of)
    table[AS_OF] = [times.to_text(as_of) for _ in table[AS_OF]]
    for name in TEXTS:
        table[name] = [disarm(str(text)) for text in table[name]]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(table)
    writer.writerows(zip(*table.values(), strict=True))
    return buffer.getvalue().encode()


def disarm(text: str) -> str:
    """Makes a text that no spreadsheet calculates, by an apostrophe before what might begin a formula.

    OWASP names = + - @, tab and line ends, also in full width, at the beginning of a cell. Quotes do not stop them, and
    a spreadsheet that separates by semicolons or tabs begins cells inside quoted texts. So the apostrophe stands before
    whatever is not a letter, a digit or an underscore, spaces skipped, at the beginning and behind ; tab and line ends.
    It stands before an apostrophe too, so that a reader gets the text back by taking away one at each of these places.
    """
    return FORMULA_BEGINS.sub(r"\1'", text)
