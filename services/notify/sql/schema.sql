-- The tables of the notify service. Every key begins with program_id, so that they can be distributed by it. Replayed
-- migrations give exactly this schema.

-- How each program writes to its members, and the lock under which that changes.
CREATE TABLE programs (
    program_id text NOT NULL,
    -- Null until somebody has said how the program writes.
    settings jsonb,
    -- Rises with every change of the settings; the etag.
    version bigint NOT NULL DEFAULT 0,
    -- Rises with every change of settings, triggers, templates and endpoints, so that what is compiled is known as old.
    revision bigint NOT NULL DEFAULT 0,
    updated_at timestamptz NOT NULL,
    CONSTRAINT programs_key PRIMARY KEY (program_id)
);

-- What messages need to know of members, as the program's feed told it.
CREATE TABLE members (
    program_id text NOT NULL,
    member_id text NOT NULL,
    email text NOT NULL DEFAULT '',
    display_name text NOT NULL DEFAULT '',
    locale text NOT NULL DEFAULT '',
    -- The member's own zone; empty where there is none.
    time_zone text NOT NULL DEFAULT '',
    -- The zone that counts: the member's own, or the program's.
    zone text NOT NULL,
    -- Null where it is not known.
    birthday date,
    -- The month times 100 plus the day of the birthday; null where it is not known.
    birthday_day smallint,
    org_id text NOT NULL DEFAULT '',
    attributes jsonb NOT NULL DEFAULT '{}',
    joined_at timestamptz NOT NULL,
    -- The month times 100 plus the day on which the member joined, in UTC.
    joined_day smallint NOT NULL,
    -- The time of the last event; null where there was none.
    active_at timestamptz,
    CONSTRAINT members_key PRIMARY KEY (program_id, member_id)
);

CREATE INDEX members_by_zone ON members (program_id, zone, member_id);
CREATE INDEX members_by_birthday ON members (program_id, zone, birthday_day) WHERE birthday_day IS NOT NULL;
CREATE INDEX members_by_activity ON members (program_id, zone, active_at) WHERE active_at IS NOT NULL;

-- How often each thing happened to a member on each of the member's days.
CREATE TABLE activity (
    program_id text NOT NULL,
    member_id text NOT NULL,
    kind text NOT NULL,
    day date NOT NULL,
    count bigint NOT NULL,
    -- The sum of what is counted in amounts, such as points; 0 for events.
    amount bigint NOT NULL,
    CONSTRAINT activity_key PRIMARY KEY (program_id, member_id, kind, day)
);

-- The same over all days.
CREATE TABLE activity_totals (
    program_id text NOT NULL,
    member_id text NOT NULL,
    kind text NOT NULL,
    count bigint NOT NULL,
    amount bigint NOT NULL,
    CONSTRAINT activity_totals_key PRIMARY KEY (program_id, member_id, kind)
);

-- When value of a member ends, as far as it was told; how much of it is left is the ledger's to say.
CREATE TABLE expiries (
    program_id text NOT NULL,
    member_id text NOT NULL,
    asset text NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT expiries_key PRIMARY KEY (program_id, member_id, asset, expires_at)
);

CREATE INDEX expiries_by_end ON expiries (program_id, asset, expires_at);

-- The next day that each zone turns to.
CREATE TABLE zone_days (
    program_id text NOT NULL,
    zone text NOT NULL,
    next_day date NOT NULL,
    CONSTRAINT zone_days_key PRIMARY KEY (program_id, zone)
);

-- The newest version of each trigger.
CREATE TABLE triggers (
    program_id text NOT NULL,
    trigger_id text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT triggers_key PRIMARY KEY (program_id, trigger_id)
);

-- Every version of every trigger, for ever: what explains a decision. Append-only by privilege.
CREATE TABLE trigger_versions (
    program_id text NOT NULL,
    trigger_id text NOT NULL,
    version integer NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT trigger_versions_key PRIMARY KEY (program_id, trigger_id, version),
    CONSTRAINT trigger_versions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT trigger_versions_version_counts CHECK (version > 0)
);

-- The newest version of each template.
CREATE TABLE templates (
    program_id text NOT NULL,
    template_id text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT templates_key PRIMARY KEY (program_id, template_id)
);

