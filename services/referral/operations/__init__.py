"""The referral service's verbs, a module a noun. One function, one transaction; what must happen later is due work."""
