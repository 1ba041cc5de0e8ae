"""Reads the rows of a recording: CSV, plain or in gzip, each with the number of its line."""

import contextlib
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

from services.devstack.errors import CannotRunError

GZIP_MAGIC = b"\x1f\x8b"

Event = dict[str, Any]  # in proto3 JSON


class RowError(Exception):
    """Says what is wrong with one row."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Is a kind of recording: its columns, its default file if there is one, and what becomes of a row.

    `event` gets the row's values in the order of `columns`; it raises RowError where one is malformed.
    """

    name: str
    columns: tuple[str, ...]
    default_file: Path | None
    event: Callable[[Sequence[str]], Event]


class RecordingFile:
    """Is an open recording. Raises CannotRunError where the file is not one."""

    def __init__(self, recording: Recording, path: Path) -> None:
        self._recording = recording
        self._path = path
        self.line = 0
        self._open = contextlib.ExitStack()
        try:
            self._raw = self._open.enter_context(path.open("rb"))
            self.size = path.stat().st_size
            self._raw.seek(0)
        except OSError as error:
            raise CannotRunError(f"cannot read {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def position(self) -> int:
        """Tells how many bytes of `size` have been read."""
        return 0 if self._raw.closed else self._raw.tell()

    def events(self, complain: Callable[[str], None]) -> Iterator[Event]:
        """Gives the events in order; a malformed row is told to `complain`, with its line, and passed over."""
        rows = self._rows(complain)
        header = next(rows, [])
        missing = [column for column in self._recording.columns if column not in header]
        if missing:
            raise CannotRunError(f"{self._path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        places = [header.index(column) for column in self._recording.columns]
        for row in rows:
            if not row:
                continue  # an empty line says nothing
            try:
                if len(row) != len(header):
                    raise RowError(f"{len(row)} columns where {len(header)} are expected")
                yield self._recording.event([valid(row[place]) for place in places])
            except RowError as error:
                complain(f"line {self.line}: {error}")

    def _rows(self, complain: Callable[[str], None]) -> Iterator[list[str]]:
        packed = self._raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        plain = gzip.GzipFile(fileobj=self._raw) if packed else self._raw
        # Bytes that are not UTF-8 become surrogates here, and a complaint about their line in `valid`.
        wrapped = io.TextIOWrapper(cast("BinaryIO", plain), encoding="utf-8-sig", errors="surrogateescape", newline="")
        text = self._open.enter_context(wrapped)
        reader = csv.reader(text, strict=True)
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                complain(f"line {reader.line_num}: {error}")
                continue
            except (EOFError, OSError, zlib.error) as error:
                raise CannotRunError(f"{self._path} is damaged after line {reader.line_num}: {error}") from error
            if row is None:
                return
            self.line = reader.line_num
            yield row


def valid(value: str) -> str:
    """Gives the text back. Raises RowError where it was not UTF-8."""
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RowError("it is not UTF-8") from None
    return value
