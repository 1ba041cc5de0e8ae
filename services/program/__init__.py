"""The program service turns events into effects by rules, and exchanges value for rewards.

What it promises:

P1. An event is recorded once for its id, for ever; other content under the same id is refused by field (`events_key`).
P2. Events, decisions, claims, usage, feed and the duty to post are one transaction: either all or none.
P3. What was decided reaches the ledger exactly once, whoever dies in between (derived request ids, due work).
P4. A decision keeps its rule version, its inputs and what the ledger is told, and a version never changes
    (`rule_versions_key`, privilege).
P5. `once_per` pays once for each member and key (`rule_claims_key`); a cap is never passed; what the ledger refused
    claims nothing and counts in no cap (the member's lock).
P6. A code is given at most once (`reward_codes_holder_once`); a redemption ends FULFILLED, REFUSED or CANCELLED, and
    what it held or spent follows (derived request ids, due work).
P7. An API key is stored as a hash and told once.
P8. Everything but programs and keys belongs to one program, and every query says which.
"""
