-- read_balances --
-- Tells how members stand at an instant: what lots were earned, less what was taken from them by then; a hold whose
-- time was over by then took nothing, whether that is booked or not.
WITH wallet AS (
    SELECT wallet_id, member_id, asset, debt, clawed_back
    FROM wallets
    WHERE program_id = $1 AND member_id = ANY($2::text[])
), hold AS (
    SELECT
        hold_id,
        state = 'ACTIVE' AND expires_at <= $3 AS is_over,
        state = 'CAPTURED' AND ended_at <= $3 AS is_spent
    FROM holds
    WHERE program_id = $1 AND wallet_id IN (SELECT wallet_id FROM wallet)
), allocation AS (
    SELECT
        allocation.wallet_id, allocation.lot_number, allocation.amount,
        CASE WHEN hold.is_spent THEN 'SPEND' ELSE allocation.kind END AS kind
    FROM allocations AS allocation
    LEFT JOIN hold ON hold.hold_id = allocation.root_id
    WHERE allocation.program_id = $1
        AND allocation.wallet_id IN (SELECT wallet_id FROM wallet)
        AND allocation.allocated_at <= $3
        AND hold.is_over IS DISTINCT FROM true
), taken AS (
    SELECT wallet_id, lot_number, sum(amount) AS amount FROM allocation GROUP BY wallet_id, lot_number
), taken_sums AS (
    SELECT
        wallet_id,
        sum(amount) FILTER (WHERE kind = 'HOLD') AS held,
        sum(amount) FILTER (WHERE kind = 'SPEND') AS spent,
        sum(amount) FILTER (WHERE kind IN ('CLAW_BACK', 'REPAYMENT')) AS clawed_back,
        sum(amount) FILTER (WHERE kind IN ('ADJUST', 'EXCHANGE')) AS adjusted
    FROM allocation
    GROUP BY wallet_id
), lot AS (
    SELECT
        lots.wallet_id,
        lots.amount,
        lots.origin,
        lots.amount - coalesce(taken.amount, 0) AS rest,
        lots.expires_at,
        lots.effective_at IS NULL OR lots.effective_at > $3 AS is_pending,
        lots.effective_at <= $3 AND (lots.expires_at IS NULL OR lots.expires_at > $3) AS is_live
    FROM lots
    LEFT JOIN taken ON taken.wallet_id = lots.wallet_id AND taken.lot_number = lots.number
    WHERE lots.program_id = $1
        AND lots.wallet_id IN (SELECT wallet_id FROM wallet)
        -- A lot that can be spent counts, also where its fact is said to occur later (L6).
        AND least(lots.occurred_at, lots.effective_at) <= $3
), lot_sums AS (
    SELECT
        wallet_id,
        sum(rest) FILTER (WHERE is_live) AS available,
        sum(rest) FILTER (WHERE is_pending) AS pending,
        sum(amount) FILTER (WHERE NOT is_pending AND origin IS NULL) AS earned,
        sum(amount) FILTER (WHERE NOT is_pending AND origin IN ('ADJUST', 'EXCHANGE')) AS adjusted,
        sum(rest) FILTER (WHERE NOT is_pending AND NOT is_live) AS expired,
        min(expires_at) FILTER (WHERE is_live AND rest > 0) AS next_expires_at
    FROM lot
    GROUP BY wallet_id
), owed AS (
    SELECT
        wallet.wallet_id,
        wallet.debt - coalesce((
            SELECT sum(later.debt_amount)
            FROM journal AS later
            WHERE later.program_id = $1 AND later.wallet_id = wallet.wallet_id AND later.posted_at > $3
        ), 0) AS amount
    FROM wallet
    -- Who owes nothing and had nothing taken back has never owed anything.
    WHERE wallet.debt > 0 OR wallet.clawed_back > 0
)
SELECT
    wallet.member_id,
    wallet.asset,
    greatest(coalesce(lot_sums.available, 0) - coalesce(owed.amount, 0), 0)::bigint AS available,
    coalesce(taken_sums.held, 0)::bigint AS held,
    coalesce(lot_sums.pending, 0)::bigint AS pending,
    coalesce(lot_sums.earned, 0)::bigint AS lifetime_earned,
    coalesce(taken_sums.spent, 0)::bigint AS lifetime_spent,
    coalesce(lot_sums.expired, 0)::bigint AS lifetime_expired,
    (coalesce(lot_sums.adjusted, 0) - coalesce(taken_sums.adjusted, 0))::bigint AS lifetime_adjusted,
    coalesce(taken_sums.clawed_back, 0)::bigint AS lifetime_clawed_back,
    coalesce(owed.amount, 0)::bigint AS debt,
    lot_sums.next_expires_at,
    coalesce(next.amount, 0)::bigint AS next_expiry_amount
