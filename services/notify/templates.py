"""Templates: texts in a small, total language, and the mails that are made of them.

A text is Jinja in its sandbox without whatever could run away: no assignments, macros or calls but those below, no loop
in a loop in a loop, no operator but on numbers. MJML becomes HTML once, when a template is compiled, with the Jinja in
it left as it is; what comes in later is escaped as HTML, and is never read as MJML.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import mrml
import orjson
from babel import Locale, UnknownLocaleError
from babel.dates import format_date
from babel.numbers import format_decimal, format_percent
from jinja2 import StrictUndefined, TemplateError, nodes, pass_context
from jinja2 import Template as JinjaTemplate
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment, SandboxedEnvironment
from markupsafe import Markup

from services.notify import errors, model
from services.notify.respect import choose_locale

DATA = Path(__file__).parent / "data"
LAYOUT = (DATA / "layout.mjml").read_text()
# What mails say for themselves, by language.
WORDS: dict[str, dict[str, str]] = orjson.loads((DATA / "words.json").read_bytes())
# Gmail cuts mails at 102 kB, and with the end goes the way to unsubscribe.
HTML_LENGTH_MAX = 90_000
TEXT_LENGTH_MAX = 20_000
LOOPS_DEEP_MAX = 2
COLOR = "#2f5d8a"
# What an inbox shows of a message, with its address.
NOTE_PARTS = ("title", "body", "actionLabel")
COLORS = re.compile(r"#[0-9a-fA-F]{6}\Z")
JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
HOLDER = re.compile(r"jinjaholder(\d+)end")
CONTROL = re.compile(r"[\x00-\x1f\x7f]+")

KNOWN_NODES = (
    *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const),
    *(nodes.If, nodes.For, nodes.Filter, nodes.Test, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not),
    *(nodes.CondExpr, nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos),
    *(nodes.Tuple, nodes.List, nodes.Keyword),
)
KNOWN_FILTERS = ("default", "first", "int", "join", "last", "length", "lower", "round", "title", "trim", "upper")
KNOWN_TESTS = ("defined", "divisibleby", "even", "in", "none", "odd", "undefined")
OPERATORS = frozenset({"+", "-", "*", "/", "//", "%"})
# What running a text raises where the data do not fit it.
FAULTS = (TemplateError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)


class TextError(Exception):
    """Says what is wrong with a text."""


class Environment(ImmutableSandboxedEnvironment):
    """Jinja, reckoning with numbers alone, so that nothing grows beyond what was sent in."""

    intercepted_binops = OPERATORS

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Reckons."""
        if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
            raise TextError(f"{operator} stands between numbers only")
        return super().call_binop(context, operator, left, right)


@dataclass(frozen=True, slots=True)
class CompiledLocale:
    """The texts of one language, ready to run: `plain` as they are, `html` with what comes in escaped."""

    locale: str
    plain: Mapping[str, JinjaTemplate]
    html: Mapping[str, JinjaTemplate]


@dataclass(frozen=True, slots=True)
class Compiled:
    """A template, ready to run."""

    template: model.Template
    page: JinjaTemplate
    action_url: JinjaTemplate | None
    locales: Mapping[str, CompiledLocale]


@dataclass(frozen=True, slots=True)
class Note:
    """How a message looks in an inbox."""

    locale: str
    title: str
    body: str
    action_url: str
    action_label: str


