"""The liability report as Parquet, for whoever loads it into a warehouse; texts are verbatim there."""

import io
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from arro3.core import Array, DataType, Field, Schema, Table
from arro3.io import write_parquet

from services.kernel import times
from services.ledger import export
from services.ledger.revenue import Line

INSTANT = DataType.timestamp("us", tz="UTC")
# The columns that services/ledger/export.py describes.
TYPES = {
    export.AS_OF: INSTANT,
    **dict.fromkeys(export.TEXTS, DataType.utf8()),
    **dict.fromkeys(export.AMOUNTS, DataType.int64()),
}
SCHEMA = Schema([Field(name, type_, nullable=False) for name, type_ in TYPES.items()])


def encode_parquet(lines: Iterable[Line], *, as_of: datetime) -> bytes:
    """Writes the report of the instant `as_of` as a Parquet file, in the order of cohorts, without nulls.

    Raises OverflowError for an amount beyond 64 bits. Compressed by Snappy, which every reader knows.
    """
    table = export.columns(lines, as_of=as_of)
    arrays = [_array(table[name], type_) for name, type_ in TYPES.items()]
    buffer = io.BytesIO()
    write_parquet(Table.from_arrays(arrays, schema=SCHEMA), buffer, compression="snappy")
    return buffer.getvalue()


def _array(values: Sequence[Any], type_: DataType) -> Array:
    if type_ != INSTANT:
        return Array(values, type_)
    # The library makes no array of instants, but casts one of the microseconds since 1970 that they are kept as.
    microseconds = [(each - times.EPOCH) // timedelta(microseconds=1) for each in values]
    return Array(microseconds, DataType.int64()).cast(INSTANT)
