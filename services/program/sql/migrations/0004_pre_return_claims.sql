-- A claim goes with the denial of what it was made for.
GRANT DELETE ON rule_claims TO program_service;
