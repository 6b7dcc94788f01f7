"""OpenAI's `response_format` and vLLM's `structured_outputs`: what they ask for, as one grammar."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import RequestBody
from octavo.structured import (
    Structure,
    choice_grammar,
    ebnf_grammar,
    json_object_grammar,
    json_schema_grammar,
    lark_grammar,
    regex_grammar,
    structural_tag_grammar,
)

__all__ = ["ResponseFormat", "StructuredOutputs", "grammar_of"]

Grammar = tuple[str, str]  # the text, and the field that asked for it


class JsonSchema(RequestBody):
    """A schema with a name. `strict` changes nothing: a schema is always held."""

    name: str = ""
    description: str = ""
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None


class TaggedStructure(RequestBody):
    """A part of a text between marks that is JSON of a schema."""

    begin: str
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    end: str = ""


class StructuralTag(RequestBody):
    """Parts that must follow where one of `triggers` appears in a free text."""

    type: Literal["structural_tag"] = "structural_tag"
    structures: list[TaggedStructure] = Field(max_length=256)
    triggers: list[str] = Field(max_length=256)

    def grammar_text(self, field: str) -> str:
        """Return the grammar."""
        structures = [Structure(each.begin, each.schema_, each.end) for each in self.structures]
        return structural_tag_grammar(structures, self.triggers, field)


class ResponseFormat(RequestBody):
    """The form of an answer's text."""

    type: Literal["text", "json_object", "json_schema", "structural_tag"]
    json_schema: JsonSchema | None = None
    structures: list[TaggedStructure] = Field(default_factory=list, max_length=256)
    triggers: list[str] = Field(default_factory=list, max_length=256)

    @model_validator(mode="after")
    def _schema_needed(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is required where type is 'json_schema'")
        return self

    def grammar(self) -> Grammar | None:
        """Return the grammar; None for any text."""
        if self.type == "json_schema" and self.json_schema is not None:
            return json_schema_grammar(self.json_schema.schema_, "response_format"), "response_format"
        if self.type == "structural_tag":
            return StructuralTag(structures=self.structures, triggers=self.triggers).grammar_text("response_format"), "response_format"
        return (json_object_grammar(), "response_format") if self.type == "json_object" else None


class StructuredOutputs(RequestBody):
    """One constraint on an answer's text. `grammar`: Lark with a rule `start`, or GBNF with a rule `root`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    json_: dict[str, Any] | bool | None = Field(default=None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: StructuralTag | str | None = None

    @model_validator(mode="after")
    def _one(self) -> StructuredOutputs:
        given = [name for name in type(self).model_fields if getattr(self, name) not in (None, False)]
        if len(given) != 1:
            raise ValueError("give one of json, regex, choice, grammar, json_object and structural_tag")
        return self

    def as_grammar(self) -> Grammar:
        """Return the grammar."""
        field = "structured_outputs"
        if self.json_ is not None:
            return json_schema_grammar(self.json_, field), field
        if self.regex is not None:
            return regex_grammar(self.regex, field), field
        if self.choice is not None:
            return choice_grammar(self.choice, field), field
        if self.grammar is not None:
            return (ebnf_grammar if "::=" in self.grammar else lark_grammar)(self.grammar, field), field
        if self.structural_tag is not None:
            return _structural_tag(self.structural_tag).grammar_text(field), field
        return json_object_grammar(), field


def _structural_tag(tag: StructuralTag | str) -> StructuralTag:
    """The tag as an object, where it came as a text of JSON, as vLLM's clients send it."""
    if isinstance(tag, StructuralTag):
        return tag
    try:
        return StructuralTag.model_validate_json(tag)
    except ValueError as error:
        raise InvalidRequestError(f"structured_outputs: structural_tag is no structural tag: {error}", "structured_outputs") from error


def grammar_of(response_format: ResponseFormat | None, structured_outputs: StructuredOutputs | None) -> Grammar | None:
    """Return what both fields together ask for; None where any text will do."""
    if structured_outputs is not None:
        return structured_outputs.as_grammar()
    return None if response_format is None else response_format.grammar()
