"""The ledger's jobs: each a thin call to an operation, kicked or swept."""

from services.kernel import jobs
from services.ledger.operations import booking
from services.ledger.operations.posting import Ledger

BOOK_DUE = "book_due"


def build_worker(ledger: Ledger, redis_url: str) -> jobs.Worker:
    """Makes the worker that books what is over."""
    return jobs.build_worker("ledger", redis_url, {BOOK_DUE: lambda: booking.book_due(ledger)})
