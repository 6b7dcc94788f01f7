"""JSON schemas as people write them, with every keyword that is held, bounded so that a random model ends soon."""

from __future__ import annotations

from typing import Any

__all__ = ["SCHEMAS"]

_NAME = {"type": "string", "minLength": 1, "maxLength": 8}
_DAY = {"type": "string", "format": "date"}
_ADDRESS = {
    "type": "object",
    "properties": {"street": _NAME, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
    "required": ["street", "zip"],
}

SCHEMAS: dict[str, dict[str, Any]] = {
    "boolean": {"type": "boolean"},
    "null or boolean": {"type": ["null", "boolean"]},
    "bounded integer": {"type": "integer", "minimum": -7, "maximum": 1234},
    "exclusive bounds": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 12},
    "bounded number": {"type": "number", "minimum": -1.5, "maximum": 2.5},
    "multiple": {"type": "integer", "minimum": 0, "maximum": 999, "multipleOf": 7},
    "text": {"type": "string", "minLength": 3, "maxLength": 12},
    "escapes": {"type": "string", "pattern": '^["\\\\\\n]{1,4}$'},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "unanchored pattern": {"type": "string", "pattern": "[0-9]{2}", "maxLength": 6},
    "date": _DAY,
    "time": {"type": "string", "format": "time"},
    "date and time": {"type": "string", "format": "date-time"},
    "uuid": {"type": "string", "format": "uuid"},
    "address of a machine": {"type": "string", "format": "ipv4"},
    "enum": {"enum": ["red", 'gr"een', 3, None, True, ["a"], {"b": 1}]},
    "constant": {"const": {"a": [1, "x", None], "b": {}}},
    "choices of text": {"type": "string", "enum": ["a", "ab", "abc", "\u00e9t\u00e9"]},
    "array": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 9}, "minItems": 2, "maxItems": 5},
    "empty array": {"type": "array", "maxItems": 0},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, _NAME], "items": False, "minItems": 2},
    "array of objects": {"type": "array", "items": _ADDRESS, "maxItems": 2},
    "array of arrays": {"type": "array", "items": {"type": "array", "items": {"type": "null"}, "maxItems": 2}, "maxItems": 3},
    "person": {
        "type": "object",
        "properties": {"name": _NAME, "age": {"type": "integer", "minimum": 0, "maximum": 120}, "born": _DAY},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "all optional": {"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "boolean"}, "c": {"const": 1}}},
    "nested": {
        "type": "object",
        "properties": {"who": {"type": "object", "properties": {"at": _ADDRESS, "tags": {"type": "array", "items": _NAME, "maxItems": 2}}}},
        "required": ["who"],
    },
    "any of": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 5}, _NAME, {"type": "null"}]},
    "any of objects": {
        "anyOf": [
            {
                "type": "object",
                "properties": {"kind": {"const": "circle"}, "r": {"type": "integer", "minimum": 0, "maximum": 9}},
                "required": ["kind"],
            },
            {"type": "object", "properties": {"kind": {"const": "line"}, "to": _ADDRESS}, "required": ["kind", "to"]},
        ]
    },
    "one of constants": {"oneOf": [{"const": "a"}, {"const": 2}, {"const": False}]},
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]},
            {"type": "object", "properties": {"b": {"const": 1}}, "required": ["b"]},
        ],
        "additionalProperties": False,
        "properties": {"a": {}, "b": {}},
    },
    "definitions": {
        "type": "object",
        "properties": {"home": {"$ref": "#/$defs/address"}, "work": {"anyOf": [{"$ref": "#/$defs/address"}, {"type": "null"}]}},
        "required": ["home", "work"],
        "$defs": {"address": _ADDRESS},
    },
    "recursive": {
        "$defs": {
            "tree": {
                "type": "object",
                "properties": {"v": {"type": "boolean"}, "l": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]}},
                "required": ["v", "l"],
            }
        },
        "$ref": "#/$defs/tree",
    },
    "bounded map": {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False, "minProperties": 1},
    "strange names": {
        "type": "object",
        "properties": {
            'q"uote': {"type": "boolean"},
            "back\\slash": {"type": "null"},
            "\u00fc\u00f1\u00ef": {"const": 1},
            "": {"const": 2},
        },
        "required": ['q"uote', "back\\slash", "\u00fc\u00f1\u00ef", ""],
    },
    "annotated": {
        "title": "T",
        "description": "d",
        "type": "object",
        "properties": {"a": {"type": "boolean", "default": True, "examples": [1]}},
        "required": ["a"],
    },
    "nullable text": {"type": "object", "properties": {"note": {"type": ["string", "null"], "maxLength": 5}}, "required": ["note"]},
}
