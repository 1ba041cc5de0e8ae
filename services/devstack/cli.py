"""The command line of `./plaudit`: what there is, and which module does it.

Knows the standard library only and imports a command's module when it is called, so that help is instant.
"""

import argparse
import importlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    Commands: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_PORT = 8080
DEFAULT_DATA_DIR = Path(__file__).resolve().parents[2] / ".plaudit"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """Reads a command line; ends the process with help, or with exit code 2 where there is no such command."""
    if not arguments:
        return build_parser().parse_args(["--help"])
    if arguments[0] == "test" and not set(arguments) & {"-h", "--help"}:
        # argparse cannot hand on options that it does not know.
        return argparse.Namespace(module="verify", pytest_arguments=list(arguments[1:]))
    return build_parser().parse_args(arguments)


def run(parsed: argparse.Namespace) -> int:
    """Runs a command and returns its exit code: 0 fine, 1 found problems, 2 cannot run."""
    module = importlib.import_module(f"services.devstack.commands.{parsed.module}")
    code: int = module.run(parsed)
    return code


def build_parser() -> argparse.ArgumentParser:
    """Describes all commands."""
    parser = argparse.ArgumentParser(
        prog="./plaudit",
        description="Plaudit, a loyalty engine for SaaS: events in, effects out, value never lost.",
        epilog="Exit codes: 0 fine, 1 problems were found, 2 it cannot run.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    add_up(commands)
    add_test(commands)
    add_check(commands)
    add_status(commands)
    add_program(commands)
    add_replay(commands)
    add_liability(commands)
    add_bench(commands)
    return parser


def add_up(commands: "Commands") -> None:
    """Describes `up`."""
    parser = commands.add_parser("up", help="start everything on this machine; Ctrl-C drains and stops")
    parser.set_defaults(module="up")
    add_data_dir(parser)
    parser.add_argument(
        "--port", type=port, default=DEFAULT_PORT, help=f"of the HTTP API on 127.0.0.1 (default {DEFAULT_PORT})"
    )


def add_test(commands: "Commands") -> None:
    """Describes `test`."""
    parser = commands.add_parser(
        "test",
        help="run every check: format, lint, types, contracts, tests",
        description="Runs every check. With arguments, runs only pytest, with these arguments.",
    )
    parser.add_argument(
        "pytest_arguments", nargs="*", metavar="PYTEST ARGUMENT", help="for example tests/ledger -k hold"
    )


def add_check(commands: "Commands") -> None:
    """Describes `check`."""
    parser = commands.add_parser("check", help="recompute what is stored and print what does not add up")
    parser.set_defaults(module="check")
    add_data_dir(parser)
    add_json(parser)


def add_status(commands: "Commands") -> None:
    """Describes `status`."""
    parser = commands.add_parser("status", help="show services, versions, lags and the ages of the oldest due work")
    parser.set_defaults(module="status")
    add_data_dir(parser)
    add_json(parser)


def add_program(commands: "Commands") -> None:
    """Describes `program`."""
    group = commands.add_parser("program", help="create a program with an API key")
    actions = group.add_subparsers(title="actions", metavar="ACTION", required=True)
    parser = actions.add_parser("create", help="create a program and print an API key for it")
    parser.set_defaults(module="program")
    parser.add_argument("id", help="names the program, for example acme")
    parser.add_argument("--name", default="", help="is shown to people")
    parser.add_argument("--time-zone", default="UTC", help="IANA zone of the program's calendar (default UTC)")
    parser.add_argument("--address", help="host:port of a program service elsewhere; see k8s/README.md")
    add_data_dir(parser)
    add_json(parser)


def add_replay(commands: "Commands") -> None:
    """Describes `replay`."""
    group = commands.add_parser("replay", help="send recorded events over HTTP")
    kinds = group.add_subparsers(title="recordings", metavar="RECORDING", required=True)
    parser = kinds.add_parser(
        "purchases",
        help="69,659 real purchases as purchase.completed",
        description="Sends purchases as events, several batches at once. Sending them again changes nothing.",
    )
    parser.set_defaults(module="replay", recording="purchases")
    parser.add_argument("file", nargs="?", type=Path, help="CSV, or CSV in gzip (default: the copy in the project)")
    add_sending(parser)
    parser = kinds.add_parser(
        "activity",
        help="what people did, with the clocks of their own, as activity.contributed",
        description="Sends contributions as events, several batches at once. Sending them again changes nothing. "
        "The file has the columns event_id, actor_id and occurred_at, such as 2021-08-25T10:01:32+03:00.",
    )
    parser.set_defaults(module="replay", recording="activity")
    parser.add_argument("file", type=Path, help="CSV, or CSV in gzip")
    add_sending(parser)


def add_sending(parser: argparse.ArgumentParser) -> None:
    """Describes how a recording is sent."""
    add_api(parser)
    parser.add_argument("--batch-size", type=Bounded(1, 1000), default=500, help="events in a call (default 500)")
    parser.add_argument("--in-flight", type=Bounded(1, 64), default=4, help="calls at once (default 4)")
    parser.add_argument("--limit", type=Bounded(0, 2**31), help="send the first rows only")
    add_json(parser)


def add_liability(commands: "Commands") -> None:
    """Describes `liability`."""
    parser = commands.add_parser(
        "liability",
        help="what members may still redeem, and what of its price is earned",
        description="Reports by month of issue, campaign and asset what was issued, redeemed, expired and taken back, "
        "what is open, and its revenue as IFRS 15 has it. The report of a past instant is the same for ever.",
    )
    parser.set_defaults(module="liability")
    day = "a day, which means its end, or an instant such as 2026-10-31T22:00:00Z"
    parser.add_argument("--as-of", type=moment, metavar="WHEN", help=f"{day} (default: now)")
    parser.add_argument(
        "--previous", type=moment, metavar="WHEN", help="end of the period before: adds the revenue since"
    )
    parser.add_argument("--zone", default="UTC", help="IANA zone of days and months (default UTC)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the lines as CSV too")
    parser.add_argument("--parquet", type=Path, metavar="FILE", help="write the lines as Parquet too")
    add_api(parser)
    add_json(parser)


def add_bench(commands: "Commands") -> None:
    """Describes `bench`."""
    group = commands.add_parser("bench", help="measure, beside baselines in the same run")
    kinds = group.add_subparsers(title="benchmarks", metavar="WHAT", required=True)
    parser = kinds.add_parser(
        "ledger",
        help="earns, spends, a long past and expiries, beside pgbench and COPY",
        description="Runs one ledger process on a PostgreSQL of its own, fsync on; takes about ten minutes and 10 GB.",
    )
    parser.set_defaults(module="bench", what="ledger")
    parser.add_argument(
        "--earns", type=Bounded(1000, 10**7), default=200_000, help="of each bulk measure (default 200,000)"
    )
    parser.add_argument("--seconds", type=Bounded(1, 3600), default=15, help="of each timed measure (default 15)")
    parser.add_argument(
        "--history", type=Bounded(20_000, 10**9), default=10**7, help="earns of the past (default 10,000,000)"
    )
    parser.add_argument(
        "--due", type=Bounded(20_000, 10**8), default=10**6, help="lots that are due (default 1,000,000)"
    )
    add_json(parser)
    parser = kinds.add_parser(
        "flow",
        help="events through all services, and how long what follows takes",
        description="Runs a whole stack of its own in an empty directory; takes about two minutes.",
    )
    parser.set_defaults(module="bench", what="flow")
    parser.add_argument("--events", type=Bounded(1000, 10**7), default=30_000, help="of the bulk measure (30,000)")
    parser.add_argument("--seconds", type=Bounded(1, 3600), default=20, help="of the timed measure (default 20)")
    parser.add_argument("--mails", type=Bounded(100, 10**6), default=3000, help="that are sent (default 3,000)")
    add_json(parser)


def add_api(parser: argparse.ArgumentParser) -> None:
    """Describes what says which HTTP API is called."""
    parser.add_argument("--url", help="of the HTTP API (default: that of the running stack)")
    parser.add_argument("--api-key", help="(default: that of the demo program)")
    add_data_dir(parser)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """Describes --data-dir."""
    parser.add_argument(
        "--data-dir", type=Path, default=DEFAULT_DATA_DIR, metavar="DIR", help=f"(default {DEFAULT_DATA_DIR})"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Describes --json."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")


def port(text: str) -> int:
    """Reads a TCP port; 0 takes any that is free."""
    return Bounded(0, 65535)(text)


def moment(text: str) -> date | datetime:
    """Reads a day, or an instant with its offset from UTC."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        pass  # It may be an instant then.
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        message = f"{text!r} is neither a day such as 2026-10-31 nor an instant such as 2026-10-31T22:00:00Z"
        raise argparse.ArgumentTypeError(message)
    return instant


class Bounded:
    """Reads whole numbers within bounds."""

    def __init__(self, least: int, most: int) -> None:
        self.least = least
        self.most = most

    def __call__(self, text: str) -> int:
        """Reads one number."""
        if not text.isascii() or not text.isdigit() or not self.least <= int(text) <= self.most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {self.least:,} to {self.most:,}")
        return int(text)
