-- no transaction
-- The few whom leaderboards do not show.
CREATE INDEX CONCURRENTLY IF NOT EXISTS members_unranked ON members (program_id, member_id) WHERE NOT is_ranked;
