"""The documentation as a page: made from the OpenAPI document, without scripts and without anything from elsewhere."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from services.gateway import prose
from services.gateway.prose import escape

CSS_FILE = Path(__file__).with_name("docs.css")

START = """\
export PLAUDIT_URL=http://127.0.0.1:8080
export PLAUDIT_API_KEY=plk_…"""


def css() -> bytes:
    """Gives the style sheet."""
    return CSS_FILE.read_bytes()


def page(document: dict[str, Any]) -> bytes:
    """Makes the page."""
    info = document["info"]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(info["title"])} API</title><link rel="stylesheet" href="/docs.css"></head><body>'
    )
    parts = [head, _navigation(document), "<main>", _introduction(document)]
    parts += [_group(tag["name"], document) for tag in document["tags"]]
    parts += [_schemas(document), "</main></body></html>"]
    return "".join(parts).encode()


def _introduction(document: dict[str, Any]) -> str:
    info = document["info"]
    return (
        '<section class="split" id="top"><div class="text">'
        f'<p class="eyebrow">HTTP API · version {escape(info["version"])}</p><h1>{escape(info["title"])}</h1>'
        f"{prose.blocks(info['description'])}</div><aside>{_code('Where to, and as whom', prose.shell_code(START))}"
        f'<p class="aside-note">For machines: <a href="/openapi.json">openapi.json</a></p></aside></section>'
    )


def _navigation(document: dict[str, Any]) -> str:
    groups = []
    for tag in document["tags"]:
        links = "".join(
            f'<li><a href="#{escape(each["operationId"])}">{_verb(verb)}{escape(_title(each))}</a></li>'
            for verb, _, each in _operations(document, tag["name"])
        )
        groups.append(f"<h2>{escape(tag['name'])}</h2><ul>{links}</ul>")
    schemas = "".join(f'<li><a href="#{_anchor(name)}">{escape(name)}</a></li>' for name in _shown(document))
    return (
        '<nav aria-label="Contents"><p class="brand"><a href="#top">Plaudit</a></p>'
        f'{"".join(groups)}<h2>Schemas</h2><ul class="schemas">{schemas}</ul></nav>'
    )


def _operations(document: dict[str, Any], tag: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            if tag in operation["tags"]:
                yield verb, path, operation


def _title(operation: dict[str, Any]) -> str:
    """Makes words of a name: `recordEvents` is `Record events`."""
    return re.sub(r"(?=[A-Z])", " ", operation["operationId"]).capitalize()


def _verb(verb: str) -> str:
    return f'<b class="verb {verb}">{verb.upper()}</b>'


def _group(tag: str, document: dict[str, Any]) -> str:
    operations = "".join(_operation(verb, path, each, document) for verb, path, each in _operations(document, tag))
    return f'<section class="group"><h2>{escape(tag)}</h2>{operations}</section>'


def _operation(verb: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    name = escape(operation["operationId"])
    text = [
        f'<h3>{escape(_title(operation))}<a class="here" href="#{name}" aria-label="Link to here">#</a></h3>',
        f'<p class="path">{_verb(verb)}<code>{_path(path)}</code></p>',
        f"<p>{prose.inline(operation['summary'])}.</p>",
        prose.blocks(operation["description"]),
        _parameters([_resolve(each, document) for each in operation["parameters"]]),
        _body(operation, document),
        _answers(operation["responses"], document),
    ]
    answered = operation["responses"]["200"]["content"].get("application/json")
    examples = [_code("Request", prose.shell_code(curl(verb, path, operation, document)))]
    if answered is not None:
        examples.append(_code("Answer", prose.json_code(answered["example"])))
    return (
        f'<article class="split" id="{name}"><div class="text">{"".join(text)}</div>'
        f"<aside>{''.join(examples)}</aside></article>"
    )


def _path(path: str) -> str:
    return re.sub(r"(\{[^}]+\})", r"<i>\1</i>", escape(path))


def _code(title: str, code: str) -> str:
    return f'<figure><figcaption>{escape(title)}</figcaption><pre tabindex="0"><code>{code}</code></pre></figure>'


def curl(verb: str, path: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    """Writes the call as a command that can be pasted into a shell."""
    parameters = [_resolve(each, document) for each in operation["parameters"]]
    for each in parameters:
        if each["in"] == "path":
            path = path.replace(f"{{{each['name']}}}", str(each["example"]))
    asked = {each["name"]: each["example"] for each in parameters if each["in"] == "query" and each["required"]}
    path += f"?{urlencode(asked)}" if asked else ""
    lines = [f'curl {"" if verb == "get" else f"-X {verb.upper()} "}"$PLAUDIT_URL{path}"']
    lines.append('-H "Authorization: Bearer $PLAUDIT_API_KEY"')
    lines += [
        f'-H "{each["name"]}: {each["example"]}"' for each in parameters if each["in"] == "header" and each["required"]
    ]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content:
        lines.append('-H "Content-Type: application/json"')
        body = orjson.dumps(content["example"], option=orjson.OPT_INDENT_2).decode()
        quoted = body.replace("'", "'\\''")
        lines.append(f"-d '{quoted}'")
    return " \\\n  ".join(lines)


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    rows = [
        _row(
            each["name"],
            each["schema"],
            prose.blocks(each["description"]),
            note=each["in"],
            required=each["required"],
        )
        for each in parameters
    ]
    return f"<h4>Parameters</h4>{_table(rows)}"


def _body(operation: dict[str, Any], document: dict[str, Any]) -> str:
    if "requestBody" not in operation:
        return ""
    schema = _resolve(operation["requestBody"]["content"]["application/json"]["schema"], document)
    rows = _fields(schema, document, sent=True)
    return f"<h4>Body</h4>{_table(rows)}" if rows else ""


def _fields(schema: dict[str, Any], document: dict[str, Any], *, sent: bool) -> list[str]:
    """Lists the fields of an object; of what is sent, nested objects are written out where they stand."""
    required = schema.get("required", ())
    rows = []
    for name, each in schema.get("properties", {}).items():
        if sent and each.get("readOnly"):
            continue
        nested = _resolve(each.get("items", each), document) if sent else {}
        inner = _table(_fields(nested, document, sent=True)) if "properties" in nested else ""
        description = prose.blocks(each.get("description", "")) + inner
        rows.append(_row(name, each, description, note=_access(each), required=name in required))
    return rows


def _access(schema: dict[str, Any]) -> str:
    return "read only" if schema.get("readOnly") else "write only" if schema.get("writeOnly") else ""


def _row(name: str, schema: dict[str, Any], description: str, *, note: str, required: bool) -> str:
    marks = "".join(
        f'<span class="mark">{escape(each)}</span>' for each in (note, "required" if required else "") if each
    )
    return (
        f"<tr><th scope=row><code>{escape(name)}</code>{marks}</th>"
        f'<td><p class="type">{_type(schema)}</p>{description}</td></tr>'
    )


def _table(rows: list[str]) -> str:
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _type(schema: dict[str, Any]) -> str:
    """Says in a few words what a value is, with its limits."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_anchor(name)}">{escape(name)}</a>'
    kind = schema.get("type", "any value")
    if kind == "array":
        return f"list of {_type(schema['items'])}{_bounds(schema, 'minItems', 'maxItems', 'items')}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    words = {"date-time": "instant, RFC 3339", "int64": "whole number in digits", "int32": "whole number"}
    text = words.get(schema.get("format", ""), "one of" if "enum" in schema else kind)
    if kind == "string" and "format" not in schema:
        text += _bounds(schema, "minLength", "maxLength", "characters")
    return escape(text) + escape(_bounds(schema, "minimum", "maximum", ""))


