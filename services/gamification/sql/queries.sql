-- create_program --
-- Makes the row of a program, unless it is there.
INSERT INTO programs (program_id) VALUES ($1) ON CONFLICT (program_id) DO NOTHING;

-- lock_program --
-- Locks a program while its definitions change.
SELECT definitions_revision FROM programs WHERE program_id = $1 FOR UPDATE;

-- hold_program --
-- Keeps the definitions of a program as they are for the transaction, and tells their revision.
SELECT definitions_revision FROM programs WHERE program_id = $1 FOR SHARE;

-- get_revision --
-- Tells the revision of the definitions of a program.
SELECT definitions_revision FROM programs WHERE program_id = $1;

-- count_definition_change --
-- Tells everybody that the definitions of a program changed.
UPDATE programs SET definitions_revision = definitions_revision + 1 WHERE program_id = $1;

-- insert_definition --
-- Makes a definition, unless there is one of that kind and id.
INSERT INTO definitions (program_id, kind, definition_id, version, created_at) VALUES ($1, $2, $3, 1, $4)
ON CONFLICT (program_id, kind, definition_id) DO NOTHING
RETURNING definition_id;

-- insert_definition_version --
-- Writes a version of a definition.
INSERT INTO definition_versions (
    program_id, kind, definition_id, version, definition, created_at, request_id, fingerprint
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- set_definition_version --
-- Makes a version of a definition the newest one.
UPDATE definitions SET version = $4 WHERE program_id = $1 AND kind = $2 AND definition_id = $3;

-- find_definition_request --
-- Finds the version that a request made.
SELECT
    version.kind, version.definition_id, version.version, version.definition, version.created_at AS updated_at,
    definition.created_at, version.fingerprint
FROM definition_versions AS version
INNER JOIN definitions AS definition
    ON definition.program_id = version.program_id
    AND definition.kind = version.kind
    AND definition.definition_id = version.definition_id
WHERE version.program_id = $1 AND version.request_id = $2;

-- get_definition --
-- Reads a definition in its newest version.
SELECT
    version.kind, version.definition_id, version.version, version.definition, version.created_at AS updated_at,
    definition.created_at
FROM definitions AS definition
INNER JOIN definition_versions AS version
    ON version.program_id = definition.program_id
    AND version.kind = definition.kind
    AND version.definition_id = definition.definition_id
    AND version.version = definition.version
WHERE definition.program_id = $1 AND definition.kind = $2 AND definition.definition_id = $3;

-- list_definitions --
-- Lists the definitions of a kind behind an id in their newest versions.
SELECT
    version.kind, version.definition_id, version.version, version.definition, version.created_at AS updated_at,
    definition.created_at
FROM definitions AS definition
INNER JOIN definition_versions AS version
    ON version.program_id = definition.program_id
    AND version.kind = definition.kind
    AND version.definition_id = definition.definition_id
    AND version.version = definition.version
WHERE definition.program_id = $1 AND definition.kind = $2 AND definition.definition_id > $3
ORDER BY definition.definition_id
LIMIT $4;

-- list_all_definitions --
-- Lists the definitions of every kind in their newest versions.
SELECT
    version.kind, version.definition_id, version.version, version.definition, version.created_at AS updated_at,
    definition.created_at
FROM definitions AS definition
INNER JOIN definition_versions AS version
    ON version.program_id = definition.program_id
    AND version.kind = definition.kind
    AND version.definition_id = definition.definition_id
    AND version.version = definition.version
WHERE definition.program_id = $1
ORDER BY definition.kind, definition.definition_id;

-- count_definitions --
-- Counts the definitions of a kind.
SELECT count(*) FROM definitions WHERE program_id = $1 AND kind = $2;

-- create_members --
-- Makes the members that are not there, in the order of their ids.
INSERT INTO members (program_id, member_id)
SELECT $1, member_id FROM unnest($2::text[]) AS member (member_id)
ORDER BY member_id
ON CONFLICT (program_id, member_id) DO NOTHING;

-- lock_members --
-- Locks members in the order of their ids, and reads them.
SELECT member_id, org_id, time_zone, plan
FROM members
WHERE program_id = $1 AND member_id = ANY($2::text[])
ORDER BY member_id
FOR UPDATE;

-- put_members --
-- Writes what is known of members that are there.
UPDATE members AS member
SET org_id = known.org_id, time_zone = known.time_zone, plan = known.plan
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS known (member_id, org_id, time_zone, plan)
WHERE member.program_id = $1 AND member.member_id = known.member_id;

-- get_member --
-- Reads a member.
SELECT member_id, org_id, time_zone, plan FROM members WHERE program_id = $1 AND member_id = $2;

-- set_ranked --
-- Writes whether leaderboards show a member.
UPDATE members SET is_ranked = $3 WHERE program_id = $1 AND member_id = $2 RETURNING is_ranked;

-- insert_metric_events --
-- Writes the events that metrics count, and tells which of them were not counted yet.
INSERT INTO metric_events (
    program_id, metric_id, member_id, occurred_at, event_id, local_date, utc_offset_minutes, amount
)
SELECT $1, happening.*
FROM unnest(
    $2::text[], $3::text[], $4::timestamptz[], $5::text[], $6::date[], $7::smallint[], $8::bigint[]
) AS happening
ON CONFLICT (program_id, metric_id, member_id, occurred_at, event_id) DO NOTHING
RETURNING metric_id, event_id;

-- find_active_days --
-- Finds the days on which members had events of metrics, with the first and the last of each.
SELECT
    event.metric_id, event.member_id, event.local_date AS day,
    min(event.occurred_at) AS first_at,
    (array_agg(event.utc_offset_minutes ORDER BY event.occurred_at, event.event_id))[1] AS first_offset,
    max(event.occurred_at) AS last_at,
    (array_agg(event.utc_offset_minutes ORDER BY event.occurred_at DESC, event.event_id DESC))[1] AS last_offset
FROM metric_events AS event
WHERE event.program_id = $1
    AND (event.metric_id, event.member_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
GROUP BY event.metric_id, event.member_id, event.local_date;

-- find_sum_passings --
-- Finds when sums first came to thresholds, in the order in which events occurred.
SELECT
    passing.place,
    (
        SELECT reached.occurred_at
        FROM (
            SELECT
                event.occurred_at, event.event_id,
                sum(event.amount) OVER (ORDER BY event.occurred_at, event.event_id) AS amount
            FROM metric_events AS event
            WHERE event.program_id = $1
                AND event.metric_id = passing.metric_id
                AND event.member_id = passing.member_id
                AND event.local_date >= passing.from_date
                AND event.local_date < passing.before_date
        ) AS reached
        WHERE reached.amount >= passing.threshold
        ORDER BY reached.occurred_at, reached.event_id
        LIMIT 1
    ) AS reached_at
FROM unnest($2::integer[], $3::text[], $4::text[], $5::bigint[], $6::date[], $7::date[])
    AS passing (place, metric_id, member_id, threshold, from_date, before_date);

-- find_day_passings --
-- Finds when counts of days first came to thresholds, in the order in which the first events of days occurred.
SELECT
    passing.place,
    (
        SELECT day.first_at
        FROM (
            SELECT min(event.occurred_at) AS first_at
            FROM metric_events AS event
            WHERE event.program_id = $1
                AND event.metric_id = passing.metric_id
                AND event.member_id = passing.member_id
                AND event.local_date >= passing.from_date
                AND event.local_date < passing.before_date
            GROUP BY event.local_date
        ) AS day
        ORDER BY day.first_at
        OFFSET passing.threshold - 1
        LIMIT 1
    ) AS reached_at
FROM unnest($2::integer[], $3::text[], $4::text[], $5::bigint[], $6::date[], $7::date[])
    AS passing (place, metric_id, member_id, threshold, from_date, before_date);

-- mark_days --
-- Writes that subjects had events on days, and tells on which of them they had none yet.
INSERT INTO metric_values AS value (
    program_id, metric_id, subject, subject_id, period, start_date, amount, reached_at
)
SELECT $1, marked.metric_id, marked.subject, marked.subject_id, 'DAY', marked.start_date, 1, marked.reached_at
FROM unnest($2::text[], $3::text[], $4::text[], $5::date[], $6::timestamptz[])
    AS marked (metric_id, subject, subject_id, start_date, reached_at)
ORDER BY marked.metric_id, marked.subject, marked.subject_id, marked.start_date
ON CONFLICT (program_id, metric_id, subject, subject_id, period, start_date) DO UPDATE
SET reached_at = least(value.reached_at, excluded.reached_at)
RETURNING
    new.metric_id, new.subject, new.subject_id, new.period, new.start_date, old.amount AS before,
    new.amount AS after;

-- add_values --
-- Adds to values, and tells what they were before and are now.
INSERT INTO metric_values AS value (
    program_id, metric_id, subject, subject_id, period, start_date, amount, reached_at
)
SELECT
    $1, added.metric_id, added.subject, added.subject_id, added.period, added.start_date, added.amount,
    added.reached_at
FROM unnest(
    $2::text[], $3::text[], $4::text[], $5::text[], $6::date[], $7::bigint[], $8::timestamptz[]
) AS added (metric_id, subject, subject_id, period, start_date, amount, reached_at)
ORDER BY added.metric_id, added.subject, added.subject_id, added.period, added.start_date
ON CONFLICT (program_id, metric_id, subject, subject_id, period, start_date) DO UPDATE
SET amount = value.amount + excluded.amount, reached_at = greatest(value.reached_at, excluded.reached_at)
RETURNING
    new.metric_id, new.subject, new.subject_id, new.period, new.start_date, old.amount AS before,
    new.amount AS after;

-- find_totals --
-- Reads the totals of some members in some metrics.
SELECT metric_id, subject_id AS member_id, amount
FROM metric_values
WHERE program_id = $1
    AND metric_id = ANY($2::text[])
    AND subject = 'MEMBER'
    AND subject_id = ANY($3::text[])
    AND period = 'ALL_TIME';

-- list_totals --
-- Lists the totals of a metric by member behind an id.
SELECT subject_id AS member_id, amount
FROM metric_values
WHERE program_id = $1 AND metric_id = $2 AND subject = 'MEMBER' AND subject_id > $3 AND period = 'ALL_TIME'
ORDER BY subject_id
LIMIT $4;

-- find_values_at_least --
-- Reads the values of some members in one metric and period that come to a threshold.
SELECT subject_id AS member_id, start_date, amount
FROM metric_values
WHERE program_id = $1
    AND metric_id = $2
    AND subject = 'MEMBER'
    AND subject_id = ANY($3::text[])
    AND period = $4
    AND amount >= $5;

-- list_values --
-- Lists the values of one subject in one metric, newest period first, before a day.
SELECT start_date, amount
FROM metric_values
WHERE program_id = $1
    AND metric_id = $2
    AND subject = $3
    AND subject_id = $4
    AND period = $5
    AND start_date < $6
ORDER BY start_date DESC
LIMIT $7;

-- find_records --
-- Reads the records of some members in some metrics.
SELECT member_id, metric_id, period, amount, start_date
FROM records
WHERE program_id = $1 AND (member_id, metric_id) IN (SELECT * FROM unnest($2::text[], $3::text[]));

-- put_records --
-- Writes the records of members.
INSERT INTO records (program_id, member_id, metric_id, period, amount, start_date)
SELECT $1, record.*
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::date[]) AS record
ON CONFLICT (program_id, member_id, metric_id, period) DO UPDATE
SET amount = excluded.amount, start_date = excluded.start_date;

-- list_records --
-- Lists the records of a member.
SELECT metric_id, period, amount, start_date
FROM records
WHERE program_id = $1 AND member_id = $2
ORDER BY metric_id, period;

-- find_runs --
-- Reads how the streaks of some members stand.
SELECT
    member_id, streak_id, start_date, last_date, length, longest, longest_start_date, freezes, reached_at, last_at,
    last_offset_minutes
FROM member_streaks
WHERE program_id = $1 AND member_id = ANY($2::text[]);

-- put_runs --
-- Writes how streaks of members stand.
INSERT INTO member_streaks (
    program_id, member_id, streak_id, start_date, last_date, length, longest, longest_start_date, freezes, reached_at,
    last_at, last_offset_minutes
)
SELECT $1, run.*
FROM unnest(
    $2::text[], $3::text[], $4::date[], $5::date[], $6::integer[], $7::integer[], $8::date[], $9::integer[],
    $10::timestamptz[], $11::timestamptz[], $12::smallint[]
) AS run
ON CONFLICT (program_id, member_id, streak_id) DO UPDATE
SET start_date = excluded.start_date,
    last_date = excluded.last_date,
    length = excluded.length,
    longest = excluded.longest,
    longest_start_date = excluded.longest_start_date,
    freezes = excluded.freezes,
    reached_at = excluded.reached_at,
    last_at = excluded.last_at,
    last_offset_minutes = excluded.last_offset_minutes;

-- find_milestones_after --
-- Finds the levels and badges that members reached after an instant, each member's own.
SELECT milestone.member_id, milestone.kind, milestone.definition_id, milestone.mark
FROM unnest($2::text[], $3::timestamptz[]) AS late (member_id, since)
INNER JOIN milestones AS milestone
    ON milestone.program_id = $1
    AND milestone.member_id = late.member_id
    AND milestone.kind IN ('LEVEL', 'BADGE')
    AND milestone.reached_at > late.since;

-- put_milestones --
-- Writes milestones, moves those that were reached earlier than is known, and tells which are new.
INSERT INTO milestones AS milestone (program_id, member_id, kind, definition_id, mark, value, reached_at)
SELECT $1, reached.*
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[]) AS reached
ON CONFLICT (program_id, member_id, kind, definition_id, mark) DO UPDATE
SET reached_at = excluded.reached_at
WHERE milestone.reached_at > excluded.reached_at
RETURNING new.member_id, new.kind, new.definition_id, new.mark, old.mark IS NULL AS is_new;

