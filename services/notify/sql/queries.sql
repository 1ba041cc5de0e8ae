-- get_program --
-- Reads how a program writes, and whether anything of it changed.
SELECT settings, version, revision, updated_at FROM programs WHERE program_id = $1;

-- get_revision --
-- Tells the number of the last change of what a program sends, and the time.
SELECT
    clock_timestamp() AS now,
    coalesce((SELECT revision FROM programs WHERE program_id = $1), 0) AS revision;

-- ensure_program --
-- Makes the row of a program, unless it is there.
INSERT INTO programs (program_id, updated_at) VALUES ($1, $2) ON CONFLICT (program_id) DO NOTHING;

-- lock_program --
-- Locks a program while what it sends changes, and tells its version.
SELECT version FROM programs WHERE program_id = $1 FOR UPDATE;

-- count_change --
-- Tells every process that what a program sends changed.
UPDATE programs SET revision = revision + 1 WHERE program_id = $1;

-- put_settings --
-- Writes how a program writes.
UPDATE programs SET settings = $2, version = version + 1, revision = revision + 1, updated_at = $3
WHERE program_id = $1
RETURNING version;

-- move_members --
-- Gives the members without a zone of their own the zone of their program.
UPDATE members SET zone = $2 WHERE program_id = $1 AND time_zone = '' AND zone <> $2;

