-- The ledger's tables. Amounts are whole smallest units. Every key begins with program_id, so that the tables can be
-- distributed by it. Replayed migrations give exactly this schema.

-- A member's holding of one asset. The row is the only thing that writers of one member wait for each other at.
-- The member's own id stands here and nowhere else in the ledger: the journal knows the wallet only.
CREATE TABLE wallets (
    program_id text NOT NULL,
    wallet_id uuid NOT NULL,
    member_id text NOT NULL,
    asset text NOT NULL,
    -- The number of the newest entry: entries of a wallet count from 1 without gaps.
    sequence bigint NOT NULL DEFAULT 0,
    -- The sum of all entries; includes what holds reserve and what has expired and is yet to be booked.
    balance bigint NOT NULL DEFAULT 0,
    CONSTRAINT wallets_key PRIMARY KEY (program_id, wallet_id),
    CONSTRAINT wallets_owner_once UNIQUE (program_id, member_id, asset),
    CONSTRAINT wallets_sequence_counts CHECK (sequence >= 0),
    CONSTRAINT wallets_balance_in_limits CHECK (balance BETWEEN 0 AND 1000000000000000)
) WITH (fillfactor = 70);

-- What happened, for ever: one row an outcome, and a further leg where an operation moves more than once. Append-only
-- by privilege. A row with an amount is an entry: it moves value between a wallet and an account of the program, so
-- each row sums to zero by itself. A row without one is an outcome that moved nothing: a hold, a release, a refusal.
CREATE TABLE journal (
    program_id text NOT NULL,
    -- The request id of the caller (hashed where it is no UUID), or one derived from the cause.
    request_id uuid NOT NULL,
    leg smallint NOT NULL,
    kind text NOT NULL,
    -- A hash per field of the request; null where Plaudit itself made the operation.
    fingerprint bytea,
    -- Null for a refusal that found no wallet.
    wallet_id uuid,
    -- The account of the program that the amount comes from or goes to; null where nothing moves.
    account text,
    -- The change of the wallet; 0 where nothing moves.
    amount bigint NOT NULL,
    -- The number of the entry in its wallet, and the balance after it; null where nothing moves.
    sequence bigint,
    balance bigint,
    -- What was reserved or freed, where nothing moves; otherwise null.
    held_amount bigint,
    -- The hold that is captured or freed, the capture that is reversed, the lot that expires; otherwise null.
    target_id uuid,
    occurred_at timestamptz NOT NULL,
    posted_at timestamptz NOT NULL,
    -- The end of the new lot or hold; null where there is none or it has no end.
    expires_at timestamptz,
    -- The reason and its metadata; null where the operation happened.
    refusal jsonb,
    -- Why it happened, as far as the caller said so.
    cause_event_id text,
    cause_rule_id text,
    cause_rule_version integer,
    cause_redemption_id text,
    CONSTRAINT journal_key PRIMARY KEY (program_id, request_id, leg),
    CONSTRAINT journal_wallet_order UNIQUE (program_id, wallet_id, sequence),
    CONSTRAINT journal_kind_known CHECK (
        kind IN ('EARN', 'HOLD', 'CAPTURE', 'RELEASE', 'TIMEOUT', 'REVERSE', 'EXPIRY')
    ),
    CONSTRAINT journal_account_known CHECK (account IN ('issuance', 'redeemed', 'breakage')),
    CONSTRAINT journal_entry_whole CHECK (
        (amount <> 0) = (sequence IS NOT NULL)
        AND (amount <> 0) = (balance IS NOT NULL)
        AND (amount <> 0) = (account IS NOT NULL)
    ),
    CONSTRAINT journal_refusal_moves_nothing CHECK (refusal IS NULL OR amount = 0),
    CONSTRAINT journal_leg_counts CHECK (leg >= 0)
);

-- One capture is reversed once.
CREATE UNIQUE INDEX journal_reversed_once ON journal (program_id, target_id)
WHERE kind = 'REVERSE' AND refusal IS NULL;

