-- measure_liability --
-- Sums up what became of all lots of a program that were posted by an instant, by month of issue ($3 has the beginnings
-- of the months), campaign and asset.
WITH RECURSIVE restored AS (
    -- What was given back after its end, with the lot that it had expired in; that may be such a one too.
    SELECT lots.wallet_id, lots.number, made.lot_number AS source_number
    FROM lots
    INNER JOIN journal AS made
        ON made.program_id = $1 AND made.wallet_id = lots.wallet_id AND made.sequence = lots.number
    WHERE lots.program_id = $1 AND lots.origin = 'UNEXPIRY'
    UNION ALL
    SELECT restored.wallet_id, restored.number, made.lot_number
    FROM restored
    INNER JOIN journal AS made
        ON made.program_id = $1 AND made.wallet_id = restored.wallet_id AND made.sequence = restored.source_number
    WHERE made.kind = 'UNEXPIRY'
), source AS (
    SELECT restored.wallet_id, restored.number, made.posted_at, made.cause_campaign_id
    FROM restored
    INNER JOIN journal AS made
        ON made.program_id = $1 AND made.wallet_id = restored.wallet_id AND made.sequence = restored.source_number
    WHERE made.kind <> 'UNEXPIRY'
), taken AS (
    SELECT
        allocation.wallet_id,
        allocation.lot_number,
        sum(allocation.amount) AS amount,
        sum(allocation.amount) FILTER (
            WHERE allocation.kind IN ('SPEND', 'ADJUST', 'EXCHANGE')
                OR (hold.state = 'CAPTURED' AND hold.ended_at <= $2)
        ) AS redeemed,
        sum(allocation.amount) FILTER (WHERE allocation.kind IN ('CLAW_BACK', 'REPAYMENT')) AS clawed_back,
        sum(allocation.amount) FILTER (
            WHERE allocation.kind = 'HOLD' AND (hold.state <> 'CAPTURED' OR hold.ended_at > $2)
        ) AS held
    FROM allocations AS allocation
    LEFT JOIN holds AS hold
        ON hold.program_id = $1 AND allocation.kind = 'HOLD' AND hold.hold_id = allocation.root_id
    WHERE allocation.program_id = $1
        AND allocation.allocated_at <= $2
        -- A hold whose time was over by then took nothing, whether that is booked or not.
        AND (hold.state = 'ACTIVE' AND hold.expires_at <= $2) IS NOT TRUE
    GROUP BY allocation.wallet_id, allocation.lot_number
), undone AS (
    -- What was claimed of earns, wherever it was taken from, and whether it was recovered.
    SELECT target_id AS earn_id, sum((detail ->> 'amount')::bigint) AS amount
    FROM journal
    WHERE program_id = $1 AND kind = 'CLAW_BACK' AND refusal IS NULL AND posted_at <= $2
    GROUP BY target_id
), lot AS (
    SELECT
        wallet.asset,
        coalesce(source.posted_at, made.posted_at) AS issued_at,
        coalesce(source.cause_campaign_id, made.cause_campaign_id, '') AS campaign_id,
        CASE WHEN lots.origin = 'UNEXPIRY' THEN 0 ELSE lots.amount END AS amount,
        lots.amount - coalesce(taken.amount, 0) AS rest,
        coalesce(taken.redeemed, 0) AS redeemed,
        coalesce(taken.clawed_back, 0) AS clawed_back,
        coalesce(taken.held, 0) AS held,
        coalesce(made.allocated_value, 0) AS allocated_value,
        -- Rounded half up once for all claw-backs of an earn, so that those of its whole amount undo its whole price.
        coalesce(div(2 * made.allocated_value * undone.amount + lots.amount, 2 * lots.amount), 0) AS clawed_back_value,
        coalesce(lots.effective_at > $2, true) AS is_pending,
        -- Ends move in place, but for lots that live, and to now at the earliest: never across an instant that is past.
        coalesce(lots.expires_at <= $2, false) AS is_over
    FROM lots
    INNER JOIN journal AS made
        ON made.program_id = $1 AND made.wallet_id = lots.wallet_id AND made.sequence = lots.number
    INNER JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = lots.wallet_id
    LEFT JOIN source ON source.wallet_id = lots.wallet_id AND source.number = lots.number
    LEFT JOIN taken ON taken.wallet_id = lots.wallet_id AND taken.lot_number = lots.number
    LEFT JOIN undone ON undone.earn_id = made.request_id
    WHERE lots.program_id = $1 AND made.posted_at <= $2 AND ($4 = '' OR wallet.asset = $4)
)
SELECT
    width_bucket(issued_at, $3::timestamptz[]) AS month_number,
    campaign_id,
    asset,
    coalesce(sum(amount) FILTER (WHERE NOT is_pending), 0)::bigint AS issued,
    sum(redeemed)::bigint AS redeemed,
    coalesce(sum(rest) FILTER (WHERE is_over AND NOT is_pending), 0)::bigint AS expired,
    sum(clawed_back)::bigint AS clawed_back,
    (sum(held) + coalesce(sum(rest) FILTER (WHERE NOT is_over AND NOT is_pending), 0))::bigint AS open,
    coalesce(sum(rest) FILTER (WHERE is_pending), 0)::bigint AS pending,
    coalesce(sum(allocated_value) FILTER (WHERE NOT is_pending), 0)::bigint AS allocated_value,
    coalesce(sum(clawed_back_value) FILTER (WHERE NOT is_pending), 0)::bigint AS clawed_back_value
