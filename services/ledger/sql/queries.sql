-- find_wallets --
-- Tells the wallets of some owners.
SELECT wallet_id, member_id, asset
FROM wallets
WHERE program_id = $1 AND (member_id, asset) IN (SELECT * FROM unnest($2::text[], $3::text[]));

-- insert_wallets --
-- Makes wallets, in the order of their owners; none for an owner who has one by now.
INSERT INTO wallets (
    program_id, wallet_id, member_id, asset, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt,
    remainder, has_rolling, has_priorities, has_waiting, cashback_due
)
SELECT
    $1, wallet_id, member_id, asset, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt, remainder,
    has_rolling, has_priorities, has_waiting, cashback_due
FROM unnest(
    $2::bigint[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::bigint[], $12::bigint[], $13::smallint[], $14::boolean[], $15::boolean[], $16::boolean[],
    $17::bigint[]
) AS wallet (
    wallet_id, member_id, asset, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt, remainder,
    has_rolling, has_priorities, has_waiting, cashback_due
)
ORDER BY member_id, asset
ON CONFLICT (program_id, member_id, asset) DO NOTHING
RETURNING wallet_id;

-- lock_wallets --
-- Locks wallets in the order of their ids, and reads them.
SELECT
    wallet_id, member_id, asset, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt, remainder,
    has_rolling, has_priorities, has_waiting, cashback_due
FROM wallets
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[])
ORDER BY wallet_id
FOR UPDATE;

-- find_targets --
-- Finds what operations are about: the earns, holds, captures and spends of some request ids, and whose they are.
SELECT
    outcome.request_id, outcome.kind, outcome.wallet_id, outcome.sequence AS number,
    CASE outcome.kind WHEN 'CAPTURE' THEN outcome.target_id WHEN 'HOLD' THEN outcome.request_id END AS hold_id,
    outcome.budget_id,
    coalesce((outcome.detail ->> 'base')::bigint * (outcome.detail ->> 'basis_points')::bigint, 0) AS share
FROM journal AS outcome
WHERE outcome.program_id = $1 AND outcome.request_id = ANY($2::uuid[]) AND outcome.leg = 0
    AND outcome.refusal IS NULL AND outcome.kind IN ('EARN', 'HOLD', 'CAPTURE', 'SPEND');

-- find_undone --
-- Tells which of some cashbacks that gave nothing were taken back.
SELECT target_id
FROM journal
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]) AND sequence IS NULL AND kind = 'CLAW_BACK'
    AND refusal IS NULL AND target_id = ANY($3::uuid[]);

-- find_outcomes --
-- Tells the time, and reads the outcomes that stand already for some request ids; one row without any where none does.
SELECT
    time.now, outcome.request_id, outcome.kind, outcome.fingerprint, outcome.wallet_id, outcome.amount,
    outcome.held_amount, outcome.budget_amount, outcome.target_id, outcome.posted_at, outcome.expires_at,
    outcome.burn_order_version, outcome.refusal, outcome.detail,
    -- Nobody where the member is forgotten, or where a refusal found no wallet.
    CASE
        WHEN outcome.wallet_id IS NOT NULL THEN (
            SELECT wallet.member_id
            FROM wallets AS wallet
            WHERE wallet.program_id = $1 AND wallet.wallet_id = outcome.wallet_id
                AND wallet.member_id !~ '^forgotten-[0-9a-f-]{36}$'
        )
    END AS member_id
FROM (SELECT clock_timestamp() AS now) AS time
LEFT JOIN journal AS outcome
    ON outcome.program_id = $1 AND outcome.request_id = ANY($2::uuid[]) AND outcome.leg = 0;

-- read_parts --
-- Reads what some operations took from lots or gave back to them, in order.
SELECT operation_id, root_id, wallet_id, lot_number, amount, lot_expires_at
FROM allocations
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]) AND operation_id = ANY($3::uuid[])
ORDER BY operation_id, place;