-- count_awards --
-- Counts the badges of some members by badge.
SELECT member_id, definition_id, count(*) AS count
FROM milestones
WHERE program_id = $1
    AND kind = 'BADGE'
    AND (member_id, definition_id) IN (SELECT * FROM unnest($2::text[], $3::text[]))
GROUP BY member_id, definition_id;

-- list_awards --
-- Lists the badges of a member, with how often and when they were given.
SELECT definition_id AS badge_id, count(*) AS count, min(reached_at) AS first_at, max(reached_at) AS last_at
FROM milestones
WHERE program_id = $1 AND member_id = $2 AND kind = 'BADGE'
GROUP BY definition_id
ORDER BY definition_id;

-- list_level_times --
-- Lists when a member reached levels.
SELECT definition_id AS ladder_id, mark AS level_id, reached_at
FROM milestones
WHERE program_id = $1 AND member_id = $2 AND kind = 'LEVEL';

-- list_ranked --
-- Lists members by value, highest first, who reached it earlier first, behind a place.
SELECT value.subject_id AS member_id, value.amount, value.reached_at
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
WHERE value.program_id = $1
    AND value.metric_id = $2
    AND value.subject = 'MEMBER'
    AND value.period = $3
    AND value.start_date = $4
    AND member.is_ranked
    AND value.amount <= $5
    AND (value.amount < $5 OR (value.reached_at, value.subject_id) > ($6, $7))
