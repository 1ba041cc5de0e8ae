"""Benchmarks: each runs real servers on a durable PostgreSQL, beside a baseline in the same run."""
