-- The caps that a decision counts in. Older decisions do not say: what the ledger refused of them stays counted.
ALTER TABLE decisions ADD COLUMN IF NOT EXISTS counted jsonb;