FROM lot
WHERE $5 = '' OR campaign_id = $5
GROUP BY month_number, campaign_id, asset;

-- widen_memory --
-- Gives the joins of whole tables room in memory, until the transaction ends.
SELECT set_config('work_mem', '64MB', true);

-- read_estimates --
-- Reads the estimates of redemption that were in force at an instant, one an asset and campaign.
SELECT DISTINCT ON (asset, campaign_id) asset, campaign_id, redemption_rate_bps, valid_from
FROM redemption_estimates
WHERE program_id = $1 AND valid_from <= $2
ORDER BY asset, campaign_id, valid_from DESC, redemption_rate_bps DESC;

-- insert_estimate --
-- Stores an estimate, unless its request did so before.
INSERT INTO redemption_estimates (
    program_id, request_id, fingerprint, asset, campaign_id, redemption_rate_bps, valid_from, set_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (program_id, request_id) DO NOTHING
RETURNING request_id;

-- find_estimate --
-- Finds the estimate that a request stored.
SELECT request_id, fingerprint, asset, campaign_id, redemption_rate_bps, valid_from, set_at
FROM redemption_estimates
WHERE program_id = $1 AND request_id = $2;

-- list_estimates --
-- Lists estimates behind a place: asset, campaign, the instant from which they hold, and the request.
SELECT request_id, fingerprint, asset, campaign_id, redemption_rate_bps, valid_from, set_at
FROM redemption_estimates
WHERE program_id = $1 AND (asset, campaign_id, valid_from, request_id) > ($2, $3, $4, $5)
ORDER BY asset, campaign_id, valid_from, request_id
LIMIT $6;

-- list_programs_with_wallets --
-- Lists the programs in which somebody has or had something, across programs.
SELECT DISTINCT program_id FROM wallets ORDER BY program_id;

-- sum_balances --
-- Sums up by asset what the members of a program have at an instant: their balances, less what is over by then and yet
-- to be booked.
SELECT wallet.asset, (sum(wallet.balance) - coalesce(sum(over.amount), 0))::bigint AS amount
FROM wallets AS wallet
LEFT JOIN (
    SELECT wallet_id, sum(amount) AS amount
    FROM (
        SELECT wallet_id, remaining AS amount
        FROM lots
        WHERE program_id = $1 AND is_open AND effective_at IS NOT NULL AND expires_at <= $2
        UNION ALL
        -- What comes back from a hold whose time is over, into a lot whose time is over too.
        SELECT allocation.wallet_id, allocation.amount
        FROM holds AS hold
        INNER JOIN allocations AS allocation
            ON allocation.program_id = $1 AND allocation.wallet_id = hold.wallet_id
                AND allocation.root_id = hold.hold_id
        INNER JOIN lots
            ON lots.program_id = $1 AND lots.wallet_id = allocation.wallet_id AND lots.number = allocation.lot_number
        WHERE hold.program_id = $1 AND hold.state = 'ACTIVE' AND hold.expires_at <= $2 AND lots.expires_at <= $2
    ) AS unbooked
    GROUP BY wallet_id
) AS over ON over.wallet_id = wallet.wallet_id
WHERE wallet.program_id = $1
GROUP BY wallet.asset
ORDER BY wallet.asset;
