"""The services of Plaudit: each owns its database and talks to the others through the contracts in `protos/` only."""
