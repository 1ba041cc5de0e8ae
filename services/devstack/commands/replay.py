"""`./plaudit replay`: recorded events, sent over HTTP."""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from services.devstack.api import find_api
from services.devstack.errors import CannotRunError
from services.devstack.replay.activity import ACTIVITY
from services.devstack.replay.purchases import PURCHASES
from services.devstack.replay.rows import RecordingFile
from services.devstack.replay.sender import Sender, Target
from services.devstack.replay.tally import Tally

RECORDINGS = {recording.name: recording for recording in (PURCHASES, ACTIVITY)}
LINE_EVERY_S = 5.0  # where there is no terminal to draw on


def run(parsed: argparse.Namespace) -> int:
    """Sends a recording: 0 where all of it was taken, 1 where rows were malformed or events refused."""
    recording = RECORDINGS[parsed.recording]
    tally = Tally()
    console = Console(stderr=True)

    def complain(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)

    def complain_of_row(sentence: str) -> None:
        tally.malformed += 1
        complain(sentence)

    path = parsed.file or recording.default_file
    assert path is not None, "A recording without a copy in the project is named by the caller."
    target = target_of(parsed)
    with RecordingFile(recording, path) as file:
        events = itertools.islice(file.events(complain_of_row), parsed.limit)
        with drawn(console, tally, file, parsed.limit) as observe:
            try:
                asyncio.run(Sender(target, tally, observe=observe, complain=complain).send(events))
            except CannotRunError as error:
                raise CannotRunError(
                    f"{error}; {tally.events:,} events were answered, sending all again is safe"
                ) from None
    tally.ended = time.monotonic()
    report(tally, as_json=parsed.json)
    return 1 if tally.malformed or tally.refused else 0


def target_of(parsed: argparse.Namespace) -> Target:
    """Finds out where to send, and how much at once."""
    return Target(find_api(parsed), parsed.batch_size, parsed.in_flight)


@contextmanager
def drawn(console: Console, tally: Tally, file: RecordingFile, limit: int | None) -> Iterator[Callable[[], None]]:
    """Gives a function that shows how far it is: as a bar on a terminal, else as a line now and then."""
    if not console.is_terminal:
        yield Lines(console, tally)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.fields[events]:,} events, {task.fields[rate]:,.0f}/s"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=limit or file.size, events=0, rate=0.0)

        def observe() -> None:
            done = tally.events if limit else file.position()
            progress.update(task, completed=done, events=tally.events, rate=tally.events_per_second)

        yield observe


class Lines:
    """Shows how far it is by a line every few seconds."""

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally
        self._next_s = LINE_EVERY_S

    def __call__(self) -> None:
        """Shows a line where it is time for one."""
        if self._tally.seconds >= self._next_s:
            self._next_s = self._tally.seconds + LINE_EVERY_S
            rate = self._tally.events_per_second
            self._console.print(f"{self._tally.events:,} events, {rate:,.0f}/s", highlight=False)


def report(tally: Tally, *, as_json: bool) -> None:
    """Prints the closing summary, and the first reasons of refusals."""
    for reason in tally.reasons:
        print(f"refused {reason}", file=sys.stderr)
    if len(tally.reasons) < tally.refused:
        print(f"refused {tally.refused - len(tally.reasons):,} more", file=sys.stderr)
    figures = tally.figures()
    if as_json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{name.replace('_per_second', '/s'):<11} {figure:>12,}")
