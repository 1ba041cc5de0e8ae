-- The ledger's tables. Amounts are whole smallest units. Every key begins with program_id, so that the tables can be
-- distributed by it. Replayed migrations give exactly this schema. Columns of one width stand together where a table is
-- large: that saves what alignment would waste.

-- A member's holding of one asset. The row is the only thing that writers of one member wait for each other at.
-- The member's own id stands here and nowhere else in the ledger: all other tables know the wallet only, so that a
-- member can be forgotten.
CREATE TABLE wallets (
    program_id text NOT NULL,
    wallet_id bigint NOT NULL,
    member_id text NOT NULL,
    asset text NOT NULL,
    -- The number of the newest entry: entries of a wallet count from 1 without gaps.
    sequence bigint NOT NULL DEFAULT 0,
    -- The sum of all entries; includes what holds reserve, what is pending, and what is over and yet to be booked.
    balance bigint NOT NULL DEFAULT 0,
    -- What the balance is made of, each the sum of its entries: earned and not cancelled, spent and not given back,
    -- booked as expired and not given back, taken back (repaid debts included), adjusted and exchanged.
    earned bigint NOT NULL DEFAULT 0,
    spent bigint NOT NULL DEFAULT 0,
    expired bigint NOT NULL DEFAULT 0,
    clawed_back bigint NOT NULL DEFAULT 0,
    adjusted bigint NOT NULL DEFAULT 0,
    -- What the member owes after a claw-back; next earns repay it.
    debt bigint NOT NULL DEFAULT 0,
    -- What cashbacks carry, in ten-thousandths of a smallest unit.
    remainder smallint NOT NULL DEFAULT 0,
    -- Whether some lot lives as long as the member is active.
    has_rolling boolean NOT NULL DEFAULT false,
    -- Whether some lot was ever given a priority, or did not take effect at once; true where nobody knows. Where none
    -- was, less is to be read.
    has_priorities boolean NOT NULL DEFAULT true,
    has_waiting boolean NOT NULL DEFAULT true,
    -- Whole units that the next cashback gives more, since those that were taken back had carried away too much; below
    -- zero, gives less.
    cashback_due bigint NOT NULL DEFAULT 0,
    CONSTRAINT wallets_key PRIMARY KEY (program_id, wallet_id),
    CONSTRAINT wallets_owner_once UNIQUE (program_id, member_id, asset),
    CONSTRAINT wallets_sequence_counts CHECK (sequence >= 0),
    CONSTRAINT wallets_balance_in_limits CHECK (balance BETWEEN 0 AND 1000000000000000),
    CONSTRAINT wallets_balance_explained CHECK (balance = earned - spent - expired - clawed_back + adjusted),
    CONSTRAINT wallets_debt_in_limits CHECK (debt >= 0),
    CONSTRAINT wallets_remainder_in_limits CHECK (remainder BETWEEN 0 AND 9999)
) WITH (fillfactor = 70);

