"""Endpoints of programs: signed as Standard Webhooks, public only, and disabled when they are gone."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, timedelta
from typing import Any

import pytest
from plaudit.notify.v1 import delivery_service_pb2, notify_pb2

from services.notify import webhooks
from services.notify.model import AttemptOutcome, Endpoint
from services.notify.operations import endpoints
from services.notify.ports import Handover
from tests.support.notify import NotifyHarness
from tests.support.refusals import refusal

PRIVATE = [
    "https://127.0.0.1/",
    "https://10.1.2.3/hook",
    "https://169.254.169.254/latest",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "http://93.184.216.34/",
    "https://user:secret@93.184.216.34/",
    "https://0.0.0.0/",
]


async def make(notify: NotifyHarness, *types: str) -> str:
    """Makes an endpoint that wants to know of some causes; gives its secret."""
    endpoint = Endpoint("crm", "https://93.184.216.34/hook", types)
    _, secret = await endpoints.update_endpoint(notify.context, "demo", endpoint, is_public=True)
    return secret


def signature(secret: str, headers: dict[str, str], content: bytes) -> str:
    """Signs what came as Standard Webhooks has it, from the standard's text."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode()


async def rotate(notify: NotifyHarness, name: str, *, program: str = "demo") -> Any:
    """Asks for another secret, under a request of a name."""
    request = delivery_service_pb2.RotateEndpointSecretRequest(endpoint_id="crm", request_id=name)
    return await notify.deliveries.RotateEndpointSecret(request, metadata=notify.metadata(program=program))


async def test_endpoint_is_told_and_can_verify(notify: NotifyHarness) -> None:
    """An endpoint is told of the causes that it wants, under an id and with a signature that its secret verifies."""
    secret = await make(notify, "report.generated")
    await notify.happen(pages=3)
    await notify.happen("other.thing")
    await notify.work()
    [(url, headers, content)] = notify.posted.posts

    assert url == "https://93.184.216.34/hook"
    assert headers["webhook-signature"] == signature(secret, headers, content)
    assert json.loads(content)["type"] == "report.generated"
    assert json.loads(content)["data"] == {"memberId": "m1", "properties": {"pages": 3}}


async def test_endpoint_that_fails_is_tried_again(notify: NotifyHarness) -> None:
    """An endpoint that is away gets the same message under the same id later, after the time that it asked for."""
    await make(notify, "*")
    notify.posted.answers = [Handover(AttemptOutcome.DEFERRED, 503, "later", retry_after_s=600)]
    await notify.happen()
    await notify.work()
    notify.time.value += timedelta(seconds=599)
    await notify.work()
    early = len(notify.posted.posts)
    notify.time.value += timedelta(seconds=2)
    await notify.work()

    assert (early, len(notify.posted.posts)) == (1, 2)
    assert len({headers["webhook-id"] for _, headers, _ in notify.posted.posts}) == 1


async def test_endpoint_that_is_gone_is_disabled(notify: NotifyHarness) -> None:
    """An endpoint that says that it is gone is told nothing more, and why stands beside it."""
    await make(notify, "*")
    notify.posted.answers = [Handover(AttemptOutcome.REFUSED, 410, "gone", is_gone=True)]
    await notify.happen()
    await notify.work()
    await notify.happen()
    await notify.work()
    request = delivery_service_pb2.ListEndpointsRequest()
    [endpoint] = (await notify.deliveries.ListEndpoints(request, metadata=notify.metadata())).endpoints

    assert len(notify.posted.posts) == 1
    assert (endpoint.state, endpoint.reason) == (notify_pb2.ENDPOINT_STATE_DISABLED, "GONE")


@pytest.mark.parametrize("url", PRIVATE)
async def test_private_address_is_refused(notify: NotifyHarness, url: str) -> None:
    """An endpoint that is not public, or asks for no encryption, is refused, and would not be posted to either."""
    endpoint = notify_pb2.Endpoint(endpoint_id="crm", url=url, event_types=["*"])
    request = delivery_service_pb2.UpdateEndpointRequest(endpoint=endpoint)
    refused = await refusal(notify.deliveries.UpdateEndpoint(request, metadata=notify.metadata()))
    poster = webhooks.Poster()
    handover = await poster.post(url, {}, b"{}")
    await poster.close()

    assert refused.reason == "ADDRESS_REFUSED"
    assert (handover.outcome, handover.response) == (AttemptOutcome.REFUSED, "the address is not a public one")


async def test_secret_is_told_once_and_kept_hidden(notify: NotifyHarness) -> None:
    """A secret is told when the endpoint is made, never again, and is not in the database as it is."""
    secret = await make(notify, "*")
    endpoint = Endpoint("crm", "https://93.184.216.34/other", ("*",))
    changed: Any = await endpoints.update_endpoint(notify.context, "demo", endpoint, is_public=True)
    row = await notify.context.pool.fetchrow("SELECT endpoint_id, url, secret FROM endpoints")

    assert secret.startswith("whsec_")
    assert changed[1] == ""
    assert row is not None
    assert row["url"] == "https://93.184.216.34/other"
    assert secret.encode() not in row["secret"]


async def test_rotated_secret_signs_beside_the_one_before_for_a_day(notify: NotifyHarness) -> None:
    """For 24 hours a message verifies with both secrets, the new one first; then with the new one alone."""
    first = await make(notify, "*")
    second = await rotate(notify, "one")
    await notify.happen()
    await notify.work()
    notify.time.value += timedelta(hours=24)
    await notify.happen()
    await notify.work()
    [(_, both, early), (_, one, late)] = notify.posted.posts

    assert second.endpoint.previous_secret_expire_time.ToDatetime(UTC) == notify.time.value
    assert both["webhook-signature"].split() == [signature(second.secret, both, early), signature(first, both, early)]
    assert one["webhook-signature"] == signature(second.secret, one, late)


async def test_rotation_that_is_repeated_gives_the_same_secret(notify: NotifyHarness) -> None:
    """A request whose answer was lost gets it again, and changes nothing; another request gives another secret."""
    await make(notify, "*")
    first, again, other = await rotate(notify, "one"), await rotate(notify, "one"), await rotate(notify, "two")

    assert (again.secret, again.replayed, again.endpoint) == (first.secret, True, first.endpoint)
    assert other.secret != first.secret
    assert not other.replayed


async def test_secret_of_no_endpoint_is_not_rotated(notify: NotifyHarness) -> None:
    """Who names no endpoint of its program is told so, also where another program has one of that name."""
    await make(notify, "*")
    refused = await refusal(rotate(notify, "one", program="other"))

    assert refused.reason == "ENDPOINT_NOT_FOUND"
