-- The secret before the present one, which signs for a while longer. Older code signs with the present one alone.
ALTER TABLE endpoints ADD COLUMN IF NOT EXISTS previous_secret bytea;
ALTER TABLE endpoints ADD COLUMN IF NOT EXISTS previous_ends_at timestamptz;
ALTER TABLE endpoints ADD COLUMN IF NOT EXISTS rotation_id uuid;
