"""The OpenAPI document. Specification: https://spec.openapis.org/oas/v3.1.0"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import octavo
from octavo.server.description.operations import OPERATIONS, Operation

__all__ = ["openapi_document"]

_SCHEMAS = "#/components/schemas/"
_ERRORS = {"Anthropic": "Anthropic.Error", "Ollama": "Ollama.Error"}
_FAMILIES = {"openai": "OpenAI", "responses": "Responses", "anthropic": "Anthropic", "ollama": "Ollama", "pooling": "Vectors"}
_TEXT = {"type": "string"}
_OPENAI_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {"message": _TEXT, "type": _TEXT, "param": {"type": ["string", "null"]}, "code": {"type": ["string", "null"]}},
        }
    },
}
_ANTHROPIC_ERROR = {
    "type": "object",
    "required": ["type", "error"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
    },
}
_OLLAMA_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}


@cache
def openapi_document() -> dict[str, Any]:
    """Return the document; it is the same for every server of one version. Not to be changed."""
    schemas: dict[str, Any] = {"Error": _OPENAI_ERROR, "Anthropic.Error": _ANTHROPIC_ERROR, "Ollama.Error": _OLLAMA_ERROR}
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Octavo",
            "version": octavo.__version__,
            "description": "Request bodies as this server reads them: types are strict, null counts as absent, and where "
            "`additionalProperties` is false an unknown field is an error.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _operation(operation: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "tags": [operation.api],
        "summary": operation.summary,
        "operationId": re.sub(r"\W+", "_", f"{operation.method}{operation.path}").strip("_"),
        "responses": {"200": _success(operation), "default": _error(operation)},
    }
    names = re.findall(r"{(\w+)}", operation.path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    parameters += [{"name": name, "in": "query", "schema": schema} for name, schema in operation.optional.items()]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        content = {"application/json": {"schema": {"$ref": _body_schema(operation, schemas)}}}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _body_schema(operation: Operation, schemas: dict[str, Any]) -> str:
    """Add the schema of the body and of what it refers to; return the reference to it."""
    assert operation.body is not None
    family = _FAMILIES[operation.body.__module__.split(".")[2]]  # octavo.server.FAMILY
    made = operation.body.model_json_schema(ref_template=f"{_SCHEMAS}{family}.{{model}}")
    schemas |= {f"{family}.{name}": schema for name, schema in made.pop("$defs", {}).items()}
    name = f"{family}.{operation.body.__name__}"
    schemas[name] = made
    return _SCHEMAS + name


def _success(operation: Operation) -> dict[str, Any]:
    kind: dict[str, Any] = {"type": "object"} if operation.answer == "application/json" else _TEXT
    content = {operation.answer: {"schema": kind}}
    if operation.streams is not None:
        content[operation.streams] = {}  # a schema would be that of the whole in OpenAPI 3.1, and of each event in some tools
    return {"description": "The answer", "content": content}


def _error(operation: Operation) -> dict[str, Any]:
    name = _ERRORS.get(operation.api, "Error")
    return {"description": "Why there is none", "content": {"application/json": {"schema": {"$ref": _SCHEMAS + name}}}}
