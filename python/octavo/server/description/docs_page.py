"""The description as one HTML page, without scripts: each endpoint with the fields of its body, each schema once."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import Any

__all__ = ["docs_page"]

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Octavo: endpoints</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/style.css">
<link rel="stylesheet" href="/static/docs.css">
</head>
<body>
<header>
<h1>Octavo</h1><span class="space"></span><a class="button" href="/">Chat</a><a class="button" href="/dashboard">Dashboard</a>
</header>
<main class="docs">
"""
_BOUNDS = {
    "minimum": "at least {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "{} characters at most",
    "minItems": "{} items at least",
    "maxItems": "{} items at most",
    "maxProperties": "{} keys at most",
    "pattern": "like {}",
}


def docs_page(document: dict[str, Any]) -> str:
    """Return the page of an OpenAPI document."""
    info = document["info"]
    lead = f'<p>{_prose(info["description"])} The same for programs: <a href="/openapi.json">/openapi.json</a>.</p>'
    return "".join((_HEAD, f"<h2>Endpoints of version {_text(info['version'])}</h2>", lead, *_endpoints(document), *_schemas(document)))


def _endpoints(document: dict[str, Any]) -> Iterator[str]:
    flat = [(path, method, operation) for path, methods in document["paths"].items() for method, operation in methods.items()]
    tags = list(dict.fromkeys(operation["tags"][0] for _, _, operation in flat))
    flat.sort(key=lambda entry: tags.index(entry[2]["tags"][0]))
    for tag, entries in groupby(flat, key=lambda entry: entry[2]["tags"][0]):
        yield f"<h3>{_text(tag)}</h3>"
        for path, method, operation in entries:
            yield f'<section id="{_text(operation["operationId"])}">'
            yield f"<h4><span>{_text(method.upper())}</span> <code>{_text(path)}</code></h4><p>{_text(operation['summary'])}.</p>"
            if "requestBody" in operation:
                schema = operation["requestBody"]["content"]["application/json"]["schema"]
                yield f"<p>Body: {_type(schema)}</p>"
            for each in operation.get("parameters", ()):
                yield f"<p>In the {_text(each['in'])}: <code>{_text(each['name'])}</code>, {_type(each['schema'])}</p>"
            yield "</section>"


def _schemas(document: dict[str, Any]) -> Iterator[str]:
    yield "<h2>Bodies</h2>"
    for name, schema in sorted(document["components"]["schemas"].items()):
        yield f'<section id="{_text(name)}"><h4><code>{_text(name)}</code></h4>'
        if "description" in schema:
            yield f"<p>{_prose(schema['description'])}</p>"
        yield from _fields(schema)
        yield "</section>"
    yield "</main>\n</body>\n</html>\n"


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    required = schema.get("required", ())
    ignored = [name for name, field in schema.get("properties", {}).items() if _is_ignored(field)]
    rows = [(name, field) for name, field in schema.get("properties", {}).items() if name not in ignored]
    if rows:
        yield "<table><thead><tr><th>field</th><th>type</th><th>default</th></tr></thead><tbody>"
        for name, field in rows:
            default = "required" if name in required else _default(field)
            yield f"<tr><td><code>{_text(name)}</code></td><td>{_type(field)}</td><td>{default}</td></tr>"
        yield "</tbody></table>"
    if ignored:
        yield f"<p>Any value is taken for {', '.join(f'<code>{_text(name)}</code>' for name in ignored)}.</p>"


def _is_ignored(field: dict[str, Any]) -> bool:
    """Whether it has no type at all: it is accepted, and what it means is for another check or for nobody."""
    return not field.keys() - {"title", "default"}


def _default(field: dict[str, Any]) -> str:
    return "" if field.get("default") is None else f"<code>{_text(json.dumps(field['default']))}</code>"


def _type(schema: dict[str, Any]) -> str:
    """Return what a value may be, in words; schemas are links."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f'<a href="#{_text(name)}">{_text(name.partition(".")[2] or name)}</a>'
    if "enum" in schema or "const" in schema:
        return " or ".join(f"<code>{_text(json.dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    parts = schema.get("anyOf") or schema.get("oneOf")
    if parts:
        return " or ".join(dict.fromkeys(_type(part) for part in parts if part.get("type") != "null"))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}{_bounds(schema)}"
    shown = " or ".join(kind) if isinstance(kind, list) else kind
    return f"{_text(str(shown))}{_bounds(schema)}"


def _bounds(schema: dict[str, Any]) -> str:
    found = [text.format(schema[name]) for name, text in _BOUNDS.items() if name in schema]
    return _text(f", {', '.join(found)}") if found else ""


def _prose(text: str) -> str:
    """Return a text whose `words` are code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return escape(str(text), quote=True)
