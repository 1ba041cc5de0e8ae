-- schedule_due_work --
-- Adds rows that do not exist yet.
INSERT INTO due_work (program_id, kind, work_id, payload, due_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::jsonb[], $5::timestamptz[])
ON CONFLICT (program_id, kind, work_id) DO NOTHING;

-- complete_due_work --
-- Deletes one row whose work is done.
DELETE FROM due_work WHERE program_id = $1 AND kind = $2 AND work_id = $3;

-- list_programs_with_due_work --
-- Lists the programs that have something due of one kind; reads across programs, locks nothing.
SELECT DISTINCT program_id
FROM due_work
WHERE kind = $1 AND state = 'WAITING' AND due_at <= $2 AND (lease_until IS NULL OR lease_until <= $2)
LIMIT $3;

-- claim_due_work --
-- Leases the longest due rows of one program and kind that nobody else holds; picked once, since a subquery that the
-- plan runs again would skip what it has locked and pick more.
WITH picked AS MATERIALIZED (
    SELECT work_id
    FROM due_work
    WHERE program_id = $1 AND kind = $2 AND state = 'WAITING' AND due_at <= $3
        AND (lease_until IS NULL OR lease_until <= $3)
    ORDER BY due_at
    LIMIT $5
    FOR UPDATE SKIP LOCKED
)
UPDATE due_work
SET lease_until = $4, fence = due_work.fence + 1, attempts = due_work.attempts + 1
FROM picked
WHERE due_work.program_id = $1 AND due_work.kind = $2 AND due_work.work_id = picked.work_id
RETURNING
    due_work.program_id, due_work.kind, due_work.work_id, due_work.payload, due_work.due_at, due_work.attempts,
    due_work.fence;

-- finish_due_work --
-- Deletes a row that was worked under a lease, unless somebody else took the lease since.
DELETE FROM due_work WHERE program_id = $1 AND kind = $2 AND work_id = $3 AND fence = $4;

-- finish_due_works --
-- Deletes rows that were worked under a lease, but those whose lease somebody else took since.
DELETE FROM due_work
USING unnest($3::uuid[], $4::bigint[]) AS worked (work_id, fence)
WHERE due_work.program_id = $1 AND due_work.kind = $2 AND due_work.work_id = worked.work_id
    AND due_work.fence = worked.fence;

-- postpone_due_works --
-- Makes rows that were worked under a lease due at other times, but those whose lease somebody else took since.
UPDATE due_work
SET due_at = worked.due_at, lease_until = NULL
FROM unnest($3::uuid[], $4::bigint[], $5::timestamptz[]) AS worked (work_id, fence, due_at)
WHERE due_work.program_id = $1 AND due_work.kind = $2 AND due_work.work_id = worked.work_id
    AND due_work.fence = worked.fence;

-- extend_leases --
-- Makes leases end later, but those that somebody else took since, and tells whose they are.
UPDATE due_work
SET lease_until = $5
FROM unnest($3::uuid[], $4::bigint[]) AS worked (work_id, fence)
WHERE due_work.program_id = $1 AND due_work.kind = $2 AND due_work.work_id = worked.work_id
    AND due_work.fence = worked.fence
RETURNING due_work.work_id;

-- put_off_due_work --
-- Records a failed attempt, unless somebody else took the lease since.
UPDATE due_work
SET state = $5, due_at = $6, lease_until = NULL, last_error = $7
WHERE program_id = $1 AND kind = $2 AND work_id = $3 AND fence = $4;

-- replay_dead_due_work --
-- Makes dead letters due again.
UPDATE due_work
SET state = 'WAITING', due_at = $3, attempts = 0, lease_until = NULL
WHERE program_id = $1 AND kind = $2 AND state = 'DEAD'
RETURNING work_id;

-- summarise_due_work --
-- Counts due work by kind and state with the age of the oldest and the error of the newest; reads across programs.
SELECT
    kind,
    state,
    count(*) AS count,
    floor(extract(EPOCH FROM clock_timestamp() - min(due_at)))::bigint AS oldest_age_s,
    (array_agg(last_error ORDER BY due_at DESC) FILTER (WHERE last_error IS NOT NULL))[1] AS last_error
FROM due_work
GROUP BY kind, state
ORDER BY kind, state;