-- What happened, for ever: one row an outcome, and a further leg where an operation moves more than once. Append-only
-- by privilege. A row with an amount is an entry: it moves value between a wallet and an account of the program, which
-- its kind names (`entries` shows both sides), so each row sums to zero by itself. A row without one is an outcome that
-- moved nothing in a wallet: a hold, a release, a refusal, money put into a budget.
-- The journal is the outbox as well: position counts all rows of a partition without gaps, in the order of commits.
CREATE TABLE journal (
    posted_at timestamptz NOT NULL,
    occurred_at timestamptz NOT NULL,
    position bigint NOT NULL,
    -- The change of the wallet; 0 where nothing moves in one.
    amount bigint NOT NULL,
    -- Null for what concerns no wallet: a budget, or a refusal that found none.
    wallet_id bigint,
    -- The number of the entry in its wallet, and the balance after it; null where nothing moves.
    sequence bigint,
    balance bigint,
    -- The end of the new lot or hold as it was told; null where there is none or it has no end.
    expires_at timestamptz,
    -- What was reserved or freed, where nothing moves; otherwise null.
    held_amount bigint,
    -- The lot that expires, or that is given back; otherwise null.
    lot_number bigint,
    -- The change of what the budget has left, and of what the member owes; null where there is none.
    budget_amount bigint,
    debt_amount bigint,
    -- The part of a sale's price that is allocated to what was earned, in minor units of money; null where none is.
    allocated_value bigint,
    -- The request id of the caller (hashed), or one derived from the cause.
    request_id uuid NOT NULL,
    -- The hold that is captured or freed, the spend or capture that is reversed, the earn that is confirmed, cancelled
    -- or taken back; otherwise null.
    target_id uuid,
    cause_rule_version integer,
    leg smallint NOT NULL,
    partition smallint NOT NULL,
    -- The version of the burn order by which lots were taken; null where none were.
    burn_order_version smallint,
    program_id text NOT NULL,
    kind text NOT NULL,
    -- A digest of the request and a byte a field; null where Plaudit itself made the operation. The member is left out
    -- of an operation's, since ids could be tried on it; rows of earlier versions have it.
    fingerprint bytea,
    -- Why it happened, as far as the caller said so.
    cause_event_id text,
    cause_rule_id text,
    cause_redemption_id text,
    cause_campaign_id text,
    -- The budget that value came out of or went back to; null where there is none.
    budget_id text,
    -- The reason and its metadata; null where the operation happened.
    refusal jsonb,
    -- What else the kind of operation tells: reason and actor, rate, policy, remainder; null where there is nothing.
    detail jsonb,
    CONSTRAINT journal_key PRIMARY KEY (program_id, request_id, leg),
    CONSTRAINT journal_wallet_order UNIQUE (program_id, wallet_id, sequence),
    CONSTRAINT journal_position UNIQUE (program_id, partition, position),
    CONSTRAINT journal_kind_known CHECK (
        kind IN (
            'EARN', 'HOLD', 'CAPTURE', 'RELEASE', 'TIMEOUT', 'REVERSE', 'EXPIRY', 'SPEND', 'CONFIRM', 'CANCEL',
            'CLAW_BACK', 'REPAYMENT', 'ADJUST', 'EXCHANGE', 'EXPIRE', 'UNEXPIRE', 'UNEXPIRY', 'FUND', 'CLOSE', 'ALERT',
            'FORGET'
        )
    ),
    CONSTRAINT journal_entry_whole CHECK (
        (amount <> 0) = (sequence IS NOT NULL)
        AND (amount <> 0) = (balance IS NOT NULL)
        AND (amount = 0 OR wallet_id IS NOT NULL)
    ),
    CONSTRAINT journal_refusal_moves_nothing CHECK (
        refusal IS NULL OR (amount = 0 AND budget_amount IS NULL AND debt_amount IS NULL)
    ),
    CONSTRAINT journal_budget_named CHECK (budget_amount IS NULL OR budget_id IS NOT NULL),
    CONSTRAINT journal_leg_counts CHECK (leg >= 0)
);

-- Both sides of each movement, as an accountant reads them: of a row, the lines of one asset sum to zero.
CREATE VIEW entries AS
SELECT
    journal.program_id, journal.request_id, journal.leg, journal.kind, journal.posted_at, journal.wallet_id,
    side.account, side.amount
FROM journal
CROSS JOIN LATERAL (
    VALUES
        ('wallet', journal.amount),
        ('debt', -coalesce(journal.debt_amount, 0)),
        ('budget', coalesce(journal.budget_amount, 0)),
        (
            CASE journal.kind
                WHEN 'EARN' THEN 'issuance'
                WHEN 'CANCEL' THEN 'issuance'
                WHEN 'FUND' THEN 'issuance'
                WHEN 'CLOSE' THEN 'issuance'
                WHEN 'SPEND' THEN 'redeemed'
                WHEN 'REVERSE' THEN 'redeemed'
                WHEN 'EXPIRY' THEN 'breakage'
                WHEN 'UNEXPIRY' THEN 'breakage'
                WHEN 'CLAW_BACK' THEN 'clawback'
                WHEN 'REPAYMENT' THEN 'clawback'
                WHEN 'ADJUST' THEN 'adjustment'
                WHEN 'EXCHANGE' THEN 'exchange'
                ELSE 'none'
            END,
            coalesce(journal.debt_amount, 0) - journal.amount - coalesce(journal.budget_amount, 0)
        )
) AS side (account, amount)
WHERE side.amount <> 0;