-- A parcel of value with its own life, made by one earn. amount = remaining + expired + what allocations took.
CREATE TABLE lots (
    program_id text NOT NULL,
    wallet_id uuid NOT NULL,
    -- The request id of the earn.
    lot_id uuid NOT NULL,
    amount bigint NOT NULL,
    -- Neither spent, held nor booked as expired.
    remaining bigint NOT NULL,
    -- Booked as expired.
    expired bigint NOT NULL DEFAULT 0,
    priority smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    -- Spendable at t if effective_at <= t < expires_at.
    effective_at timestamptz NOT NULL,
    -- Null means never.
    expires_at timestamptz,
    CONSTRAINT lots_key PRIMARY KEY (program_id, wallet_id, lot_id),
    CONSTRAINT lots_amount_positive CHECK (amount > 0),
    CONSTRAINT lots_parts_within_amount CHECK (remaining >= 0 AND expired >= 0 AND remaining + expired <= amount),
    CONSTRAINT lots_life_not_empty CHECK (expires_at > effective_at)
) WITH (fillfactor = 90);

-- What has expired and is yet to be booked.
CREATE INDEX lots_to_expire ON lots (program_id, expires_at) WHERE remaining > 0 AND expires_at IS NOT NULL;

-- A reservation of lots: ACTIVE until it is captured, released or over. An ACTIVE hold whose expires_at has passed
-- reserves nothing any more, whether that is booked or not.
CREATE TABLE holds (
    program_id text NOT NULL,
    -- The request id of the hold.
    hold_id uuid NOT NULL,
    wallet_id uuid NOT NULL,
    amount bigint NOT NULL,
    state text NOT NULL,
    placed_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When it stopped reserving; null while it is ACTIVE.
    ended_at timestamptz,
    -- The request id of the capture; null where there is none.
    capture_id uuid,
    -- When the capture was reversed; null where it was not.
    reversed_at timestamptz,
    cause_redemption_id text,
    CONSTRAINT holds_key PRIMARY KEY (program_id, hold_id),
    CONSTRAINT holds_capture_once UNIQUE (program_id, capture_id),
    CONSTRAINT holds_amount_positive CHECK (amount > 0),
    CONSTRAINT holds_state_known CHECK (state IN ('ACTIVE', 'CAPTURED', 'RELEASED', 'TIMED_OUT')),
    CONSTRAINT holds_end_told CHECK ((state = 'ACTIVE') = (ended_at IS NULL)),
    CONSTRAINT holds_capture_told CHECK ((state = 'CAPTURED') = (capture_id IS NOT NULL))
);

CREATE INDEX holds_by_wallet ON holds (program_id, wallet_id);

-- Holds that may be over and yet to be booked.
CREATE INDEX holds_to_end ON holds (program_id, expires_at) WHERE state = 'ACTIVE';

-- Which lot gave how much to which hold, and what came back: the exact way there and back.
CREATE TABLE allocations (
    program_id text NOT NULL,
    wallet_id uuid NOT NULL,
    -- The request id of the operation that took or gave back.
    operation_id uuid NOT NULL,
    lot_id uuid NOT NULL,
    hold_id uuid NOT NULL,
    -- Positive: taken from the lot. Negative: given back to it.
    amount bigint NOT NULL,
    -- When it took effect.
    allocated_at timestamptz NOT NULL,
    -- The order in which the lots were touched, from 0.
    place integer NOT NULL,
    CONSTRAINT allocations_key PRIMARY KEY (program_id, wallet_id, operation_id, lot_id),
    CONSTRAINT allocations_amount_not_zero CHECK (amount <> 0)
);

CREATE INDEX allocations_by_hold ON allocations (program_id, hold_id);

-- The kernel's feed: heads, events, and the cursors and dead letters of followers that live in this database.
CREATE TABLE feed_heads (
    program_id text NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    CONSTRAINT feed_heads_key PRIMARY KEY (program_id, partition),
    CONSTRAINT feed_heads_partition_in_limits CHECK (partition BETWEEN 0 AND 63)
) WITH (fillfactor = 50);

CREATE TABLE feed_events (
    program_id text NOT NULL,
    posted_at timestamptz NOT NULL,
    partition integer NOT NULL,
    position bigint NOT NULL,
    event_id uuid NOT NULL,
    member_id text NOT NULL,
    type text NOT NULL,
    payload bytea NOT NULL,
    CONSTRAINT feed_events_key PRIMARY KEY (program_id, partition, position)
);

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

-- What the runtime role may do: the journal and the feed are written once and never changed.
GRANT SELECT, INSERT ON journal, allocations, feed_events TO ledger_service;
GRANT SELECT, INSERT, UPDATE ON wallets, lots, holds, feed_heads, feed_cursors TO ledger_service;
GRANT SELECT, INSERT, DELETE ON feed_dead_letters TO ledger_service;
GRANT SELECT ON schema_migrations TO ledger_service;
