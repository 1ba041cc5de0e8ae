-- What share of an issue is expected to be redeemed. Only ever added to, and never for the past, so that the report of
-- an instant stays what it is.
CREATE TABLE IF NOT EXISTS redemption_estimates (
    program_id text NOT NULL,
    -- The request that stored it, and its content.
    request_id uuid NOT NULL,
    fingerprint bytea NOT NULL,
    asset text NOT NULL,
    -- Empty speaks for all campaigns that have none of their own.
    campaign_id text NOT NULL,
    redemption_rate_bps integer NOT NULL,
    -- From when it is in force, and when it was stored.
    valid_from timestamptz NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT redemption_estimates_key PRIMARY KEY (program_id, request_id),
    CONSTRAINT redemption_estimates_rate_is_share CHECK (redemption_rate_bps BETWEEN 1 AND 10000),
    CONSTRAINT redemption_estimates_not_back_dated CHECK (valid_from >= set_at)
);

GRANT SELECT, INSERT ON redemption_estimates TO ledger_service;
