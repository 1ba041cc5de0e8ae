-- What the ledger is told of a decision beside the amount and the end. Older decisions say nothing of it, as they were
-- plain.
ALTER TABLE decisions ADD COLUMN IF NOT EXISTS terms jsonb;