-- Every version of every template, for ever. Append-only by privilege.
CREATE TABLE template_versions (
    program_id text NOT NULL,
    template_id text NOT NULL,
    version integer NOT NULL,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    CONSTRAINT template_versions_key PRIMARY KEY (program_id, template_id, version),
    CONSTRAINT template_versions_request_once UNIQUE (program_id, request_id),
    CONSTRAINT template_versions_version_counts CHECK (version > 0)
);

-- What was decided for each cause, trigger, member and channel: one row, which never changes. Append-only by privilege.
CREATE TABLE decisions (
    program_id text NOT NULL,
    -- Derived from trigger, member, channel and cause, or from what the trigger counts as one.
    decision_id uuid NOT NULL,
    trigger_id text NOT NULL,
    trigger_version integer NOT NULL,
    member_id text NOT NULL,
    channel text NOT NULL,
    cause_type text NOT NULL,
    cause_id text NOT NULL,
    outcome text NOT NULL,
    -- Empty where it is sent at once.
    reason text NOT NULL,
    -- Null where nothing is sent.
    delivery_id uuid,
    decided_at timestamptz NOT NULL,
    CONSTRAINT decisions_key PRIMARY KEY (program_id, decision_id),
    CONSTRAINT decisions_outcome_known CHECK (outcome IN ('SEND', 'POSTPONED', 'NOT_SENT')),
    CONSTRAINT decisions_sent_or_explained CHECK ((outcome = 'NOT_SENT') = (delivery_id IS NULL))
);

CREATE INDEX decisions_by_member ON decisions (program_id, member_id, decided_at DESC, decision_id DESC);

CREATE TABLE deliveries (
    program_id text NOT NULL,
    delivery_id uuid NOT NULL,
    -- Empty for a test of a template and for an endpoint.
    trigger_id text NOT NULL,
    trigger_version integer NOT NULL,
    template_id text NOT NULL,
    -- Null until it is sent.
    template_version integer,
    -- Empty for a test of a template.
    member_id text NOT NULL,
    channel text NOT NULL,
    topic text NOT NULL,
    priority smallint NOT NULL,
    is_transactional boolean NOT NULL,
    state text NOT NULL,
    -- Why it waits or was not sent; empty where there is nothing to say.
    reason text NOT NULL DEFAULT '',
    send_at timestamptz NOT NULL,
    -- What it gathers, while more may come; null where it gathers nothing.
    gather_key text,
    -- The address of a test, and the endpoint that is told; empty for members.
    address text NOT NULL DEFAULT '',
    -- The language of a test; empty for members.
    locale text NOT NULL DEFAULT '',
    -- The local day of the member on which it was sent; null until then.
    sent_day date,
    -- How many events led to it.
    depth smallint NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null while it is under way.
    ended_at timestamptz,
    -- The request that asked for a test, and its fingerprint; null for all else.
    request_id uuid,
    fingerprint bytea,
    CONSTRAINT deliveries_key PRIMARY KEY (program_id, delivery_id),
    CONSTRAINT deliveries_request_once UNIQUE (program_id, request_id),
    CONSTRAINT deliveries_channel_known CHECK (channel IN ('EMAIL', 'INBOX', 'WEBHOOK')),
    CONSTRAINT deliveries_state_known CHECK (
        state IN ('WAITING', 'SENDING', 'SENT', 'CANCELLED', 'FAILED', 'UNKNOWN')
    ),
    CONSTRAINT deliveries_ended CHECK ((state IN ('WAITING', 'SENDING')) = (ended_at IS NULL))
);

CREATE INDEX deliveries_by_member ON deliveries (program_id, member_id, created_at DESC, delivery_id DESC);
CREATE INDEX deliveries_by_day ON deliveries (program_id, member_id, channel, sent_day) WHERE sent_day IS NOT NULL;
CREATE INDEX deliveries_waiting ON deliveries (program_id, member_id, channel) WHERE state = 'WAITING';
CREATE UNIQUE INDEX deliveries_gathering_once ON deliveries (program_id, gather_key)
WHERE state = 'WAITING' AND gather_key IS NOT NULL;

-- What a delivery tells of. Append-only by privilege.
CREATE TABLE delivery_causes (
    program_id text NOT NULL,
    delivery_id uuid NOT NULL,
    cause_id text NOT NULL,
    type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    properties jsonb NOT NULL,
    CONSTRAINT delivery_causes_key PRIMARY KEY (program_id, delivery_id, cause_id)
);

