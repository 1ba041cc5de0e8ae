"""The ledger knows who has what, since when, why and until when.

What it promises:

L1. Each entry moves value between a wallet and an account of the program and so sums to zero by itself
    (one row, both sides; `journal_entry_whole`).
L2. The balance of a wallet is the sum of its entries, which count from 1 without gaps (`journal_wallet_order`, check).
L3. A lot's amount is what remains, what expired and what allocations took (`lots_parts_within_amount`, check).
L4. A wallet's balance is what its lots have left and its active holds reserve (`wallets_balance_in_limits`, check).
L5. A request id has one outcome for ever, refusals included; other content is refused by field (`journal_key`).
L6. A lot can be spent at t if and only if effective_at <= t < expires_at; booking an expiry changes nothing visible.
L7. A hold is captured, released or timed out once (`holds_capture_once`, the wallet's lock); a capture is reversed
    once (`journal_reversed_once`), into the exact lots, whose expiry stays.
L8. The journal, allocations and feed are only ever added to (the runtime role may not do otherwise).
L9. No operation moves value from one member to another or out of the program.
"""
