"""The referral service knows who brought whom, decides whether that is true, and says when it is to be rewarded.

What it promises:

R1. A member is referred once (`referrals_referee_once`), by the touch that the referral program's model chooses.
R2. States only go forward, by the table in `model` (`referrals_state_known`, an assertion); each change is in the feed,
    in the transaction that made it.
R3. A reward is pending from the start: it is released when a decision allows it and its hold is over, and not before
    (`referrals_rewarded_if_allowed`).
R4. No race passes a cap: who counts what a referrer has holds the referrer's lock.
R5. What could not be asked holds, and nothing is rejected without a finding of an identity; findings keep their
    evidence, and every assessment is kept (privilege).
R6. A referral that waits for a reviewer waits for as long as that takes; a review happens once (`reviews_key`).
R7. Addresses, devices and means of payment are kept as keyed hashes under a key of each program; a click's URL holds
    a signed id and nothing about anybody.
R8. A code is one member's for ever, and none looks like another one (`codes_key`).
R9. Everything but the tags of links belongs to one program, and every query says which.
"""
