-- create_wallets --
-- Makes the wallets that do not exist yet, in the order of their owners.
INSERT INTO wallets (program_id, wallet_id, member_id, asset)
SELECT $1, wallet_id, member_id, asset
FROM unnest($2::uuid[], $3::text[], $4::text[]) AS wallet (wallet_id, member_id, asset)
ORDER BY member_id, asset
ON CONFLICT (program_id, member_id, asset) DO NOTHING;

-- lock_wallets --
-- Locks wallets by their owners, in the order of their ids, and reads them.
SELECT wallet_id, member_id, asset, sequence, balance
FROM wallets
WHERE program_id = $1 AND (member_id, asset) IN (SELECT * FROM unnest($2::text[], $3::text[]))
ORDER BY wallet_id
FOR UPDATE;

-- find_outcomes --
-- Reads the outcomes that stand already for some request ids.
SELECT
    request_id, kind, fingerprint, wallet_id, amount, held_amount, target_id, posted_at, expires_at, refusal
FROM journal
WHERE program_id = $1 AND request_id = ANY($2::uuid[]) AND leg = 0;

-- find_hold_owners --
-- Tells whose wallets some holds are in, by the id of the hold or of its capture.
SELECT hold.hold_id, hold.capture_id, wallet.member_id, wallet.asset
FROM holds AS hold
INNER JOIN wallets AS wallet ON wallet.program_id = hold.program_id AND wallet.wallet_id = hold.wallet_id
WHERE hold.program_id = $1 AND (hold.hold_id = ANY($2::uuid[]) OR hold.capture_id = ANY($2::uuid[]));

-- read_holds --
-- Reads the holds that were named, and those of some wallets whose time is over and yet to be booked.
SELECT hold_id, wallet_id, amount, state, placed_at, expires_at, ended_at, capture_id, reversed_at, cause_redemption_id
FROM holds
WHERE program_id = $1 AND (
    hold_id = ANY($2::uuid[])
    OR (wallet_id = ANY($3::uuid[]) AND state = 'ACTIVE' AND expires_at <= $4)
);

-- read_allocations --
-- Reads what some holds took from which lots, in the order in which they did, and what came back.
SELECT hold_id, operation_id, lot_id, amount
FROM allocations
WHERE program_id = $1 AND hold_id = ANY($2::uuid[])
ORDER BY hold_id, place;

-- read_lots --
-- Reads the lots of some wallets that have something left, and those that were named.
SELECT wallet_id, lot_id, amount, remaining, expired, priority, occurred_at, effective_at, expires_at
FROM lots
WHERE program_id = $1 AND wallet_id = ANY($2::uuid[]) AND (remaining > 0 OR lot_id = ANY($3::uuid[]));

-- update_lots --
-- Writes what is left of lots that were touched.
UPDATE lots
SET remaining = lot.remaining, expired = lot.expired
FROM unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[]) AS lot (wallet_id, lot_id, remaining, expired)
WHERE lots.program_id = $1 AND lots.wallet_id = lot.wallet_id AND lots.lot_id = lot.lot_id;

-- insert_holds --
-- Writes new holds.
INSERT INTO holds (
    program_id, hold_id, wallet_id, amount, state, placed_at, expires_at, ended_at, capture_id, reversed_at,
    cause_redemption_id
)
SELECT $1, hold.*
FROM unnest(
    $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::timestamptz[],
    $9::uuid[], $10::timestamptz[], $11::text[]
) AS hold;

-- update_holds --
-- Writes how holds stand now.
UPDATE holds
SET state = hold.state, ended_at = hold.ended_at, capture_id = hold.capture_id, reversed_at = hold.reversed_at
FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[], $6::timestamptz[])
    AS hold (hold_id, state, ended_at, capture_id, reversed_at)
WHERE holds.program_id = $1 AND holds.hold_id = hold.hold_id;

-- update_wallets --
-- Writes the new balances of wallets.
UPDATE wallets
SET sequence = wallet.sequence, balance = wallet.balance
FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS wallet (wallet_id, sequence, balance)
WHERE wallets.program_id = $1 AND wallets.wallet_id = wallet.wallet_id;

