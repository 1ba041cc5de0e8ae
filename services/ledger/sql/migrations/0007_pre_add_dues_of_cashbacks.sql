-- What cashbacks that were taken back leave to be settled; of those that older code took back, nothing.
ALTER TABLE wallets ADD COLUMN IF NOT EXISTS cashback_due bigint NOT NULL DEFAULT 0;
