-- The tables of the referral service. Every key begins with program_id, so that they can be distributed by it;
-- link_tags has a row a program and is copied to every node. Replayed migrations give exactly this schema.

-- The newest version of each referral program.
CREATE TABLE referral_programs (
    program_id text NOT NULL,
    referral_program_id text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT referral_programs_key PRIMARY KEY (program_id, referral_program_id)
);

-- Every version of every referral program, for ever: what a referral goes by. Append-only by privilege.
CREATE TABLE referral_program_versions (
    program_id text NOT NULL,
    referral_program_id text NOT NULL,
    version integer NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT referral_program_versions_key PRIMARY KEY (program_id, referral_program_id, version),
    CONSTRAINT referral_program_versions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT referral_program_versions_version_counts CHECK (version > 0)
);

-- What links begin with: it says which program a code belongs to before anything else is known.
CREATE TABLE link_tags (
    tag text NOT NULL,
    program_id text NOT NULL,
    CONSTRAINT link_tags_key PRIMARY KEY (tag),
    CONSTRAINT link_tags_program_once UNIQUE (program_id)
);

CREATE TABLE codes (
    program_id text NOT NULL,
    -- The code with all that looks alike made equal: two codes that people could mistake are one.
    code_key text NOT NULL,
    code text NOT NULL,
    member_id text NOT NULL,
    referral_program_id text NOT NULL,
    is_vanity boolean NOT NULL,
    click_count bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL,
    CONSTRAINT codes_key PRIMARY KEY (program_id, code_key),
    CONSTRAINT codes_click_count_not_negative CHECK (click_count >= 0)
);

CREATE INDEX codes_by_member ON codes (program_id, member_id, code_key);

-- A member has one random code a referral program.
CREATE UNIQUE INDEX codes_random_once ON codes (program_id, member_id, referral_program_id) WHERE NOT is_vanity;

-- Which request was answered with which code. Append-only by privilege.
CREATE TABLE code_requests (
    program_id text NOT NULL,
    request_id uuid NOT NULL,
    code_key text NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT code_requests_key PRIMARY KEY (program_id, request_id)
);

-- The clicks that people made, until they can no longer lead to a referral. Hashes are keyed, and empty where a client
-- did not say.
CREATE TABLE clicks (
    program_id text NOT NULL,
    click_id uuid NOT NULL,
    code_key text NOT NULL,
    clicked_at timestamptz NOT NULL,
    ip_hash bytea NOT NULL,
    subnet_hash bytea NOT NULL,
    agent_hash bytea NOT NULL,
    CONSTRAINT clicks_key PRIMARY KEY (program_id, click_id)
);

-- What members were seen with, as keyed hashes: whose are equal, and nothing else, can be told from them.
CREATE TABLE signals (
    program_id text NOT NULL,
    kind text NOT NULL,
    value_hash bytea NOT NULL,
    member_id text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    CONSTRAINT signals_key PRIMARY KEY (program_id, kind, value_hash, member_id),
    CONSTRAINT signals_kind_known CHECK (
        kind IN ('EMAIL', 'EMAIL_LOOSE', 'EMAIL_STEM', 'IP', 'SUBNET', 'AGENT', 'DEVICE', 'PAYMENT')
    )
);

CREATE INDEX signals_by_member ON signals (program_id, member_id);

-- Who refers: a row to lock while it is counted what a referrer has, so that no cap is passed.
CREATE TABLE referrers (
    program_id text NOT NULL,
    member_id text NOT NULL,
    CONSTRAINT referrers_key PRIMARY KEY (program_id, member_id)
);

CREATE TABLE referrals (
    program_id text NOT NULL,
    referral_id uuid NOT NULL,
    referral_program_id text NOT NULL,
    referral_program_version integer NOT NULL,
    referrer_id text NOT NULL,
    referee_id text NOT NULL,
    code text NOT NULL,
    -- When the link was clicked; null where the code was typed.
    clicked_at timestamptz,
    signed_up_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL,
    decision text NOT NULL,
    end_reason text NOT NULL,
    score integer NOT NULL,
    findings jsonb NOT NULL,
    -- Empty before it qualified.
    qualifying_event_id text NOT NULL,
    -- What a refund must name; empty before it qualified.
    payment text NOT NULL,
    -- Null before it qualified.
    qualified_at timestamptz,
    hold_ends_at timestamptz,
    -- How many events led to the one that changed it last; 0 for one from outside.
    depth smallint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    -- Rises with every change; the etag.
    version bigint NOT NULL,
    CONSTRAINT referrals_key PRIMARY KEY (program_id, referral_id),
    CONSTRAINT referrals_referee_once UNIQUE (program_id, referee_id),
    CONSTRAINT referrals_state_known CHECK (
        state IN ('SIGNED_UP', 'QUALIFIED', 'HELD', 'REWARDED', 'REJECTED', 'EXPIRED', 'REVERSED')
    ),
    CONSTRAINT referrals_decision_known CHECK (decision IN ('PENDING', 'ALLOW', 'HOLD', 'REJECT')),
    CONSTRAINT referrals_qualified_told CHECK ((qualified_at IS NULL) = (state IN ('SIGNED_UP', 'EXPIRED'))),
    CONSTRAINT referrals_hold_told CHECK ((hold_ends_at IS NULL) = (qualified_at IS NULL)),
    CONSTRAINT referrals_end_told CHECK ((end_reason = '') = (state NOT IN ('REJECTED', 'EXPIRED', 'REVERSED'))),
    CONSTRAINT referrals_rewarded_if_allowed CHECK (state <> 'REWARDED' OR decision = 'ALLOW'),
    CONSTRAINT referrals_held_if_decided CHECK (state <> 'HELD' OR decision IN ('HOLD', 'ALLOW'))
);

CREATE INDEX referrals_by_referrer ON referrals (program_id, referrer_id, referral_id);

-- Who waits for a reviewer.
CREATE INDEX referrals_waiting ON referrals (program_id, referral_id) WHERE state = 'HELD' AND decision = 'HOLD';

-- What the fraud checks found, each time that they looked. Append-only by privilege.
CREATE TABLE assessments (
    program_id text NOT NULL,
    referral_id uuid NOT NULL,
    -- The version of the referral that it made.
    version bigint NOT NULL,
    decision text NOT NULL,
    score integer NOT NULL,
    findings jsonb NOT NULL,
    assessed_at timestamptz NOT NULL,
    CONSTRAINT assessments_key PRIMARY KEY (program_id, referral_id, version)
);

-- What people decided, once a referral. Append-only by privilege.
CREATE TABLE reviews (
    program_id text NOT NULL,
    referral_id uuid NOT NULL,
    is_approved boolean NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    -- The credential that said so.
    subject text NOT NULL,
    reviewed_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT reviews_key PRIMARY KEY (program_id, referral_id),
    CONSTRAINT reviews_request_once UNIQUE (program_id, request_id)
);

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

-- What the runtime role may do: versions, answers, assessments, reviews and the feed are written once and never
-- changed.
GRANT SELECT, INSERT ON
    referral_program_versions, link_tags, code_requests, referrers, assessments, reviews, feed_events
TO referral_service;
GRANT SELECT, INSERT, UPDATE ON
    referral_programs, codes, signals, referrals, feed_heads, feed_cursors
TO referral_service;
-- A row of referrers has nothing but its key, and is locked by who counts.
GRANT UPDATE ON referrers TO referral_service;
GRANT SELECT, INSERT, DELETE ON clicks, feed_dead_letters TO referral_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON due_work TO referral_service;
GRANT SELECT ON schema_migrations TO referral_service;
