-- What became of what an event gave: it was confirmed, or taken back. Append-only by privilege.
CREATE TABLE IF NOT EXISTS settlements (
    program_id text NOT NULL,
    event_id text NOT NULL,
    settling text NOT NULL,
    settled_at timestamptz NOT NULL,
    -- Why, in the words of whoever took it back; empty where nothing was said.
    reason text NOT NULL,
    CONSTRAINT settlements_key PRIMARY KEY (program_id, event_id, settling),
    CONSTRAINT settlements_settling_known CHECK (settling IN ('CONFIRM', 'TAKE_BACK'))
);

GRANT SELECT, INSERT ON settlements TO program_service;
