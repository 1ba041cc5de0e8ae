"""The ledger's verbs, a module a noun. One function, one transaction."""