-- read_takings --
-- Reads all that some operations took and what came back, in order.
SELECT root_id, wallet_id, kind, lot_number, amount, lot_expires_at
FROM allocations
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[]) AND root_id = ANY($3::uuid[])
ORDER BY root_id, place;

-- read_holds --
-- Reads the holds that were named, those of some wallets whose time is over and yet to be booked, and of others all
-- that nobody has ended.
SELECT
    hold_id, wallet_id, amount, captured, state, placed_at, expires_at, ended_at, capture_id, cause_redemption_id,
    request_name
FROM holds
WHERE program_id = $1 AND hold_id = ANY($2::uuid[])
UNION
SELECT
    hold_id, wallet_id, amount, captured, state, placed_at, expires_at, ended_at, capture_id, cause_redemption_id,
    request_name
FROM holds
WHERE program_id = $1 AND wallet_id = ANY($3::bigint[]) AND state = 'ACTIVE' AND expires_at <= $4
UNION
SELECT
    hold_id, wallet_id, amount, captured, state, placed_at, expires_at, ended_at, capture_id, cause_redemption_id,
    request_name
FROM holds
WHERE program_id = $1 AND wallet_id = ANY($5::bigint[]) AND state = 'ACTIVE';

-- read_lots --
-- Reads lots: all of some wallets, the open ones of others, those of others that are over, and those that were named.
SELECT
    wallet_id, number, amount, remaining, effective_at, expires_at, occurred_at, clawed_back, priority,
    is_promotional, is_open, expiry_policy, origin
FROM lots
WHERE program_id = $1 AND wallet_id = ANY($2::bigint[])
UNION ALL
SELECT
    wallet_id, number, amount, remaining, effective_at, expires_at, occurred_at, clawed_back, priority,
    is_promotional, is_open, expiry_policy, origin
FROM lots
WHERE program_id = $1 AND wallet_id = ANY($3::bigint[]) AND is_open
UNION ALL
SELECT
    wallet_id, number, amount, remaining, effective_at, expires_at, occurred_at, clawed_back, priority,
    is_promotional, is_open, expiry_policy, origin
FROM lots
WHERE program_id = $1 AND wallet_id = ANY($4::bigint[]) AND is_open AND expires_at <= $5
UNION ALL
SELECT
    lots.wallet_id, lots.number, lots.amount, lots.remaining, lots.effective_at, lots.expires_at, lots.occurred_at,
    lots.clawed_back, lots.priority, lots.is_promotional, lots.is_open, lots.expiry_policy, lots.origin
FROM unnest($6::bigint[], $7::bigint[]) AS named (wallet_id, number)
INNER JOIN lots ON lots.program_id = $1 AND lots.wallet_id = named.wallet_id AND lots.number = named.number;

-- read_restored_lots --
-- Reads the lots in which some were given back after their end, and those in which these were in turn, each with the
-- lot that it was made of.
WITH RECURSIVE made AS (
    -- Of a wallet all its lots are looked through: few claw-backs are about what is over and has less than it had.
    SELECT lots.wallet_id, lots.number, entry.lot_number AS source_number
    FROM lots
    INNER JOIN journal AS entry
        ON entry.program_id = $1 AND entry.wallet_id = lots.wallet_id AND entry.sequence = lots.number
    WHERE lots.program_id = $1 AND lots.wallet_id = ANY($2::bigint[]) AND lots.origin = 'UNEXPIRY'
), restored AS (
    SELECT made.wallet_id, made.number, made.source_number
    FROM unnest($2::bigint[], $3::bigint[]) AS named (wallet_id, number)
    INNER JOIN made ON made.wallet_id = named.wallet_id AND made.source_number = named.number
    UNION ALL
    SELECT made.wallet_id, made.number, made.source_number
    FROM restored
    INNER JOIN made ON made.wallet_id = restored.wallet_id AND made.source_number = restored.number
)
SELECT
    lots.wallet_id, lots.number, lots.amount, lots.remaining, lots.effective_at, lots.expires_at, lots.occurred_at,
    lots.clawed_back, lots.priority, lots.is_promotional, lots.is_open, lots.expiry_policy, lots.origin,
    restored.source_number
