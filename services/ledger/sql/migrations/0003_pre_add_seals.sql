-- What was sealed: some rows of a partition under one hash, and the hash of the block before. The columns up to
-- sealed_at are the header that is hashed. Append-only by privilege.
CREATE TABLE IF NOT EXISTS seal_blocks (
    program_id text NOT NULL,
    partition smallint NOT NULL,
    -- Blocks of a partition count from 1.
    number bigint NOT NULL,
    -- The positions in the journal that it covers, both included.
    first_position bigint NOT NULL,
    last_position bigint NOT NULL,
    previous_hash bytea NOT NULL,
    root bytea NOT NULL,
    sealed_at timestamptz NOT NULL,
    -- Which columns its rows were sealed with. It is the first value of each leaf and so under the root, too.
    format smallint NOT NULL,
    CONSTRAINT seal_blocks_key PRIMARY KEY (program_id, partition, number),
    CONSTRAINT seal_blocks_rows_once UNIQUE (program_id, partition, first_position),
    CONSTRAINT seal_blocks_not_empty CHECK (last_position >= first_position),
    CONSTRAINT seal_blocks_hashes_whole CHECK (octet_length(previous_hash) = 32 AND octet_length(root) = 32)
);

-- What was sealed on a day.
CREATE INDEX IF NOT EXISTS seal_blocks_by_time ON seal_blocks (program_id, sealed_at);

-- How far a program was sealed when a day ended in UTC, signed: one row for each day on which something was sealed.
-- Append-only by privilege.
CREATE TABLE IF NOT EXISTS seal_heads (
    program_id text NOT NULL,
    day date NOT NULL,
    -- The lines that were signed by Ed25519, and the public half of the key.
    content bytea NOT NULL,
    signature bytea NOT NULL,
    public_key bytea NOT NULL,
    signed_at timestamptz NOT NULL,
    CONSTRAINT seal_heads_key PRIMARY KEY (program_id, day)
);

GRANT SELECT, INSERT ON seal_blocks, seal_heads TO ledger_service;
