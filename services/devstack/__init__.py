"""Runs all of Plaudit on one machine, and the tools around it.

The devstack promises:

D1. What `up` acknowledged as ready survives a restart, a `kill -9` of any process and of `up` itself.
D2. No process outlives `up`, however `up` ends.
D3. One data directory is used by one `up` at a time; two directories never meet.
D4. Nothing listens beyond loopback, and no socket or secret is readable by other users.
D5. What cannot run says so in one sentence and ends with exit code 2.
"""