@dataclass(frozen=True, slots=True)
class Rendering(Note):
    """How a message looks everywhere: in an inbox and as a mail."""

    subject: str
    html: str
    text: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message needs beside its own texts: who writes, in which language, and the way out of it."""

    brand: model.Brand
    locales: tuple[str, ...] = ()
    unsubscribe_url: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


def _locale_of(context: Context) -> Locale:
    return _babel(context.get("locale", "en"))


@lru_cache(256)
def _babel(name: str) -> Locale:
    """Finds what is known of a language; English where nothing is."""
    try:
        return Locale.parse(name, sep="-")
    except (ValueError, UnknownLocaleError):
        return Locale.parse("en")


@pass_context
def _number(context: Context, value: Any) -> str:
    return str(format_decimal(value, locale=_locale_of(context)))


@pass_context
def _percent(context: Context, value: Any) -> str:
    return str(format_percent(value / 100, locale=_locale_of(context)))


@pass_context
def _date(context: Context, value: Any) -> str:
    day = date.fromisoformat(value[:10]) if isinstance(value, str) else value
    if not isinstance(day, (date, datetime)):
        raise TextError(f"{value!r} is no date")
    return str(format_date(day, format="long", locale=_locale_of(context)))


@pass_context
def _plural(context: Context, value: Any, **forms: str) -> str:
    """Picks the form of a word that a number asks for: one, few, many, other, as the language has them."""
    form = _locale_of(context).plural_form(abs(value))
    found = forms.get(form) or forms.get("other") or forms.get("many")
    if found is None:
        raise TextError(f"plural lacks the form {form}")
    return found


def _environment(*, autoescape: bool) -> SandboxedEnvironment:
    made = Environment(autoescape=autoescape, undefined=StrictUndefined, keep_trailing_newline=True)
    made.globals = {}
    made.filters = {name: made.filters[name] for name in KNOWN_FILTERS}
    made.filters |= {"date": _date, "number": _number, "percent": _percent, "plural": _plural}
    made.tests = {name: made.tests[name] for name in KNOWN_TESTS}
    return made


PLAIN = _environment(autoescape=False)
HTML = _environment(autoescape=True)


def compile_text(source: str, environment: SandboxedEnvironment = PLAIN) -> JinjaTemplate:
    """Compiles one text. Raises TextError where it says what it may not."""
    try:
        tree = environment.parse(source)
        for fault in _node_faults(tree, 0):
            raise TextError(fault)
        return environment.from_string(tree)
    except TemplateError as error:
        raise TextError(f"line {getattr(error, 'lineno', 1)}: {error}") from error


def _node_faults(node: nodes.Node, depth: int) -> Iterable[str]:
    if not isinstance(node, KNOWN_NODES):
        yield f"may not use {type(node).__name__.lower()}"
    if isinstance(node, nodes.For):
        depth += 1
        if depth > LOOPS_DEEP_MAX or node.recursive:
            yield "has loops too deep"
    for child in node.iter_child_nodes():
        yield from _node_faults(child, depth)


def run(template: JinjaTemplate, data: Mapping[str, Any], longest: int = TEXT_LENGTH_MAX) -> str:
    """Runs a text. Raises TextError where the data do not fit it, or it grows too long."""
    chunks, length = [], 0
    try:
        for chunk in template.generate(data):
            chunks.append(chunk)
            length += len(chunk)
            if length > longest:
                raise TextError(f"is longer than {longest} characters")
    except FAULTS as error:
        raise TextError(str(error)[:200] or type(error).__name__) from error
    return "".join(chunks)


def compile_template(template: model.Template) -> Compiled:
    """Compiles a template. Raises TEMPLATE_INVALID with the language, the part and the fault."""
    first = template.locales[0]
    compiled = {}
    for texts in template.locales:
        if texts.texts.keys() != first.texts.keys():
            missing = sorted(texts.texts.keys() ^ first.texts.keys())
            raise errors.template_invalid(texts.locale, "texts", f"differs from {first.locale} in {', '.join(missing)}")
        parts = _parts(texts)
        plain = {name: _compiled(texts.locale, name, source, PLAIN) for name, source in parts.items()}
        html = {name: _compiled(texts.locale, name, source, HTML) for name, source in parts.items()}
        compiled[texts.locale] = CompiledLocale(texts.locale, plain, html)
    page = _compiled("", "mjml", _to_html(template.mjml or LAYOUT), HTML)
    action_url = _compiled("", "actionUrl", template.action_url, PLAIN) if template.action_url else None
    return Compiled(template, page, action_url, compiled)


def _parts(texts: model.LocaleTexts) -> dict[str, str]:
    parts = {
        "subject": texts.subject,
        "preheader": texts.preheader,
        "title": texts.title,
        "body": texts.body,
        "text": texts.text,
        "actionLabel": texts.action_label,
    }
    return parts | {f"texts.{name}": text for name, text in texts.texts.items()}


def _compiled(locale: str, part: str, source: str, environment: SandboxedEnvironment) -> JinjaTemplate:
    try:
        return compile_text(source, environment)
    except TextError as error:
        raise errors.template_invalid(locale, part, str(error)) from error


def _to_html(mjml: str) -> str:
    """Turns MJML into HTML; what is Jinja in it is put aside meanwhile and back as it was."""
    asides: list[str] = []

    def put_aside(match: re.Match[str]) -> str:
        asides.append(match[0])
        return f"jinjaholder{len(asides) - 1}end"

    try:
        output = mrml.to_html(JINJA.sub(put_aside, mjml))
    except (OSError, ValueError) as error:
        raise errors.template_invalid("", "mjml", str(error)[:200]) from error
    if output.warnings:
        raise errors.template_invalid("", "mjml", f"has an unknown element or attribute: {output.warnings[0]}"[:200])
    return HOLDER.sub(lambda match: asides[int(match[1])], output.content)


def render_note(compiled: Compiled, envelope: Envelope) -> Note:
    """Makes of a template what an inbox shows. Raises TEMPLATE_INVALID where the data do not fit it."""
    locale = choose_locale(envelope.locales, compiled.locales)
    data = {**envelope.data, "brand": envelope.brand, "locale": locale}
    plain = {name: _run(locale, name, compiled.locales[locale].plain[name], data) for name in NOTE_PARTS}
    return Note(locale, *_noted(plain), _action_url(compiled, envelope.brand, data), _one_line(plain["actionLabel"]))


def render(compiled: Compiled, envelope: Envelope) -> Rendering:
    """Makes a message of a template. Raises TEMPLATE_INVALID where the data do not fit it."""
    locale = choose_locale(envelope.locales, compiled.locales)
    texts = compiled.locales[locale]
    words = WORDS[choose_locale((locale, "en"), WORDS)]
    data = {**envelope.data, "brand": envelope.brand, "locale": locale}
    url = _action_url(compiled, envelope.brand, data)
    plain = {name: _run(locale, name, text, data) for name, text in texts.plain.items()}
    shown = {name: Markup(_run(locale, name, text, data)) for name, text in texts.html.items()}  # noqa: S704 - escaped
    page = {
        **data,
        "color": envelope.brand.color if COLORS.match(envelope.brand.color) else COLOR,
        "title": shown["title"],
        "preheader": shown["preheader"],
        "paragraphs": [_lines(each) for each in str(shown["text"]).split("\n\n") if each.strip()],
        "action_url": url,
        "action_label": shown["actionLabel"],
        "unsubscribe_url": envelope.unsubscribe_url,
        "texts": {name.removeprefix("texts."): text for name, text in shown.items() if name.startswith("texts.")},
        "words": words,
    }
    title, body = _noted(plain)
    return Rendering(
        locale=locale,
        subject=_one_line(plain["subject"]),
        html=_run(locale, "mjml", compiled.page, page, HTML_LENGTH_MAX),
        text=_plain_part(plain, url, envelope, words),
        title=title,
        body=body,
        action_url=url,
        action_label=_one_line(plain["actionLabel"]),
    )


def _noted(plain: Mapping[str, str]) -> tuple[str, str]:
    return _one_line(plain["title"]), plain["body"].strip()


def _action_url(compiled: Compiled, brand: model.Brand, data: Mapping[str, Any]) -> str:
    return address(brand, _run("", "actionUrl", compiled.action_url, data)) if compiled.action_url else ""


def _run(locale: str, part: str, text: JinjaTemplate, data: Mapping[str, Any], longest: int = TEXT_LENGTH_MAX) -> str:
    try:
        return run(text, data, longest)
    except TextError as error:
        raise errors.template_invalid(locale, part, str(error)) from error


def _lines(paragraph: str) -> Markup:
    return Markup(paragraph.strip().replace("\n", "<br>"))  # noqa: S704 - what came in is escaped already


def _one_line(text: str) -> str:
    return CONTROL.sub(" ", text).strip()


def _plain_part(plain: Mapping[str, str], url: str, envelope: Envelope, words: Mapping[str, str]) -> str:
    parts = [plain["text"].strip()]
    if url:
        label = plain["actionLabel"].strip()
        parts.append(f"{label}: {url}" if label else url)
    parts.append("-- \n" + envelope.brand.name)
    if envelope.brand.postal_address:
        parts.append(envelope.brand.postal_address)
    if envelope.unsubscribe_url:
        parts.append(f"{words['unsubscribe']}: {envelope.unsubscribe_url}")
    return "\n\n".join(parts) + "\n"


def address(brand: model.Brand, text: str) -> str:
    """Gives a whole address: a path is taken from the brand's site; what is no address of the web is none."""
    found = urljoin(brand.site_url, text.strip()) if brand.site_url else text.strip()
    return found if urlsplit(found).scheme in ("http", "https") else ""
