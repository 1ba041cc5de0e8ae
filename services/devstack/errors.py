"""What the devstack says when it cannot go on."""


class CannotRunError(Exception):
    """Is one clear sentence for the person at the terminal; the command ends with exit code 2."""