-- read_balances --
-- Tells how members stand at an instant: what lots were earned, less what was taken from them by then; a hold whose
-- time was over by then took nothing, whether that is booked or not.
WITH wallet AS (
    SELECT wallet_id, member_id, asset FROM wallets WHERE program_id = $1 AND member_id = ANY($2::text[])
), hold AS (
    SELECT hold_id, wallet_id, amount, state, placed_at, expires_at, ended_at, reversed_at
    FROM holds
    WHERE program_id = $1 AND wallet_id IN (SELECT wallet_id FROM wallet)
), taken AS (
    SELECT allocation.wallet_id, allocation.lot_id, sum(allocation.amount) AS amount
    FROM allocations AS allocation
    INNER JOIN hold ON hold.hold_id = allocation.hold_id
    WHERE allocation.program_id = $1
        AND allocation.wallet_id IN (SELECT wallet_id FROM wallet)
        AND allocation.allocated_at <= $3
        AND NOT (hold.state = 'ACTIVE' AND hold.expires_at <= $3)
    GROUP BY allocation.wallet_id, allocation.lot_id
), lot AS (
    SELECT
        lots.wallet_id,
        lots.amount,
        lots.amount - coalesce(taken.amount, 0) AS rest,
        lots.expires_at,
        lots.effective_at > $3 AS is_pending,
        lots.effective_at <= $3 AND (lots.expires_at IS NULL OR lots.expires_at > $3) AS is_live
    FROM lots
    LEFT JOIN taken ON taken.wallet_id = lots.wallet_id AND taken.lot_id = lots.lot_id
    WHERE lots.program_id = $1
        AND lots.wallet_id IN (SELECT wallet_id FROM wallet)
        -- A lot that can be spent counts, also where its fact is said to occur later (L6).
        AND least(lots.occurred_at, lots.effective_at) <= $3
), lot_sums AS (
    SELECT
        wallet_id,
        sum(rest) FILTER (WHERE is_live) AS available,
        sum(amount) FILTER (WHERE is_pending) AS pending,
        sum(amount) FILTER (WHERE NOT is_pending) AS lifetime_earned,
        sum(rest) FILTER (WHERE NOT is_pending AND NOT is_live) AS lifetime_expired,
        min(expires_at) FILTER (WHERE is_live AND rest > 0) AS next_expires_at
    FROM lot
    GROUP BY wallet_id
), hold_sums AS (
    SELECT
        wallet_id,
        sum(amount) FILTER (WHERE placed_at <= $3 AND coalesce(ended_at, expires_at) > $3) AS held,
        sum(amount) FILTER (
            WHERE state = 'CAPTURED' AND ended_at <= $3 AND (reversed_at IS NULL OR reversed_at > $3)
        ) AS lifetime_spent
    FROM hold
    GROUP BY wallet_id
)
SELECT
    wallet.member_id,
    wallet.asset,
    coalesce(lot_sums.available, 0)::bigint AS available,
    coalesce(hold_sums.held, 0)::bigint AS held,
    coalesce(lot_sums.pending, 0)::bigint AS pending,
    coalesce(lot_sums.lifetime_earned, 0)::bigint AS lifetime_earned,
    coalesce(hold_sums.lifetime_spent, 0)::bigint AS lifetime_spent,
    coalesce(lot_sums.lifetime_expired, 0)::bigint AS lifetime_expired,
    lot_sums.next_expires_at,
    coalesce(next.amount, 0)::bigint AS next_expiry_amount
FROM wallet
LEFT JOIN lot_sums ON lot_sums.wallet_id = wallet.wallet_id
LEFT JOIN hold_sums ON hold_sums.wallet_id = wallet.wallet_id
LEFT JOIN (
    SELECT wallet_id, expires_at, sum(rest) AS amount FROM lot WHERE is_live GROUP BY wallet_id, expires_at
) AS next ON next.wallet_id = wallet.wallet_id AND next.expires_at = lot_sums.next_expires_at
ORDER BY wallet.member_id, wallet.asset;

-- find_wallet --
-- Finds the wallet of a member in one asset, and tells whether something in it is over and yet to be booked.
SELECT
    wallet.wallet_id,
    EXISTS (
        SELECT 1 FROM lots
        WHERE lots.program_id = $1 AND lots.wallet_id = wallet.wallet_id
            AND lots.remaining > 0 AND lots.expires_at <= $4
    ) OR EXISTS (
        SELECT 1 FROM holds
        WHERE holds.program_id = $1 AND holds.wallet_id = wallet.wallet_id
            AND holds.state = 'ACTIVE' AND holds.expires_at <= $4
    ) AS is_due
