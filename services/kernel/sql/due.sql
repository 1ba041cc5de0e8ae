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

-- lock_due_work --
-- Locks the longest due rows of one program and kind that nobody else holds.
SELECT program_id, kind, work_id, payload, due_at, attempts, fence
FROM due_work
WHERE program_id = $1 AND kind = $2 AND state = 'WAITING' AND due_at <= $3
    AND (lease_until IS NULL OR lease_until <= $3)
ORDER BY due_at
LIMIT $4
FOR UPDATE SKIP LOCKED;

-- lease_due_work --
-- Leases a row that is locked.
UPDATE due_work
SET lease_until = $4, fence = fence + 1, attempts = attempts + 1
WHERE program_id = $1 AND kind = $2 AND work_id = $3;

-- finish_due_work --
-- Deletes a row that was worked under a lease, unless somebody else took the lease since.
DELETE FROM due_work WHERE program_id = $1 AND kind = $2 AND work_id = $3 AND fence = $4;

-- postpone_due_work --
-- Makes a row that was worked under a lease due at another time, unless somebody else took the lease since.
UPDATE due_work
SET due_at = $5, lease_until = NULL
WHERE program_id = $1 AND kind = $2 AND work_id = $3 AND fence = $4;

-- extend_lease --
-- Makes a lease end later, unless somebody else took it since, and tells whose it is.
UPDATE due_work
SET lease_until = $5
WHERE program_id = $1 AND kind = $2 AND work_id = $3 AND fence = $4
RETURNING work_id;

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
