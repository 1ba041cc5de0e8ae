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
    entry.posted_at,
    coalesce(entry.cause_event_id, origin.cause_event_id) AS cause_event_id,
    coalesce(entry.cause_rule_id, origin.cause_rule_id) AS cause_rule_id,
    coalesce(entry.cause_rule_version, origin.cause_rule_version) AS cause_rule_version,
    entry.cause_redemption_id,
    coalesce(entry.cause_campaign_id, origin.cause_campaign_id) AS cause_campaign_id
FROM journal AS entry
LEFT JOIN journal AS origin
    ON origin.program_id = $1 AND origin.wallet_id = $2 AND entry.lot_number IS NOT NULL
        AND origin.sequence = entry.lot_number
WHERE entry.program_id = $1 AND entry.wallet_id = $2 AND entry.sequence < $3
ORDER BY entry.sequence DESC
LIMIT $4;

-- list_lots --
-- Lists the lots of a wallet below a place (when it is shown to begin, and its number), the latest first, with what
-- holds reserve and where they came from.
SELECT
    lot.number, lot.amount, lot.remaining, lot.is_open, lot.priority, lot.is_promotional, lot.effective_at,
    lot.expires_at, coalesce(lot.effective_at, lot.occurred_at) AS shown_at,
    coalesce((
        SELECT sum(allocation.amount)
        FROM allocations AS allocation
        INNER JOIN holds AS hold ON hold.program_id = $1 AND hold.hold_id = allocation.root_id
        WHERE allocation.program_id = $1 AND allocation.wallet_id = $2 AND allocation.lot_number = lot.number
            AND hold.state = 'ACTIVE'
    ), 0)::bigint AS held,
    origin.cause_event_id, origin.cause_rule_id, origin.cause_rule_version, origin.cause_redemption_id,
    origin.cause_campaign_id
FROM lots AS lot
INNER JOIN journal AS origin ON origin.program_id = $1 AND origin.wallet_id = $2 AND origin.sequence = lot.number
WHERE lot.program_id = $1 AND lot.wallet_id = $2
    AND (coalesce(lot.effective_at, lot.occurred_at), lot.number) < ($3, $4)
ORDER BY coalesce(lot.effective_at, lot.occurred_at) DESC, lot.number DESC
LIMIT $5;