FROM restored
INNER JOIN lots
    ON lots.program_id = $1 AND lots.wallet_id = restored.wallet_id AND lots.number = restored.number;

-- read_first_lots --
-- Reads of some wallets the lots that are spent first, up to so many of each; only of wallets without priorities, since
-- an index has their lots in this order.
SELECT
    lot.wallet_id, lot.number, lot.amount, lot.remaining, lot.effective_at, lot.expires_at, lot.occurred_at,
    lot.clawed_back, lot.priority, lot.is_promotional, lot.is_open, lot.expiry_policy, lot.origin
FROM unnest($2::bigint[]) AS asked (wallet_id)
CROSS JOIN LATERAL (
    SELECT
        lots.wallet_id, lots.number, lots.amount, lots.remaining, lots.effective_at, lots.expires_at,
        lots.occurred_at, lots.clawed_back, lots.priority, lots.is_promotional, lots.is_open, lots.expiry_policy,
        lots.origin
    FROM lots
    WHERE lots.program_id = $1 AND lots.wallet_id = asked.wallet_id AND lots.is_open
        AND lots.effective_at <= $3 AND (lots.expires_at IS NULL OR lots.expires_at > $3)
    ORDER BY lots.expires_at NULLS LAST, lots.is_promotional DESC, lots.effective_at, lots.number
    LIMIT $4
) AS lot;

-- read_burnable_lots --
-- Reads of some wallets the lots that are spent first, as many as come to the amount that is needed of each.
SELECT
    lot.wallet_id, lot.number, lot.amount, lot.remaining, lot.effective_at, lot.expires_at, lot.occurred_at,
    lot.clawed_back, lot.priority, lot.is_promotional, lot.is_open, lot.expiry_policy, lot.origin
FROM unnest($2::bigint[], $3::bigint[]) AS asked (wallet_id, needed)
CROSS JOIN LATERAL (
    SELECT
        lots.wallet_id, lots.number, lots.amount, lots.remaining, lots.effective_at, lots.expires_at,
        lots.occurred_at, lots.clawed_back, lots.priority, lots.is_promotional, lots.is_open, lots.expiry_policy,
        lots.origin,
        sum(lots.remaining) OVER (
            ORDER BY
                lots.priority, lots.expires_at NULLS LAST, lots.is_promotional DESC, lots.effective_at, lots.number
            ROWS UNBOUNDED PRECEDING
        ) - lots.remaining AS before
    FROM lots
    WHERE lots.program_id = $1 AND lots.wallet_id = asked.wallet_id AND lots.is_open
        AND lots.effective_at <= $4 AND (lots.expires_at IS NULL OR lots.expires_at > $4)
) AS lot
WHERE lot.before < asked.needed;

-- lock_budgets --
-- Locks shards of budgets in order, one of each or all (a pick below 0), and reads them.
SELECT
    budget.budget_id, budget.asset, shard.shard, shard.remaining, shard.held, shard.given, shard.is_closed,
    asked.pick < 0 OR budget.shard_count = 1 AS is_whole
FROM unnest($2::text[], $3::smallint[]) AS asked (budget_id, pick)
INNER JOIN budgets AS budget ON budget.program_id = $1 AND budget.budget_id = asked.budget_id
INNER JOIN budget_shards AS shard ON shard.program_id = $1 AND shard.budget_id = asked.budget_id
WHERE asked.pick < 0 OR shard.shard = asked.pick % budget.shard_count
ORDER BY shard.budget_id, shard.shard
FOR UPDATE OF shard;

