"""Triggers, templates and settings: versions, refusals by field, previews and tests."""

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from plaudit.notify.v1 import notify_pb2, trigger_service_pb2

from tests.support.notify import NotifyHarness, on_event
from tests.support.refusals import refusal


def texts(locale: str = "en", **values: Any) -> notify_pb2.TemplateLocale:
    """Makes the texts of a language."""
    usual = {"subject": "Hello", "title": "Hello", "body": "Hello", "text": "Hello"}
    return notify_pb2.TemplateLocale(**{"locale": locale, **usual, **values})


def put_trigger(notify: NotifyHarness, request_id: str = "r1", **values: Any) -> Any:
    """Puts a trigger, as a product would."""
    usual = {"trigger_id": "t", "display_name": "T", "template_id": "news", "topic": "news", "on_event": on_event()}
    trigger = notify_pb2.Trigger(**{**usual, "channels": [notify_pb2.CHANNEL_INBOX], **values})
    request = trigger_service_pb2.UpdateTriggerRequest(trigger=trigger, request_id=request_id)
    return notify.triggers.UpdateTrigger(request, metadata=notify.metadata())


def put_template(notify: NotifyHarness, *locales: notify_pb2.TemplateLocale, **values: Any) -> Any:
    """Puts a template, as a product would."""
    template = notify_pb2.Template(
        **{"template_id": "news", "display_name": "News", "locales": locales or [texts()], **values}
    )
    request = trigger_service_pb2.UpdateTemplateRequest(template=template, request_id="r1")
    return notify.triggers.UpdateTemplate(request, metadata=notify.metadata())


def put_settings(notify: NotifyHarness, **values: Any) -> Any:
    """Puts settings, as a product would."""
    brand = notify_pb2.Brand(name="Acme", sender_email="a@acme.example")
    request = trigger_service_pb2.UpdateSettingsRequest(settings=notify_pb2.Settings(**{"brand": brand, **values}))
    return notify.triggers.UpdateSettings(request, metadata=notify.metadata())


def sample(**values: Any) -> Struct:
    """Makes sample data."""
    struct = Struct()
    struct.update(values)
    return struct


async def test_put_makes_versions(notify: NotifyHarness) -> None:
    """Each put makes a version, an old one is there still, and the same request is answered as it was."""
    await notify.template()
    first = await put_trigger(notify, "r1", display_name="One")
    second = await put_trigger(notify, "r2", display_name="Two")
    again = await put_trigger(notify, "r1", display_name="One")
    old = await notify.triggers.GetTrigger(
        trigger_service_pb2.GetTriggerRequest(trigger_id="t", version=1), metadata=notify.metadata()
    )

    assert (first.trigger.version, second.trigger.version) == (1, 2)
    assert (again.trigger, again.replayed) == (first.trigger, True)
    assert old.trigger.display_name == "One"


async def test_put_refuses_what_does_not_fit(notify: NotifyHarness) -> None:
    """A reused id, an old etag, a template that is not there and a wrong expression are refused, each as itself."""
    missing = await refusal(put_trigger(notify))
    await notify.template()
    await put_trigger(notify)
    reused = await refusal(put_trigger(notify, display_name="Other"))
    old = await refusal(put_trigger(notify, "r2", etag="7"))
    wrong = await refusal(put_trigger(notify, "r3", condition="event.properties. > 1"))
    unknown = await refusal(put_trigger(notify, "r4", still='event.type == "x"'))

    assert [each.reason for each in (missing, reused, old, wrong, unknown)] == [
        "TEMPLATE_NOT_FOUND",
        "REQUEST_ID_REUSED",
        "CONCURRENT_UPDATE",
        "EXPRESSION_INVALID",
        "EXPRESSION_INVALID",
    ]
    assert unknown.violations[0].field == "trigger.still"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"clock": "25:00"}, "trigger.clock"),
        ({"channels": [notify_pb2.CHANNEL_UNSPECIFIED]}, "trigger.channels"),
        ({"on_schedule": notify_pb2.OnSchedule(weekdays=[8])}, "trigger.onSchedule.weekdays"),
        ({"on_expiry": notify_pb2.OnExpiry(days=[0])}, "trigger.onExpiry.days"),
        ({"on_date": notify_pb2.OnDate(date=notify_pb2.DATE_KIND_ATTRIBUTE)}, "trigger.onDate.attribute"),
    ],
)
async def test_put_names_the_bad_field(notify: NotifyHarness, values: dict[str, Any], field: str) -> None:
    """A field of a trigger that makes no sense is refused by its name."""
    await notify.template()
    refused = await refusal(put_trigger(notify, **values))

    assert (refused.reason, refused.violations[0].field) == ("FIELD_INVALID", field)


