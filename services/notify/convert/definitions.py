"""What a program defines: triggers, templates and settings, each read from the contract and told in it."""

import re
from collections.abc import Iterable, Sequence

from plaudit.notify.v1 import notify_pb2

from services.kernel import fields, times
from services.notify import model, templates
from services.notify.convert import values
from services.notify.model import SourceKind

COLOR = re.compile(r"#[0-9a-fA-F]{6}\Z")
WEEKDAYS = range(1, 8)
DAYS_AHEAD = range(1, 366)


def trigger(message: notify_pb2.Trigger) -> model.Trigger:
    """Reads a trigger. Raises FIELD_INVALID."""
    channels = tuple(
        dict.fromkeys(values.chosen(model.Channel, notify_pb2.Channel, "CHANNEL_", each) for each in message.channels)
    )
    if None in channels:
        raise values.invalid("trigger.channels", "must name EMAIL, INBOX or WEBHOOK")
    return model.Trigger(
        trigger_id=message.trigger_id,
        display_name=message.display_name,
        source=_source(message),
        template_id=message.template_id,
        channels=tuple(each for each in channels if each is not None),
        topic=message.topic,
        is_active=message.state != notify_pb2.TRIGGER_STATE_PAUSED,
        condition=message.condition,
        still=message.still,
        once_per=message.once_per,
        priority=message.priority or model.PRIORITY_DEFAULT,
        is_transactional=message.transactional,
        gather_minutes=message.gather_minutes,
        delay_minutes=message.delay_minutes,
        clock_minute=values.clock(message.clock, "trigger.clock"),
        retries_unknown=message.unknown_policy != notify_pb2.UNKNOWN_POLICY_STOP,
    )


def _source(message: notify_pb2.Trigger) -> model.Source:
    match message.WhichOneof("source"):
        case "on_event":
            return model.Source(SourceKind.EVENT, type=message.on_event.type)
        case "on_inactivity":
            return model.Source(SourceKind.INACTIVITY, days=(message.on_inactivity.days,))
        case "on_date":
            return _date_source(message.on_date)
        case "on_expiry":
            days = _within(message.on_expiry.days, DAYS_AHEAD, "trigger.onExpiry.days")
            return model.Source(SourceKind.EXPIRY, days=days, asset=message.on_expiry.asset)
        case "on_schedule":
            weekdays = _within(message.on_schedule.weekdays, WEEKDAYS, "trigger.onSchedule.weekdays")
            return model.Source(SourceKind.SCHEDULE, weekdays=weekdays, active_days=message.on_schedule.active_days)
    raise values.invalid("trigger", "must have one of onEvent, onInactivity, onDate, onExpiry and onSchedule")


def _date_source(message: notify_pb2.OnDate) -> model.Source:
    kind = values.chosen(model.DateKind, notify_pb2.DateKind, "DATE_KIND_", message.date)
    if kind is None:
        raise values.invalid("trigger.onDate.date", "is required")
    if (kind is model.DateKind.ATTRIBUTE) != bool(message.attribute):
        raise values.invalid("trigger.onDate.attribute", "comes with the date ATTRIBUTE, and with no other")
    return model.Source(SourceKind.DATE, date=kind, attribute=message.attribute)


def _within(numbers: Iterable[int], allowed: range, field: str) -> tuple[int, ...]:
    found = tuple(sorted(set(numbers)))
    if any(each not in allowed for each in found):
        raise values.invalid(field, f"must lie within {allowed[0]} and {allowed[-1]}")
    return found