-- update_budgets --
-- Writes how shards of budgets stand now.
UPDATE budget_shards
SET remaining = shard.remaining, held = shard.held, given = shard.given, is_closed = shard.is_closed
FROM unnest($2::text[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[])
    AS shard (budget_id, shard, remaining, held, given, is_closed)
WHERE budget_shards.program_id = $1 AND budget_shards.budget_id = shard.budget_id
    AND budget_shards.shard = shard.shard;

-- read_rates --
-- Reads the rates in force between some assets.
SELECT DISTINCT ON (from_asset, to_asset) from_asset, to_asset, version, numerator, denominator, set_at
FROM exchange_rates
WHERE program_id = $1 AND (from_asset, to_asset) IN (SELECT * FROM unnest($2::text[], $3::text[]))
ORDER BY from_asset, to_asset, version DESC;

-- update_spent_lots --
-- Writes what lots have left of which nothing else was changed.
UPDATE lots
SET remaining = lot.remaining, is_open = lot.is_open
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::boolean[])
    AS lot (wallet_id, number, remaining, is_open)
WHERE lots.program_id = $1 AND lots.wallet_id = lot.wallet_id AND lots.number = lot.number;

-- update_lots --
-- Writes how lots stand that were changed.
UPDATE lots
SET
    remaining = lot.remaining, effective_at = lot.effective_at, expires_at = lot.expires_at,
    occurred_at = lot.occurred_at, clawed_back = lot.clawed_back, is_open = lot.is_open
FROM unnest(
    $2::bigint[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::timestamptz[], $7::timestamptz[], $8::bigint[],
    $9::boolean[]
) AS lot (wallet_id, number, remaining, effective_at, expires_at, occurred_at, clawed_back, is_open)
WHERE lots.program_id = $1 AND lots.wallet_id = lot.wallet_id AND lots.number = lot.number;

-- update_holds --
-- Writes how holds stand now.
UPDATE holds
SET state = hold.state, ended_at = hold.ended_at, capture_id = hold.capture_id, captured = hold.captured
FROM unnest($2::uuid[], $3::text[], $4::timestamptz[], $5::uuid[], $6::bigint[])
    AS hold (hold_id, state, ended_at, capture_id, captured)
WHERE holds.program_id = $1 AND holds.hold_id = hold.hold_id;

-- update_earning_wallets --
-- Writes how wallets stand into which there was nothing but earns.
UPDATE wallets
SET sequence = wallet.sequence, balance = wallet.balance, earned = wallet.earned
FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[]) AS wallet (wallet_id, sequence, balance, earned)
WHERE wallets.program_id = $1 AND wallets.wallet_id = wallet.wallet_id;

-- update_wallets --
-- Writes how wallets stand now.
UPDATE wallets
SET
    sequence = wallet.sequence, balance = wallet.balance, earned = wallet.earned, spent = wallet.spent,
    expired = wallet.expired, clawed_back = wallet.clawed_back, adjusted = wallet.adjusted, debt = wallet.debt,
    remainder = wallet.remainder, has_rolling = wallet.has_rolling, has_priorities = wallet.has_priorities,
    has_waiting = wallet.has_waiting, cashback_due = wallet.cashback_due
FROM unnest(
    $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[],
    $10::bigint[], $11::smallint[], $12::boolean[], $13::boolean[], $14::boolean[], $15::bigint[]
) AS wallet (
    wallet_id, sequence, balance, earned, spent, expired, clawed_back, adjusted, debt, remainder, has_rolling,
    has_priorities, has_waiting, cashback_due
)
WHERE wallets.program_id = $1 AND wallets.wallet_id = wallet.wallet_id;

-- list_programs_to_book --
-- Lists the programs in which something is over and yet to be booked, by one look at each; reads across programs, locks
-- nothing.
SELECT DISTINCT program_id
FROM feed_heads AS head
WHERE EXISTS (
    SELECT 1 FROM lots
    WHERE lots.program_id = head.program_id AND lots.is_open AND lots.effective_at IS NOT NULL
        AND lots.expires_at <= $1
) OR EXISTS (
    SELECT 1 FROM holds
    WHERE holds.program_id = head.program_id AND holds.state = 'ACTIVE' AND holds.expires_at <= $1
)
LIMIT $2;

-- lock_booking --
-- Takes the booking of a program until the transaction ends, unless somebody else has it.
SELECT pg_try_advisory_xact_lock(hashtextextended('book_due/' || $1, 0));

