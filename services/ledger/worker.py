"""The ledger's jobs: each a thin call to an operation, kicked or swept."""

from services.kernel import jobs
from services.ledger.operations import Ledger

BOOK_DUE = "book_due"


def build_worker(ledger: Ledger, redis_url: str) -> jobs.Worker:
    """Makes the worker that books what is over."""
    return jobs.build_worker("ledger", redis_url, {BOOK_DUE: ledger.book_due})
