"""What /api takes and gives, as a page of plain HTML: no script, nothing from elsewhere.

In: the OpenAPI description. Out: HTML; every word of it is escaped.
"""

from __future__ import annotations

from html import escape
from typing import Any

METHODS = ("get", "post", "put", "patch", "delete")


def reference(described: dict[str, Any]) -> str:
    """One section a route: its method and path, what it does, its parameters and the fields of its body."""
    parts = [
        _section(path, method, operation, described)
        for path, methods in sorted(described["paths"].items())
        for method, operation in methods.items()
        if method in METHODS
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>vlad: the API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="stylesheet" href="/page/base.css"></head><body><main>'
        "<h1>The API of vlad</h1><p>Send a token as <code>Authorization: Bearer TOKEN</code>. Errors are one line in <code>detail</code>. "
        'The same for programs: <a href="/api/openapi.json">/api/openapi.json</a>.</p>'
        + "".join(parts)
        + "</main></body></html>"
    )


def _section(path: str, method: str, operation: dict[str, Any], described: dict[str, Any]) -> str:
    given = [
        (p["name"], f"in the {p['in']}", p.get("schema", {}), p.get("required", False))
        for p in operation.get("parameters", ())
    ]
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    body = _resolved(content, described)
    needed = body.get("required", ())
    given += [(name, "in the body", schema, name in needed) for name, schema in body.get("properties", {}).items()]
    rows = "".join(
        f"<tr><td><code>{escape(name)}</code></td><td>{where}{', required' if required else ''}</td><td>{escape(_kind(schema, described))}</td></tr>"
        for name, where, schema, required in given
    )
    told = escape(str(operation.get("description") or operation.get("summary") or ""))
    table = (
        f"<table><thead><tr><th>name</th><th>where</th><th>what</th></tr></thead><tbody>{rows}</tbody></table>"
        if rows
        else ""
    )
    return f"<section><h2><code>{method.upper()} {escape(path)}</code></h2><p>{told}</p>{table}</section>"


def _resolved(schema: dict[str, Any], described: dict[str, Any]) -> dict[str, Any]:
    """A schema, or the named one that it refers to."""
    options = [s for s in schema.get("anyOf", [schema]) if s.get("type") != "null"]
    name = str(options[0].get("$ref", "") if options else "").rsplit("/", 1)[-1]
    found: dict[str, Any] = described.get("components", {}).get("schemas", {}).get(name, options[0] if options else {})
    return found


def _kind(schema: dict[str, Any], described: dict[str, Any]) -> str:
    """A type, its choices and its bounds in a few words."""
    found = _resolved(schema, described)
    words = [
        "one of " + ", ".join(repr(c) for c in found["enum"]) if "enum" in found else str(found.get("type", "any"))
    ]
    names = {
        "minimum": "from",
        "maximum": "to",
        "minLength": "letters from",
        "maxLength": "letters to",
        "maxItems": "at most",
    }
    words += [f"{said} {found[key]:g}" for key, said in names.items() if isinstance(found.get(key), int | float)]
    if "default" in schema:
        words.append(f"default {schema['default']!r}")
    return ", ".join(words)
