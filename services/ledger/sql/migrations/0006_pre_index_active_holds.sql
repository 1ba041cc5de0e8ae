-- no transaction
-- What reserves something of a wallet.
CREATE INDEX CONCURRENTLY IF NOT EXISTS holds_active ON holds (program_id, wallet_id) WHERE state = 'ACTIVE';
