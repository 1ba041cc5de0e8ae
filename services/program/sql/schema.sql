-- The tables of the program service. Every key begins with program_id, so that they can be distributed by it; programs
-- and api_keys are small and are copied to every node. Replayed migrations give exactly this schema.

CREATE TABLE programs (
    program_id text NOT NULL,
    display_name text NOT NULL,
    time_zone text NOT NULL,
    -- Rises with every change of a rule, so that servers know when their compiled rules are old.
    rules_revision bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT programs_key PRIMARY KEY (program_id)
);

CREATE TABLE api_keys (
    key_id text NOT NULL,
    program_id text NOT NULL,
    -- SHA-256 of the secret, which has 256 random bits of its own.
    secret_hash bytea NOT NULL,
    scopes text[] NOT NULL,
    display_name text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while the key is good.
    revoked_at timestamptz,
    CONSTRAINT api_keys_key PRIMARY KEY (key_id)
);

CREATE TABLE members (
    program_id text NOT NULL,
    member_id text NOT NULL,
    email text NOT NULL DEFAULT '',
    display_name text NOT NULL DEFAULT '',
    locale text NOT NULL DEFAULT '',
    time_zone text NOT NULL DEFAULT '',
    -- Null where it is not known.
    birthday date,
    org_id text NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Rises with every change; the etag.
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT members_key PRIMARY KEY (program_id, member_id)
);

-- The newest version of each rule, and whether it can still change.
CREATE TABLE rules (
    program_id text NOT NULL,
    rule_id text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT rules_key PRIMARY KEY (program_id, rule_id)
);

-- Every version of every rule, for ever: what explains a decision. Append-only by privilege.
CREATE TABLE rule_versions (
    program_id text NOT NULL,
    rule_id text NOT NULL,
    version integer NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT rule_versions_key PRIMARY KEY (program_id, rule_id, version),
    CONSTRAINT rule_versions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT rule_versions_version_counts CHECK (version > 0)
);

CREATE TABLE events (
    program_id text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    member_id text NOT NULL,
    org_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    properties jsonb NOT NULL,
    -- How many events led to this one; 0 for an event from outside.
    depth smallint NOT NULL,
    recorded_at timestamptz NOT NULL,
    -- The due work that posts its effects: they are pending while it exists. Null where there are none.
    posting_id uuid,
    -- What clocks showed where it happened; null where the sender does not know.
    utc_offset_minutes smallint,
    CONSTRAINT events_key PRIMARY KEY (program_id, event_id)
);

-- What each rule that matched an event did, and what it saw.
CREATE TABLE decisions (
    program_id text NOT NULL,
    event_id text NOT NULL,
    place smallint NOT NULL,
    rule_id text NOT NULL,
    rule_version integer NOT NULL,
    recipient_id text NOT NULL,
    asset text NOT NULL,
    -- 0 where it did not pay.
    amount bigint NOT NULL,
    -- Null means never.
    expires_at timestamptz,
    -- Why it did not pay: a reason and a message; null where it paid.
    denial jsonb,
    -- What the rule could see of the member; null where it looked at nothing of it.
    member_seen jsonb,
    -- What the ledger is told beside the amount and the end: promotional, campaign, budget, and a rolling expiry with
    -- the zone of when it was decided; null where it is nothing of that.
    terms jsonb,
    -- The caps that the amount counts in: periods and their first days in the zone of the decision; null for none.
    counted jsonb,
    CONSTRAINT decisions_key PRIMARY KEY (program_id, event_id, place),
    CONSTRAINT decisions_paid_or_denied CHECK ((amount > 0) = (denial IS NULL)),
    CONSTRAINT decisions_amount_not_negative CHECK (amount >= 0)
);

-- What became of what an event gave: it was confirmed, or taken back. Append-only by privilege.
CREATE TABLE settlements (
    program_id text NOT NULL,
    event_id text NOT NULL,
    settling text NOT NULL,
    settled_at timestamptz NOT NULL,
    -- Why, in the words of whoever took it back; empty where nothing was said.
    reason text NOT NULL,
    CONSTRAINT settlements_key PRIMARY KEY (program_id, event_id, settling),
    CONSTRAINT settlements_settling_known CHECK (settling IN ('CONFIRM', 'TAKE_BACK'))
);