ORDER BY value.amount DESC, value.reached_at, value.subject_id
LIMIT $8;

-- list_ranked_above --
-- Lists members by value, lowest first, from the place before one upwards.
SELECT value.subject_id AS member_id, value.amount, value.reached_at
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
WHERE value.program_id = $1
    AND value.metric_id = $2
    AND value.subject = 'MEMBER'
    AND value.period = $3
    AND value.start_date = $4
    AND member.is_ranked
    AND value.amount >= $5
    AND (value.amount > $5 OR (value.reached_at, value.subject_id) < ($6, $7))
ORDER BY value.amount, value.reached_at DESC, value.subject_id DESC
LIMIT $8;

-- find_place --
-- Reads the value that ranks a member, where the member is ranked.
SELECT value.amount, value.reached_at
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
WHERE value.program_id = $1
    AND value.metric_id = $2
    AND value.subject = 'MEMBER'
    AND value.period = $3
    AND value.start_date = $4
    AND value.subject_id = $5
    AND member.is_ranked;

-- count_ahead --
-- Counts the ranked members with more than a value, and those who are listed before a place, as all less the unranked.
SELECT everybody.above - unranked.above AS above, everybody.listed - unranked.listed AS listed
FROM (
    SELECT count(*) FILTER (WHERE value.amount > $5) AS above, count(*) AS listed
    FROM metric_values AS value
    WHERE value.program_id = $1
        AND value.metric_id = $2
        AND value.subject = 'MEMBER'
        AND value.period = $3
        AND value.start_date = $4
        AND value.amount >= $5
        AND (value.amount > $5 OR (value.reached_at, value.subject_id) < ($6, $7))
) AS everybody
CROSS JOIN (
    SELECT count(*) FILTER (WHERE value.amount > $5) AS above, count(*) AS listed
    FROM metric_values AS value
    INNER JOIN members AS member
        ON member.program_id = value.program_id AND member.member_id = value.subject_id AND NOT member.is_ranked
    WHERE value.program_id = $1
        AND value.metric_id = $2
        AND value.subject = 'MEMBER'
        AND value.period = $3
        AND value.start_date = $4
        AND value.amount >= $5
        AND (value.amount > $5 OR (value.reached_at, value.subject_id) < ($6, $7))
) AS unranked;

