"""The weekly report: what happened and what comes next, on one screen, and never a rank below the median."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from plaudit.notify.v1 import notify_pb2

from services.notify import model, ports, reports
from tests.conftest import START
from tests.support.notify import NotifyHarness, states

SEEN: dict[str, Any] = {"member_id": "m1", "counts": {"report": 30}, "month_counts": {}}


def local(text: str) -> list[notify_pb2.LocalText]:
    """Makes a text in one language."""
    return [notify_pb2.LocalText(locale="en", text=text)]


def definition(**values: Any) -> model.Report:
    """Makes a report over two measures and four stages."""
    usual: dict[str, Any] = {
        "stages": (
            model.Stage("implement", {"en": "Begin"}, 'member.counts["report"] < 10'),
            model.Stage("reinforce", {"en": "Again", "fr": "Encore"}, 'member.counts["report"] < 100', "/again"),
            model.Stage("expand", {"en": "More"}),
        ),
        "measures": (
            model.Measure("report", {"en": "Reports", "fr": "Rapports"}, goal_count=20, saved_minutes=30),
            model.Measure("share", {"en": "Shares"}),
        ),
        "insights": tuple(
            model.Insight(f"i{impact}", "true", str(impact), {"en": f"Impact {impact}"}) for impact in (1, 7, 3)
        ),
    }
    return model.Report(**{**usual, **values})


def build(
    week: dict[str, tuple[int, int]], *, ahead: int | None = None, locale: str = "en", **values: Any
) -> dict[str, Any] | None:
    """Builds the report of a week that followed one with twelve reports."""
    comparison = None if ahead is None else ports.Comparison(ahead)
    seen = reports.Seen(SEEN, week, {"report": (12, 0)}, comparison, (locale, "en"))
    return reports.build(reports.compile_report(definition(**values)), seen)


def test_report_tells_the_week() -> None:
    """The report has counts beside those of the week before, a bar, what was saved and what comes next."""
    built = build({"report": (18, 0), reports.POINTS_EARNED: (2, 220)})

    assert built is not None
    assert built["measures"][0] == {"label": "Reports", "count": 18, "last_count": 12, "goal": 20, "percent": 90}
    assert (built["hours_saved"], built["workdays_saved"], built["points_earned"]) == (9, 1, 220)
    assert (built["stage"], built["next"], built["next_url"]) == ("reinforce", "Again", "/again")


def test_report_says_two_insights_at_most() -> None:
    """Of all that is true the two that matter most are said, the first one first."""
    built = build({"report": (1, 0)})

    assert built is not None
    assert built["insights"] == ["Impact 7", "Impact 3"]


@pytest.mark.parametrize(("ahead", "told"), [(None, None), (0, None), (49, None), (50, 50), (99, 99)])
def test_report_compares_from_the_median_on(ahead: int | None, told: int | None) -> None:
    """A member is told to be ahead of others from the median on, and never to be behind."""
    built = build({"report": (1, 0)}, ahead=ahead)

    assert built is not None
    assert built["ahead_percent"] == told


def test_report_speaks_the_members_language() -> None:
    """Texts are in the member's language where they are there, and else in the program's."""
    built = build({"report": (1, 0)}, locale="fr-CA")

    assert built is not None
    assert built["next"] == "Encore"
    assert [each["label"] for each in built["measures"]] == ["Rapports", "Shares"]


async def test_report_is_sent_weekly_to_who_did_something(notify: NotifyHarness) -> None:
    """On its day the report goes with the seven days before it; who did nothing for two weeks gets none."""
    measure = notify_pb2.ReportMeasure(event_type="report.generated", label=local("Reports"), saved_minutes=30)
    report = notify_pb2.ReportDefinition(measures=[measure], comparison_metric_id="reports")
    await notify.settings(report=report)
    texts = notify_pb2.TemplateLocale(
        locale="en",
        subject="{{ facts.hours_saved }} hours",
        title="Week",
        body="Week",
        text="{{ facts.measures[0].count }} {{ facts.measures[0].last_count }} {{ facts.ahead_percent }}",
    )
    sample: dict[str, Any] = {
        "facts": {"hours_saved": 1, "measures": [{"count": 1, "last_count": 1}], "ahead_percent": 60}
    }
    template = notify_pb2.Template(template_id="news", display_name="News", locales=[texts])
    template.sample.update(sample)
    await notify.publish_template(template)
    await notify.trigger(on_schedule=notify_pb2.OnSchedule(weekdays=[1]))
    notify.peers.ahead_percent = 72
    await notify.member()
    await notify.member("idle")
    for day in range(4):
        notify.time.value = START + timedelta(days=day)
        await notify.happen()
    notify.time.value = datetime(2026, 3, 9, 9, tzinfo=UTC)
    await notify.work()
    [sent] = notify.outbox.mails

    assert b"Subject: 1 hours" in sent.content
    assert states(await notify.list_deliveries("idle"))[0] == ("CANCELLED", "NO_LONGER_TRUE")
