"""Notify's verbs, a module a noun. One function, one transaction; what leaves the house is due work."""
