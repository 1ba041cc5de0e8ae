-- count_partitions --
-- Tells into how many partitions a program's feed is split.
SELECT count(*) FROM feed_heads WHERE program_id = $1;

-- create_head --
-- Makes the one partition that a program starts with.
INSERT INTO feed_heads (program_id, partition, position) VALUES ($1, 0, 0)
ON CONFLICT (program_id, partition) DO NOTHING;

-- advance_heads --
-- Locks heads in order, moves each by its number of new events and tells the first new position of each; leaves all
-- as it is and tells nothing where the program has another number of partitions than the caller thinks.
WITH asked AS (
    SELECT partition, count FROM unnest($3::integer[], $4::integer[]) AS asked (partition, count)
), locked AS (
    SELECT partition, position
    FROM feed_heads
    WHERE program_id = $1
        AND partition = ANY($3::integer[])
        AND (SELECT count(*) FROM feed_heads AS every WHERE every.program_id = $1) = $2::bigint
    ORDER BY partition
    FOR UPDATE
)
UPDATE feed_heads
SET position = locked.position + asked.count
FROM locked INNER JOIN asked ON asked.partition = locked.partition
WHERE feed_heads.program_id = $1 AND feed_heads.partition = locked.partition
RETURNING feed_heads.partition, locked.position + 1 AS first_position;

-- list_heads --
-- Lists every head; reads across programs.
SELECT program_id, partition, position FROM feed_heads WHERE position > 0;

-- get_head --
-- Tells how far one partition reaches.
SELECT position FROM feed_heads WHERE program_id = $1 AND partition = $2;

-- read_events --
-- Reads the events between two positions, oldest first, of some types or of all.
SELECT program_id, partition, position, event_id, member_id, type, payload, posted_at
FROM feed_events
WHERE program_id = $1 AND partition = $2 AND position > $3 AND position <= $4
    AND ($5::text[] IS NULL OR type = ANY($5::text[]))
ORDER BY position;

-- list_cursors --
-- Tells where one follower stands; reads across programs.
SELECT program_id, partition, position FROM feed_cursors WHERE follower = $1;

-- list_all_cursors --
-- Tells where every follower of this database stands; reads across programs.
SELECT follower, program_id, partition, position FROM feed_cursors;

-- create_cursor --
-- Makes a cursor at the beginning.
INSERT INTO feed_cursors (program_id, follower, partition, position) VALUES ($1, $2, $3, 0)
ON CONFLICT (program_id, follower, partition) DO NOTHING;

-- lock_cursor --
-- Locks a cursor for the transaction; nothing where another replica has it.
SELECT position FROM feed_cursors WHERE program_id = $1 AND follower = $2 AND partition = $3 FOR UPDATE SKIP LOCKED;

-- move_cursor --
-- Moves a cursor forward.
UPDATE feed_cursors
SET position = $4, moved_at = clock_timestamp()
WHERE program_id = $1 AND follower = $2 AND partition = $3 AND position < $4;

-- insert_dead_letter --
-- Sets an event aside that its handler cannot take.
INSERT INTO feed_dead_letters
    (program_id, follower, partition, position, event_id, member_id, type, payload, posted_at, error)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- list_dead_letters --
-- Lists the events that a follower set aside, oldest first.
SELECT program_id, partition, position, event_id, member_id, type, payload, posted_at
FROM feed_dead_letters
WHERE program_id = $1 AND follower = $2
ORDER BY partition, position
LIMIT 1000;

-- delete_dead_letter --
-- Removes an event that is worked after all, and tells its position; nothing where somebody else did.
DELETE FROM feed_dead_letters
WHERE program_id = $1 AND follower = $2 AND partition = $3 AND position = $4
RETURNING position;

-- count_dead_letters --
-- Counts what was set aside; reads across programs.
SELECT program_id, follower, count(*) AS count FROM feed_dead_letters GROUP BY program_id, follower;

-- check_heads --
-- Counts the events of each partition beside its head; reads across programs.
SELECT
    head.program_id,
    head.partition,
    head.position,
    count(event.position) AS count,
    coalesce(max(event.position), 0) AS last
FROM feed_heads AS head
LEFT JOIN feed_events AS event ON event.program_id = head.program_id AND event.partition = head.partition
GROUP BY head.program_id, head.partition, head.position;