-- insert_versioned_trigger --
-- Makes a trigger, or makes a version its newest.
INSERT INTO triggers AS found (program_id, trigger_id, version, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (program_id, trigger_id) DO UPDATE SET version = excluded.version
RETURNING found.created_at;

-- insert_trigger_version --
-- Writes a version of a trigger.
INSERT INTO trigger_versions (program_id, trigger_id, version, definition, created_at, request_id, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- find_trigger_request --
-- Finds the version of a trigger that a request made.
SELECT trigger_id, version, fingerprint FROM trigger_versions WHERE program_id = $1 AND request_id = $2;

-- get_trigger --
-- Reads a trigger in one version, or in its newest where none is given.
SELECT version.trigger_id AS id, version.version, version.definition, version.created_at AS updated_at, found.created_at
FROM triggers AS found
INNER JOIN trigger_versions AS version
    ON version.program_id = found.program_id
    AND version.trigger_id = found.trigger_id
    AND version.version = coalesce($3::integer, found.version)
WHERE found.program_id = $1 AND found.trigger_id = $2;

-- list_triggers --
-- Lists the triggers behind an id in their newest versions.
SELECT version.trigger_id AS id, version.version, version.definition, version.created_at AS updated_at, found.created_at
FROM triggers AS found
INNER JOIN trigger_versions AS version
    ON version.program_id = found.program_id
    AND version.trigger_id = found.trigger_id
    AND version.version = found.version
WHERE found.program_id = $1 AND found.trigger_id > $2
ORDER BY found.trigger_id
LIMIT $3;

-- insert_versioned_template --
-- Makes a template, or makes a version its newest.
INSERT INTO templates AS found (program_id, template_id, version, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (program_id, template_id) DO UPDATE SET version = excluded.version
RETURNING found.created_at;

-- insert_template_version --
-- Writes a version of a template.
INSERT INTO template_versions (program_id, template_id, version, definition, created_at, request_id, fingerprint)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- find_template_request --
-- Finds the version of a template that a request made.
SELECT template_id, version, fingerprint FROM template_versions WHERE program_id = $1 AND request_id = $2;

-- get_template --
-- Reads a template in one version, or in its newest where none is given.
SELECT version.template_id AS id, version.version, version.definition, version.created_at AS updated_at,
    found.created_at
FROM templates AS found
INNER JOIN template_versions AS version
    ON version.program_id = found.program_id
    AND version.template_id = found.template_id
    AND version.version = coalesce($3::integer, found.version)
WHERE found.program_id = $1 AND found.template_id = $2;

-- list_templates --
-- Lists the templates behind an id in their newest versions.
SELECT version.template_id AS id, version.version, version.definition, version.created_at AS updated_at,
    found.created_at
FROM templates AS found
INNER JOIN template_versions AS version
    ON version.program_id = found.program_id
    AND version.template_id = found.template_id
    AND version.version = found.version
WHERE found.program_id = $1 AND found.template_id > $2
ORDER BY found.template_id
LIMIT $3;

-- ensure_members --
-- Makes the members that are seen for the first time, in the order of their ids, in the zone of their program.
INSERT INTO members (program_id, member_id, zone, joined_at, joined_day)
SELECT $1, member_id, $3, $4, $5
FROM unnest($2::text[]) AS member (member_id)
ORDER BY member_id
ON CONFLICT (program_id, member_id) DO NOTHING;

-- put_members --
-- Writes what a feed told of members, in the order of their ids.
INSERT INTO members (
    program_id, member_id, email, display_name, locale, time_zone, zone, birthday, birthday_day, org_id, attributes,
    joined_at, joined_day
)
SELECT $1, member.*
FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::date[], $9::smallint[], $10::text[],
    $11::jsonb[], $12::timestamptz[], $13::smallint[]
) AS member (
    member_id, email, display_name, locale, time_zone, zone, birthday, birthday_day, org_id, attributes, joined_at,
    joined_day
)
ORDER BY member.member_id
ON CONFLICT (program_id, member_id) DO UPDATE
SET email = excluded.email,
    display_name = excluded.display_name,
    locale = excluded.locale,
    time_zone = excluded.time_zone,
    zone = excluded.zone,
    birthday = excluded.birthday,
    birthday_day = excluded.birthday_day,
    org_id = excluded.org_id,
    attributes = excluded.attributes,
    joined_at = excluded.joined_at,
    joined_day = excluded.joined_day;

-- read_members --
-- Reads members.
SELECT
    member_id, email, display_name, locale, time_zone, zone, birthday, org_id, attributes, joined_at, active_at
FROM members
WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- lock_members --
-- Locks members in the order of their ids, while it is decided what they get.
SELECT member_id FROM members WHERE program_id = $1 AND member_id = ANY($2::text[]) ORDER BY member_id FOR UPDATE;

-- touch_members --
-- Writes when members were active, where that is later than what is known.
UPDATE members
SET active_at = active.active_at
FROM unnest($2::text[], $3::timestamptz[]) AS active (member_id, active_at)
WHERE members.program_id = $1 AND members.member_id = active.member_id
    AND (members.active_at IS NULL OR members.active_at < active.active_at);

-- add_activity --
-- Adds to what happened to members on days.
INSERT INTO activity AS known (program_id, member_id, kind, day, count, amount)
SELECT $1, added.*
FROM unnest($2::text[], $3::text[], $4::date[], $5::bigint[], $6::bigint[]) AS added (
    member_id, kind, day, count, amount
)
ORDER BY added.member_id, added.kind, added.day
ON CONFLICT (program_id, member_id, kind, day) DO UPDATE
SET count = known.count + excluded.count, amount = known.amount + excluded.amount;

-- add_totals --
-- Adds to what happened to members ever.
INSERT INTO activity_totals AS known (program_id, member_id, kind, count, amount)
SELECT $1, added.*
FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[]) AS added (member_id, kind, count, amount)
ORDER BY added.member_id, added.kind
ON CONFLICT (program_id, member_id, kind) DO UPDATE
SET count = known.count + excluded.count, amount = known.amount + excluded.amount;

-- read_totals --
-- Tells what happened to members ever.
SELECT member_id, kind, count FROM activity_totals WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- sum_activity --
-- Tells what happened to members on the days from one on and before another one, each member with days of its own.
SELECT asked.member_id, done.kind, sum(done.count)::bigint AS count, sum(done.amount)::bigint AS amount
FROM unnest($2::text[], $3::date[], $4::date[]) AS asked (member_id, from_day, until_day)
INNER JOIN activity AS done ON done.member_id = asked.member_id
WHERE done.program_id = $1 AND done.day >= asked.from_day AND done.day < asked.until_day
GROUP BY asked.member_id, done.kind;

-- add_expiries --
-- Writes when value ends.
INSERT INTO expiries (program_id, member_id, asset, expires_at)
SELECT $1, found.*
FROM unnest($2::text[], $3::text[], $4::timestamptz[]) AS found (member_id, asset, expires_at)
ON CONFLICT (program_id, member_id, asset, expires_at) DO NOTHING;

-- add_zones --
-- Makes the zones that members have and whose days are not turned yet.
INSERT INTO zone_days (program_id, zone, next_day)
SELECT $1, found.*
FROM unnest($2::text[], $3::date[]) AS found (zone, next_day)
ON CONFLICT (program_id, zone) DO NOTHING
RETURNING zone, next_day;

-- list_zones --
-- Lists the zones whose days are turned.
SELECT zone FROM zone_days WHERE program_id = $1;

-- turn_zone --
-- Goes on to the next day of a zone, where it stands at the day given.
UPDATE zone_days SET next_day = $4 WHERE program_id = $1 AND zone = $2 AND next_day = $3 RETURNING next_day;

-- list_by_birthday --
-- Lists members of a zone behind an id who have their birthday on one of some days of the year.
SELECT member_id, birthday AS known_on
FROM members
WHERE program_id = $1 AND zone = $2 AND birthday_day = ANY($3::smallint[]) AND member_id > $4
ORDER BY member_id
LIMIT $5;

-- list_by_joining --
-- Lists members of a zone behind an id who joined on one of some days of the year.
SELECT member_id, (joined_at AT TIME ZONE 'UTC')::date AS known_on
FROM members
WHERE program_id = $1 AND zone = $2 AND joined_day = ANY($3::smallint[]) AND member_id > $4
ORDER BY member_id
LIMIT $5;

-- list_by_attribute --
-- Lists members of a zone behind an id who have one of some days of the year in an attribute.
SELECT member_id, attributes ->> $6::text AS known_on
FROM members
WHERE program_id = $1 AND zone = $2 AND substr(attributes ->> $6::text, 6) = ANY($3::text[]) AND member_id > $4
ORDER BY member_id
LIMIT $5;

-- list_by_activity --
-- Lists members of a zone behind an id who were active for the last time within a time.
SELECT member_id, active_at
FROM members
WHERE program_id = $1 AND zone = $2 AND active_at >= $3 AND active_at < $4 AND member_id > $5
ORDER BY member_id
LIMIT $6;

-- list_by_zone --
-- Lists members of a zone behind an id who were active since a time, or all where none is given.
SELECT member_id
FROM members
WHERE program_id = $1 AND zone = $2 AND ($3::timestamptz IS NULL OR active_at >= $3) AND member_id > $4
ORDER BY member_id
LIMIT $5;

-- list_by_expiry --
-- Lists members of a zone behind an id who have value of an asset that ends within a time.
SELECT DISTINCT member.member_id
FROM expiries AS found
INNER JOIN members AS member ON member.program_id = found.program_id AND member.member_id = found.member_id
WHERE found.program_id = $1 AND found.asset = $2 AND found.expires_at >= $3 AND found.expires_at < $4
    AND member.zone = $5 AND member.member_id > $6
ORDER BY member.member_id
LIMIT $7;

-- read_preferences --
-- Reads what members want.
SELECT member_id, definition, version, updated_at
FROM preferences
WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- put_preferences --
-- Writes what a member wants, where the version is the expected one or none is expected.
INSERT INTO preferences AS known (program_id, member_id, definition, version, updated_at) VALUES ($1, $2, $3, 1, $4)
ON CONFLICT (program_id, member_id) DO UPDATE
SET definition = excluded.definition, version = known.version + 1, updated_at = excluded.updated_at
WHERE $5::bigint IS NULL OR known.version = $5
RETURNING known.version;

-- insert_preference_change --
-- Keeps a change of what a member wants.
INSERT INTO preference_changes (program_id, member_id, version, definition, source, changed_at)
VALUES ($1, $2, $3, $4, $5, $6);

-- read_suppressions --
-- Tells which of some addresses get no mail.
SELECT address_hash FROM suppressions WHERE program_id = $1 AND address_hash = ANY($2::bytea[]);

-- get_suppression --
-- Tells why an address gets no mail.
SELECT reason FROM suppressions WHERE program_id = $1 AND address_hash = $2;

-- add_suppressions --
-- Makes addresses get no mail; the first reason stays.
INSERT INTO suppressions (program_id, address_hash, reason, created_at)
SELECT $1, found.address_hash, $3, $4
FROM unnest($2::bytea[]) AS found (address_hash)
ON CONFLICT (program_id, address_hash) DO NOTHING;

-- delete_suppression --
-- Lets an address get mail again.
DELETE FROM suppressions WHERE program_id = $1 AND address_hash = $2 RETURNING reason;

-- find_decisions --
-- Tells which of some decisions were made before.
SELECT decision_id FROM decisions WHERE program_id = $1 AND decision_id = ANY($2::uuid[]);

-- insert_decisions --
-- Writes decisions.
INSERT INTO decisions (
    program_id, decision_id, trigger_id, trigger_version, member_id, channel, cause_type, cause_id, outcome, reason,
    delivery_id, decided_at
)
SELECT $1, decision.*
FROM unnest(
    $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
    $11::uuid[], $12::timestamptz[]
) AS decision (
    decision_id, trigger_id, trigger_version, member_id, channel, cause_type, cause_id, outcome, reason, delivery_id,
    decided_at
);

-- find_gathering --
-- Finds deliveries that gather still, and locks them while something is added.
SELECT gather_key, delivery_id
FROM deliveries
WHERE program_id = $1 AND gather_key = ANY($2::text[]) AND state = 'WAITING'
ORDER BY delivery_id
FOR UPDATE;

-- insert_deliveries --
-- Writes deliveries that are not there yet.
INSERT INTO deliveries (
    program_id, state, delivery_id, trigger_id, trigger_version, template_id, member_id, channel, topic, priority,
    is_transactional, reason, send_at, gather_key, address, locale, depth, created_at
)
SELECT $1, 'WAITING', delivery.*
FROM unnest(
    $2::uuid[], $3::text[], $4::integer[], $5::text[], $6::text[], $7::text[], $8::text[], $9::smallint[],
    $10::boolean[], $11::text[], $12::timestamptz[], $13::text[], $14::text[], $15::text[], $16::smallint[],
    $17::timestamptz[]
) AS delivery (
    delivery_id, trigger_id, trigger_version, template_id, member_id, channel, topic, priority, is_transactional,
    reason, send_at, gather_key, address, locale, depth, created_at
)
ON CONFLICT (program_id, delivery_id) DO NOTHING;

-- insert_test --
-- Writes the delivery of a test.
INSERT INTO deliveries (
    program_id, delivery_id, trigger_id, trigger_version, template_id, member_id, channel, topic, priority,
    is_transactional, state, send_at, address, locale, depth, created_at, request_id, fingerprint
)
VALUES ($1, $2, '', 0, $3, '', 'EMAIL', 'test', 9, true, 'WAITING', $4, $5, $6, 0, $4, $7, $8);

-- find_test_request --
-- Finds the delivery of a test by its request.
SELECT delivery_id, fingerprint FROM deliveries WHERE program_id = $1 AND request_id = $2;

-- insert_causes --
-- Writes what deliveries tell of.
INSERT INTO delivery_causes (program_id, delivery_id, cause_id, type, occurred_at, properties)
SELECT $1, cause.*
FROM unnest($2::uuid[], $3::text[], $4::text[], $5::timestamptz[], $6::jsonb[]) AS cause (
    delivery_id, cause_id, type, occurred_at, properties
)
ON CONFLICT (program_id, delivery_id, cause_id) DO NOTHING;

-- read_deliveries --
-- Reads deliveries.
SELECT
    delivery.delivery_id, delivery.trigger_id, delivery.trigger_version, delivery.template_id,
    delivery.template_version, delivery.member_id, delivery.channel, delivery.topic, delivery.priority,
    delivery.is_transactional, delivery.state, delivery.reason, delivery.send_at, delivery.gather_key,
    delivery.address, delivery.locale, delivery.depth, delivery.created_at, delivery.ended_at,
    (
        SELECT count(*)
        FROM delivery_causes AS cause
        WHERE cause.program_id = $1 AND cause.delivery_id = delivery.delivery_id
    ) AS cause_count
FROM deliveries AS delivery
WHERE delivery.program_id = $1 AND delivery.delivery_id = ANY($2::uuid[]);

-- list_deliveries --
-- Lists the deliveries to a member that were made before one, newest first.
SELECT
    delivery.delivery_id, delivery.trigger_id, delivery.trigger_version, delivery.template_id,
    delivery.template_version, delivery.member_id, delivery.channel, delivery.topic, delivery.priority,
    delivery.is_transactional, delivery.state, delivery.reason, delivery.send_at, delivery.gather_key,
    delivery.address, delivery.locale, delivery.depth, delivery.created_at, delivery.ended_at,
    (
        SELECT count(*)
        FROM delivery_causes AS cause
        WHERE cause.program_id = $1 AND cause.delivery_id = delivery.delivery_id
    ) AS cause_count
FROM deliveries AS delivery
WHERE delivery.program_id = $1 AND delivery.member_id = $2 AND (delivery.created_at, delivery.delivery_id) < ($3, $4)
ORDER BY delivery.created_at DESC, delivery.delivery_id DESC
LIMIT $5;

-- list_decisions --
-- Lists what was decided for a member before one decision, newest first.
SELECT
    decision_id, trigger_id, trigger_version, member_id, channel, cause_type, cause_id, outcome, reason, delivery_id,
    decided_at
FROM decisions
WHERE program_id = $1 AND member_id = $2 AND (decided_at, decision_id) < ($3, $4)
ORDER BY decided_at DESC, decision_id DESC
LIMIT $5;

-- read_causes --
-- Reads the newest of what each of some deliveries tells of.
SELECT delivery_id, cause_id, type, occurred_at, properties
FROM (
    SELECT
        delivery_id, cause_id, type, occurred_at, properties,
        row_number() OVER (PARTITION BY delivery_id ORDER BY occurred_at DESC, cause_id DESC) AS place
    FROM delivery_causes
    WHERE program_id = $1 AND delivery_id = ANY($2::uuid[])
) AS cause
WHERE place <= $3
ORDER BY delivery_id, occurred_at, cause_id;

-- read_attempts --
-- Reads the attempts of deliveries.
SELECT delivery_id, number, started_at, ended_at, outcome, code, response
FROM attempts
WHERE program_id = $1 AND delivery_id = ANY($2::uuid[])
ORDER BY delivery_id, number;

-- start_delivery --
-- Marks a delivery as being sent, where it waits or was being sent by somebody who is gone.
UPDATE deliveries
SET state = 'SENDING', reason = '', template_version = $3, sent_day = $4
WHERE program_id = $1 AND delivery_id = $2 AND state IN ('WAITING', 'SENDING')
RETURNING delivery_id;

-- insert_attempts --
-- Writes attempts that begin.
INSERT INTO attempts (program_id, outcome, started_at, delivery_id, number)
SELECT $1, 'UNDER_WAY', $2, attempt.*
FROM unnest($3::uuid[], $4::integer[]) AS attempt (delivery_id, number);

-- end_attempt --
-- Writes how an attempt ended.
UPDATE attempts
SET ended_at = $3, outcome = $4, code = $5, response = $6
WHERE program_id = $1 AND delivery_id = $2 AND outcome = 'UNDER_WAY';

-- change_delivery --
-- Writes where a delivery stands that has not ended: a message that is not sent is sent on no day.
UPDATE deliveries
SET state = $4,
    reason = $5,
    send_at = $6,
    ended_at = CASE WHEN $4 = 'WAITING' THEN NULL ELSE $3::timestamptz END,
    sent_day = CASE WHEN $4 IN ('SENT', 'UNKNOWN') THEN coalesce($7, sent_day) END,
    template_version = coalesce($8, template_version)
WHERE program_id = $1 AND delivery_id = $2 AND state IN ('WAITING', 'SENDING');

-- list_rivals --
-- Lists what else members were sent since a day, or is to be sent to them before a time.
SELECT rival.member_id, rival.delivery_id, rival.channel, rival.topic, rival.priority, rival.sent_day, rival.send_at
FROM deliveries AS rival
WHERE rival.program_id = $1 AND rival.member_id = ANY($2::text[]) AND NOT rival.is_transactional
    AND (rival.sent_day >= $3 OR rival.state = 'WAITING' AND rival.send_at < $4);

-- advance_inboxes --
-- Takes the next positions in inboxes, in the order of their members.
INSERT INTO inbox_heads AS head (program_id, member_id, position)
SELECT $1, asked.member_id, asked.count
FROM unnest($2::text[], $3::bigint[]) AS asked (member_id, count)
ORDER BY asked.member_id
ON CONFLICT (program_id, member_id) DO UPDATE SET position = head.position + excluded.position
RETURNING member_id, position;

-- insert_messages --
-- Writes messages into inboxes.
INSERT INTO messages (
    program_id, created_at, member_id, position, delivery_id, topic, title, body, action_url, action_label
)
SELECT $1, $2, message.*
FROM unnest($3::text[], $4::bigint[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[])
    AS message (member_id, position, delivery_id, topic, title, body, action_url, action_label);

-- list_messages --
-- Lists the messages of a member below a position, newest first.
SELECT delivery_id, position, topic, title, body, action_url, action_label, created_at, read_at
FROM messages
WHERE program_id = $1 AND member_id = $2 AND position < $3
ORDER BY position DESC
LIMIT $4;

-- list_messages_behind --
-- Lists the messages of a member behind a position, oldest first.
SELECT delivery_id, position, topic, title, body, action_url, action_label, created_at, read_at
FROM messages
WHERE program_id = $1 AND member_id = $2 AND position > $3
ORDER BY position
LIMIT $4;

-- get_inbox --
-- Tells how far an inbox reaches, and how far it is read.
SELECT position, read_position FROM inbox_heads WHERE program_id = $1 AND member_id = $2;

-- list_inboxes --
-- Tells how far some inboxes reach.
SELECT member_id, position FROM inbox_heads WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- read_inbox --
-- Marks an inbox as read up to a position, or to its end.
UPDATE inbox_heads
SET read_position = greatest(read_position, least($3::bigint, position))
WHERE program_id = $1 AND member_id = $2
RETURNING position, read_position;

-- mark_messages --
-- Marks the messages of a member up to a position as read.
UPDATE messages SET read_at = $4 WHERE program_id = $1 AND member_id = $2 AND position <= $3 AND read_at IS NULL;

-- list_endpoints --
-- Lists the endpoints behind an id.
SELECT endpoint_id, url, event_types, state, reason, secret, created_at, previous_secret, previous_ends_at, rotation_id
FROM endpoints
WHERE program_id = $1 AND endpoint_id > $2
ORDER BY endpoint_id
LIMIT $3;

-- put_endpoint --
-- Makes or changes an endpoint; the secret of one that is there stays.
INSERT INTO endpoints AS known (program_id, endpoint_id, url, event_types, state, secret, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (program_id, endpoint_id) DO UPDATE
SET url = excluded.url, event_types = excluded.event_types, state = excluded.state, reason = '', failing_since_at = NULL
RETURNING
    endpoint_id, url, event_types, state, reason, secret, created_at, previous_secret, previous_ends_at, rotation_id;

-- find_endpoint --
-- Reads an endpoint.
SELECT endpoint_id, url, event_types, state, reason, secret, created_at, previous_secret, previous_ends_at, rotation_id
FROM endpoints
WHERE program_id = $1 AND endpoint_id = $2;

-- rotate_secret --
-- Gives an endpoint another secret; the one that it had signs until a time.
UPDATE endpoints
SET previous_secret = secret, secret = $3, previous_ends_at = $4, rotation_id = $5
WHERE program_id = $1 AND endpoint_id = $2;

-- note_endpoint_success --
-- Forgets since when an endpoint failed.
UPDATE endpoints SET failing_since_at = NULL
WHERE program_id = $1 AND endpoint_id = $2 AND failing_since_at IS NOT NULL;

-- note_endpoint_failure --
-- Keeps since when an endpoint failed, and tells it.
UPDATE endpoints SET failing_since_at = coalesce(failing_since_at, $3)
WHERE program_id = $1 AND endpoint_id = $2
RETURNING failing_since_at;

-- disable_endpoint --
-- Stops telling an endpoint what happens.
UPDATE endpoints SET state = 'DISABLED', reason = $3 WHERE program_id = $1 AND endpoint_id = $2;

-- check_deliveries --
-- Compares deliveries under way with due work, across programs.
SELECT delivery.program_id, delivery.delivery_id, delivery.state, 'has no due work' AS problem
FROM deliveries AS delivery
LEFT JOIN due_work AS due
    ON due.program_id = delivery.program_id AND due.kind = 'deliver' AND due.work_id = delivery.delivery_id
WHERE delivery.state IN ('WAITING', 'SENDING') AND due.work_id IS NULL;

-- check_attempts --
-- Compares sent deliveries with their attempts, across programs: one that was sent was accepted exactly once.
SELECT delivery.program_id, delivery.delivery_id, count(attempt.number) AS accepted
FROM deliveries AS delivery
LEFT JOIN attempts AS attempt
    ON attempt.program_id = delivery.program_id AND attempt.delivery_id = delivery.delivery_id
    AND attempt.outcome = 'ACCEPTED'
WHERE delivery.state = 'SENT' AND delivery.channel <> 'INBOX'
GROUP BY delivery.program_id, delivery.delivery_id
HAVING count(attempt.number) <> 1;

-- check_inboxes --
-- Compares inboxes with their heads, across programs: positions are gapless.
SELECT head.program_id, head.member_id, head.position, count(message.position) AS messages
FROM inbox_heads AS head
LEFT JOIN messages AS message ON message.program_id = head.program_id AND message.member_id = head.member_id
GROUP BY head.program_id, head.member_id, head.position
HAVING count(message.position) <> head.position;

-- check_decisions --
-- Compares decisions with deliveries, across programs: what is to be sent has a delivery.
SELECT decision.program_id, decision.decision_id, decision.delivery_id
FROM decisions AS decision
LEFT JOIN deliveries AS delivery
    ON delivery.program_id = decision.program_id AND delivery.delivery_id = decision.delivery_id
WHERE decision.delivery_id IS NOT NULL AND delivery.delivery_id IS NULL;

-- count_rows --
-- Counts what is checked, across programs.
SELECT
    (SELECT count(*) FROM decisions) AS decisions,
    (SELECT count(*) FROM deliveries) AS deliveries,
    (SELECT count(*) FROM inbox_heads) AS inboxes;

-- summarise_deliveries --
-- Counts deliveries by channel and state, across programs.
SELECT channel, state, count(*) AS count FROM deliveries GROUP BY channel, state ORDER BY channel, state;
