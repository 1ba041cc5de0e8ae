-- The tables of the gamification service. Every key begins with program_id, so that they can be distributed by it.
-- Replayed migrations give exactly this schema.

-- The revision rises with every change of a definition, so that all know when what they compiled is old; the row is
-- also the lock that keeps definitions as they are while a batch of events is dealt with.
CREATE TABLE programs (
    program_id text NOT NULL,
    definitions_revision bigint NOT NULL DEFAULT 0,
    CONSTRAINT programs_key PRIMARY KEY (program_id)
);

-- The newest version of each definition.
CREATE TABLE definitions (
    program_id text NOT NULL,
    kind text NOT NULL,
    definition_id text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT definitions_key PRIMARY KEY (program_id, kind, definition_id),
    CONSTRAINT definitions_kind_known CHECK (kind IN ('metric', 'ladder', 'streak', 'badge', 'leaderboard'))
);

-- Every version of every definition, for ever. Append-only by privilege.
CREATE TABLE definition_versions (
    program_id text NOT NULL,
    kind text NOT NULL,
    definition_id text NOT NULL,
    version integer NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT definition_versions_key PRIMARY KEY (program_id, kind, definition_id, version),
    CONSTRAINT definition_versions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT definition_versions_version_counts CHECK (version > 0)
);

-- What of a member matters here, as the program's feed tells it. The row is the lock of all that the member has
-- reached.
CREATE TABLE members (
    program_id text NOT NULL,
    member_id text NOT NULL,
    org_id text NOT NULL DEFAULT '',
    time_zone text NOT NULL DEFAULT '',
    plan text NOT NULL DEFAULT '',
    -- Whether leaderboards show the member: the member's own choice.
    is_ranked boolean NOT NULL DEFAULT true,
    CONSTRAINT members_key PRIMARY KEY (program_id, member_id)
);

-- The sizes of companies.
CREATE INDEX members_by_org ON members (program_id, org_id) WHERE org_id <> '';

-- The few whom leaderboards do not show.
CREATE INDEX members_unranked ON members (program_id, member_id) WHERE NOT is_ranked;

-- One compact row for each event that a metric counts: what tells when a threshold was passed in the order in which
-- events occurred, however they came, and on which days there were any. The local day is kept as it was reckoned once,
-- so that who moves to another zone moves no day of the past. An event counts once: its id and time are the same for
-- ever.
CREATE TABLE metric_events (
    program_id text NOT NULL,
    metric_id text NOT NULL,
    member_id text NOT NULL,
    occurred_at timestamptz NOT NULL,
    event_id text NOT NULL,
    local_date date NOT NULL,
    utc_offset_minutes smallint NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT metric_events_key PRIMARY KEY (program_id, metric_id, member_id, occurred_at, event_id),
    CONSTRAINT metric_events_amount_counts CHECK (amount > 0)
);

-- What metrics come to, for members and for orgs: by local day, week and month, and in all (from -infinity on).
CREATE TABLE metric_values (
    program_id text NOT NULL,
    metric_id text NOT NULL,
    subject text NOT NULL,
    subject_id text NOT NULL,
    period text NOT NULL,
    start_date date NOT NULL,
    amount bigint NOT NULL,
    -- When the value came to be what it is: when the last of its events occurred.
    reached_at timestamptz NOT NULL,
    CONSTRAINT metric_values_key PRIMARY KEY (program_id, metric_id, subject, subject_id, period, start_date),
    CONSTRAINT metric_values_not_negative CHECK (amount >= 0),
    CONSTRAINT metric_values_subject_known CHECK (subject IN ('MEMBER', 'ORG')),
    CONSTRAINT metric_values_period_known CHECK (period IN ('DAY', 'WEEK', 'MONTH', 'ALL_TIME'))
) WITH (fillfactor = 80);

-- Rankings, in their order.
CREATE INDEX metric_values_ranked ON metric_values (
    program_id, metric_id, period, start_date, amount DESC, reached_at, subject_id
) WHERE subject = 'MEMBER';

