"""How formats write the arguments of a call, as rules of a Lark grammar: JSON, tags around untyped values, Python's keywords."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from octavo.errors import InvalidRequestError
from octavo.structured import embedded_schema

__all__ = ["Arguments", "GemmaArguments", "JsonArguments", "PythonArguments", "TaggedArguments", "Terms", "object_rule"]

_OF_TEXTS = frozenset(("type", "title", "description", "default", "examples", "enum", "const", "minLength", "maxLength"))


class Terms:
    """Terms of a grammar under construction.

    Attributes:
        special_tokens: texts that the tokenizer has a special token for, by id.
        field: the request's, for errors to name.
        rules: further rules that terms made here need.
    """

    def __init__(self, special_tokens: dict[str, int], field: str) -> None:
        self.special_tokens = special_tokens
        self.field = field
        self.rules: list[str] = []
        self._split = (
            re.compile("(" + "|".join(map(re.escape, sorted(special_tokens, key=len, reverse=True))) + ")") if special_tokens else None
        )

    def of(self, text: str) -> str:
        """Literals and special tokens that make up a text; nothing for an empty one."""
        parts = [text] if self._split is None else self._split.split(text)
        return " ".join(self._term(part) for part in parts if part)

    def text_until(self, end: str, *, least: int = 0, most: int | None = None) -> str:
        """Any text without `end`'s mark, of so many characters, and then `end`."""
        mark = end.strip()
        counted = "*" if (least, most) == (0, None) else f"{{{least},{'' if most is None else most}}}"
        name = f"text_{len(self.rules)}"
        body = f"/(?s:.{counted})/ & ~/(?s:.*){_regex(mark)}(?s:.*)/"
        if any(special in end for special in self.special_tokens):
            self.rules.append(f"{name.upper()}: {body}")
            return f"{name.upper()} {self.of(mark)}"
        self.rules += [f"{name.upper()}: {body}", f"{name}[lazy]: {name.upper()} {self._term(end)}"]
        return name

    def _term(self, part: str) -> str:
        token_id = self.special_tokens.get(part)
        return json.dumps(part, ensure_ascii=False) if token_id is None else f"<[{token_id}]>"


class Arguments(Protocol):
    """A way to write an object that satisfies a schema."""

    def rules(self, name: str, schema: dict[str, Any], terms: Terms) -> list[str]:
        """The rule `name` and those it needs. Raises `InvalidRequestError` naming a keyword that cannot be honoured."""
        ...


@dataclass(frozen=True, slots=True)
class JsonArguments:
    """The object as JSON."""

    def rules(self, name: str, schema: dict[str, Any], terms: Terms) -> list[str]:
        """See `Arguments`."""
        return [f"{name}: %json {embedded_schema(schema, terms.field)}"]


@dataclass(frozen=True, slots=True)
class PythonArguments:
    """`key=value, key=value`: values are JSON, which models read as Python."""

    def rules(self, name: str, schema: dict[str, Any], terms: Terms) -> list[str]:
        """See `Arguments`."""
        made, rules = [], []
        for index, (key, value, required) in enumerate(_properties(schema, terms.field)):
            made.append((f"{name}_{index}", required))
            rules += [f"{name}_{index}: {terms.of(key + '=')} {name}_{index}_value"]
            rules += [f"{name}_{index}_value: %json {embedded_schema(value, terms.field)}"]
        return [object_rule(name, made, '", "'), *rules]


@dataclass(frozen=True, slots=True)
class TaggedArguments:
    """A key and a value in tags for each argument. A text stands as it is; anything else is JSON.

    Attributes:
        before, between, after: what stands before a key, between key and value, and after the value.
    """

    before: str
    between: str
    after: str
    separator: str = "\n"

    def rules(self, name: str, schema: dict[str, Any], terms: Terms) -> list[str]:
        """See `Arguments`."""
        made, rules = [], []
        for index, (key, value, required) in enumerate(_properties(schema, terms.field)):
            made.append((f"{name}_{index}", required))
            begin, part = terms.of(f"{self.before}{key}{self.between}"), f"{name}_{index}_value"
            if value.get("type") == "string":
                rules.append(f"{name}_{index}: {begin} {self._text(value, f'/properties/{key}', terms)} {terms.of(self.separator)}")
            else:
                rules.append(f"{name}_{index}: {begin} {part} {terms.of(self.after + self.separator)}")
                rules.append(f"{part}: %json {embedded_schema(value, terms.field)}")
        return [object_rule(name, made, ""), *rules]

    def _text(self, schema: dict[str, Any], path: str, terms: Terms) -> str:
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if choices is not None:
            return "(" + " | ".join(terms.of(choice + self.after) for choice in choices if isinstance(choice, str)) + ")"
        for keyword in sorted(schema.keys() - _OF_TEXTS - {"$defs", "definitions"}):
            raise InvalidRequestError(
                f"{terms.field}: {path}/{keyword} cannot be honoured for a text in this model's format of calls; leave it out", terms.field
            )
        return terms.text_until(self.after, least=schema.get("minLength", 0), most=schema.get("maxLength"))