CREATE TABLE attempts (
    program_id text NOT NULL,
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    started_at timestamptz NOT NULL,
    -- Null while it is under way.
    ended_at timestamptz,
    outcome text NOT NULL,
    code integer NOT NULL DEFAULT 0,
    response text NOT NULL DEFAULT '',
    CONSTRAINT attempts_key PRIMARY KEY (program_id, delivery_id, number),
    CONSTRAINT attempts_outcome_known CHECK (
        outcome IN ('UNDER_WAY', 'ACCEPTED', 'DEFERRED', 'REFUSED', 'UNKNOWN')
    ),
    CONSTRAINT attempts_ended CHECK ((outcome = 'UNDER_WAY') = (ended_at IS NULL))
);

-- How far each inbox reaches, and how far it is read.
CREATE TABLE inbox_heads (
    program_id text NOT NULL,
    member_id text NOT NULL,
    position bigint NOT NULL,
    read_position bigint NOT NULL DEFAULT 0,
    CONSTRAINT inbox_heads_key PRIMARY KEY (program_id, member_id),
    CONSTRAINT inbox_heads_read_what_is_there CHECK (read_position BETWEEN 0 AND position)
);

CREATE TABLE messages (
    program_id text NOT NULL,
    member_id text NOT NULL,
    position bigint NOT NULL,
    -- The delivery that brought it.
    delivery_id uuid NOT NULL,
    topic text NOT NULL,
    title text NOT NULL,
    body text NOT NULL,
    action_url text NOT NULL,
    action_label text NOT NULL,
    created_at timestamptz NOT NULL,
    -- Null until it is read.
    read_at timestamptz,
    CONSTRAINT messages_key PRIMARY KEY (program_id, member_id, position),
    CONSTRAINT messages_delivery_once UNIQUE (program_id, delivery_id)
);

-- What members want of messages.
CREATE TABLE preferences (
    program_id text NOT NULL,
    member_id text NOT NULL,
    definition jsonb NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT preferences_key PRIMARY KEY (program_id, member_id)
);

-- Every change of that, and by which way it came: what is asked for where consent is doubted. Append-only by privilege.
CREATE TABLE preference_changes (
    program_id text NOT NULL,
    member_id text NOT NULL,
    version bigint NOT NULL,
    definition jsonb NOT NULL,
    source text NOT NULL,
    changed_at timestamptz NOT NULL,
    CONSTRAINT preference_changes_key PRIMARY KEY (program_id, member_id, version),
    CONSTRAINT preference_changes_source_known CHECK (source IN ('API', 'LINK', 'ONE_CLICK'))
);

-- Addresses that get no mail, as hashes, so that they stay when a member is forgotten.
CREATE TABLE suppressions (
    program_id text NOT NULL,
    address_hash bytea NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT suppressions_key PRIMARY KEY (program_id, address_hash),
    CONSTRAINT suppressions_reason_known CHECK (reason IN ('BOUNCE', 'COMPLAINT', 'MANUAL'))
);

-- Places of the program's own that are told what happens.
CREATE TABLE endpoints (
    program_id text NOT NULL,
    endpoint_id text NOT NULL,
    url text NOT NULL,
    event_types text[] NOT NULL,
    state text NOT NULL,
    reason text NOT NULL DEFAULT '',
    -- The secret, encrypted under the service's key.
    secret bytea NOT NULL,
    -- Since when every attempt failed; null where the last one did not.
    failing_since_at timestamptz,
    created_at timestamptz NOT NULL,
    -- The secret before, until when messages are signed with it too, and the request that took its place.
    previous_secret bytea,
    previous_ends_at timestamptz,
    rotation_id uuid,
    CONSTRAINT endpoints_key PRIMARY KEY (program_id, endpoint_id),
    CONSTRAINT endpoints_state_known CHECK (state IN ('ACTIVE', 'DISABLED'))
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

-- What the runtime role may do: versions, decisions, causes, consent and the feed are written once and never changed.
GRANT SELECT, INSERT ON
    trigger_versions, template_versions, decisions, delivery_causes, preference_changes, feed_events
TO notify_service;
GRANT SELECT, INSERT, UPDATE ON
    programs, members, activity, activity_totals, zone_days, triggers, templates, deliveries, attempts, inbox_heads,
    messages, preferences, endpoints, feed_heads, feed_cursors
TO notify_service;
GRANT SELECT, INSERT, UPDATE, DELETE ON due_work TO notify_service;
GRANT SELECT, INSERT, DELETE ON expiries, suppressions, feed_dead_letters TO notify_service;
GRANT SELECT ON schema_migrations TO notify_service;
