-- list_unsealed --
-- Lists the partitions that have rows behind their newest block, the oldest first, with since when the next row waits,
-- which is not known where that row is gone or broken; across programs.
SELECT
    head.program_id, head.partition, head.position AS head_position, coalesce(newest.last_position, 0) AS last_position,
    waiting.posted_at
FROM feed_heads AS head
LEFT JOIN LATERAL (
    SELECT block.last_position
    FROM seal_blocks AS block
    WHERE block.program_id = head.program_id AND block.partition = head.partition
    ORDER BY block.number DESC
    LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN isfinite(entry.posted_at) THEN entry.posted_at END AS posted_at
    FROM journal AS entry
    WHERE
        entry.program_id = head.program_id
        AND entry.partition = head.partition
        AND entry.position = coalesce(newest.last_position, 0) + 1
) AS waiting ON true
WHERE head.position > coalesce(newest.last_position, 0)
ORDER BY waiting.posted_at NULLS FIRST, head.program_id, head.partition
LIMIT $1;

-- list_sealed_partitions --
-- Lists the partitions of a program that have blocks.
WITH RECURSIVE sealed AS (
    -- One look at the index for each partition, however many blocks it has.
    (SELECT block.partition FROM seal_blocks AS block WHERE block.program_id = $1 ORDER BY block.partition LIMIT 1)
    UNION ALL
    SELECT following.partition
    FROM sealed
    CROSS JOIN LATERAL (
        SELECT block.partition
        FROM seal_blocks AS block
        WHERE block.program_id = $1 AND block.partition > sealed.partition
        ORDER BY block.partition
        LIMIT 1
    ) AS following
)
SELECT partition FROM sealed;

-- read_partitions --
-- Tells how far each partition of a program that has a head, or is one of some, reaches and is sealed, and since when
-- the next row waits; nothing of that where there is none.
WITH known AS (
    SELECT partition FROM feed_heads WHERE program_id = $1
    UNION
    SELECT partition FROM unnest($2::smallint[]) AS sealed (partition)
)
SELECT
    known.partition, coalesce(head.position, 0) AS head_position, coalesce(newest.number, 0) AS number,
    coalesce(newest.last_position, 0) AS last_position, waiting.posted_at
FROM known
LEFT JOIN feed_heads AS head ON head.program_id = $1 AND head.partition = known.partition
LEFT JOIN LATERAL (
    SELECT block.number, block.last_position
    FROM seal_blocks AS block
    WHERE block.program_id = $1 AND block.partition = known.partition
    ORDER BY block.number DESC
    LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT CASE WHEN isfinite(entry.posted_at) THEN entry.posted_at END AS posted_at
    FROM journal AS entry
    WHERE
        entry.program_id = $1
        AND entry.partition = known.partition
        AND entry.position = coalesce(newest.last_position, 0) + 1
) AS waiting ON true
ORDER BY known.partition;

-- find_newest_posting --
-- Tells when the newest row was posted, where anything was ever sealed; across programs.
SELECT max(entry.posted_at)
FROM feed_heads AS head
INNER JOIN journal AS entry
    ON entry.program_id = head.program_id AND entry.partition = head.partition AND entry.position = head.position
WHERE isfinite(entry.posted_at) AND EXISTS (SELECT 1 FROM seal_blocks);

-- list_sealed_programs --
-- Lists the programs that may have something sealed, whichever of their heads and blocks are there; across programs.
SELECT program_id FROM feed_heads
UNION
SELECT program_id FROM seal_blocks
UNION
SELECT program_id FROM seal_heads
ORDER BY program_id;

-- find_newest_block --
-- Finds the newest block of a partition.
SELECT program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format
FROM seal_blocks
WHERE program_id = $1 AND partition = $2
ORDER BY number DESC
LIMIT 1;

-- find_block_of --
-- Finds the block that a position may be in: the last one that begins no later.
SELECT program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format
FROM seal_blocks
WHERE program_id = $1 AND partition = $2 AND first_position <= $3
ORDER BY first_position DESC
LIMIT 1;

-- list_blocks --
-- Lists the blocks of a partition from a number on.
SELECT program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format
FROM seal_blocks
WHERE program_id = $1 AND partition = $2 AND number >= $3
ORDER BY number
LIMIT $4;

-- find_blocks --
-- Finds some blocks of a program, by partition and number.
SELECT program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format
FROM seal_blocks
WHERE program_id = $1 AND (partition, number) IN (SELECT * FROM unnest($2::smallint[], $3::bigint[]));

-- list_tips --
-- Tells the newest block of each of some partitions of a program that was sealed before an instant.
SELECT
    block.program_id, block.partition, block.number, block.first_position, block.last_position, block.previous_hash,
    block.root, block.sealed_at, block.format