FROM wallets AS wallet
WHERE wallet.program_id = $1 AND wallet.member_id = $2 AND wallet.asset = $3;

-- list_entries --
-- Lists the entries of a wallet below a number, newest first; an expiry with the cause of the earn that made its lot.
SELECT
    entry.request_id, entry.leg, entry.kind, entry.amount, entry.balance, entry.sequence, entry.occurred_at,
    entry.posted_at,
    coalesce(entry.cause_event_id, origin.cause_event_id) AS cause_event_id,
    coalesce(entry.cause_rule_id, origin.cause_rule_id) AS cause_rule_id,
    coalesce(entry.cause_rule_version, origin.cause_rule_version) AS cause_rule_version,
    entry.cause_redemption_id
FROM journal AS entry
LEFT JOIN journal AS origin
    ON origin.program_id = $1 AND entry.kind = 'EXPIRY' AND origin.request_id = entry.target_id AND origin.leg = 0
WHERE entry.program_id = $1 AND entry.wallet_id = $2 AND entry.sequence < $3
ORDER BY entry.sequence DESC
LIMIT $4;

-- list_lots --
-- Lists the lots of a wallet, those that took effect last first, with what holds reserve and where they came from.
SELECT
    lot.lot_id, lot.amount, lot.remaining, lot.expired, lot.priority, lot.effective_at, lot.expires_at,
    coalesce((
        SELECT sum(allocation.amount)
        FROM allocations AS allocation
        INNER JOIN holds AS hold ON hold.program_id = $1 AND hold.hold_id = allocation.hold_id
        WHERE allocation.program_id = $1 AND allocation.wallet_id = $2 AND allocation.lot_id = lot.lot_id
            AND hold.state = 'ACTIVE'
    ), 0)::bigint AS held,
    origin.cause_event_id, origin.cause_rule_id, origin.cause_rule_version, origin.cause_redemption_id
FROM lots AS lot
INNER JOIN journal AS origin ON origin.program_id = $1 AND origin.request_id = lot.lot_id AND origin.leg = 0
WHERE lot.program_id = $1 AND lot.wallet_id = $2 AND (lot.effective_at, lot.lot_id) < ($3, $4)
ORDER BY lot.effective_at DESC, lot.lot_id DESC
LIMIT $5;

-- list_programs_to_book --
-- Lists the programs in which something is over and yet to be booked; reads across programs, locks nothing.
SELECT program_id FROM lots WHERE remaining > 0 AND expires_at <= $1
UNION
SELECT program_id FROM holds WHERE state = 'ACTIVE' AND expires_at <= $1
LIMIT $2;

-- list_wallets_to_book --
-- Lists wallets of a program in which something is over and yet to be booked.
SELECT member_id, asset
FROM wallets
WHERE program_id = $1 AND wallet_id IN (
    (SELECT wallet_id FROM lots
     WHERE program_id = $1 AND remaining > 0 AND expires_at <= $2 ORDER BY expires_at LIMIT $3)
    UNION
    (SELECT wallet_id FROM holds
     WHERE program_id = $1 AND state = 'ACTIVE' AND expires_at <= $2 ORDER BY expires_at LIMIT $3)
);

-- check_wallets --
-- Replays the journal: wallets whose balance, number of entries or running balances are not the sum; across programs.
WITH entry AS (
    SELECT
        program_id, wallet_id, sequence, amount, balance,
        sum(amount) OVER (PARTITION BY program_id, wallet_id ORDER BY sequence) AS running
    FROM journal
    WHERE sequence IS NOT NULL
), wallet_sums AS (
    SELECT
        program_id, wallet_id, count(*) AS entries, sum(amount) AS balance, max(sequence) AS last,
        count(*) FILTER (WHERE running <> balance) AS broken
    FROM entry
    GROUP BY program_id, wallet_id
)
SELECT
    wallet.program_id, wallet.wallet_id, wallet.balance, wallet.sequence,
    coalesce(sums.balance, 0)::bigint AS journal_balance, coalesce(sums.entries, 0) AS entries,
    coalesce(sums.last, 0) AS last, coalesce(sums.broken, 0) AS broken
