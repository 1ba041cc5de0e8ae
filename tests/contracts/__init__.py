"""The house rules as tests. A failure teaches the rule; each check has been seen to fail, most by a test beside it."""