-- list_lots_to_book --
-- Lists lots of a program that are over and yet to be booked, wallet by wallet from those in which something has been
-- over for longest, and whose they are; of one wallet so many at most.
SELECT wallet.member_id, wallet.asset, lot.number
FROM (
    SELECT DISTINCT wallet_id
    FROM (
        SELECT wallet_id
        FROM lots
        WHERE program_id = $1 AND is_open AND effective_at IS NOT NULL AND expires_at <= $2
        ORDER BY expires_at
        LIMIT $3
    ) AS oldest
    ORDER BY wallet_id
) AS due
INNER JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = due.wallet_id
CROSS JOIN LATERAL (
    SELECT number
    FROM lots
    WHERE program_id = $1 AND wallet_id = due.wallet_id AND is_open AND effective_at IS NOT NULL AND expires_at <= $2
    LIMIT $4
) AS lot
LIMIT $3;

-- list_holds_to_book --
-- Lists whose holds of a program are over and yet to be booked, the oldest first.
SELECT wallet.member_id, wallet.asset
FROM (
    SELECT wallet_id
    FROM holds
    WHERE program_id = $1 AND state = 'ACTIVE' AND expires_at <= $2
    ORDER BY expires_at
    LIMIT $3
) AS hold
INNER JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = hold.wallet_id;

-- read_journal --
-- Reads the rows of the journal between two positions that tell of one of some kinds, oldest first, with whose wallet
-- it is, what the caller called a hold and why it was placed.
SELECT
    line.partition, line.position, line.request_id, line.leg, line.kind, line.posted_at, line.occurred_at,
    line.expires_at, line.amount, line.balance, line.refusal IS NOT NULL AS is_refused, line.budget_id, line.detail,
    line.cause_event_id, line.cause_rule_id, line.cause_rule_version,
    coalesce(line.cause_redemption_id, hold.cause_redemption_id) AS cause_redemption_id, line.cause_campaign_id,
    wallet.member_id, wallet.asset, hold.request_name AS hold_request_name, hold.amount AS hold_amount
FROM journal AS line
LEFT JOIN wallets AS wallet ON wallet.program_id = $1 AND wallet.wallet_id = line.wallet_id
LEFT JOIN holds AS hold
    ON hold.program_id = $1 AND line.kind IN ('HOLD', 'CAPTURE', 'RELEASE', 'TIMEOUT')
        AND hold.hold_id = coalesce(line.target_id, line.request_id)
WHERE line.program_id = $1 AND line.partition = $2 AND line.position > $3 AND line.position <= $4
    AND line.kind = ANY($5::text[])
ORDER BY line.position;

