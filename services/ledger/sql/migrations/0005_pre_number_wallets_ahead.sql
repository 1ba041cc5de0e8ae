-- A wallet is stored once something happened in it, and has its number before that.
GRANT USAGE ON SEQUENCE wallets_wallet_id_seq TO ledger_service;
