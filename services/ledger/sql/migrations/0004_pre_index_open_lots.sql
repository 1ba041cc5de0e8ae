-- no transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS lots_open ON lots (program_id, wallet_id, expires_at)
WHERE is_open;