-- count_values_above --
-- Counts the different values of ranked members that are more than one.
SELECT count(DISTINCT value.amount)
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
WHERE value.program_id = $1
    AND value.metric_id = $2
    AND value.subject = 'MEMBER'
    AND value.period = $3
    AND value.start_date = $4
    AND member.is_ranked
    AND value.amount > $5;

-- insert_closed --
-- Writes that a ranking is closed, unless it is.
INSERT INTO closed_leaderboards (program_id, leaderboard_id, period, start_date, closed_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (program_id, leaderboard_id, period, start_date) DO NOTHING
RETURNING leaderboard_id;

-- insert_closed_standings --
-- Writes the places of a ranking that is closed, by its policy on ties.
INSERT INTO closed_standings (program_id, leaderboard_id, period, start_date, place, rank, member_id, amount)
SELECT
    $1, $2, $4, $5,
    row_number() OVER (ORDER BY value.amount DESC, value.reached_at, value.subject_id),
    CASE $6::text
        WHEN 'ORDINAL' THEN row_number() OVER (ORDER BY value.amount DESC, value.reached_at, value.subject_id)
        WHEN 'DENSE' THEN dense_rank() OVER (ORDER BY value.amount DESC)
        ELSE rank() OVER (ORDER BY value.amount DESC)
    END,
    value.subject_id,
    value.amount
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
WHERE value.program_id = $1
    AND value.metric_id = $3
    AND value.subject = 'MEMBER'
    AND value.period = $4
    AND value.start_date = $5
    AND member.is_ranked;

-- count_closed_standings --
-- Counts the places of a ranking that is closed.
SELECT count(*)
FROM closed_standings
WHERE program_id = $1 AND leaderboard_id = $2 AND period = $3 AND start_date = $4;

-- find_closed --
-- Tells when a ranking was closed.
SELECT closed_at
FROM closed_leaderboards
WHERE program_id = $1 AND leaderboard_id = $2 AND period = $3 AND start_date = $4;

-- list_closed_standings --
-- Lists the places of a ranking that is closed, behind one.
SELECT place, rank, member_id, amount
FROM closed_standings
WHERE program_id = $1 AND leaderboard_id = $2 AND period = $3 AND start_date = $4 AND place > $5
ORDER BY place
LIMIT $6;

-- find_closed_place --
-- Finds the place of a member in a ranking that is closed.
SELECT place
FROM closed_standings
WHERE program_id = $1 AND leaderboard_id = $2 AND period = $3 AND start_date = $4 AND member_id = $5;

-- list_peers --
-- Lists the values of one metric in one week by member, with what tells their cohort.
SELECT value.subject_id AS member_id, value.amount, member.plan, coalesce(org.member_count, 0) AS org_member_count
FROM metric_values AS value
INNER JOIN members AS member ON member.program_id = value.program_id AND member.member_id = value.subject_id
LEFT JOIN (
    SELECT org_id, count(*) AS member_count FROM members WHERE program_id = $1 AND org_id <> '' GROUP BY org_id
) AS org ON org.org_id = member.org_id
WHERE value.program_id = $1
    AND value.metric_id = $2
    AND value.subject = 'MEMBER'
    AND value.period = 'WEEK'
    AND value.start_date = $3;

-- insert_cohorts --
-- Writes the snapshots of cohorts; those that are there stay as they are.
INSERT INTO cohorts (
    program_id, metric_id, week_start_date, plan, org_size, member_count, total_amount, amounts, below
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (program_id, metric_id, week_start_date, plan, org_size) DO NOTHING;

-- find_cohorts --
-- Reads the cohorts of the newest week of each metric that a member of a plan and size of company may be in.
SELECT
    cohort.metric_id, cohort.week_start_date, cohort.plan, cohort.org_size, cohort.member_count, cohort.total_amount,
    cohort.amounts, cohort.below
FROM cohorts AS cohort
WHERE cohort.program_id = $1
    AND cohort.week_start_date = (
        SELECT max(newest.week_start_date) FROM cohorts AS newest WHERE newest.program_id = $1
    )
    AND cohort.plan IN ($2, '')
    AND cohort.org_size IN ($3, '')
ORDER BY cohort.metric_id;

-- count_org --
-- Counts the members of a company.
SELECT count(*) FROM members WHERE program_id = $1 AND org_id = $2;

-- find_week_values --
-- Reads the values of a member in one week.
SELECT metric_id, amount
FROM metric_values
WHERE program_id = $1
    AND metric_id = ANY($2::text[])
    AND subject = 'MEMBER'
    AND subject_id = $3
    AND period = 'WEEK'
    AND start_date = $4;

-- count_rows --
-- Counts what a check looks at, across programs.
SELECT
    (SELECT count(*) FROM metric_events) AS events,
    (SELECT count(*) FROM records) AS records,
    (SELECT count(*) FROM milestones) AS milestones,
    (SELECT count(*) FROM closed_standings) AS standings;

-- check_totals --
-- Compares totals of members with the events that they come from, across programs.
SELECT
    total.program_id, total.metric_id, total.subject_id AS member_id, total.amount, counted.amount AS counted,
    counted.days
FROM metric_values AS total
INNER JOIN definition_versions AS metric
    ON metric.program_id = total.program_id
    AND metric.kind = 'metric'
    AND metric.definition_id = total.metric_id
    AND metric.version = 1
LEFT JOIN (
    SELECT program_id, metric_id, member_id, sum(amount)::bigint AS amount, count(DISTINCT local_date) AS days
    FROM metric_events
    GROUP BY program_id, metric_id, member_id
) AS counted
    ON counted.program_id = total.program_id
    AND counted.metric_id = total.metric_id
    AND counted.member_id = total.subject_id
WHERE total.subject = 'MEMBER'
    AND total.period = 'ALL_TIME'
    AND total.amount IS DISTINCT FROM
        CASE WHEN metric.definition ->> 'aggregation' = 'DISTINCT_DAYS' THEN counted.days ELSE counted.amount END
LIMIT 20;

-- check_records --
-- Compares records with the values that they are the best of, across programs.
SELECT record.program_id, record.member_id, record.metric_id, record.period, record.amount, best.amount AS best
FROM records AS record
LEFT JOIN (
    SELECT program_id, metric_id, subject_id, period, max(amount) AS amount
    FROM metric_values
    WHERE subject = 'MEMBER'
    GROUP BY program_id, metric_id, subject_id, period
) AS best
    ON best.program_id = record.program_id
    AND best.metric_id = record.metric_id
    AND best.subject_id = record.member_id
    AND best.period = record.period
WHERE best.amount IS DISTINCT FROM record.amount
LIMIT 20;

-- check_standings --
-- Finds closed rankings whose places are not in the order of their values, across programs.
SELECT after.program_id, after.leaderboard_id, after.period, after.start_date, after.place
FROM closed_standings AS after
LEFT JOIN closed_standings AS before
    ON before.program_id = after.program_id
    AND before.leaderboard_id = after.leaderboard_id
    AND before.period = after.period
    AND before.start_date = after.start_date
    AND before.place = after.place - 1
WHERE after.place > 1 AND (before.place IS NULL OR before.amount < after.amount OR before.rank > after.rank)
LIMIT 20;
