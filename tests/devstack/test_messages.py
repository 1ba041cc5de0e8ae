"""The messages of the demo program are whole: each language says everything, and nothing breaks."""

import pytest

from services.devstack import messages
from services.notify import model, reports, respect, rules, templates
from services.notify.convert import definitions

DATA = messages.load()
TEMPLATES = [definitions.template(request.template) for request in messages.template_requests(DATA)]
LOCALES = ("en", "fr", "ru", "id")


def brand() -> model.Brand:
    """Makes a brand."""
    return model.Brand("Demo", "hello@demo.example", site_url="https://app.demo.example", postal_address="1 Example St")


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda template: template.template_id)
def test_message_speaks_four_languages(template: model.Template) -> None:
    """Each message is shown in each language, fits on a screen, leads somewhere, and has a way out."""
    compiled = templates.compile_template(template)
    shown = [
        templates.render(compiled, templates.Envelope(brand(), (locale,), "https://x.example/u/t", template.sample))
        for locale in LOCALES
    ]

    assert [each.locale for each in shown] == list(LOCALES)
    assert len({each.text for each in shown}) == len(LOCALES)
    for each in shown:
        assert each.subject
        assert each.action_url.startswith("https://app.demo.example/")
        assert "https://x.example/u/t" in each.html
        assert "https://x.example/u/t" in each.text
        assert len(each.html) < templates.HTML_LENGTH_MAX


def test_triggers_compile() -> None:
    """Each trigger compiles and names a template that there is, and every template has a trigger."""
    triggers = [definitions.trigger(request.trigger) for request in messages.trigger_requests(DATA)]
    for trigger in triggers:
        assert rules.compile_trigger(trigger).trigger is trigger

    assert {trigger.template_id for trigger in triggers} == {template.template_id for template in TEMPLATES}
    assert len(triggers) == 13


def test_report_compiles() -> None:
    """The weekly report of the demo has its four stages, and its texts are in each language."""
    from google.protobuf.json_format import ParseDict
    from plaudit.notify.v1 import notify_pb2

    settings = definitions.settings(ParseDict(DATA["settings"], notify_pb2.Settings()))
    assert settings.report is not None
    compiled = reports.compile_report(settings.report)

    assert [stage.stage for stage in compiled.report.stages] == ["implement", "reinforce", "optimise", "expand"]
    assert all(respect.choose_locale(("id",), each.text) == "id" for each in compiled.report.insights)