-- The rounding account of exchanges: what was taken is worth what was given and so many parts of a smallest unit, each
-- one through the denominator of the rate.
CREATE VIEW roundings AS
SELECT
    journal.program_id, wallets.asset AS from_asset, journal.detail ->> 'to_asset' AS to_asset,
    (journal.detail ->> 'rate_version')::integer AS rate_version,
    (journal.detail ->> 'denominator')::bigint AS denominator,
    count(*) AS exchanges, sum((journal.detail ->> 'rounding')::bigint) AS parts
FROM journal
INNER JOIN wallets ON wallets.program_id = journal.program_id AND wallets.wallet_id = journal.wallet_id
WHERE journal.kind = 'EXCHANGE' AND journal.leg = 0 AND journal.refusal IS NULL
GROUP BY 1, 2, 3, 4, 5;

-- A parcel of value with its own life. Its number is that of the entry that made it.
-- amount = remaining + what allocations took.
CREATE TABLE lots (
    wallet_id bigint NOT NULL,
    number bigint NOT NULL,
    amount bigint NOT NULL,
    -- Neither spent, held nor taken back; of a lot that is over, what expired.
    remaining bigint NOT NULL,
    -- Spendable at t if effective_at <= t < expires_at. Null while an earn is pending, and once it was cancelled.
    effective_at timestamptz,
    -- Null means never.
    expires_at timestamptz,
    -- When the fact occurred; null where that is effective_at.
    occurred_at timestamptz,
    -- What claw-backs claimed of it, recovered or not; null where none did.
    clawed_back bigint,
    priority smallint NOT NULL,
    is_promotional boolean NOT NULL,
    -- Whether something remains that has not been booked as expired.
    is_open boolean NOT NULL,
    program_id text NOT NULL,
    -- The policy that computes its end; null where the end was given.
    expiry_policy text,
    -- What made it: ADJUST, EXCHANGE or UNEXPIRY; null where it was earned.
    origin text,
    CONSTRAINT lots_key PRIMARY KEY (program_id, wallet_id, number),
    CONSTRAINT lots_amount_positive CHECK (amount > 0),
    CONSTRAINT lots_parts_within_amount CHECK (remaining BETWEEN 0 AND amount),
    CONSTRAINT lots_clawed_back_within_amount CHECK (clawed_back BETWEEN 0 AND amount),
    CONSTRAINT lots_open_has_rest CHECK (remaining > 0 OR NOT is_open),
    -- Equal where it was ended in the instant in which it took effect.
    CONSTRAINT lots_life_not_negative CHECK (expires_at >= effective_at)
);

-- What a wallet has, by when it ends: what is read and spent costs no more in a wallet with a long history.
CREATE INDEX lots_open ON lots (program_id, wallet_id, expires_at)
WHERE is_open;

-- What has expired and is yet to be booked.
CREATE INDEX lots_to_expire ON lots (program_id, expires_at)
WHERE is_open AND expires_at IS NOT NULL AND effective_at IS NOT NULL;

-- A reservation of lots: ACTIVE until it is captured, released or over. An ACTIVE hold whose expires_at has passed
-- reserves nothing any more, whether that is booked or not.
CREATE TABLE holds (
    program_id text NOT NULL,
    -- The request id of the hold.
    hold_id uuid NOT NULL,
    wallet_id bigint NOT NULL,
    amount bigint NOT NULL,
    -- What a capture spent of it; null where there is none.
    captured bigint,
    state text NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When it stopped reserving; null while it is ACTIVE.
    ended_at timestamptz,
    -- The request id of the capture; null where there is none.
    capture_id uuid,
    cause_redemption_id text,
    -- What the caller called it.
    request_name text NOT NULL,
    CONSTRAINT holds_key PRIMARY KEY (program_id, hold_id),
    CONSTRAINT holds_capture_once UNIQUE (program_id, capture_id),
    CONSTRAINT holds_amount_positive CHECK (amount > 0),
    CONSTRAINT holds_captured_within_amount CHECK (captured BETWEEN 1 AND amount),
    CONSTRAINT holds_state_known CHECK (state IN ('ACTIVE', 'CAPTURED', 'RELEASED', 'TIMED_OUT')),
    CONSTRAINT holds_end_told CHECK ((state = 'ACTIVE') = (ended_at IS NULL)),
    CONSTRAINT holds_capture_told CHECK (
        (state = 'CAPTURED') = (capture_id IS NOT NULL) AND (state = 'CAPTURED') = (captured IS NOT NULL)
    )
);