FROM wallets AS wallet
LEFT JOIN wallet_sums AS sums ON sums.program_id = wallet.program_id AND sums.wallet_id = wallet.wallet_id
WHERE wallet.balance <> coalesce(sums.balance, 0)
    OR wallet.sequence <> coalesce(sums.entries, 0)
    OR wallet.sequence <> coalesce(sums.last, 0)
    OR coalesce(sums.broken, 0) <> 0
LIMIT 20;

-- check_lots --
-- Compares lots with their allocations: amount is remaining, expired and taken; across programs.
SELECT lot.program_id, lot.lot_id, lot.amount, lot.remaining, lot.expired, coalesce(taken.amount, 0)::bigint AS taken
FROM lots AS lot
LEFT JOIN (
    SELECT program_id, wallet_id, lot_id, sum(amount) AS amount
    FROM allocations
    GROUP BY program_id, wallet_id, lot_id
) AS taken
    ON taken.program_id = lot.program_id AND taken.wallet_id = lot.wallet_id AND taken.lot_id = lot.lot_id
WHERE lot.amount <> lot.remaining + lot.expired + coalesce(taken.amount, 0)
LIMIT 20;

-- check_wallet_lots --
-- Compares wallets with their lots and holds: the balance is what lots have left and active holds reserve; across
-- programs.
SELECT
    wallet.program_id, wallet.wallet_id, wallet.balance,
    coalesce(lot_sums.remaining, 0)::bigint AS remaining, coalesce(hold_sums.held, 0)::bigint AS held
FROM wallets AS wallet
LEFT JOIN (
    SELECT program_id, wallet_id, sum(remaining) AS remaining FROM lots GROUP BY program_id, wallet_id
) AS lot_sums ON lot_sums.program_id = wallet.program_id AND lot_sums.wallet_id = wallet.wallet_id
LEFT JOIN (
    SELECT program_id, wallet_id, sum(amount) AS held FROM holds WHERE state = 'ACTIVE' GROUP BY program_id, wallet_id
) AS hold_sums ON hold_sums.program_id = wallet.program_id AND hold_sums.wallet_id = wallet.wallet_id
WHERE wallet.balance <> coalesce(lot_sums.remaining, 0) + coalesce(hold_sums.held, 0)
LIMIT 20;

-- check_holds --
-- Compares holds with their allocations: what they took is their amount while they hold or were spent, else nothing;
-- across programs.
SELECT hold.program_id, hold.hold_id, hold.state, hold.amount, coalesce(sum(allocation.amount), 0)::bigint AS taken
FROM holds AS hold
LEFT JOIN allocations AS allocation
    ON allocation.program_id = hold.program_id AND allocation.hold_id = hold.hold_id
GROUP BY hold.program_id, hold.hold_id, hold.state, hold.amount, hold.reversed_at
HAVING coalesce(sum(allocation.amount), 0) <> CASE
    WHEN hold.state = 'ACTIVE' OR (hold.state = 'CAPTURED' AND hold.reversed_at IS NULL) THEN hold.amount
    ELSE 0
END
LIMIT 20;

-- check_unbooked --
-- Counts lots and holds that have been over for more than an hour and are not booked; across programs.
SELECT 'lots' AS subject, count(*) AS count
FROM lots WHERE remaining > 0 AND expires_at <= $1::timestamptz - interval '1 hour'
UNION ALL
SELECT 'holds', count(*)
FROM holds WHERE state = 'ACTIVE' AND expires_at <= $1::timestamptz - interval '1 hour';

-- count_rows --
-- Counts what there is to check; across programs.
SELECT
    (SELECT count(*) FROM wallets) AS wallets,
    (SELECT count(*) FROM lots) AS lots,
    (SELECT count(*) FROM holds) AS holds,
    (SELECT count(*) FROM journal WHERE sequence IS NOT NULL) AS entries;

-- measure_due --
-- Tells how much is over and yet to be booked, and for how long the oldest; across programs.
SELECT
    count(*) AS count,
    coalesce(floor(extract(EPOCH FROM clock_timestamp() - min(expires_at))), 0)::bigint AS oldest_age_s
FROM (
    SELECT expires_at FROM lots WHERE remaining > 0 AND expires_at <= clock_timestamp()
    UNION ALL
    SELECT expires_at FROM holds WHERE state = 'ACTIVE' AND expires_at <= clock_timestamp()
) AS due;
