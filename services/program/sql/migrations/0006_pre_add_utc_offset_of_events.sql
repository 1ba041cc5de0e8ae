-- What clocks showed where an event happened. Senders of older events did not say.
ALTER TABLE events ADD COLUMN IF NOT EXISTS utc_offset_minutes smallint;
