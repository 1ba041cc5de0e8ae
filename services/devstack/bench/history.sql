-- make_wallets --
-- Makes members of a prefix, each with a wallet.
INSERT INTO wallets (program_id, wallet_id, member_id, asset, has_priorities, has_waiting)
SELECT 'bench', ascii($1::text) * 1000000 + number, $1::text || number, 'points', false, false
FROM generate_series(0, $2::bigint - 1) AS number;

-- add_journal --
-- Adds an earn each to the wallets of a prefix in turn, from one number to another, as the ledger writes them.
INSERT INTO journal (
    program_id, request_id, leg, kind, partition, position, posted_at, occurred_at, wallet_id, amount, sequence,
    balance, expires_at, fingerprint, cause_event_id, cause_rule_id, cause_rule_version
)
SELECT
    'bench', gen_random_uuid(), 0, 'EARN', 0, head.position + made.number - $2 + 1,
    $5::timestamptz + made.number * interval '1 microsecond', $5, wallet.wallet_id, $6,
    made.number / $4 + 1, (made.number / $4 + 1) * $6, $7::timestamptz + made.number / $4 * interval '1 minute',
    '\x0102030405060708090a0b0c0d0e0f1011121314151617', $1::text || made.number, 'purchase-completed', 1
FROM generate_series($2::bigint, $3::bigint - 1) AS made (number)
INNER JOIN wallets AS wallet
    ON wallet.program_id = 'bench' AND wallet.member_id = $1::text || (made.number % $4::bigint)
        AND wallet.asset = 'points'
CROSS JOIN feed_heads AS head
WHERE head.program_id = 'bench' AND head.partition = 0;

-- add_lots --
-- Adds the lots of those earns, each of a wallet ending a minute after the one before.
INSERT INTO lots (
    program_id, wallet_id, number, amount, remaining, effective_at, expires_at, priority, is_promotional, is_open
)
SELECT
    'bench', wallet.wallet_id, made.number / $4 + 1, $6, $6, $5,
    $7::timestamptz + made.number / $4 * interval '1 minute', 0, false, true
FROM generate_series($2::bigint, $3::bigint - 1) AS made (number)
INNER JOIN wallets AS wallet
    ON wallet.program_id = 'bench' AND wallet.member_id = $1::text || (made.number % $4::bigint)
        AND wallet.asset = 'points';

-- move_head --
-- Moves the head past the earns that were added.
UPDATE feed_heads SET position = position + $1 WHERE program_id = 'bench' AND partition = 0;

-- sum_wallets --
-- Makes the wallets of a prefix the sums of their earns.
UPDATE wallets
SET sequence = $2::bigint, balance = $2::bigint * $3::bigint, earned = $2::bigint * $3::bigint
WHERE program_id = 'bench' AND member_id LIKE $1::text || '%';

-- count_due --
-- Counts what is over and yet to be booked, up to one.
SELECT count(*) FROM (
    SELECT 1 FROM lots WHERE is_open AND effective_at IS NOT NULL AND expires_at <= clock_timestamp() LIMIT 1
) AS due;