CREATE INDEX holds_by_wallet ON holds (program_id, wallet_id, placed_at);

-- What reserves something of a wallet.
CREATE INDEX holds_active ON holds (program_id, wallet_id) WHERE state = 'ACTIVE';

-- Holds that may be over and yet to be booked.
CREATE INDEX holds_to_end ON holds (program_id, expires_at) WHERE state = 'ACTIVE';

-- Which lot gave how much to which operation, and what came back: the exact way there and back.
CREATE TABLE allocations (
    wallet_id bigint NOT NULL,
    lot_number bigint NOT NULL,
    -- Positive: taken from the lot. Negative: given back to it.
    amount bigint NOT NULL,
    -- When it took effect.
    allocated_at timestamptz NOT NULL,
    -- When the lot was to expire then; null means never.
    lot_expires_at timestamptz,
    -- The request id of the operation that took.
    root_id uuid NOT NULL,
    -- The request id of the operation that took or gave back.
    operation_id uuid NOT NULL,
    -- Counts the allocations of one root from 0: the order in which the lots were touched.
    place integer NOT NULL,
    program_id text NOT NULL,
    -- The kind of the root.
    kind text NOT NULL,
    CONSTRAINT allocations_key PRIMARY KEY (program_id, wallet_id, root_id, place),
    CONSTRAINT allocations_amount_not_zero CHECK (amount <> 0),
    CONSTRAINT allocations_place_counts CHECK (place >= 0),
    CONSTRAINT allocations_kind_known CHECK (
        kind IN ('HOLD', 'SPEND', 'ADJUST', 'CLAW_BACK', 'REPAYMENT', 'EXCHANGE', 'UNEXPIRY', 'CANCEL')
    )
);

-- An account that earns come out of. funded = remaining + held + given, over all its shards.
CREATE TABLE budgets (
    program_id text NOT NULL,
    budget_id text NOT NULL,
    asset text NOT NULL,
    shard_count smallint NOT NULL,
    -- Shares of what was put in, in per cent, at which the feed tells.
    alert_percents smallint [] NOT NULL,
    -- The largest of them that was reached when the budget was last looked at, 0 where none was; null until somebody
    -- has looked. Whoever changes it has locked all shards.
    told_percent smallint,
    -- Counts what the feed was told of it, so that each alert has an id of its own.
    alert_count bigint NOT NULL DEFAULT 0,
    -- The request that made it, and its content.
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT budgets_key PRIMARY KEY (program_id, budget_id),
    CONSTRAINT budgets_request_once UNIQUE (program_id, request_id),
    CONSTRAINT budgets_shards_in_limits CHECK (shard_count BETWEEN 1 AND 64)
);

-- A part of a budget. Writers take from one of them and lock all only where that one does not do.
CREATE TABLE budget_shards (
    program_id text NOT NULL,
    budget_id text NOT NULL,
    shard smallint NOT NULL,
    remaining bigint NOT NULL DEFAULT 0,
    -- What pending earns reserve, and what members earned: of one shard below zero where another one had given it.
    held bigint NOT NULL DEFAULT 0,
    given bigint NOT NULL DEFAULT 0,
    is_closed boolean NOT NULL DEFAULT false,
    CONSTRAINT budget_shards_key PRIMARY KEY (program_id, budget_id, shard),
    CONSTRAINT budget_shards_remaining_in_limits CHECK (remaining >= 0),
    CONSTRAINT budget_shards_closed_is_empty CHECK (NOT is_closed OR remaining = 0)
) WITH (fillfactor = 50);

-- What an exchange gives for what it takes; the newest version is in force.
CREATE TABLE exchange_rates (
    program_id text NOT NULL,
    from_asset text NOT NULL,
    to_asset text NOT NULL,
    version integer NOT NULL,
    -- So many smallest units of to_asset for so many of from_asset.
    numerator bigint NOT NULL,
    denominator bigint NOT NULL,
    set_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT exchange_rates_key PRIMARY KEY (program_id, from_asset, to_asset, version),
    CONSTRAINT exchange_rates_request_once UNIQUE (program_id, request_id),
    CONSTRAINT exchange_rates_positive CHECK (numerator > 0 AND denominator > 0 AND version > 0),
    CONSTRAINT exchange_rates_between_two CHECK (from_asset <> to_asset)
);

