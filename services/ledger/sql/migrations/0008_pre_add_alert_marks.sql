-- How far the feed was told of a budget, instead of what was put in by then. Older code leaves both as they are.
ALTER TABLE budgets ADD COLUMN IF NOT EXISTS told_percent smallint;
ALTER TABLE budgets ADD COLUMN IF NOT EXISTS alert_count bigint NOT NULL DEFAULT 0;

GRANT UPDATE (told_percent, alert_count) ON budgets TO ledger_service;