-- check_wallets --
-- Replays the journal: wallets whose balance, number of entries, running balances, totals or debt are not the sum;
-- across programs.
WITH entry AS (
    SELECT
        program_id, wallet_id, sequence, amount, balance, kind, debt_amount,
        sum(amount) OVER (PARTITION BY program_id, wallet_id ORDER BY sequence NULLS LAST) AS running
    FROM journal
    WHERE wallet_id IS NOT NULL
), wallet_sums AS (
    SELECT
        program_id, wallet_id, count(sequence) AS entries, sum(amount) AS balance, max(sequence) AS last,
        count(*) FILTER (WHERE running <> balance) AS broken,
        coalesce(sum(amount) FILTER (WHERE kind IN ('EARN', 'CANCEL')), 0) AS earned,
        coalesce(-sum(amount) FILTER (WHERE kind IN ('SPEND', 'REVERSE')), 0) AS spent,
        coalesce(-sum(amount) FILTER (WHERE kind IN ('EXPIRY', 'UNEXPIRY')), 0) AS expired,
        coalesce(-sum(amount) FILTER (WHERE kind IN ('CLAW_BACK', 'REPAYMENT')), 0) AS clawed_back,
        coalesce(sum(amount) FILTER (WHERE kind IN ('ADJUST', 'EXCHANGE')), 0) AS adjusted,
        coalesce(sum(debt_amount), 0) AS debt
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
    OR wallet.earned <> coalesce(sums.earned, 0)
    OR wallet.spent <> coalesce(sums.spent, 0)
    OR wallet.expired <> coalesce(sums.expired, 0)
    OR wallet.clawed_back <> coalesce(sums.clawed_back, 0)
    OR wallet.adjusted <> coalesce(sums.adjusted, 0)
    OR wallet.debt <> coalesce(sums.debt, 0)
LIMIT 20;

-- check_lots --
-- Compares lots with their allocations: amount is remaining and taken; across programs.
SELECT lot.program_id, lot.wallet_id, lot.number, lot.amount, lot.remaining, coalesce(taken.amount, 0)::bigint AS taken
FROM lots AS lot
LEFT JOIN (
    SELECT program_id, wallet_id, lot_number, sum(amount) AS amount
    FROM allocations
    GROUP BY program_id, wallet_id, lot_number
) AS taken
    ON taken.program_id = lot.program_id AND taken.wallet_id = lot.wallet_id AND taken.lot_number = lot.number
WHERE lot.amount <> lot.remaining + coalesce(taken.amount, 0)
LIMIT 20;

-- check_wallet_lots --
-- Compares wallets with their lots and holds: the balance is what open lots have left and active holds reserve; across
-- programs.
SELECT
    wallet.program_id, wallet.wallet_id, wallet.balance,
    coalesce(lot_sums.remaining, 0)::bigint AS remaining, coalesce(hold_sums.held, 0)::bigint AS held
FROM wallets AS wallet
LEFT JOIN (
    SELECT program_id, wallet_id, sum(remaining) AS remaining FROM lots WHERE is_open GROUP BY program_id, wallet_id
) AS lot_sums ON lot_sums.program_id = wallet.program_id AND lot_sums.wallet_id = wallet.wallet_id
LEFT JOIN (
    SELECT program_id, wallet_id, sum(amount) AS held FROM holds WHERE state = 'ACTIVE' GROUP BY program_id, wallet_id
) AS hold_sums ON hold_sums.program_id = wallet.program_id AND hold_sums.wallet_id = wallet.wallet_id
WHERE wallet.balance <> coalesce(lot_sums.remaining, 0) + coalesce(hold_sums.held, 0)
LIMIT 20;

-- check_wallet_traits --
-- Compares what wallets say of their lots with the lots: one that has none with a priority, or none that waits, is read
-- as such; across programs.
SELECT wallet.program_id, wallet.wallet_id, lot.number, lot.priority, lot.effective_at
FROM wallets AS wallet
INNER JOIN lots AS lot ON lot.program_id = wallet.program_id AND lot.wallet_id = wallet.wallet_id
INNER JOIN journal AS origin
    ON origin.program_id = lot.program_id AND origin.wallet_id = lot.wallet_id AND origin.sequence = lot.number
WHERE (lot.priority <> 0 AND NOT wallet.has_priorities)
    OR (NOT wallet.has_waiting AND (lot.effective_at IS NULL OR lot.effective_at > origin.posted_at))
LIMIT 20;

-- check_lot_ends --
-- Compares the ends of lots with what was told of them, but of those that live as long as the member is active; across
-- programs.
WITH beside_decisions AS (
    SELECT
        lot.program_id, lot.wallet_id, lot.number, lot.expires_at, origin.expires_at AS told,
        origin.request_id AS origin_id
    FROM lots AS lot
    INNER JOIN journal AS origin
        ON origin.program_id = lot.program_id AND origin.wallet_id = lot.wallet_id AND origin.sequence = lot.number
    WHERE lot.expires_at IS DISTINCT FROM origin.expires_at
        AND coalesce(lot.expiry_policy, '') NOT LIKE '1:rolling:%'
    -- Laid together and sorted, not joined, since a wallet may have many lots and many decisions: what is confirmed, or
    -- given back, has its end from what asked for it.
    UNION ALL
    SELECT program_id, wallet_id, NULL, expires_at, NULL, coalesce(target_id, request_id)
    FROM journal
    WHERE kind IN ('CONFIRM', 'UNEXPIRE') AND refusal IS NULL
), retold AS (
    SELECT
        program_id, wallet_id, number, expires_at, told,
        bool_or(number IS NULL) OVER (PARTITION BY program_id, wallet_id, origin_id, expires_at) AS is_retold
    FROM beside_decisions
), beside_early_ends AS (
    SELECT program_id, wallet_id, number, expires_at, told
    FROM retold
    WHERE NOT is_retold
    -- Ended before its time.
    UNION ALL
    SELECT program_id, wallet_id, NULL, posted_at, NULL
    FROM journal
    WHERE kind = 'EXPIRE' AND refusal IS NULL
), judged AS (
    SELECT
        program_id, wallet_id, number, expires_at, told,
        bool_or(number IS NULL) OVER (PARTITION BY program_id, wallet_id, expires_at) AS is_ended
    FROM beside_early_ends
)
SELECT program_id, wallet_id, number, expires_at, told
FROM judged
WHERE NOT is_ended
LIMIT 20;

-- check_takings --
-- Compares what operations took from lots with what the journal says that they took, less what was given back; across
-- programs.
WITH taken AS (
    SELECT program_id, root_id, kind, sum(amount) AS amount FROM allocations GROUP BY program_id, root_id, kind
), reversed AS (
    SELECT program_id, target_id, sum(amount) AS amount
    FROM journal
    WHERE kind = 'REVERSE' AND amount <> 0
    GROUP BY program_id, target_id
), expected AS (
    SELECT
        hold.program_id, hold.hold_id AS root_id,
        CASE hold.state
            WHEN 'ACTIVE' THEN hold.amount
            WHEN 'CAPTURED' THEN hold.captured - coalesce(reversed.amount, 0)
            ELSE 0
        END AS amount
    FROM holds AS hold
    LEFT JOIN reversed ON reversed.program_id = hold.program_id AND reversed.target_id = hold.capture_id
    UNION ALL
    SELECT spend.program_id, spend.request_id, -spend.amount - coalesce(reversed.amount, 0)
    FROM journal AS spend
    LEFT JOIN reversed ON reversed.program_id = spend.program_id AND reversed.target_id = spend.request_id
    WHERE spend.leg = 0 AND spend.amount < 0 AND spend.kind IN ('SPEND', 'ADJUST', 'EXCHANGE', 'CLAW_BACK', 'CANCEL')
)
SELECT
    coalesce(expected.program_id, taken.program_id) AS program_id,
    coalesce(expected.root_id, taken.root_id) AS root_id,
    coalesce(expected.amount, 0)::bigint AS expected, coalesce(taken.amount, 0)::bigint AS taken
FROM expected
FULL JOIN (
    SELECT program_id, root_id, amount FROM taken WHERE kind NOT IN ('REPAYMENT', 'UNEXPIRY')
) AS taken
    ON taken.program_id = expected.program_id AND taken.root_id = expected.root_id
WHERE coalesce(expected.amount, 0) <> coalesce(taken.amount, 0)
LIMIT 20;

-- check_budgets --
-- Compares budgets with the journal: what they have left is what was put in less what came out; across programs.
SELECT shards.program_id, shards.budget_id, shards.remaining::bigint, coalesce(moved.amount, 0)::bigint AS expected
FROM (
    SELECT program_id, budget_id, sum(remaining) AS remaining FROM budget_shards GROUP BY program_id, budget_id
) AS shards
LEFT JOIN (
    SELECT program_id, budget_id, sum(budget_amount) AS amount
    FROM journal
    WHERE budget_amount IS NOT NULL
    GROUP BY program_id, budget_id
) AS moved ON moved.program_id = shards.program_id AND moved.budget_id = shards.budget_id
WHERE shards.remaining <> coalesce(moved.amount, 0)
LIMIT 20;

-- check_cashbacks --
-- Compares what cashbacks gave and carry with what they are shares of, but for those taken back; across programs.
SELECT
    wallet.program_id, wallet.wallet_id, wallet.remainder + wallet.cashback_due * 10000 AS carried,
    exact.parts::bigint AS parts
FROM (
    SELECT
        program_id, wallet_id,
        sum(
            CASE kind
                WHEN 'EARN'
                    THEN (detail ->> 'base')::bigint * (detail ->> 'basis_points')::bigint - amount * 10000
                ELSE (detail ->> 'carried')::bigint
            END
        ) AS parts
    FROM journal
    WHERE refusal IS NULL AND detail ?| ARRAY['base', 'carried'] AND kind IN ('EARN', 'CANCEL', 'CLAW_BACK')
    GROUP BY program_id, wallet_id
) AS exact
INNER JOIN wallets AS wallet ON wallet.program_id = exact.program_id AND wallet.wallet_id = exact.wallet_id
WHERE wallet.remainder + wallet.cashback_due * 10000 <> exact.parts
LIMIT 20;

-- check_exchanges --
-- Compares exchanges with their rates: what was taken is worth what was given and the rounding; across programs.
SELECT taken.program_id, taken.request_id, -taken.amount AS taken, coalesce(given.amount, 0) AS given
FROM journal AS taken
LEFT JOIN journal AS given
    ON given.program_id = taken.program_id AND given.request_id = taken.request_id AND given.leg > 0
        AND given.kind = 'EXCHANGE'
WHERE taken.kind = 'EXCHANGE' AND taken.leg = 0 AND taken.refusal IS NULL AND (
    given.amount IS NULL
    OR given.amount <> (taken.detail ->> 'given')::bigint
    OR -taken.amount * (taken.detail ->> 'numerator')::numeric
    <> given.amount * (taken.detail ->> 'denominator')::numeric + (taken.detail ->> 'rounding')::numeric
    OR (taken.detail ->> 'rounding')::numeric NOT BETWEEN 0 AND (taken.detail ->> 'numerator')::numeric - 1
)
LIMIT 20;

-- check_positions --
-- Compares each head with the positions of the journal: no gap, none beyond, none without a head; across programs.
SELECT
    coalesce(head.program_id, lines.program_id) AS program_id, coalesce(head.partition, lines.partition) AS partition,
    coalesce(head.position, 0) AS position, coalesce(lines.count, 0) AS count, coalesce(lines.last, 0) AS last
FROM feed_heads AS head
FULL JOIN (
    SELECT program_id, partition, count(position) AS count, max(position) AS last
    FROM journal
    GROUP BY program_id, partition
) AS lines ON lines.program_id = head.program_id AND lines.partition = head.partition;

-- check_unbooked --
-- Counts lots and holds that have been over for more than an hour and are not booked; across programs.
SELECT 'lots' AS subject, count(*) AS count
FROM lots WHERE is_open AND effective_at IS NOT NULL AND expires_at <= $1::timestamptz - interval '1 hour'
UNION ALL
SELECT 'holds', count(*)
FROM holds WHERE state = 'ACTIVE' AND expires_at <= $1::timestamptz - interval '1 hour';

-- count_rows --
-- Counts what there is to check; across programs.
SELECT
    (SELECT count(*) FROM wallets) AS wallets,
    (SELECT count(*) FROM lots) AS lots,
    (SELECT count(*) FROM holds) AS holds,
    (SELECT count(*) FROM budgets) AS budgets,
    (SELECT count(*) FROM journal WHERE sequence IS NOT NULL) AS entries;

-- measure_due --
-- Tells how much is over and yet to be booked, and for how long the oldest; across programs.
SELECT
    count(*) AS count,
    coalesce(floor(extract(EPOCH FROM clock_timestamp() - min(expires_at))), 0)::bigint AS oldest_age_s
FROM (
    SELECT expires_at FROM lots WHERE is_open AND effective_at IS NOT NULL AND expires_at <= clock_timestamp()
    UNION ALL
    SELECT expires_at FROM holds WHERE state = 'ACTIVE' AND expires_at <= clock_timestamp()
) AS due;
