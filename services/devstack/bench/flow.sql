-- sum_heads --
-- Tells how far the feed of a service reaches, over all its partitions.
SELECT coalesce(sum(position), 0)::bigint AS position FROM feed_heads;

-- sum_cursors --
-- Tells how far each follower that lives here has come, over all partitions.
SELECT follower, sum(position)::bigint AS position FROM feed_cursors GROUP BY follower;
