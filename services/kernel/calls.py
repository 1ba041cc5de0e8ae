"""The call under way: who calls, for which program, under which correlation id. Set by the edges, read anywhere."""

from contextvars import ContextVar
from dataclasses import dataclass

from services.kernel import errors
from services.kernel.tokens import Caller

CORRELATION_HEADER = "x-correlation-id"
PROGRAM_HEADER = "x-plaudit-program"
CORRELATION_LENGTH_MAX = 64


@dataclass(frozen=True, slots=True)
class Call:
    """One call: its caller, the program it acts in (empty for calls above programs) and its correlation id."""

    caller: Caller
    program: str
    correlation_id: str

    @property
    def program_id(self) -> str:
        """Gives the program. Raises FIELD_INVALID where a service did not say for which program it calls."""
        if not self.program:
            message = "must name the program that a service acts for"
            raise errors.field_invalid(errors.Violation(PROGRAM_HEADER, message))
        return self.program


CURRENT: ContextVar[Call] = ContextVar("plaudit_call")


def current() -> Call:
    """Gives the call under way; there is one in every handler."""
    return CURRENT.get()