FROM wallet
LEFT JOIN lot_sums ON lot_sums.wallet_id = wallet.wallet_id
LEFT JOIN taken_sums ON taken_sums.wallet_id = wallet.wallet_id
LEFT JOIN owed ON owed.wallet_id = wallet.wallet_id
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
            AND lots.is_open AND lots.effective_at IS NOT NULL AND lots.expires_at <= $4
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
    entry.posted_at, wallet.asset,
    coalesce(entry.cause_event_id, origin.cause_event_id) AS cause_event_id,
    coalesce(entry.cause_rule_id, origin.cause_rule_id) AS cause_rule_id,
    coalesce(entry.cause_rule_version, origin.cause_rule_version) AS cause_rule_version,
    entry.cause_redemption_id,
    coalesce(entry.cause_campaign_id, origin.cause_campaign_id) AS cause_campaign_id,
    coalesce(entry.detail, asked.detail) ->> 'reason' AS reason,
    coalesce(entry.detail, asked.detail) ->> 'actor' AS actor
FROM journal AS entry
INNER JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = $2
LEFT JOIN journal AS origin
    ON origin.program_id = $1 AND origin.wallet_id = $2 AND entry.lot_number IS NOT NULL
        AND origin.sequence = entry.lot_number
-- Of an operation with several entries, its own row has what was decided.
LEFT JOIN journal AS asked
    ON asked.program_id = $1 AND asked.request_id = entry.request_id AND asked.leg = 0 AND entry.leg > 0
WHERE entry.program_id = $1 AND entry.wallet_id = $2 AND entry.sequence < $3
ORDER BY entry.sequence DESC
LIMIT $4;

-- list_lots --
-- Lists the lots of a wallet below a number, which nothing changes, the last made first, with what holds reserve and
-- where they came from.
SELECT
    lot.number, lot.amount, lot.remaining, lot.is_open, lot.priority, lot.is_promotional, lot.effective_at,
    lot.expires_at, coalesce(reserved.amount, 0)::bigint AS held, origin.cause_event_id, origin.cause_rule_id,
    origin.cause_rule_version, origin.cause_redemption_id, origin.cause_campaign_id
FROM (
    SELECT number, amount, remaining, is_open, priority, is_promotional, effective_at, expires_at
    FROM lots
    WHERE program_id = $1 AND wallet_id = $2 AND number < $3
    ORDER BY number DESC
    LIMIT $4
) AS lot
INNER JOIN journal AS origin ON origin.program_id = $1 AND origin.wallet_id = $2 AND origin.sequence = lot.number
LEFT JOIN (
    SELECT allocation.lot_number, sum(allocation.amount) AS amount
    FROM holds AS hold
    INNER JOIN allocations AS allocation
        ON allocation.program_id = $1 AND allocation.wallet_id = $2 AND allocation.root_id = hold.hold_id
    WHERE hold.program_id = $1 AND hold.wallet_id = $2 AND hold.state = 'ACTIVE'
    GROUP BY allocation.lot_number
) AS reserved ON reserved.lot_number = lot.number
ORDER BY lot.number DESC;

