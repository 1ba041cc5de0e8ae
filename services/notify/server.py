"""Notify over gRPC: proto to operation to proto, nothing else."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.notify.v1 import (
    delivery_service_pb2,
    delivery_service_pb2_grpc,
    link_service_pb2,
    link_service_pb2_grpc,
    message_service_pb2,
    message_service_pb2_grpc,
    notify_pb2,
    trigger_service_pb2,
    trigger_service_pb2_grpc,
)

from services.kernel import calls, errors, etags, feed_rpc, fields, rpc, tokens
from services.kernel.interceptors import Authenticate
from services.notify import links, model
from services.notify.convert import definitions, messages
from services.notify.operations import endpoints, inboxes, listings, programs
from services.notify.operations.context import Context
from services.notify.webhooks import Poster

LINK_SCOPES = frozenset({"link.read", "link.write"})


class MessageServicer(message_service_pb2_grpc.MessageServiceServicer):
    """Serves `plaudit.notify.v1.MessageService`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._watch = inboxes.InboxWatch(context)

    async def ListMessages(  # noqa: N802 - the contract's name
        self, request: message_service_pb2.ListMessagesRequest, context: Any
    ) -> message_service_pb2.ListMessagesResponse:
        """Lists messages."""
        del context
        found, token, unread = await inboxes.list_messages(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return message_service_pb2.ListMessagesResponse(
            messages=[messages.inbox_message_to_proto(each) for each in found],
            next_page_token=token,
            unread_count=unread,
        )

    async def StreamMessages(  # noqa: N802 - the contract's name
        self, request: message_service_pb2.StreamMessagesRequest, context: Any
    ) -> AsyncIterator[message_service_pb2.StreamMessagesResponse]:
        """Streams messages as they come."""
        del context
        told = inboxes.stream(
            self._context, self._watch, calls.current().program_id, request.member_id, request.after_position
        )
        async for message, position in told:
            yield message_service_pb2.StreamMessagesResponse(
                message=messages.inbox_message_to_proto(message) if message else None, position=position
            )

    async def MarkMessagesRead(  # noqa: N802 - the contract's name
        self, request: message_service_pb2.MarkMessagesReadRequest, context: Any
    ) -> message_service_pb2.MarkMessagesReadResponse:
        """Marks messages as read."""
        del context
        unread = await inboxes.mark_read(self._context, calls.current().program_id, request.member_id, request.position)
        return message_service_pb2.MarkMessagesReadResponse(unread_count=unread)

    async def GetPreferences(  # noqa: N802 - the contract's name
        self, request: message_service_pb2.GetPreferencesRequest, context: Any
    ) -> message_service_pb2.GetPreferencesResponse:
        """Tells what a member wants."""
        del context
        found = await inboxes.get_preferences(self._context, calls.current().program_id, request.member_id)
        return message_service_pb2.GetPreferencesResponse(preferences=messages.preferences_to_proto(found))

    async def UpdatePreferences(  # noqa: N802 - the contract's name
        self, request: message_service_pb2.UpdatePreferencesRequest, context: Any
    ) -> message_service_pb2.UpdatePreferencesResponse:
        """Replaces what a member wants."""
        del context
        stored = await inboxes.update_preferences(
            self._context,
            calls.current().program_id,
            messages.preferences(request.preferences),
            etags.read(request.preferences.etag),
        )
        return message_service_pb2.UpdatePreferencesResponse(preferences=messages.preferences_to_proto(stored))


class TriggerServicer(trigger_service_pb2_grpc.TriggerServiceServicer):
    """Serves `plaudit.notify.v1.TriggerService`."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def ListTriggers(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.ListTriggersRequest, context: Any
    ) -> trigger_service_pb2.ListTriggersResponse:
        """Lists triggers."""
        del context
        found, token = await programs.list_versioned(
            self._context,
            calls.current().program_id,
            model.Trigger,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return trigger_service_pb2.ListTriggersResponse(
            triggers=[definitions.trigger_to_proto(each) for each in found], next_page_token=token
        )

    async def GetTrigger(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.GetTriggerRequest, context: Any
    ) -> trigger_service_pb2.GetTriggerResponse:
        """Tells a trigger."""
        del context
        found = await programs.get_trigger(
            self._context, calls.current().program_id, request.trigger_id, request.version or None
        )
        return trigger_service_pb2.GetTriggerResponse(trigger=definitions.trigger_to_proto(found))

    async def UpdateTrigger(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.UpdateTriggerRequest, context: Any
    ) -> trigger_service_pb2.UpdateTriggerResponse:
        """Makes a version of a trigger."""
        del context
        stored, replayed = await programs.update_trigger(
            self._context,
            calls.current().program_id,
            definitions.trigger(request.trigger),
            expected=etags.read(request.trigger.etag),
            request_id=request.request_id,
        )
        return trigger_service_pb2.UpdateTriggerResponse(
            trigger=definitions.trigger_to_proto(stored), replayed=replayed
        )

    async def ListTemplates(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.ListTemplatesRequest, context: Any
    ) -> trigger_service_pb2.ListTemplatesResponse:
        """Lists templates."""
        del context
        found, token = await programs.list_versioned(
            self._context,
            calls.current().program_id,
            model.Template,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return trigger_service_pb2.ListTemplatesResponse(
            templates=[definitions.template_to_proto(each) for each in found], next_page_token=token
        )

    async def GetTemplate(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.GetTemplateRequest, context: Any
    ) -> trigger_service_pb2.GetTemplateResponse:
        """Tells a template."""
        del context
        found = await programs.get_template(
            self._context, calls.current().program_id, request.template_id, request.version or None
        )
        return trigger_service_pb2.GetTemplateResponse(template=definitions.template_to_proto(found))

    async def UpdateTemplate(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.UpdateTemplateRequest, context: Any
    ) -> trigger_service_pb2.UpdateTemplateResponse:
        """Makes a version of a template."""
        del context
        stored, replayed = await programs.update_template(
            self._context,
            calls.current().program_id,
            definitions.template(request.template),
            expected=etags.read(request.template.etag),
            request_id=request.request_id,
        )
        return trigger_service_pb2.UpdateTemplateResponse(
            template=definitions.template_to_proto(stored), replayed=replayed
        )

    async def PreviewTemplate(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.PreviewTemplateRequest, context: Any
    ) -> trigger_service_pb2.PreviewTemplateResponse:
        """Shows a template."""
        del context
        shown = await programs.preview(
            self._context,
            calls.current().program_id,
            request.template_id,
            version=request.version or None,
            locale=request.locale,
            data=fields.struct_to_dict(request.data) if request.HasField("data") else None,
        )
        return trigger_service_pb2.PreviewTemplateResponse(rendering=definitions.rendering_to_proto(shown))

    async def TestTemplate(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.TestTemplateRequest, context: Any
    ) -> trigger_service_pb2.TestTemplateResponse:
        """Sends a template to one address."""
        del context
        delivery, replayed = await programs.test_template(
            self._context,
            calls.current().program_id,
            request.template_id,
            email=request.email,
            locale=request.locale,
            request_id=request.request_id,
        )
        return trigger_service_pb2.TestTemplateResponse(
            delivery=messages.delivery_to_proto(delivery), replayed=replayed
        )

    async def GetSettings(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.GetSettingsRequest, context: Any
    ) -> trigger_service_pb2.GetSettingsResponse:
        """Tells how the program writes."""
        del request, context
        found = await programs.get_settings(self._context, calls.current().program_id)
        return trigger_service_pb2.GetSettingsResponse(settings=definitions.settings_to_proto(found))

    async def UpdateSettings(  # noqa: N802 - the contract's name
        self, request: trigger_service_pb2.UpdateSettingsRequest, context: Any
    ) -> trigger_service_pb2.UpdateSettingsResponse:
        """Replaces how the program writes."""
        del context
        stored = await programs.update_settings(
            self._context,
            calls.current().program_id,
            definitions.settings(request.settings),
            etags.read(request.settings.etag),
        )
        return trigger_service_pb2.UpdateSettingsResponse(settings=definitions.settings_to_proto(stored))


class DeliveryServicer(delivery_service_pb2_grpc.DeliveryServiceServicer):
    """Serves `plaudit.notify.v1.DeliveryService`."""

    def __init__(self, context: Context, poster: Poster) -> None:
        self._context = context
        self._poster = poster

    async def ListDecisions(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.ListDecisionsRequest, context: Any
    ) -> delivery_service_pb2.ListDecisionsResponse:
        """Lists decisions."""
        del context
        found, token = await listings.list_decisions(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return delivery_service_pb2.ListDecisionsResponse(
            decisions=[messages.decision_to_proto(each) for each in found], next_page_token=token
        )

    async def ListDeliveries(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.ListDeliveriesRequest, context: Any
    ) -> delivery_service_pb2.ListDeliveriesResponse:
        """Lists deliveries."""
        del context
        found, token = await listings.list_deliveries(
            self._context,
            calls.current().program_id,
            request.member_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return delivery_service_pb2.ListDeliveriesResponse(
            deliveries=[messages.delivery_to_proto(each.delivery, each.attempts) for each in found],
            next_page_token=token,
        )

    async def GetDelivery(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.GetDeliveryRequest, context: Any
    ) -> delivery_service_pb2.GetDeliveryResponse:
        """Tells a delivery."""
        del context
        found = await listings.get_delivery(self._context, calls.current().program_id, request.delivery_id)
        return delivery_service_pb2.GetDeliveryResponse(
            delivery=messages.delivery_to_proto(found.delivery, found.attempts)
        )

    async def CreateSuppression(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.CreateSuppressionRequest, context: Any
    ) -> delivery_service_pb2.CreateSuppressionResponse:
        """Makes an address get no mail."""
        del context
        reason = await listings.create_suppression(
            self._context,
            calls.current().program_id,
            request.email,
            messages.suppression_reason(request.reason),
        )
        return delivery_service_pb2.CreateSuppressionResponse(
            reason=notify_pb2.SuppressionReason.Value(f"SUPPRESSION_REASON_{reason}")
        )

    async def DeleteSuppression(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.DeleteSuppressionRequest, context: Any
    ) -> delivery_service_pb2.DeleteSuppressionResponse:
        """Lets an address get mail again."""
        del context
        deleted = await listings.delete_suppression(self._context, calls.current().program_id, request.email)
        return delivery_service_pb2.DeleteSuppressionResponse(deleted=deleted)

    async def ListEndpoints(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.ListEndpointsRequest, context: Any
    ) -> delivery_service_pb2.ListEndpointsResponse:
        """Lists endpoints."""
        del context
        found, token = await endpoints.list_endpoints(
            self._context,
            calls.current().program_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return delivery_service_pb2.ListEndpointsResponse(
            endpoints=[messages.endpoint_to_proto(each) for each in found], next_page_token=token
        )

    async def UpdateEndpoint(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.UpdateEndpointRequest, context: Any
    ) -> delivery_service_pb2.UpdateEndpointResponse:
        """Makes or changes an endpoint."""
        del context
        stored, secret = await endpoints.update_endpoint(
            self._context,
            calls.current().program_id,
            messages.endpoint(request.endpoint),
            is_public=await self._poster.check(request.endpoint.url),
        )
        return delivery_service_pb2.UpdateEndpointResponse(endpoint=messages.endpoint_to_proto(stored), secret=secret)

    async def RotateEndpointSecret(  # noqa: N802 - the contract's name
        self, request: delivery_service_pb2.RotateEndpointSecretRequest, context: Any
    ) -> delivery_service_pb2.RotateEndpointSecretResponse:
        """Gives an endpoint another secret."""
        del context
        stored, secret, replayed = await endpoints.rotate_secret(
            self._context, calls.current().program_id, request.endpoint_id, request.request_id
        )
        return delivery_service_pb2.RotateEndpointSecretResponse(
            endpoint=messages.endpoint_to_proto(stored), secret=secret, replayed=replayed
        )


class LinkServicer(link_service_pb2_grpc.LinkServiceServicer):
    """Serves `plaudit.notify.v1.LinkService`; the credential of each call is the link's own token."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def _link(self) -> links.Link:
        caller = calls.current().caller
        found = links.read(self._context.link_key, caller.subject)
        assert found is not None, "The caller of a link was verified by it."
        return found

    async def GetLink(  # noqa: N802 - the contract's name
        self, request: link_service_pb2.GetLinkRequest, context: Any
    ) -> link_service_pb2.GetLinkResponse:
        """Tells what a link is for."""
        del request, context
        link = self._link()
        settings, delivery, mute = await inboxes.read_link(self._context, link)
        wanted = await inboxes.get_preferences(self._context, link.program_id, delivery.member_id)
        return link_service_pb2.GetLinkResponse(
            brand=settings.brand.name if settings else "",
            topic=delivery.topic,
            unsubscribed=mute in wanted.muted or model.Mute("", mute.channel) in wanted.muted,
            locale=settings.locale if settings else "",
        )

    async def Unsubscribe(  # noqa: N802 - the contract's name
        self, request: link_service_pb2.UnsubscribeRequest, context: Any
    ) -> link_service_pb2.UnsubscribeResponse:
        """Unsubscribes."""
        del context
        link = self._link()
        delivery = await inboxes.unsubscribe(self._context, link, from_all=request.all, one_click=request.one_click)
        settings, _, _ = await inboxes.read_link(self._context, link)
        return link_service_pb2.UnsubscribeResponse(
            brand=settings.brand.name if settings else "",
            topic="" if request.all else delivery.topic,
            locale=settings.locale if settings else "",
        )


def authenticator(context: Context, verifier: tokens.Verifier) -> Authenticate:
    """Makes the check of notify, which takes the tokens of links in mails too, for nothing but links."""

    async def authenticate(credential: str) -> tokens.Caller:
        if not credential.startswith(links.PREFIX):
            return verifier.verify(credential)
        link = links.read(context.link_key, credential)
        if link is None:
            raise errors.credential_invalid("The link is not one of ours.")
        return tokens.Caller(credential, link.program_id, LINK_SCOPES, float("inf"))

    return authenticate


def build_server(context: Context, poster: Poster, verifier: tokens.Verifier) -> rpc.Server:
    """Makes the server of notify and its feed."""

    def register(server: grpc.aio.Server) -> None:
        message_service_pb2_grpc.add_MessageServiceServicer_to_server(MessageServicer(context), server)
        trigger_service_pb2_grpc.add_TriggerServiceServicer_to_server(TriggerServicer(context), server)
        delivery_service_pb2_grpc.add_DeliveryServiceServicer_to_server(DeliveryServicer(context, poster), server)
        link_service_pb2_grpc.add_LinkServiceServicer_to_server(LinkServicer(context), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(context.pool), server)

    files = [
        message_service_pb2.DESCRIPTOR,
        trigger_service_pb2.DESCRIPTOR,
        delivery_service_pb2.DESCRIPTOR,
        link_service_pb2.DESCRIPTOR,
        feed_service_pb2.DESCRIPTOR,
    ]
    return rpc.Server(files=files, authenticate=authenticator(context, verifier), register=register)
