"""The ledger knows who has what, since when, why and until when.

What it promises:

L1. Each row of the journal moves value between a wallet, a debt, a budget and the account that its kind names, and
    sums to zero by itself (the view `entries`; `journal_entry_whole`).
L2. The balance of a wallet is the sum of its entries, which count from 1 without gaps, and is explained by its totals:
    earned, spent, expired, taken back, adjusted (`journal_wallet_order`, `wallets_balance_explained`, check).
L3. A lot's amount is what remains of it, expired or not, and what allocations took (`lots_parts_within_amount`, check).
L4. A wallet's balance is what its open lots have left and active holds reserve (`wallets_balance_in_limits`, check).
L5. A request id has one outcome for ever, refusals included; other content is refused by field (`journal_key`).
L6. A lot can be spent at t if and only if effective_at <= t < expires_at; booking an expiry changes nothing visible.
L7. A hold is captured, released or timed out once (`holds_capture_once`, the wallet's lock). What is given back goes to
    the exact lots, whose ends stay, those taken last first: what stays taken is what a smaller taking would have been;
    no more comes back than was taken (check).
L8. The journal and allocations are only ever added to (the runtime role may not do otherwise), and each row of the
    journal has a position without gaps, in the order of commits (`journal_position`, check).
L9. No operation moves value from one member to another or out of the program.
L10. Earns take no more out of a budget than it has, by any race; what pending earns hold counts
    (`budget_shards_remaining_in_limits`, check).
L11. An earn that is taken back is recovered, owed or written off to its last unit; what is owed is repaid before
    anything is spent (`wallets_debt_in_limits`, check).
L12. All cashbacks of a member in an asset come to the exact share of all purchases, less than one unit short, which is
    carried; of those taken back nothing is left but whole units that the next one settles
    (`wallets_remainder_in_limits`, check).
L13. Of linked operations all happen or none.
L14. The member's id stands in `wallets` only, and is no part of what the fingerprint of an operation is made of: a
    member can be forgotten, and every sum stays.
L15. Each row of the journal is sealed within a minute; one that is changed, removed, swapped or put there later is
    found and its block named, and history that is sealed anew differs from a head that was signed
    (`seal_blocks_key`, check).
L16. The report of liability at an instant is the same for ever, whatever happens later, and what is open and pending
    in it is what members have (`redemption_estimates_not_back_dated`, check).
"""
