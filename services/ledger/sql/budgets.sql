-- insert_budget --
-- Makes a budget, unless its id or its request id is taken; tells whether it did.
INSERT INTO budgets (
    program_id, budget_id, asset, shard_count, alert_percents, request_id, fingerprint, created_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT DO NOTHING
RETURNING true AS is_made;

-- insert_budget_shards --
-- Makes the sub-accounts of a new budget, empty.
INSERT INTO budget_shards (program_id, budget_id, shard)
SELECT $1, $2, shard
FROM generate_series(0, $3::integer - 1) AS shard;

-- find_budget_request --
-- Finds the budget that a request made, with the fingerprint of what was asked.
SELECT budget_id, asset, shard_count, alert_percents, fingerprint
FROM budgets
WHERE program_id = $1 AND request_id = $2;

-- get_budget --
-- Tells how a budget stands: all its sub-accounts at one instant.
SELECT
    budget.budget_id, budget.asset, budget.alert_percents, budget.shard_count,
    bool_or(shard.is_closed) AS is_closed,
    sum(shard.remaining)::bigint AS remaining, sum(shard.held)::bigint AS held, sum(shard.given)::bigint AS given
FROM budgets AS budget
INNER JOIN budget_shards AS shard ON shard.program_id = $1 AND shard.budget_id = budget.budget_id
WHERE budget.program_id = $1 AND budget.budget_id = $2
GROUP BY budget.budget_id, budget.asset, budget.alert_percents, budget.shard_count;

-- list_budgets --
-- Lists how the budgets behind an id stand, by their ids.
SELECT
    budget.budget_id, budget.asset, budget.alert_percents, budget.shard_count,
    bool_or(shard.is_closed) AS is_closed,
    sum(shard.remaining)::bigint AS remaining, sum(shard.held)::bigint AS held, sum(shard.given)::bigint AS given
FROM (
    SELECT budget_id, asset, alert_percents, shard_count
    FROM budgets
    WHERE program_id = $1 AND budget_id > $2
    ORDER BY budget_id
    LIMIT $3
) AS budget
INNER JOIN budget_shards AS shard ON shard.program_id = $1 AND shard.budget_id = budget.budget_id
GROUP BY budget.budget_id, budget.asset, budget.alert_percents, budget.shard_count
ORDER BY budget.budget_id;

-- list_watched_budgets --
-- Lists budgets behind an id that are open and of which there may be something to tell: the first share at which the
-- feed tells is used, or was when somebody last looked, or nobody did; reads across programs, locks nothing.
SELECT
    budget.program_id, budget.budget_id, budget.alert_percents, budget.told_percent,
    sum(shard.remaining)::bigint AS remaining, sum(shard.held + shard.given)::bigint AS used
FROM budgets AS budget
INNER JOIN budget_shards AS shard ON shard.program_id = budget.program_id AND shard.budget_id = budget.budget_id
WHERE (budget.program_id, budget.budget_id) > ($1, $2)
GROUP BY budget.program_id, budget.budget_id, budget.alert_percents, budget.told_percent
HAVING NOT bool_or(shard.is_closed)
    AND (
        budget.told_percent IS DISTINCT FROM 0
        OR sum(shard.held + shard.given) * 100
        >= sum(shard.remaining + shard.held + shard.given) * budget.alert_percents[1]
    )
ORDER BY budget.program_id, budget.budget_id
LIMIT $3;

-- read_alert_marks --
-- Reads how far the feed was told of budgets; whoever asks holds all their shards.
SELECT budget_id, alert_percents, told_percent, alert_count
FROM budgets
WHERE program_id = $1 AND budget_id = ANY($2::text[]);

-- update_alert_marks --
-- Writes how far the feed was told of budgets.
UPDATE budgets
SET told_percent = mark.told_percent, alert_count = mark.alert_count
FROM unnest($2::text[], $3::smallint[], $4::bigint[]) AS mark (budget_id, told_percent, alert_count)
WHERE budgets.program_id = $1 AND budgets.budget_id = mark.budget_id;

-- find_told --
-- Finds which of some alerts were told before.
SELECT request_id
FROM journal
WHERE program_id = $1 AND request_id = ANY($2::uuid[]) AND leg = 0;

-- insert_rate --
-- Stores the next version of the rate between two assets; none where another one was stored at the same time, or where
-- the request id is taken.
INSERT INTO exchange_rates (
    program_id, from_asset, to_asset, version, numerator, denominator, set_at, request_id, fingerprint
)
SELECT $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6, $7, $8
FROM exchange_rates
WHERE program_id = $1 AND from_asset = $2 AND to_asset = $3
ON CONFLICT DO NOTHING
RETURNING version;

-- find_rate_request --
-- Finds the rate that a request stored, with the fingerprint of what was asked.
SELECT from_asset, to_asset, version, numerator, denominator, set_at, fingerprint
FROM exchange_rates
WHERE program_id = $1 AND request_id = $2;

-- list_rates --
-- Lists the rates in force behind a pair of assets, by their assets.
SELECT DISTINCT ON (from_asset, to_asset) from_asset, to_asset, version, numerator, denominator, set_at
FROM exchange_rates
WHERE program_id = $1 AND (from_asset, to_asset) > ($2, $3)
ORDER BY from_asset, to_asset, version DESC
LIMIT $4;

-- check_budget_uses --
-- Compares budgets with the journal and with lots: what they gave and hold is what was earned from them less what came
-- back, and they hold what is pending; across programs.
SELECT
    shards.program_id, shards.budget_id, shards.used::bigint, coalesce(earned.used, 0)::bigint AS used_expected,
    shards.held::bigint, coalesce(earned.held, 0)::bigint AS held_expected
FROM (
    SELECT program_id, budget_id, sum(held + given) AS used, sum(held) AS held
    FROM budget_shards
    GROUP BY program_id, budget_id
) AS shards
LEFT JOIN (
    SELECT
        line.program_id, line.budget_id, sum(line.amount) AS used,
        -- A cancelled lot has nothing left.
        sum(lot.remaining) FILTER (WHERE line.kind = 'EARN' AND lot.effective_at IS NULL) AS held
    FROM journal AS line
    LEFT JOIN lots AS lot
        ON lot.program_id = line.program_id AND lot.wallet_id = line.wallet_id AND lot.number = line.sequence
    WHERE line.budget_id IS NOT NULL AND line.kind IN ('EARN', 'CANCEL', 'CLAW_BACK')
    GROUP BY line.program_id, line.budget_id
) AS earned ON earned.program_id = shards.program_id AND earned.budget_id = shards.budget_id
WHERE shards.used <> coalesce(earned.used, 0) OR shards.held <> coalesce(earned.held, 0)
LIMIT 20;
