-- Whether less may be read of a wallet. Of those that older code made nobody knows, so they are read in full.
ALTER TABLE wallets ADD COLUMN IF NOT EXISTS has_priorities boolean NOT NULL DEFAULT true;
ALTER TABLE wallets ADD COLUMN IF NOT EXISTS has_waiting boolean NOT NULL DEFAULT true;
