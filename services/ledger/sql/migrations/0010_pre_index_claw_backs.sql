-- no transaction
-- Earns that were taken back: few of all rows, and asked for by every report.
CREATE INDEX CONCURRENTLY IF NOT EXISTS journal_claw_backs ON journal (program_id, target_id) WHERE kind = 'CLAW_BACK';
