-- The rounding account of exchanges, as an accountant reads it.
CREATE OR REPLACE VIEW roundings AS
SELECT
    journal.program_id, wallets.asset AS from_asset, journal.detail ->> 'to_asset' AS to_asset,
    (journal.detail ->> 'rate_version')::integer AS rate_version,
    (journal.detail ->> 'denominator')::bigint AS denominator,
    count(*) AS exchanges, sum((journal.detail ->> 'rounding')::bigint) AS parts
FROM journal
INNER JOIN wallets ON wallets.program_id = journal.program_id AND wallets.wallet_id = journal.wallet_id
WHERE journal.kind = 'EXCHANGE' AND journal.leg = 0 AND journal.refusal IS NULL
GROUP BY 1, 2, 3, 4, 5;

GRANT SELECT ON roundings TO ledger_service;