-- What share of an issue is expected to be redeemed. Only ever added to, and never for the past, so that the report of
-- an instant stays what it is.
CREATE TABLE redemption_estimates (
    program_id text NOT NULL,
    -- The request that stored it, and its content.
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    asset text NOT NULL,
    -- Empty speaks for all campaigns that have none of their own.
    campaign_id text NOT NULL,
    redemption_rate_bps integer NOT NULL,
    -- From when it is in force, and when it was stored.
    valid_from timestamptz NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT redemption_estimates_key PRIMARY KEY (program_id, request_id),
    CONSTRAINT redemption_estimates_rate_is_share CHECK (redemption_rate_bps BETWEEN 1 AND 10000),
    CONSTRAINT redemption_estimates_not_back_dated CHECK (valid_from >= set_at)
);

-- What was sealed: some rows of a partition under one hash, and the hash of the block before. The columns up to
-- sealed_at are the header that is hashed. Append-only by privilege.
CREATE TABLE seal_blocks (
    program_id text NOT NULL,
    partition smallint NOT NULL,
    -- Blocks of a partition count from 1.
    number bigint NOT NULL,
    -- The positions in the journal that it covers, both included.
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    previous_hash bytea NOT NULL,
    root bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    -- Which columns its rows were sealed with. It is the first value of each leaf and so under the root, too.
    format smallint NOT NULL,
    CONSTRAINT seal_blocks_key PRIMARY KEY (program_id, partition, number),
    CONSTRAINT seal_blocks_rows_once UNIQUE (program_id, partition, first_position),
    CONSTRAINT seal_blocks_not_empty CHECK (last_position >= first_position),
    CONSTRAINT seal_blocks_hashes_whole CHECK (octet_length(previous_hash) = 32 AND octet_length(root) = 32)
);

-- What was sealed on a day.
CREATE INDEX seal_blocks_by_time ON seal_blocks (program_id, sealed_at);

-- How far a program was sealed when a day ended in UTC, signed: one row for each day on which something was sealed.
-- Append-only by privilege.
CREATE TABLE seal_heads (
    program_id text NOT NULL,
    day date NOT NULL,
    -- The lines that were signed by Ed25519, and the public half of the key.
    content bytea NOT NULL,
    signature bytea NOT NULL,
    public_key bytea NOT NULL,
    signed_at timestamptz NOT NULL,
    CONSTRAINT seal_heads_key PRIMARY KEY (program_id, day)
);

-- The kernel's feed: heads, and the cursors and dead letters of followers that live in this database. Its events are
-- the journal.
CREATE TABLE feed_heads (
    program_id text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT feed_heads_key PRIMARY KEY (program_id, partition),
    CONSTRAINT feed_heads_partition_in_limits CHECK (partition BETWEEN 0 AND 63)
) WITH (fillfactor = 50);

CREATE TABLE feed_cursors (
    program_id text NOT NULL,
    follower text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    moved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT feed_cursors_key PRIMARY KEY (program_id, follower, partition)
);

CREATE TABLE feed_dead_letters (
    program_id text NOT NULL,
    follower text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    member_id text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    posted_at timestamptz NOT NULL,
    error text NOT NULL,
    CONSTRAINT feed_dead_letters_key PRIMARY KEY (program_id, follower, partition, position)
);

-- What the runtime role may do: what was written once is never changed.
GRANT SELECT, INSERT ON journal, allocations, budgets, exchange_rates, redemption_estimates TO ledger_service;
GRANT UPDATE (told_percent, alert_count) ON budgets TO ledger_service;
GRANT SELECT, INSERT ON seal_blocks, seal_heads TO ledger_service;
GRANT SELECT, INSERT, UPDATE ON wallets, lots, holds, budget_shards, feed_heads, feed_cursors TO ledger_service;
GRANT SELECT, INSERT, DELETE ON feed_dead_letters TO ledger_service;
GRANT SELECT ON entries, roundings, schema_migrations TO ledger_service;