def trigger_to_proto(value: model.Trigger) -> notify_pb2.Trigger:
    """Tells a trigger."""
    message = notify_pb2.Trigger(
        trigger_id=value.trigger_id,
        version=value.version,
        display_name=value.display_name,
        state=notify_pb2.TRIGGER_STATE_ACTIVE if value.is_active else notify_pb2.TRIGGER_STATE_PAUSED,
        condition=value.condition,
        still=value.still,
        once_per=value.once_per,
        template_id=value.template_id,
        channels=[notify_pb2.Channel.Value(f"CHANNEL_{each}") for each in value.channels],
        topic=value.topic,
        priority=value.priority,
        transactional=value.is_transactional,
        gather_minutes=value.gather_minutes,
        delay_minutes=value.delay_minutes,
        clock=values.clock_to_text(value.clock_minute),
        unknown_policy=notify_pb2.UNKNOWN_POLICY_RETRY if value.retries_unknown else notify_pb2.UNKNOWN_POLICY_STOP,
        create_time=times.optional_to_proto(value.created_at),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )
    source = value.source
    match source.kind:
        case SourceKind.EVENT:
            message.on_event.type = source.type
        case SourceKind.INACTIVITY:
            message.on_inactivity.days = source.days[0]
        case SourceKind.DATE:
            assert source.date is not None, "A date source names its date."
            message.on_date.date = notify_pb2.DateKind.Value(f"DATE_KIND_{source.date}")
            message.on_date.attribute = source.attribute
        case SourceKind.EXPIRY:
            message.on_expiry.CopyFrom(notify_pb2.OnExpiry(days=source.days, asset=source.asset))
        case SourceKind.SCHEDULE:
            schedule = notify_pb2.OnSchedule(weekdays=source.weekdays, active_days=source.active_days)
            message.on_schedule.CopyFrom(schedule)
    return message


def template(message: notify_pb2.Template) -> model.Template:
    """Reads a template. Raises FIELD_INVALID."""
    names = [each.locale for each in message.locales]
    if len(set(names)) < len(names):
        raise values.invalid("template.locales", "have a language twice")
    return model.Template(
        template_id=message.template_id,
        display_name=message.display_name,
        mjml=message.mjml,
        action_url=message.action_url,
        locales=tuple(_texts(each) for each in message.locales),
        sample=fields.struct_to_dict(message.sample),
    )


def _texts(message: notify_pb2.TemplateLocale) -> model.LocaleTexts:
    return model.LocaleTexts(
        locale=message.locale,
        subject=message.subject,
        preheader=message.preheader,
        title=message.title,
        body=message.body,
        text=message.text,
        action_label=message.action_label,
        texts={each.key: each.text for each in message.texts},
    )


def template_to_proto(value: model.Template) -> notify_pb2.Template:
    """Tells a template."""
    return notify_pb2.Template(
        template_id=value.template_id,
        version=value.version,
        display_name=value.display_name,
        mjml=value.mjml,
        action_url=value.action_url,
        locales=[
            notify_pb2.TemplateLocale(
                locale=each.locale,
                subject=each.subject,
                preheader=each.preheader,
                title=each.title,
                body=each.body,
                text=each.text,
                action_label=each.action_label,
                texts=[notify_pb2.TemplateText(key=key, text=text) for key, text in each.texts.items()],
            )
            for each in value.locales
        ],
        sample=fields.dict_to_struct(value.sample),
        create_time=times.optional_to_proto(value.created_at),
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )


def rendering_to_proto(value: templates.Rendering) -> notify_pb2.Rendering:
    """Tells how a message looks."""
    return notify_pb2.Rendering(
        locale=value.locale,
        subject=value.subject,
        html=value.html,
        text=value.text,
        title=value.title,
        body=value.body,
        action_url=value.action_url,
    )


