"""The messages of the demo program: its templates in four languages, its triggers, and how it writes.

They are data in the form of the contracts, so that they can be taken as an example for programs of one's own.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import ParseDict
from plaudit.notify.v1 import trigger_service_pb2, trigger_service_pb2_grpc

from services.devstack.errors import CannotRunError

DATA = Path(__file__).parent / "data" / "messages.json"
CALL_WAIT_S = 10.0
SETTINGS_SCOPES = ("notify.read", "notify.write")
ENUMS = {"channels": "CHANNEL_", "channel": "CHANNEL_"}

Metadata = tuple[tuple[str, str], ...]


def load() -> dict[str, Any]:
    """Reads the messages, with the names of enums as the contracts have them."""
    found: dict[str, Any] = json.loads(DATA.read_text(encoding="utf-8"), object_hook=_with_prefixes)
    return found


def _with_prefixes(values: dict[str, Any]) -> dict[str, Any]:
    for name, prefix in ENUMS.items():
        value = values.get(name)
        if isinstance(value, str):
            values[name] = prefix + value
        elif isinstance(value, list):
            values[name] = [prefix + each for each in value]
    return values


def template_requests(data: dict[str, Any]) -> Iterator[trigger_service_pb2.UpdateTemplateRequest]:
    """Gives the requests that publish the templates, each under an id that never changes."""
    for each in data["templates"]:
        request_id = f"demo-template-{each['templateId']}-v1"
        yield ParseDict({"template": each, "requestId": request_id}, trigger_service_pb2.UpdateTemplateRequest())


def trigger_requests(data: dict[str, Any]) -> Iterator[trigger_service_pb2.UpdateTriggerRequest]:
    """Gives the requests that make the triggers, each under an id that never changes."""
    for each in data["triggers"]:
        request_id = f"demo-trigger-{each['triggerId']}-v1"
        yield ParseDict({"trigger": each, "requestId": request_id}, trigger_service_pb2.UpdateTriggerRequest())


async def ensure(channel: grpc.aio.Channel, metadata: Metadata) -> None:
    """Makes what is missing of the messages of a program. Raises CannotRunError where notify does not take them."""
    stub: Any = trigger_service_pb2_grpc.TriggerServiceStub(channel)
    data = load()
    known = await _call(stub.GetSettings, trigger_service_pb2.GetSettingsRequest(), metadata)
    if known is None:
        request = ParseDict({"settings": data["settings"]}, trigger_service_pb2.UpdateSettingsRequest())
        await _call(stub.UpdateSettings, request, metadata)
    for template in template_requests(data):
        await _call(stub.UpdateTemplate, template, metadata)
    for trigger in trigger_requests(data):
        await _call(stub.UpdateTrigger, trigger, metadata)


async def _call(method: Any, request: Any, metadata: Metadata) -> Any:
    """Calls notify; None where it is there with other content, or nobody has put it yet."""
    fine = (grpc.StatusCode.ALREADY_EXISTS, grpc.StatusCode.FAILED_PRECONDITION)
    try:
        return await method(request, metadata=metadata, timeout=CALL_WAIT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() in fine:
            return None
        raise CannotRunError(f"the notify service refused: {error.details()} ({error.code().name})") from error
