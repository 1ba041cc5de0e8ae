"""The weekly report: what happened, what it saved, what may be said of it and what comes next. Pure.

It fits on one screen: at most four measures and two insights. Nobody is told to be behind: a comparison is left out
below the median.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cel
from jinja2 import Template

from services.notify import errors, model, ports, rules, templates
from services.notify.respect import choose_locale

MEASURES_SHOWN_MAX = 4
INSIGHTS_SHOWN_MAX = 2
MEDIAN_PERCENT = 50
MINUTES_PER_HOUR = 60
HOURS_PER_WORKDAY = 8
VARIABLES = ("member", "week", "last_week")
POINTS_EARNED = "points.earned"

Sums = tuple[int, int]  # how often, and how much in all


@dataclass(frozen=True, slots=True)
class CompiledReport:
    """A report with its expressions and texts ready to run, in the order of the definition."""

    report: model.Report
    stages: tuple[cel.Program | None, ...]
    insights: tuple[tuple[cel.Program | None, cel.Program | None], ...]
    texts: tuple[Mapping[str, Template], ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a report is made of: the member, what happened in the week and in the one before, and how others did."""

    member: Mapping[str, Any]
    week: Mapping[str, Sums]
    last_week: Mapping[str, Sums]
    comparison: ports.Comparison | None
    locales: tuple[str, ...]


def compile_report(report: model.Report) -> CompiledReport:
    """Checks and compiles a report. Raises EXPRESSION_INVALID, and TEMPLATE_INVALID for a text."""
    return CompiledReport(
        report,
        tuple(
            rules.compile_expression(f"settings.report.stages[{place}].condition", stage.condition, VARIABLES)
            for place, stage in enumerate(report.stages)
        ),
        tuple(
            (
                rules.compile_expression(f"settings.report.insights[{place}].condition", each.condition, VARIABLES),
                rules.compile_expression(f"settings.report.insights[{place}].impact", each.impact, VARIABLES),
            )
            for place, each in enumerate(report.insights)
        ),
        tuple(
            {locale: _text(each.insight_id, locale, text) for locale, text in each.text.items()}
            for each in report.insights
        ),
    )


def _text(insight_id: str, locale: str, text: str) -> Template:
    try:
        return templates.compile_text(text)
    except templates.TextError as error:
        raise errors.template_invalid(locale, f"insight {insight_id}", str(error)) from error


def build(compiled: CompiledReport, seen: Seen) -> dict[str, Any] | None:
    """Makes the report of one member; None where nothing happened in either week: there is nothing to say."""
    report = compiled.report
    week = {kind: sums[0] for kind, sums in seen.week.items()}
    last_week = {kind: sums[0] for kind, sums in seen.last_week.items()}
    measures = [_measure(each, week, last_week, seen.locales) for each in report.measures]
    if not any(each["count"] or each["last_count"] for each in measures):
        return None
    visible = {"member": seen.member, "week": week, "last_week": last_week}
    saved = sum(each.saved_minutes * week.get(each.event_type, 0) for each in report.measures)
    stage = next(
        (
            each
            for each, condition in zip(report.stages, compiled.stages, strict=True)
            if rules.holds(condition, **visible)
        ),
        None,
    )
    return {
        "stage": stage.stage if stage else "",
        "next": _local(stage.next, seen.locales) if stage else "",
        "next_url": stage.next_url if stage else "",
        "measures": sorted(measures, key=lambda each: -each["count"])[:MEASURES_SHOWN_MAX],
        "hours_saved": saved // MINUTES_PER_HOUR,
        "minutes_saved": saved,
        "workdays_saved": saved // (MINUTES_PER_HOUR * HOURS_PER_WORKDAY),
        "points_earned": seen.week.get(POINTS_EARNED, (0, 0))[1],
        "insights": _insights(compiled, visible, seen.locales),
        "ahead_percent": _ahead(seen.comparison),
    }


def _measure(
    measure: model.Measure, week: Mapping[str, int], last_week: Mapping[str, int], locales: tuple[str, ...]
) -> dict[str, Any]:
    count = week.get(measure.event_type, 0)
    return {
        "label": _local(measure.label, locales),
        "count": count,
        "last_count": last_week.get(measure.event_type, 0),
        "goal": measure.goal_count,
        "percent": min(100, count * 100 // measure.goal_count) if measure.goal_count else 0,
    }


def _insights(compiled: CompiledReport, visible: Mapping[str, Any], locales: tuple[str, ...]) -> list[str]:
    """Says what is true and matters most, in the member's language."""
    ranked = []
    for place, (condition, impact) in enumerate(compiled.insights):
        if rules.holds(condition, **visible):
            ranked.append((-rules.whole(impact, **visible), place))
    said = []
    for _, place in sorted(ranked)[:INSIGHTS_SHOWN_MAX]:
        texts = compiled.texts[place]
        locale = choose_locale(locales, texts)
        try:
            said.append(templates.run(texts[locale], {**visible, "locale": locale}))
        except templates.TextError:
            continue  # A text whose inputs are missing has nothing to say of this member.
    return said


def _ahead(comparison: ports.Comparison | None) -> int | None:
    if comparison is None or comparison.ahead_percent < MEDIAN_PERCENT:
        return None
    return comparison.ahead_percent


def _local(texts: Mapping[str, str], locales: tuple[str, ...]) -> str:
    return texts[choose_locale(locales, texts)]