FROM unnest($3::smallint[]) AS sealed (partition)
CROSS JOIN LATERAL (
    SELECT
        program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format
    FROM seal_blocks
    WHERE program_id = $1 AND partition = sealed.partition AND sealed_at < $2
    ORDER BY number DESC
    LIMIT 1
) AS block
ORDER BY block.partition;

-- insert_block --
-- Adds a block, and tells its number; nothing where another worker was first.
INSERT INTO seal_blocks
    (program_id, partition, number, first_position, last_position, previous_hash, root, sealed_at, format)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT DO NOTHING
RETURNING number;

-- read_rows --
-- Reads the rows of the journal between two positions with all columns that the newest format seals, in its order.
SELECT
    program_id, partition, position, request_id, leg, kind, posted_at, occurred_at, wallet_id, amount, sequence,
    balance, expires_at, held_amount, lot_number, budget_amount, debt_amount, allocated_value, target_id,
    burn_order_version, fingerprint, cause_event_id, cause_rule_id, cause_rule_version, cause_redemption_id,
    cause_campaign_id, budget_id, refusal, detail
FROM journal
WHERE program_id = $1 AND partition = $2 AND position >= $3 AND position <= $4
ORDER BY position
LIMIT $5;

-- find_row --
-- Tells where a row of the journal stands.
SELECT partition, position FROM journal WHERE program_id = $1 AND request_id = $2 AND leg = $3;

-- list_stray_rows --
-- Lists rows of the journal that no block can hold: below the first position, beyond the last one ($3) of a partition
-- ($2), or in a partition that is not among those.
WITH RECURSIVE used AS (
    -- One look at the index for each partition, however many rows it has.
    (SELECT entry.partition FROM journal AS entry WHERE entry.program_id = $1 ORDER BY entry.partition LIMIT 1)
    UNION ALL
    SELECT following.partition
    FROM used
    CROSS JOIN LATERAL (
        SELECT entry.partition
        FROM journal AS entry
        WHERE entry.program_id = $1 AND entry.partition > used.partition
        ORDER BY entry.partition
        LIMIT 1
    ) AS following
)
SELECT used.partition, stray.position
FROM used
LEFT JOIN unnest($2::integer[], $3::bigint[]) AS known (partition, last_position) ON known.partition = used.partition
CROSS JOIN LATERAL (
    (
        SELECT entry.position
        FROM journal AS entry
        WHERE entry.program_id = $1 AND entry.partition = used.partition AND entry.position < 1
        ORDER BY entry.position
        LIMIT $4
    )
    UNION ALL
    (
        SELECT entry.position
        FROM journal AS entry
        WHERE
            entry.program_id = $1
            AND entry.partition = used.partition
            AND entry.position > greatest(known.last_position, 0)
        ORDER BY entry.position
        LIMIT $4
    )
) AS stray
LIMIT $4;

-- list_days_to_sign --
-- Lists the days that ended before an instant and have no head yet, of those behind each program's newest head; across
-- programs.
SELECT DISTINCT program.program_id, (block.sealed_at AT TIME ZONE 'UTC')::date AS day
FROM (SELECT DISTINCT program_id FROM feed_heads) AS program
LEFT JOIN LATERAL (
    SELECT (head.day + 1)::timestamp AT TIME ZONE 'UTC' AS ended_at
    FROM seal_heads AS head
    WHERE head.program_id = program.program_id
    ORDER BY head.day DESC
    LIMIT 1
) AS newest ON true
INNER JOIN seal_blocks AS block
    ON block.program_id = program.program_id
    AND block.sealed_at >= coalesce(newest.ended_at, '-infinity')
    AND block.sealed_at < $1
ORDER BY day, program_id
LIMIT $2;

-- list_days_unsigned --
-- Lists the days of a program on which something was sealed before an instant, and that have no head.
SELECT DISTINCT (block.sealed_at AT TIME ZONE 'UTC')::date AS day
FROM seal_blocks AS block
WHERE
    block.program_id = $1
    AND block.sealed_at < $2
    AND NOT EXISTS (
        SELECT 1
        FROM seal_heads AS head
        WHERE head.program_id = $1 AND head.day = (block.sealed_at AT TIME ZONE 'UTC')::date
    )
ORDER BY day
LIMIT $3;

-- insert_head --
-- Adds the head of a day, and tells the day; nothing where another worker was first.
INSERT INTO seal_heads (program_id, day, content, signature, public_key, signed_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
RETURNING day;

-- find_head --
-- Finds the head of a day.
SELECT day, content, signature, public_key FROM seal_heads WHERE program_id = $1 AND day = $2;

-- list_heads --
-- Lists the heads of a program behind a day, the oldest first.
SELECT day, content, signature, public_key
FROM seal_heads
WHERE program_id = $1 AND day > $2
ORDER BY day
LIMIT $3;