-- read_balances_now --
-- Tells how members stand now, by what wallets keep, and which of them are due.
SELECT
    wallet.member_id,
    wallet.asset,
    greatest(lot.available - wallet.debt, 0) AS available,
    wallet.balance - lot.rest AS held,
    lot.pending,
    wallet.earned - lot.waiting AS lifetime_earned,
    wallet.spent AS lifetime_spent,
    -- A lot that is over has expired, whether that is booked or not (L6).
    wallet.expired + lot.rest - lot.available - lot.waiting AS lifetime_expired,
    wallet.adjusted AS lifetime_adjusted,
    wallet.clawed_back AS lifetime_clawed_back,
    wallet.debt,
    lot.next_expires_at,
    coalesce((
        SELECT sum(soon.remaining)
        FROM lots AS soon
        WHERE soon.program_id = $1 AND soon.wallet_id = wallet.wallet_id AND soon.is_open
            AND soon.expires_at = lot.next_expires_at AND soon.effective_at <= $3
    ), 0)::bigint AS next_expiry_amount,
    -- Where a hold is over and yet to be booked, the numbers above are not yet true.
    wallet.balance > lot.rest AND EXISTS (
        SELECT 1
        FROM holds
        WHERE holds.program_id = $1 AND holds.wallet_id = wallet.wallet_id
            AND holds.state = 'ACTIVE' AND holds.expires_at <= $3
    ) AS is_due
FROM wallets AS wallet
-- Lateral, so that each wallet's lots are found by their index, however many members are asked about.
CROSS JOIN LATERAL (
    -- Where nothing ever waited, all is available but what holds reserve and what is over, and few lots are looked at.
    SELECT
        wallet.balance - reserved.amount AS rest,
        wallet.balance - reserved.amount - over.amount AS available,
        0::bigint AS waiting,
        0::bigint AS pending,
        (
            SELECT min(next.expires_at)
            FROM lots AS next
            WHERE next.program_id = $1 AND next.wallet_id = wallet.wallet_id AND next.is_open AND next.expires_at > $3
        ) AS next_expires_at
    FROM (
        SELECT coalesce(sum(holds.amount), 0)::bigint AS amount
        FROM holds
        WHERE holds.program_id = $1 AND holds.wallet_id = wallet.wallet_id AND holds.state = 'ACTIVE'
    ) AS reserved
    CROSS JOIN (
        SELECT coalesce(sum(ended.remaining), 0)::bigint AS amount
        FROM lots AS ended
        WHERE ended.program_id = $1 AND ended.wallet_id = wallet.wallet_id AND ended.is_open
            AND ended.expires_at <= $3
    ) AS over
    WHERE NOT wallet.has_waiting
    UNION ALL
    SELECT
        coalesce(sum(remaining), 0)::bigint AS rest,
        coalesce(
            sum(remaining) FILTER (WHERE effective_at <= $3 AND (expires_at IS NULL OR expires_at > $3)), 0
        )::bigint AS available,
        coalesce(sum(remaining) FILTER (WHERE effective_at IS NULL OR effective_at > $3), 0)::bigint AS waiting,
        -- What is said to occur later is not known yet.
        coalesce(
            sum(remaining) FILTER (
                WHERE (effective_at IS NULL OR effective_at > $3) AND least(occurred_at, effective_at) <= $3
            ), 0
        )::bigint AS pending,
        min(expires_at) FILTER (WHERE effective_at <= $3 AND expires_at > $3) AS next_expires_at
    FROM lots
    WHERE lots.program_id = $1 AND lots.wallet_id = wallet.wallet_id AND lots.is_open AND wallet.has_waiting
    HAVING wallet.has_waiting
) AS lot
WHERE wallet.program_id = $1 AND wallet.member_id = ANY($2::text[])
ORDER BY wallet.member_id, wallet.asset;

-- read_wallet --
-- Reads the wallet of a member in one asset without locking it.
SELECT
    wallet_id, member_id, asset, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt, remainder,
    has_rolling, has_priorities, has_waiting, cashback_due
FROM wallets
WHERE program_id = $1 AND member_id = $2 AND asset = $3;

-- sum_statement --
-- Sums the entries of a wallet by kind within a time, and all before it: an expiry counts when the value was over, all
-- else when it was posted.
SELECT
    coalesce(sum(amount) FILTER (WHERE counted_at < $3), 0)::bigint AS opening,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind IN ('EARN', 'CANCEL')), 0)::bigint AS earned,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind IN ('SPEND', 'REVERSE')), 0)::bigint AS spent,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind IN ('EXPIRY', 'UNEXPIRY')), 0)::bigint AS expired,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind = 'ADJUST'), 0)::bigint AS adjusted,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind = 'EXCHANGE'), 0)::bigint AS exchanged,
    coalesce(sum(amount) FILTER (WHERE is_within AND kind IN ('CLAW_BACK', 'REPAYMENT')), 0)::bigint AS clawed_back,
    coalesce(sum(amount) FILTER (WHERE is_within OR counted_at < $3), 0)::bigint AS closing