-- What was paid once and is not paid again; a claim goes only with the denial of what it was made for.
CREATE TABLE rule_claims (
    program_id text NOT NULL,
    rule_id text NOT NULL,
    member_id text NOT NULL,
    claim text NOT NULL,
    event_id text NOT NULL,
    CONSTRAINT rule_claims_key PRIMARY KEY (program_id, rule_id, member_id, claim)
);

-- How much of its caps a member has used.
CREATE TABLE rule_usage (
    program_id text NOT NULL,
    rule_id text NOT NULL,
    member_id text NOT NULL,
    period text NOT NULL,
    -- The first day of the period in the program's zone.
    period_start date NOT NULL,
    amount bigint NOT NULL,
    count bigint NOT NULL,
    CONSTRAINT rule_usage_key PRIMARY KEY (program_id, rule_id, member_id, period, period_start),
    CONSTRAINT rule_usage_not_negative CHECK (amount >= 0 AND count >= 0)
);

CREATE TABLE rewards (
    program_id text NOT NULL,
    reward_id text NOT NULL,
    display_name text NOT NULL,
    description text NOT NULL,
    asset text NOT NULL,
    cost bigint NOT NULL,
    fulfilment text NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT rewards_key PRIMARY KEY (program_id, reward_id),
    CONSTRAINT rewards_request_once UNIQUE (program_id, request_id),
    CONSTRAINT rewards_cost_positive CHECK (cost > 0),
    CONSTRAINT rewards_fulfilment_known CHECK (fulfilment IN ('CODE', 'NONE'))
);

CREATE TABLE reward_codes (
    program_id text NOT NULL,
    reward_id text NOT NULL,
    code text NOT NULL,
    -- Who has it; null while it is in the pool.
    redemption_id uuid,
    CONSTRAINT reward_codes_key PRIMARY KEY (program_id, reward_id, code),
    CONSTRAINT reward_codes_holder_once UNIQUE (program_id, redemption_id)
);

-- The pool.
CREATE INDEX reward_codes_free ON reward_codes (program_id, reward_id) WHERE redemption_id IS NULL;

CREATE TABLE redemptions (
    program_id text NOT NULL,
    redemption_id uuid NOT NULL,
    member_id text NOT NULL,
    reward_id text NOT NULL,
    asset text NOT NULL,
    cost bigint NOT NULL,
    fulfilment text NOT NULL,
    state text NOT NULL,
    -- Empty where there is none (yet), or no more.
    code text NOT NULL DEFAULT '',
    -- The reason, message and metadata; null where it was not refused.
    refusal jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT redemptions_key PRIMARY KEY (program_id, redemption_id),
    CONSTRAINT redemptions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT redemptions_state_known CHECK (
        state IN ('PENDING', 'FULFILLED', 'REFUSED', 'CANCELLING', 'CANCELLED')
    ),
    CONSTRAINT redemptions_refusal_told CHECK ((state = 'REFUSED') = (refusal IS NOT NULL))
);

CREATE INDEX redemptions_by_member ON redemptions (program_id, member_id, redemption_id);

-- The kernel's due work.
CREATE TABLE due_work (
    program_id text NOT NULL,
    kind text NOT NULL,
    work_id uuid NOT NULL,
    payload jsonb NOT NULL,
    due_at timestamptz NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    -- Null while nobody works on it.
    lease_until timestamptz,
    fence bigint NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'WAITING',
    -- Null before the first failure.
    last_error text,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT due_work_key PRIMARY KEY (program_id, kind, work_id),
    CONSTRAINT due_work_state_known CHECK (state IN ('WAITING', 'DEAD'))
);

CREATE INDEX due_work_waiting ON due_work (program_id, kind, due_at) WHERE state = 'WAITING';

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

-- What the runtime role may do: versions, events and the feed are written once and never changed; a decision changes,
-- and its claim goes, only where the ledger refused it.
GRANT SELECT, INSERT ON rule_versions, events, settlements, feed_events TO program_service;
GRANT SELECT, INSERT, DELETE ON rule_claims TO program_service;
GRANT SELECT, INSERT, UPDATE ON
    programs, api_keys, members, rules, decisions, rule_usage, rewards, reward_codes, redemptions, feed_heads,
    feed_cursors
TO program_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON due_work TO program_service;
GRANT SELECT, INSERT, DELETE ON feed_dead_letters TO program_service;
GRANT SELECT ON schema_migrations TO program_service;
