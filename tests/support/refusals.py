"""What a call was refused with."""

from collections.abc import Awaitable
from typing import Any

import grpc
import pytest

from services.kernel import errors, interceptors


async def refusal(call: Awaitable[Any]) -> errors.DomainError:
    """Gives the refusal of a call that must be refused."""
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call
    return interceptors.from_error(refused.value, dependency="service")