@pytest.mark.parametrize(
    ("locales", "values", "part"),
    [
        ([texts(subject="{{ event.")], {}, "subject"),
        ([texts(body="{{ nobody.knows }}")], {}, "body"),
        ([texts(), texts("fr", text="{{ 1 / 0 }}")], {}, "text"),
        ([texts(title="{{ 'a' * 100000000 }}")], {}, "title"),
        (
            [texts(title="{% for a in [1] %}{% for b in [1] %}{% for c in [1] %}{% endfor %}{% endfor %}{% endfor %}")],
            {},
            "title",
        ),
        ([texts(title="{{ ''.join(['a']) }}")], {}, "title"),
        ([texts()], {"mjml": "<p>no MJML</p>"}, "mjml"),
        ([texts()], {"mjml": "<mjml><mj-body><mj-text>{{ secret }}</mj-text></mj-body></mjml>"}, "mjml"),
        (
            [texts(), texts("fr", texts=[notify_pb2.TemplateText(key="more", text="Plus")])],
            {},
            "texts",
        ),
    ],
)
async def test_publish_refuses_broken_template(
    notify: NotifyHarness, locales: list[notify_pb2.TemplateLocale], values: dict[str, Any], part: str
) -> None:
    """A template that is broken in any language, or would run away, is refused with its part, and nothing is kept."""
    refused = await refusal(put_template(notify, *locales, **values))
    request = trigger_service_pb2.GetTemplateRequest(template_id="news")
    absent = await refusal(notify.triggers.GetTemplate(request, metadata=notify.metadata()))

    assert (refused.reason, refused.metadata["part"]) == ("TEMPLATE_INVALID", part)
    assert absent.reason == "TEMPLATE_NOT_FOUND"


async def test_preview_shows_every_language(notify: NotifyHarness) -> None:
    """A preview shows the language that is asked for with its own plurals, or the first, and escapes what comes in."""
    english = texts(text='{{ n|number }} {{ n|plural(one="point", other="points") }} for {{ name }}')
    russian = texts("ru", text='{{ n|number }} {{ n|plural(one="балл", few="балла", many="баллов") }} для {{ name }}')
    await put_template(notify, english, russian, sample=sample(n=1203, name="<Ann>"))

    async def preview(locale: str, **data: Any) -> notify_pb2.Rendering:
        request = trigger_service_pb2.PreviewTemplateRequest(
            template_id="news", locale=locale, data=sample(**data) if data else None
        )
        return (await notify.triggers.PreviewTemplate(request, metadata=notify.metadata())).rendering

    shown = [await preview("en"), await preview("ru-RU"), await preview("de", n=1, name="Bo")]

    assert [each.text.splitlines()[0] for each in shown] == [
        "1,203 points for <Ann>",
        "1\N{NO-BREAK SPACE}203 балла для <Ann>",
        "1 point for Bo",
    ]
    assert "&lt;Ann&gt;" in shown[0].html
    assert "<Ann>" not in shown[0].html


async def test_test_send_goes_to_one_address(notify: NotifyHarness) -> None:
    """A test goes by way of the worker to the address that is named, once for each request."""
    await put_template(notify)
    request = trigger_service_pb2.TestTemplateRequest(template_id="news", email="me@acme.example", request_id="t1")
    early = await refusal(notify.triggers.TestTemplate(request, metadata=notify.metadata()))
    await notify.settings()
    first = await notify.triggers.TestTemplate(request, metadata=notify.metadata())
    again = await notify.triggers.TestTemplate(request, metadata=notify.metadata())
    await notify.work()

    assert early.reason == "SENDER_MISSING"
    assert (again.delivery.delivery_id, again.replayed) == (first.delivery.delivery_id, True)
    assert [mail.recipient for mail in notify.outbox.mails] == ["me@acme.example"]


async def test_get_refuses_what_is_not_there(notify: NotifyHarness) -> None:
    """A trigger that is not there is told as such, and so are settings that nobody has put."""
    trigger = trigger_service_pb2.GetTriggerRequest(trigger_id="none")
    first = await refusal(notify.triggers.GetTrigger(trigger, metadata=notify.metadata()))
    request = trigger_service_pb2.GetSettingsRequest()
    second = await refusal(notify.triggers.GetSettings(request, metadata=notify.metadata()))

    assert (first.reason, second.reason) == ("TRIGGER_NOT_FOUND", "SENDER_MISSING")


async def test_settings_are_kept_whole(notify: NotifyHarness) -> None:
    """What is put as settings is told as it was put, and an old etag is refused."""
    cap = notify_pb2.FrequencyCap(channel=notify_pb2.CHANNEL_EMAIL, days=7, max_count=3, topic="tips")
    stage = notify_pb2.ReportStage(stage="implement", next=[notify_pb2.LocalText(locale="en", text="Go on")])
    report = notify_pb2.ReportDefinition(stages=[stage], comparison_metric_id="reports")
    stored = await notify.settings(quiet_from="22:00", quiet_until="07:30", caps=[cap], report=report, locale="fr")
    request = trigger_service_pb2.GetSettingsRequest()
    told = (await notify.triggers.GetSettings(request, metadata=notify.metadata())).settings
    old = await refusal(put_settings(notify, etag="99"))
    half = await refusal(put_settings(notify, quiet_from="22:00"))

    assert told == stored
    assert (told.quiet_until, told.caps[0], told.report) == ("07:30", cap, report)
    assert (old.reason, half.violations[0].field) == ("CONCURRENT_UPDATE", "settings.quietUntil")


async def test_list_pages_through(notify: NotifyHarness) -> None:
    """Triggers and templates are listed by id, page by page."""
    await notify.template()
    for name in ("a", "b", "c"):
        await notify.trigger(name)
    request = trigger_service_pb2.ListTriggersRequest(page_size=2)
    first = await notify.triggers.ListTriggers(request, metadata=notify.metadata())
    request.page_token = first.next_page_token
    second = await notify.triggers.ListTriggers(request, metadata=notify.metadata())

    assert [each.trigger_id for each in (*first.triggers, *second.triggers)] == ["a", "b", "c"]
    assert second.next_page_token == ""
