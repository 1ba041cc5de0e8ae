"""The ledger's jobs: each a thin call to an operation, kicked or swept."""

from services.kernel import jobs
from services.ledger.operations import booking, budgets
from services.ledger.operations.posting import Ledger

BOOK_DUE = "book_due"
WATCH_BUDGETS = "watch_budgets"


def build_worker(ledger: Ledger, redis_url: str) -> jobs.Worker:
    """Makes the worker that books what is over, and tells what budgets have used."""
    found = {BOOK_DUE: lambda: booking.book_due(ledger), WATCH_BUDGETS: lambda: budgets.watch_budgets(ledger)}
    return jobs.build_worker("ledger", redis_url, found)