-- The best value of each member within one period; of equal ones the earliest.
CREATE TABLE records (
    program_id text NOT NULL,
    member_id text NOT NULL,
    metric_id text NOT NULL,
    period text NOT NULL,
    start_date date NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT records_key PRIMARY KEY (program_id, member_id, metric_id, period)
);

-- How each streak stands after all of its days, so that the next day needs none of them.
CREATE TABLE member_streaks (
    program_id text NOT NULL,
    member_id text NOT NULL,
    streak_id text NOT NULL,
    start_date date NOT NULL,
    last_date date NOT NULL,
    length integer NOT NULL,
    longest integer NOT NULL,
    longest_start_date date NOT NULL,
    freezes integer NOT NULL,
    reached_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    last_offset_minutes smallint NOT NULL,
    CONSTRAINT member_streaks_key PRIMARY KEY (program_id, member_id, streak_id),
    CONSTRAINT member_streaks_longest_holds CHECK (length > 0 AND longest >= length)
);

-- What members have reached, each once for its mark, at the time when the event occurred that led there. A late event
-- moves that time; nothing is ever taken away.
CREATE TABLE milestones (
    program_id text NOT NULL,
    member_id text NOT NULL,
    kind text NOT NULL,
    definition_id text NOT NULL,
    mark text NOT NULL,
    value bigint NOT NULL,
    reached_at timestamptz NOT NULL,
    CONSTRAINT milestones_key PRIMARY KEY (program_id, member_id, kind, definition_id, mark),
    CONSTRAINT milestones_kind_known CHECK (kind IN ('LEVEL', 'BADGE', 'STREAK', 'RECORD'))
);

-- Rankings that are closed, and their places, for ever. Append-only by privilege.
CREATE TABLE closed_leaderboards (
    program_id text NOT NULL,
    leaderboard_id text NOT NULL,
    period text NOT NULL,
    start_date date NOT NULL,
    closed_at timestamptz NOT NULL,
    CONSTRAINT closed_leaderboards_key PRIMARY KEY (program_id, leaderboard_id, period, start_date)
);

CREATE TABLE closed_standings (
    program_id text NOT NULL,
    leaderboard_id text NOT NULL,
    period text NOT NULL,
    start_date date NOT NULL,
    place bigint NOT NULL,
    rank bigint NOT NULL,
    member_id text NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT closed_standings_key PRIMARY KEY (program_id, leaderboard_id, period, start_date, place),
    CONSTRAINT closed_standings_member_once UNIQUE (program_id, leaderboard_id, period, start_date, member_id)
);

-- Weekly snapshots of cohorts: each value that some member had, and how many members had less. Append-only by
-- privilege.
CREATE TABLE cohorts (
    program_id text NOT NULL,
    metric_id text NOT NULL,
    week_start_date date NOT NULL,
    -- Empty means any.
    plan text NOT NULL,
    org_size text NOT NULL,
    member_count integer NOT NULL,
    total_amount bigint NOT NULL,
    amounts bigint[] NOT NULL,
    below bigint[] NOT NULL,
    CONSTRAINT cohorts_key PRIMARY KEY (program_id, metric_id, week_start_date, plan, org_size)
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

-- What the runtime role may do: versions, events, rankings that are closed, snapshots and the feed are written once and
-- never changed.
GRANT SELECT, INSERT ON
    definition_versions, metric_events, closed_leaderboards, closed_standings, cohorts, feed_events
TO gamification_service;
GRANT SELECT, INSERT, UPDATE ON
    programs, definitions, members, metric_values, records, member_streaks, milestones, feed_heads, feed_cursors
TO gamification_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON due_work TO gamification_service;
GRANT SELECT, INSERT, DELETE ON feed_dead_letters TO gamification_service;
GRANT SELECT ON schema_migrations TO gamification_service;
