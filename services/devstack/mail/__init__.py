"""The mail server of a local stack: takes every mail, delivers none, and shows them at `/dev/mail`.

Addresses that begin with `bounce` do not exist here, and those that begin with `defer` are asked to come back, so that
what follows can be seen.
"""