def settings(message: notify_pb2.Settings) -> model.Settings:
    """Reads how a program writes. Raises FIELD_INVALID."""
    brand = message.brand
    if brand.color and not COLOR.match(brand.color):
        raise values.invalid("settings.brand.color", "is not a colour of the form #rrggbb")
    for name, url in (("logoUrl", brand.logo_url), ("siteUrl", brand.site_url)):
        if url and not url.startswith(("https://", "http://")):
            raise values.invalid(f"settings.brand.{name}", "is not an address of the web")
    return model.Settings(
        brand=model.Brand(
            name=brand.name,
            sender_email=brand.sender_email,
            reply_email=brand.reply_email,
            color=brand.color,
            logo_url=brand.logo_url,
            site_url=brand.site_url,
            postal_address=brand.postal_address,
        ),
        time_zone=message.time_zone or "UTC",
        locale=message.locale or "en",
        quiet=values.quiet(message, "settings"),
        caps=tuple(_cap(cap, place) for place, cap in enumerate(message.caps)),
        report=_report(message.report) if message.HasField("report") else None,
    )


def _cap(message: notify_pb2.FrequencyCap, place: int) -> model.Cap:
    channel = values.chosen(model.Channel, notify_pb2.Channel, "CHANNEL_", message.channel)
    if channel is None:
        raise values.invalid(f"settings.caps[{place}].channel", "is required")
    return model.Cap(channel, message.days, message.max_count, message.topic)


def _report(message: notify_pb2.ReportDefinition) -> model.Report:
    return model.Report(
        stages=tuple(
            model.Stage(each.stage, _local(each.next), each.condition, each.next_url) for each in message.stages
        ),
        measures=tuple(
            model.Measure(each.event_type, _local(each.label), each.goal_count, each.saved_minutes)
            for each in message.measures
        ),
        insights=tuple(
            model.Insight(each.insight_id, each.condition, each.impact, _local(each.text)) for each in message.insights
        ),
        comparison_metric_id=message.comparison_metric_id,
    )


def _local(texts: Sequence[notify_pb2.LocalText]) -> dict[str, str]:
    return {each.locale: each.text for each in texts}


def _local_to_proto(texts: dict[str, str]) -> list[notify_pb2.LocalText]:
    return [notify_pb2.LocalText(locale=locale, text=text) for locale, text in texts.items()]


def settings_to_proto(value: model.Settings) -> notify_pb2.Settings:
    """Tells how a program writes."""
    brand = value.brand
    return notify_pb2.Settings(
        brand=notify_pb2.Brand(
            name=brand.name,
            sender_email=brand.sender_email,
            reply_email=brand.reply_email,
            color=brand.color,
            logo_url=brand.logo_url,
            site_url=brand.site_url,
            postal_address=brand.postal_address,
        ),
        time_zone=value.time_zone,
        locale=value.locale,
        quiet_from=values.clock_to_text(value.quiet.from_minute) if value.quiet else "",
        quiet_until=values.clock_to_text(value.quiet.until_minute) if value.quiet else "",
        caps=[
            notify_pb2.FrequencyCap(
                channel=notify_pb2.Channel.Value(f"CHANNEL_{cap.channel}"),
                topic=cap.topic,
                days=cap.days,
                max_count=cap.max_count,
            )
            for cap in value.caps
        ],
        report=_report_to_proto(value.report) if value.report else None,
        update_time=times.optional_to_proto(value.updated_at),
        etag=str(value.version),
    )


def _report_to_proto(value: model.Report) -> notify_pb2.ReportDefinition:
    return notify_pb2.ReportDefinition(
        stages=[
            notify_pb2.ReportStage(
                stage=each.stage, condition=each.condition, next=_local_to_proto(each.next), next_url=each.next_url
            )
            for each in value.stages
        ],
        measures=[
            notify_pb2.ReportMeasure(
                event_type=each.event_type,
                label=_local_to_proto(each.label),
                goal_count=each.goal_count,
                saved_minutes=each.saved_minutes,
            )
            for each in value.measures
        ],
        insights=[
            notify_pb2.ReportInsight(
                insight_id=each.insight_id,
                condition=each.condition,
                impact=each.impact,
                text=_local_to_proto(each.text),
            )
            for each in value.insights
        ],
        comparison_metric_id=value.comparison_metric_id,
    )