FROM (
    SELECT
        entry.amount, entry.kind, entry.counted_at,
        ($3::timestamptz IS NULL OR entry.counted_at >= $3) AND ($4::timestamptz IS NULL OR entry.counted_at < $4)
            AS is_within
    FROM (
        SELECT amount, kind, CASE kind WHEN 'EXPIRY' THEN occurred_at ELSE posted_at END AS counted_at
        FROM journal
        WHERE program_id = $1 AND wallet_id = $2 AND sequence > 0
    ) AS entry
) AS counted;

-- list_operation_entries --
-- Lists the first entries that an operation made, in order; an expiry with the cause of the earn that made its lot.
SELECT
    entry.request_id, entry.leg, entry.kind, entry.amount, entry.balance, entry.sequence, entry.occurred_at,
    entry.posted_at, wallet.asset,
    coalesce(entry.cause_event_id, origin.cause_event_id) AS cause_event_id,
    coalesce(entry.cause_rule_id, origin.cause_rule_id) AS cause_rule_id,
    coalesce(entry.cause_rule_version, origin.cause_rule_version) AS cause_rule_version,
    entry.cause_redemption_id,
    coalesce(entry.cause_campaign_id, origin.cause_campaign_id) AS cause_campaign_id,
    asked.detail ->> 'reason' AS reason,
    asked.detail ->> 'actor' AS actor
FROM journal AS entry
INNER JOIN journal AS asked ON asked.program_id = $1 AND asked.request_id = $2 AND asked.leg = 0
INNER JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = entry.wallet_id
LEFT JOIN journal AS origin
    ON origin.program_id = $1 AND origin.wallet_id = entry.wallet_id AND entry.lot_number IS NOT NULL
        AND origin.sequence = entry.lot_number
WHERE entry.program_id = $1 AND entry.request_id = $2 AND entry.sequence > 0
ORDER BY entry.leg
LIMIT $3;

-- list_holds --
-- Lists the holds of a member in one asset below a place (when one was placed, and its id), the newest first, as they
-- stand at an instant, with why, and what of a captured one is still spent; those that have ended may be left out.
SELECT
    hold.hold_id, hold.request_name, hold.amount, hold.placed_at, hold.expires_at,
    CASE WHEN hold.state = 'ACTIVE' AND hold.expires_at <= $7 THEN 'TIMED_OUT' ELSE hold.state END AS state_now,
    CASE WHEN hold.state = 'ACTIVE' AND hold.expires_at <= $7 THEN hold.expires_at ELSE hold.ended_at END
        AS ended_at_now,
    CASE hold.state
        WHEN 'CAPTURED' THEN (
            SELECT sum(allocation.amount)
            FROM allocations AS allocation
            WHERE allocation.program_id = $1 AND allocation.wallet_id = hold.wallet_id
                AND allocation.root_id = hold.hold_id
        )
        ELSE 0
    END::bigint AS spent,
    placed.cause_event_id, placed.cause_rule_id, placed.cause_rule_version, placed.cause_redemption_id,
    placed.cause_campaign_id
FROM wallets AS wallet
INNER JOIN holds AS hold ON hold.program_id = $1 AND hold.wallet_id = wallet.wallet_id
INNER JOIN journal AS placed ON placed.program_id = $1 AND placed.request_id = hold.hold_id AND placed.leg = 0
WHERE wallet.program_id = $1 AND wallet.member_id = $2 AND wallet.asset = $3
    AND (hold.placed_at, hold.hold_id) < ($4, $5)
    AND (NOT $6::boolean OR (hold.state = 'ACTIVE' AND hold.expires_at > $7))
ORDER BY hold.placed_at DESC, hold.hold_id DESC
LIMIT $8;

