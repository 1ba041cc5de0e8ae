"""The ledger's jobs: each a thin call to an operation, kicked or swept."""

from services.kernel import jobs
from services.ledger.operations import booking, budgets, sealing
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Keys

BOOK_DUE = "book_due"
WATCH_BUDGETS = "watch_budgets"
SEAL = "seal"
SIGN_DAYS = "sign_days"


def build_worker(ledger: Ledger, keys: Keys, redis_url: str) -> jobs.Worker:
    """Makes the worker that books what is over, tells what budgets have used, and seals the journal."""
    found = {
        BOOK_DUE: lambda: booking.book_due(ledger),
        WATCH_BUDGETS: lambda: budgets.watch_budgets(ledger),
        SEAL: lambda: sealing.seal_due(ledger),
        SIGN_DAYS: lambda: sealing.sign_days(ledger, keys),
    }
    return jobs.build_worker("ledger", redis_url, found)