def _bounds(schema: dict[str, Any], least: str, most: str, unit: str) -> str:
    if most not in schema:
        return ""
    low, high = schema.get(least, 0), schema[most]
    return f", {f'{low:,} to' if low else 'up to'} {high:,} {unit}".rstrip()


def _answers(responses: dict[str, Any], document: dict[str, Any]) -> str:
    rows = []
    for status, response in responses.items():
        found = _resolve(response, document)
        schema = found["content"].get("application/json", {}).get("schema")
        type_ = f'<p class="type">{_type(schema)}</p>' if schema else ""
        rows.append(
            f"<tr><th scope=row><code>{status}</code></th><td>{type_}{prose.blocks(found['description'])}</td></tr>"
        )
    return f"<details><summary>Answers</summary>{_table(rows)}</details>"


def _resolve(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in value:
        return value
    _, _, kind, name = value["$ref"].split("/")
    found = document["components"][kind][name]
    assert isinstance(found, dict)
    return found


def _shown(document: dict[str, Any]) -> list[str]:
    return [name for name in document["components"]["schemas"] if not name.endswith("Body")]


def _anchor(name: str) -> str:
    return escape(f"schema-{name}")


def _schemas(document: dict[str, Any]) -> str:
    parts = []
    for name in _shown(document):
        schema = document["components"]["schemas"][name]
        parts.append(
            f'<article id="{_anchor(name)}"><h3>{escape(name)}<a class="here" href="#{_anchor(name)}" '
            f'aria-label="Link to here">#</a></h3>{prose.blocks(schema.get("description", ""))}'
            f"{_table(_fields(schema, document, sent=False))}</article>"
        )
    return f'<section class="group narrow"><h2>Schemas</h2>{"".join(parts)}</section>'