@dataclass(frozen=True, slots=True)
class GemmaArguments:
    """Gemma's object: bare keys, `{city:<escape>Paris<escape>,days:3}`; what a schema says beyond types, choices and parts is refused.

    Attributes:
        quote: stands around texts.
    """

    quote: str

    def rules(self, name: str, schema: dict[str, Any], terms: Terms) -> list[str]:
        """See `Arguments`."""
        return self._object(name, schema, "", terms)

    def _object(self, name: str, schema: dict[str, Any], path: str, terms: Terms) -> list[str]:
        parts, rules = [], []
        for index, (key, value, required) in enumerate(_properties(schema, terms.field)):
            parts.append((f"{name}_{index}", required))
            rules.append(f"{name}_{index}: {terms.of(key + ':')} {name}_{index}_value")
            rules += self._value(f"{name}_{index}_value", value, f"{path}/properties/{key}", terms)
        return [f'{name}: "{{" {name}_parts "}}"', object_rule(f"{name}_parts", parts, '","'), *rules]

    def _value(self, name: str, schema: dict[str, Any], path: str, terms: Terms) -> list[str]:
        kind = schema.get("type")
        for keyword in sorted(
            schema.keys() - _OF_TEXTS - {"$defs", "definitions", "properties", "required", "additionalProperties", "items"}
        ):
            raise _cannot(terms.field, f"{path}/{keyword}")
        choices = [schema["const"]] if "const" in schema else schema.get("enum")
        if choices is not None:
            return [f"{name}: " + " | ".join(self._literal(choice, path, terms) for choice in choices)]
        if kind == "string":
            text = terms.text_until(self.quote, least=schema.get("minLength", 0), most=schema.get("maxLength"))
            return [f"{name}: {terms.of(self.quote)} {text}"]
        if kind in ("integer", "number", "boolean", "null"):
            return [f'{name}: %json {{"type": "{kind}"}}']
        if kind == "array":
            items = self._value(f"{name}_item", schema.get("items") or {"type": "string"}, f"{path}/items", terms)
            return [f'{name}: "[" ({name}_item ("," {name}_item)*)? "]"', *items]
        if kind == "object":
            return self._object(name, schema, path, terms)
        raise _cannot(terms.field, f"{path}/type")

    def _literal(self, choice: Any, path: str, terms: Terms) -> str:
        if isinstance(choice, str):
            return terms.of(self.quote + choice + self.quote)
        if isinstance(choice, (dict, list)):
            raise _cannot(terms.field, f"{path}/enum")
        return terms.of(json.dumps(choice))


def _cannot(field: str, path: str) -> InvalidRequestError:
    return InvalidRequestError(f"{field}: {path} cannot be honoured in this model's format of calls; leave it out", field)


def object_rule(name: str, parts: list[tuple[str, bool]], separator: str) -> str:
    """A rule of parts in order, with separators between; those that are not required (the second entry) may be left out."""
    required = [part for part, is_required in parts if is_required]
    optional = [part for part, is_required in parts if not is_required]
    if required or not separator:
        first = f" {separator} ".join(required)
        return f"{name}: {first} " + " ".join(f"({separator} {part})?" for part in optional) + _NOTHING * (not parts)
    heads = []
    for index, part in enumerate(optional):
        heads.append(f"{part} " + " ".join(f"({separator} {later})?" for later in optional[index + 1 :]))
    return f"{name}: ({' | '.join(heads)})?" if heads else f"{name}: {_NOTHING}"


_NOTHING = '""'


def _properties(schema: dict[str, Any], field: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Key, schema, whether it is required. A schema that says more of the object than its properties cannot be written part by part."""
    known = {"type", "properties", "required", "additionalProperties", "title", "description", "$defs", "definitions", "$schema", "strict"}
    for keyword in sorted(schema.keys() - known):
        raise InvalidRequestError(f"{field}: /{keyword} cannot be honoured in this model's format of calls; leave it out", field)
    embedded_schema(schema, field)  # which checks it
    shared: dict[str, Any] = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    properties: dict[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    for key in [*properties, *(key for key in required if key not in properties)]:
        value = properties.get(key, {})
        yield key, {**shared, **value} if isinstance(value, dict) else {**shared}, key in required


def _regex(text: str) -> str:
    """A text inside a regular expression of the grammar."""
    return re.escape(text).replace("/", r"\/")
