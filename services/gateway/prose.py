"""Text into HTML: the little Markdown that the contracts use, and JSON and shell with a little colour."""

import html
import re
from collections.abc import Iterator
from typing import Any

import orjson

INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
JSON_TOKEN = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?|\b(true|false|null)\b|(-?\b\d[\d.eE+-]*)')
SHELL_TOKEN = re.compile(r"('(?:[^'])*'|\"(?:[^\"])*\")|(?<=\s)(-[A-Za-z]+)\b|(\$[A-Z_]+)")


def escape(text: Any) -> str:
    """Makes text safe in HTML, within attributes too."""
    return html.escape(str(text), quote=True)


def inline(text: str) -> str:
    """Renders code and emphasis within a line."""
    parts: list[str] = []
    end = 0
    for match in INLINE.finditer(text):
        parts.append(escape(text[end : match.start()]))
        parts.append(f"<code>{escape(match[1])}</code>" if match[1] else f"<strong>{escape(match[2])}</strong>")
        end = match.end()
    return "".join([*parts, escape(text[end:])])


def blocks(text: str) -> str:
    """Renders paragraphs and lists."""
    return "".join(_block(part) for part in text.strip().split("\n\n") if part)


def _block(text: str) -> str:
    lines = text.split("\n")
    if all(line.startswith("- ") for line in lines):
        return "<ul>" + "".join(f"<li>{inline(line[2:])}</li>" for line in lines) + "</ul>"
    return f"<p>{inline(' '.join(lines))}</p>"


def json_code(value: Any) -> str:
    """Renders a JSON value."""
    return _coloured(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode(), JSON_TOKEN, _json_class)


def shell_code(text: str) -> str:
    """Renders a command."""
    return _coloured(text, SHELL_TOKEN, _shell_class)


def _coloured(text: str, token: re.Pattern[str], name: Any) -> str:
    return "".join(_pieces(text, token, name))


def _pieces(text: str, token: re.Pattern[str], name: Any) -> Iterator[str]:
    end = 0
    for match in token.finditer(text):
        yield escape(text[end : match.start()])
        yield f'<span class="{name(match)}">{escape(match[0])}</span>'
        end = match.end()
    yield escape(text[end:])


def _json_class(match: re.Match[str]) -> str:
    if match[1]:
        return "key" if match[2] else "text"
    return "word" if match[3] else "number"


def _shell_class(match: re.Match[str]) -> str:
    return "text" if match[1] else "key" if match[2] else "word"