-- list_expirations --
-- Lists what of a wallet can be spent at an instant and expires after another one and before a last one, by when.
SELECT sum(remaining)::bigint AS amount, expires_at
FROM lots
WHERE program_id = $1 AND wallet_id = $2 AND is_open AND effective_at <= $3 AND expires_at > $4
    AND ($5::timestamptz IS NULL OR expires_at < $5)
GROUP BY expires_at
ORDER BY expires_at
LIMIT $6;

-- find_request --
-- Tells what stands for a request that is no operation of one member.
SELECT fingerprint, posted_at, refusal, detail
FROM journal
WHERE program_id = $1 AND request_id = $2 AND leg = 0;

-- lock_member --
-- Locks the wallets of a member in the order of their ids.
SELECT wallet_id, asset
FROM wallets
WHERE program_id = $1 AND member_id = $2
ORDER BY wallet_id
FOR UPDATE;

-- rename_member --
-- Gives wallets to another member id.
UPDATE wallets
SET member_id = $3
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]);

-- bound_wallets --
-- Tells where the next so many wallets of a program behind one end, and how many they are.
SELECT max(wallet_id) AS last, count(*) AS count
FROM (SELECT wallet_id FROM wallets WHERE program_id = $1 AND wallet_id > $2 ORDER BY wallet_id LIMIT $3) AS next;

-- list_expired_wallets --
-- Lists the wallets of an asset behind one and up to another, in which something expired within a time, with its lots
-- and what of each had expired by an instant, as it was then; without those of members who are forgotten.
SELECT wallet.wallet_id, wallet.member_id, expired.numbers, expired.amounts, expired.ends
FROM wallets AS wallet
CROSS JOIN LATERAL (
    SELECT
        array_agg(lot.number ORDER BY lot.number) AS numbers, array_agg(lot.rest ORDER BY lot.number) AS amounts,
        array_agg(lot.expires_at ORDER BY lot.number) AS ends
    FROM (
        SELECT lots.number, lots.expires_at, (lots.amount - coalesce(taken.amount, 0))::bigint AS rest
        FROM lots
        INNER JOIN journal AS origin
            ON origin.program_id = $1 AND origin.wallet_id = wallet.wallet_id AND origin.sequence = lots.number
        LEFT JOIN (
            SELECT allocation.lot_number, sum(allocation.amount) AS amount
            FROM allocations AS allocation
            LEFT JOIN holds AS hold
                ON hold.program_id = $1 AND allocation.kind = 'HOLD' AND hold.hold_id = allocation.root_id
            WHERE allocation.program_id = $1 AND allocation.wallet_id = wallet.wallet_id
                AND allocation.allocated_at <= $7
                -- What was given back in that very instant was so because of this.
                AND NOT (allocation.kind = 'UNEXPIRY' AND allocation.allocated_at = $7)
                -- A hold whose time was over by then took nothing, whether that is booked or not.
                AND (hold.state = 'ACTIVE' AND hold.expires_at <= $7) IS NOT TRUE
            GROUP BY allocation.lot_number
        ) AS taken ON taken.lot_number = lots.number
        WHERE lots.program_id = $1 AND lots.wallet_id = wallet.wallet_id AND lots.effective_at IS NOT NULL
            AND lots.expires_at >= $5 AND lots.expires_at < $6 AND origin.posted_at <= $7
    ) AS lot
    WHERE lot.rest > 0
) AS expired
WHERE wallet.program_id = $1 AND wallet.asset = $2 AND wallet.wallet_id > $3 AND wallet.wallet_id <= $4
    AND wallet.member_id !~ '^forgotten-[0-9a-f-]{36}$' AND expired.numbers IS NOT NULL
    -- What was taken is looked at only where something ended within the time.
    AND (
        SELECT true
        FROM lots AS ended
        WHERE ended.program_id = $1 AND ended.wallet_id = wallet.wallet_id AND ended.effective_at IS NOT NULL
            AND ended.expires_at >= $5 AND ended.expires_at < $6
        LIMIT 1
    )
ORDER BY wallet.wallet_id
LIMIT $8;

-- list_early_ends --
-- Lists when the staff ended something of some wallets before its time.
SELECT wallet_id, posted_at
FROM journal
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]) AND sequence IS NULL AND kind = 'EXPIRE' AND refusal IS NULL;
