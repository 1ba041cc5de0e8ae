"""The liability report as Parquet: what is read is what was written, in the documented types."""

import io
from datetime import UTC, datetime

import pytest
from arro3.core import DataType, Table
from arro3.io import read_parquet
from hypothesis import given

from services.devstack import parquet
from services.ledger import export, revenue
from services.ledger.revenue import Cohort, Figures, Line
from tests.support import cohorts

AS_OF = datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC)
INT64_MAX = 2**63 - 1


def read(content: bytes) -> Table:
    """Reads a Parquet file."""
    return read_parquet(io.BytesIO(content)).read_all()


@given(cohorts.lines())
def test_parquet_gives_every_value_back(lines: list[Line]) -> None:
    """Whoever reads the file has every value of every line as it was, formulas in texts included."""
    table = read(parquet.encode_parquet(lines, as_of=AS_OF))

    written = export.columns(lines, as_of=AS_OF)
    assert {name: table[name].to_pylist() for name in table.column_names} == written


def test_parquet_has_the_documented_types() -> None:
    """Amounts are 64-bit whole numbers, texts are texts, the instant is one in UTC, and nothing is ever null."""
    schema = read(parquet.encode_parquet([], as_of=AS_OF)).schema
    fields = [schema.field(name) for name in schema.names]

    instant = DataType.timestamp("us", tz="UTC")
    assert [field.type for field in fields] == [instant, *[DataType.utf8()] * 3, *[DataType.int64()] * 13]
    assert not any(field.nullable for field in fields)


def test_parquet_holds_the_largest_amounts() -> None:
    """An amount may take all 64 bits, and beyond them the file is refused instead of wrong."""
    cohort = Cohort("2026-10", "", "points")
    largest = revenue.assess(cohort, Figures(issued=INT64_MAX, open=INT64_MAX), 10_000)
    beyond = revenue.assess(cohort, Figures(issued=INT64_MAX + 1, open=INT64_MAX + 1), 10_000)

    assert read(parquet.encode_parquet([largest], as_of=AS_OF))["issued"].to_pylist() == [INT64_MAX]
    with pytest.raises(OverflowError):
        parquet.encode_parquet([beyond], as_of=AS_OF)
