"""What members get and want: inboxes, preferences, decisions, deliveries and endpoints, told in the contract."""

from collections.abc import Sequence

from plaudit.notify.v1 import notify_pb2

from services.kernel import times
from services.notify import model
from services.notify.convert import values


def inbox_message_to_proto(value: model.InboxMessage) -> notify_pb2.InboxMessage:
    """Tells a message of an inbox."""
    return notify_pb2.InboxMessage(
        message_id=str(value.delivery_id),
        position=value.position,
        topic=value.topic,
        title=value.title,
        body=value.body,
        action_url=value.action_url,
        action_label=value.action_label,
        create_time=times.to_proto(value.created_at),
        read_time=times.optional_to_proto(value.read_at),
    )


def preferences(message: notify_pb2.Preferences) -> model.Preferences:
    """Reads what a member wants. Raises FIELD_INVALID."""
    return model.Preferences(
        member_id=message.member_id,
        muted=tuple(
            dict.fromkeys(
                model.Mute(each.topic, channel) for each in message.muted for channel in _channels(each.channel)
            )
        ),
        quiet=values.quiet(message, "preferences"),
        clock_minute=values.clock(message.clock, "preferences.clock"),
    )


def _channels(number: int) -> list[model.Channel]:
    """Lists the channel that is meant, or all where none is named."""
    chosen = values.chosen(model.Channel, notify_pb2.Channel, "CHANNEL_", number)
    return list(model.Channel) if chosen is None else [chosen]


def preferences_to_proto(value: model.Preferences) -> notify_pb2.Preferences:
    """Tells what a member wants."""
    return notify_pb2.Preferences(
        member_id=value.member_id,
        muted=[
            notify_pb2.Mute(
                topic=each.topic,
                channel=notify_pb2.Channel.Value(f"CHANNEL_{each.channel or 'UNSPECIFIED'}"),
            )
            for each in value.muted
        ],
        quiet_from=values.clock_to_text(value.quiet.from_minute) if value.quiet else "",
        quiet_until=values.clock_to_text(value.quiet.until_minute) if value.quiet else "",
        clock=values.clock_to_text(value.clock_minute),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )


def decision_to_proto(value: model.Decision) -> notify_pb2.Decision:
    """Tells a decision."""
    return notify_pb2.Decision(
        decision_id=str(value.decision_id),
        trigger_id=value.trigger_id,
        trigger_version=value.trigger_version,
        member_id=value.member_id,
        channel=notify_pb2.Channel.Value(f"CHANNEL_{value.channel}"),
        cause_type=value.cause_type,
        cause_id=value.cause_id,
        outcome=notify_pb2.DecisionOutcome.Value(f"DECISION_OUTCOME_{value.outcome}"),
        reason=value.reason,
        delivery_id=str(value.delivery_id) if value.delivery_id else "",
        decide_time=times.to_proto(value.decided_at),
    )


def delivery_to_proto(value: model.Delivery, attempts: Sequence[model.Attempt] = ()) -> notify_pb2.Delivery:
    """Tells a delivery."""
    return notify_pb2.Delivery(
        delivery_id=str(value.delivery_id),
        trigger_id=value.trigger_id,
        trigger_version=value.trigger_version,
        template_id=value.template_id,
        template_version=value.template_version or 0,
        member_id=value.member_id,
        channel=notify_pb2.Channel.Value(f"CHANNEL_{value.channel}"),
        topic=value.topic,
        state=notify_pb2.DeliveryState.Value(f"DELIVERY_STATE_{value.state}"),
        reason=value.reason,
        send_time=times.to_proto(value.send_at),
        cause_count=value.cause_count,
        attempts=[
            notify_pb2.Attempt(
                number=each.number,
                start_time=times.to_proto(each.started_at),
                end_time=times.optional_to_proto(each.ended_at),
                outcome=notify_pb2.AttemptOutcome.Value(f"ATTEMPT_OUTCOME_{each.outcome}"),
                code=each.code,
                response=each.response,
            )
            for each in attempts
        ],
        create_time=times.to_proto(value.created_at),
        end_time=times.optional_to_proto(value.ended_at),
    )


def suppression_reason(number: notify_pb2.SuppressionReason.ValueType) -> str:
    """Reads why an address gets no mail. Raises FIELD_INVALID."""
    name = notify_pb2.SuppressionReason.Name(number).removeprefix("SUPPRESSION_REASON_")
    if name == "UNSPECIFIED":
        raise values.invalid("reason", "is required")
    return name


def endpoint(message: notify_pb2.Endpoint) -> model.Endpoint:
    """Reads an endpoint."""
    return model.Endpoint(
        endpoint_id=message.endpoint_id,
        url=message.url,
        event_types=tuple(dict.fromkeys(message.event_types)),
        is_active=message.state != notify_pb2.ENDPOINT_STATE_DISABLED,
    )


def endpoint_to_proto(value: model.Endpoint) -> notify_pb2.Endpoint:
    """Tells an endpoint, without its secret."""
    return notify_pb2.Endpoint(
        endpoint_id=value.endpoint_id,
        url=value.url,
        event_types=value.event_types,
        state=notify_pb2.ENDPOINT_STATE_ACTIVE if value.is_active else notify_pb2.ENDPOINT_STATE_DISABLED,
        reason=value.reason,
        create_time=times.optional_to_proto(value.created_at),
        previous_secret_expire_time=times.optional_to_proto(value.previous_ends_at),
    )
