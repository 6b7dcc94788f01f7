"""Every kind of constraint as one text: the grammar format of llguidance (a JSON document of Lark-like grammars).

JSON comes out as `json.dumps` writes it, one space behind colons and commas and no other white space: models were trained on that,
and white space without bounds lets a weak model run on for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from octavo.errors import InvalidRequestError
from octavo.structured._schema_check import check_schema, held

__all__ = [
    "choice_grammar",
    "ebnf_grammar",
    "embedded_schema",
    "json_object_grammar",
    "json_schema_grammar",
    "lark_grammar",
    "regex_grammar",
]

_JSON_FORM = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
MAX_GRAMMAR_BYTES = 256 * 1024


def json_schema_grammar(schema: dict[str, Any] | bool, field: str = "response_format") -> str:
    """Text is JSON that satisfies a JSON schema (json-schema.org, 2020-12).

    Raises:
        InvalidRequestError: a keyword cannot be honoured; names its path.
    """
    if isinstance(schema, bool):
        schema = {} if schema else {"enum": []}
    return _bounded(f'{{"grammars": [{{"name": "json", "json_schema": {embedded_schema(schema, field)}}}]}}', field)


def embedded_schema(schema: dict[str, Any], field: str) -> str:
    """A schema as it stands inside a grammar (in Lark behind `%json`). Raises `InvalidRequestError` as `json_schema_grammar` does.

    Objects that do not speak of further properties have none.
    """
    check_schema(schema, field)
    return json.dumps({**held(schema), "x-guidance": _JSON_FORM})


def json_object_grammar() -> str:
    """Text is any JSON object."""
    return json_schema_grammar({"type": "object"})


def regex_grammar(pattern: str, field: str = "regex") -> str:
    """The whole text matches a regular expression (Rust's regex syntax: no look-around, no back-references)."""
    from llguidance import LLMatcher

    return _bounded(LLMatcher.grammar_from_regex(pattern), field)


def lark_grammar(source: str, field: str = "grammar") -> str:
    """Text follows a grammar in the Lark-like syntax of llguidance, from its rule `start`."""
    from llguidance import LLMatcher

    return _bounded(LLMatcher.grammar_from_lark(source), field)


def ebnf_grammar(source: str, field: str = "grammar") -> str:
    """Text follows a grammar in llama.cpp's GBNF, from its rule `root`. Raises `InvalidRequestError` where it cannot be read."""
    from llguidance.gbnf_to_lark import gbnf_to_lark

    try:
        return lark_grammar(gbnf_to_lark(source), field)
    except InvalidRequestError:
        raise
    except Exception as error:  # whatever the library's parser stumbles over
        raise InvalidRequestError(f"{field} is not a GBNF grammar: {error}", field) from error


def choice_grammar(choices: Sequence[str], field: str = "choice") -> str:
    """Text is one of some texts."""
    if not choices or not all(isinstance(choice, str) and choice for choice in choices):
        raise InvalidRequestError(f"{field} must be a list of texts, at least one, none of them empty", field)
    return lark_grammar("start: " + " | ".join(json.dumps(choice, ensure_ascii=False) for choice in choices), field)


def _bounded(grammar: str, field: str) -> str:
    if len(grammar) > MAX_GRAMMAR_BYTES:
        raise InvalidRequestError(f"{field} is a grammar of {len(grammar)} bytes; at most {MAX_GRAMMAR_BYTES} are taken", field)
    return grammar
