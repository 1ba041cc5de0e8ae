-- sum_heads --
-- Tells how far the feed of a service reaches, over all its partitions.
SELECT coalesce(sum(position), 0)::bigint AS position FROM feed_heads;

-- sum_cursors --
-- Tells how far each follower that lives here has come, over all partitions.
SELECT follower, sum(position)::bigint AS position FROM feed_cursors GROUP BY follower;

-- list_told --
-- Tells when members of a prefix were told by their inbox.
SELECT member_id, min(created_at) AS created_at FROM messages WHERE starts_with(member_id, $1) GROUP BY member_id;

-- count_mails --
-- Counts the mails to members of a prefix that were taken.
SELECT count(*)
FROM deliveries
WHERE channel = 'EMAIL' AND trigger_id = 'bench' AND state = 'SENT' AND starts_with(member_id, $1);

-- time_mails --
-- Counts the mails to members of a prefix that were taken, and the seconds from the first attempt to the last answer.
SELECT
    count(*) AS count,
    extract(epoch FROM max(attempt.ended_at) - min(attempt.started_at))::double precision AS seconds
FROM deliveries AS delivery
INNER JOIN attempts AS attempt
    ON attempt.program_id = delivery.program_id AND attempt.delivery_id = delivery.delivery_id
WHERE delivery.channel = 'EMAIL' AND delivery.trigger_id = 'bench' AND attempt.outcome = 'ACCEPTED'
    AND starts_with(delivery.member_id, $1);
