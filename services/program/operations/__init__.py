"""The program's verbs, a module a noun. One function, one transaction; what spans the ledger is due work too."""
