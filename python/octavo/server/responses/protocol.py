"""Request shapes of the Responses API, with this server's sampling fields."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault

__all__ = ["SAMPLING_FIELDS", "InputTokensBody", "Item", "ResponsesBody", "Tool"]

_MAX_ITEMS = 4096
_MAX_TOOLS = 512
_MAX_METADATA = 16

Item = dict[str, Any]
# Fields whose meaning and range are those of a chat request, where they are checked.
SAMPLING_FIELDS = (
    *("temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty", "frequency_penalty", "repetition_penalty"),
    *("min_tokens", "ignore_eos", "priority", "cache_salt", "chat_template_kwargs"),
)


class _Open(RequestBody):
    """Part of a body to which OpenAI adds fields faster than servers learn them; those that are not known are ignored."""

    model_config = ConfigDict(extra="allow")


class Tool(_Open):
    """A tool, or a namespace of some. Of those that run at the provider none is here; see `tools`."""

    type: str
    name: str = ""
    description: str = ""
    parameters: dict[str, Any] = Field(default_factory=lambda: {"type": "object", "properties": {}})
    strict: bool = False
    tools: Annotated[list[Tool], Field(max_length=_MAX_TOOLS), FirstFault()] = Field(default_factory=list)


class Format(_Open):
    """What the text must look like."""

    type: Literal["text", "json_object", "json_schema"]
    name: str = "answer"
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool = False


class TextOptions(_Open):
    """The text's form; `verbosity` is accepted and ignored."""

    format: Format | None = None


class ReasoningOptions(_Open):
    """How much the model thinks: `none` turns it off where the template can, other words go to the template."""

    effort: str | None = Field(default=None, max_length=20)
    summary: Any = None


class InputTokensBody(RequestBody):
    """POST /v1/responses/input_tokens: what makes up a prompt."""

    model: str | None = None
    input: str | Annotated[list[Item], Field(max_length=_MAX_ITEMS), FirstFault()] = Field(default_factory=list)
    instructions: str | None = None
    previous_response_id: str | None = None
    tools: Annotated[list[Tool], Field(max_length=_MAX_TOOLS), FirstFault()] = Field(default_factory=list)
    tool_choice: str | dict[str, Any] = "auto"
    parallel_tool_calls: bool = True
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["disabled"] = "disabled"
    personality: Any = None


class ResponsesBody(InputTokensBody):
    """POST /v1/responses."""

    stream: bool = False
    stream_options: Any = None  # obfuscation is all that it has
    background: bool = False
    store: bool = True
    metadata: Annotated[dict[str, str], Field(max_length=_MAX_METADATA)] = Field(default_factory=dict)
    max_output_tokens: int | None = Field(default=None, ge=1)

    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    min_p: Any = None
    seed: Any = None
    stop: Any = None
    presence_penalty: Any = None
    frequency_penalty: Any = None
    repetition_penalty: Any = None
    min_tokens: Any = None
    ignore_eos: Any = None
    priority: Any = None
    cache_salt: Any = None
    chat_template_kwargs: Any = None

    # accepted and ignored: they label or route a request, or bound what only the provider's own tools do
    include: Any = None
    user: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    client_metadata: Any = None
    max_tool_calls: Any = None

    @model_validator(mode="after")
    def _background_is_stored(self) -> ResponsesBody:
        if self.background and not self.store:
            raise PydanticCustomError("background", "background needs store: true, because its answer is fetched later")
        if isinstance(self.include, list) and "message.output_text.logprobs" in self.include:
            raise PydanticCustomError("include", "log-probabilities are not given here; ask /v1/chat/completions for them")
        return self
