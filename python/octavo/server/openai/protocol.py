"""OpenAI's request shapes, with this server's extensions, as pydantic models.

Types are strict ("5" is not a number) and a field nobody knows is an error, because a mistyped `max_token` that is dropped in
silence costs its author an afternoon. Fields that OpenAI's clients send and that cannot change the answer are listed by name and
ignored. An explicit null counts as absent. Ranges are checked once, by `octavo.types.SamplingParams`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from octavo.errors import InvalidRequestError
from octavo.server.edge.body import RequestBody
from octavo.server.openai.messages import FirstFault, Messages
from octavo.server.openai.rejections import reject_unsupported, without_neutral
from octavo.server.openai.structured import ResponseFormat, StructuredOutputs
from octavo.server.openai.tools import NamedTool, Tools

__all__ = ["ChatBody", "CompletionBody", "DetokenizeBody", "GenerationBody", "StreamOptions", "TemplateOptions", "TokenizeBody"]


_MAX_CHOICES = 1024  # of all prompts of a request
_MAX_PROMPTS = 1024
_MAX_DRAWN = 128  # choices of a prompt
_MAX_TEXTS = 1024  # bad words
_MAX_TEXT_LENGTH = 1024  # characters of a stop string or bad word
_MAX_STOPS = 16
_MAX_BIASES = 4096

TokenIds = Annotated[list[int], FirstFault()]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _prompts(value: Any) -> Any:
    """Normalise OpenAI's four shapes of `prompt` to a list of texts and token-id lists."""
    if isinstance(value, str) or _is_token_ids(value):
        return [value]
    if isinstance(value, list) and len(value) > _MAX_PROMPTS and type(value[0]) is not int:
        raise PydanticCustomError("prompts", "has more than {most} prompts; send them in several requests", {"most": _MAX_PROMPTS})
    if isinstance(value, list) and value and all(isinstance(item, str) or _is_token_ids(item) for item in value):
        return value
    raise PydanticCustomError("prompt", "must be a text, a list of texts, a list of token ids or a list of such lists, and not empty")


def _is_token_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and set(map(type, value)) == {int}


def _off(value: Any) -> Any:
    """-1 is vLLM's word for no limit."""
    return 0 if value == -1 and type(value) is int else value


def _choice(value: Any) -> Any:
    """A `tool_choice` that is no word is an object."""
    if isinstance(value, str) and value not in ("none", "auto", "required"):
        raise PydanticCustomError("tool_choice", "must be 'none', 'auto', 'required' or a tool")
    return value


def _early_stopping(value: Any) -> Any:
    if value not in (True, False, "never") or type(value) not in (bool, str):
        raise PydanticCustomError("early_stopping", "must be true, false or 'never'")
    return value


def _short(texts: list[str]) -> list[str]:
    for text in texts:
        if len(text) > _MAX_TEXT_LENGTH:
            raise PydanticCustomError("text_length", "has a text of more than {most} characters", {"most": _MAX_TEXT_LENGTH})
    return texts


_Some = Field(min_length=1)
_PromptInput = str | Annotated[list[str], _Some] | Annotated[list[int], _Some] | Annotated[list[Annotated[list[int], _Some]], _Some]
_Stops = Annotated[
    list[str],
    Field(max_length=_MAX_STOPS),
    FirstFault(),
    AfterValidator(_short),
    BeforeValidator(_as_list, json_schema_input_type=str | Annotated[list[str], Field(max_length=_MAX_STOPS)]),
]


class StreamOptions(RequestBody):
    """What a stream carries beside the text. `include_obfuscation` is accepted and ignored."""

    include_usage: bool = False
    continuous_usage_stats: bool = False
    include_obfuscation: bool | None = None


class GenerationBody(RequestBody):
    """What completions and chat share. Meanings of the sampling fields: `octavo.types.SamplingParams`."""

    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int = 1
    min_tokens: int = 0
    temperature: float = 1.0
    top_k: Annotated[int, BeforeValidator(_off)] = 0
    top_p: float = 1.0
    min_p: float = 0.0
    top_n_sigma: float = 0.0
    seed: Annotated[int, Field(ge=-(2**63), lt=2**64)] | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Annotated[dict[str, float], Field(max_length=_MAX_BIASES)] = Field(default_factory=dict)
    allowed_token_ids: TokenIds | None = None
    bad_words: Annotated[list[str], Field(max_length=_MAX_TEXTS), FirstFault(), AfterValidator(_short)] = Field(default_factory=list)
    stop: _Stops = Field(default_factory=list)
    stop_token_ids: TokenIds = Field(default_factory=list)
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    prompt_logprobs: int | None = None
    logprob_token_ids: TokenIds = Field(default_factory=list)
    skip_special_tokens: bool = True
    add_special_tokens: bool | None = None
    priority: int = 0
    cache_salt: str = ""
    return_token_ids: bool = False
    return_tokens_as_token_ids: bool = False
    response_format: ResponseFormat | None = None
    structured_outputs: StructuredOutputs | None = None
    truncate_prompt_tokens: Annotated[int, Field(ge=-1)] | None = None
    use_beam_search: bool = False
    best_of: Annotated[int, Field(ge=1, le=_MAX_DRAWN)] | None = None  # beams, or choices of which the n best are shown
    length_penalty: float = 1.0
    early_stopping: Annotated[bool | Literal["never"], BeforeValidator(_early_stopping)] = False

    # accepted and ignored: they label, store or route a request and never change its answer
    user: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_retention: Any = None
    prompt_cache_options: Any = None
    verbosity: Any = None
    prediction: Any = None
    web_search_options: Any = None
    cache_prompt: Any = None
    keep_alive: Any = None

    @model_validator(mode="before")
    @classmethod
    def _supported(cls, data: Any) -> Any:
        if isinstance(data, dict):
            reject_unsupported(data)
            return without_neutral(data, cls.model_fields)
        return data

    @property
    def beam_width(self) -> int | None:
        """Beams of a beam search, as vLLM has them: `best_of`, or n; None: tokens are drawn."""
        return (self.best_of or self.n) if self.use_beam_search else None

    @property
    def num_drawn(self) -> int:
        """Choices that are drawn of each prompt, of which the n best are shown."""
        return self.n if self.use_beam_search else max(self.best_of or self.n, self.n)

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with a usage chunk."""
        return self.stream_options is not None and self.stream_options.include_usage

    @property
    def continuous_usage(self) -> bool:
        """Whether every chunk of a stream carries the usage so far; `include_usage` must be on too."""
        return self.include_usage and self.stream_options is not None and self.stream_options.continuous_usage_stats

    @model_validator(mode="after")
    def _best_of_at_least_n(self) -> GenerationBody:
        if self.best_of is not None and self.best_of < self.n and not self.use_beam_search:
            raise InvalidRequestError(f"best_of is {self.best_of}, but n is {self.n}; draw at least as many as are shown", "best_of")
        return self

    @model_validator(mode="after")
    def _one_constraint(self) -> GenerationBody:
        if self.structured_outputs is not None and self.response_format is not None and self.response_format.type != "text":
            raise ValueError("structured_outputs and response_format exclude each other; give one of them")
        return self

    @model_validator(mode="after")
    def _stream_options_need_stream(self) -> GenerationBody:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is allowed only with stream: true")
        return self


class CompletionBody(GenerationBody):
    """POST /v1/completions. `max_tokens` 0 is allowed with `echo`: the prompt is scored and nothing is generated."""

    model_config = ConfigDict(json_schema_extra={"anyOf": [{"required": ["prompt"]}, {"required": ["prompt_embeds"]}]})

    prompt: Annotated[list[str | TokenIds], FirstFault(), BeforeValidator(_prompts, json_schema_input_type=_PromptInput)] = Field(
        default_factory=list
    )
    prompt_embeds: Annotated[
        list[str],
        Field(min_length=1, max_length=_MAX_PROMPTS),
        FirstFault(),
        BeforeValidator(_as_list, json_schema_input_type=str | list[str]),
    ] = Field(default_factory=list)
    max_tokens: int = 16
    echo: bool = False
    logprobs: int | None = None
    suffix: str = ""

    @model_validator(mode="before")
    @classmethod
    def _some_prompt(cls, data: Any) -> Any:
        """Clients that must write a prompt beside `prompt_embeds` write an empty one."""
        if isinstance(data, dict) and data.get("prompt_embeds") is not None:
            return {name: value for name, value in data.items() if name != "prompt" or value not in ("", [])}
        if isinstance(data, dict) and data.get("prompt") is None:
            raise InvalidRequestError("prompt is required", "prompt")
        return data

    @model_validator(mode="after")
    def _tokens_needed(self) -> CompletionBody:
        if self.prompt_embeds:
            wanted = {"echo": self.echo, "suffix": self.suffix, "prompt_logprobs": self.prompt_logprobs is not None}
            wanted["repetition_penalty"] = self.repetition_penalty != 1.0
            for name in (name for name, is_wanted in wanted.items() if is_wanted):
                raise InvalidRequestError(f"{name}: it needs the prompt's tokens, which prompt_embeds have not; leave {name} out", name)
        return self

    @model_validator(mode="after")
    def _named_tokens_need_logprobs(self) -> CompletionBody:
        if self.logprob_token_ids and self.logprobs is None:
            raise InvalidRequestError("logprob_token_ids needs logprobs: a number, 0 for no others", "logprob_token_ids")
        return self

    @model_validator(mode="after")
    def _no_echo_between(self) -> CompletionBody:
        if self.suffix and self.echo:
            raise PydanticCustomError("suffix", "suffix and echo exclude each other")
        return self

    @model_validator(mode="after")
    def _num_choices(self) -> CompletionBody:
        num_prompts = len(self.prompt) + len(self.prompt_embeds)
        if num_prompts * self.num_drawn > _MAX_CHOICES:
            raise ValueError(
                f"{num_prompts} prompts with {self.num_drawn} choices each are more than {_MAX_CHOICES} choices; send several requests"
            )
        return self

    @property
    def score_only(self) -> bool:
        """Whether the request asks for its prompt back and for no new token."""
        return self.echo and self.max_tokens == 0


class TemplateOptions(RequestBody):
    """How a chat template is rendered. `continue_final_message`: the last message stays open, and the answer goes on with it."""

    add_generation_prompt: bool = True
    continue_final_message: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)


class ChatBody(TemplateOptions, GenerationBody):
    """POST /v1/chat/completions."""

    messages: Messages
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=64)
    reasoning_effort: str | None = Field(default=None, max_length=20)

    tools: Tools = Field(default_factory=list)
    tool_choice: Annotated[Literal["none", "auto", "required"] | NamedTool | None, BeforeValidator(_choice)] = None
    parallel_tool_calls: bool = True
    include_reasoning: bool = True

    # `rejections` has refused every value of these that would matter
    functions: Any = None
    function_call: Any = None
    modalities: Any = None

    @property
    def usable_tools(self) -> list[dict[str, Any]]:
        """The tools that the model is told of; none where it may call none."""
        return [] if self.tool_choice == "none" else [tool.definition() for tool in self.tools]

    @property
    def forced_tools(self) -> list[dict[str, Any]]:
        """The tools of which the answer must call one; none where it need not."""
        if isinstance(self.tool_choice, NamedTool):
            return [tool.definition() for tool in self.tools if tool.function.name == self.tool_choice.function.name]
        return self.usable_tools if self.tool_choice == "required" else []

    @property
    def many_calls(self) -> bool:
        """Whether a forced answer may have several calls: one that names its tool has one."""
        return self.parallel_tool_calls and self.tool_choice == "required"

    @model_validator(mode="after")
    def _consistent(self) -> ChatBody:
        if (self.tool_choice == "required" or isinstance(self.tool_choice, NamedTool)) and not self.forced_tools:
            raise InvalidRequestError("tool_choice asks for a call, but tools has no such tool", "tool_choice")
        if self.forced_tools and (self.structured_outputs or (self.response_format and self.response_format.type != "text")):
            raise ValueError("tool_choice forces a call, which response_format and structured_outputs exclude; give one of them")
        if self.logprob_token_ids and not self.logprobs:
            raise InvalidRequestError("logprob_token_ids needs logprobs: true", "logprob_token_ids")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs needs logprobs: true")
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ; give one of them")
        return self


class TokenizeBody(TemplateOptions):
    """POST /tokenize: either `prompt` or `messages`. `add_special_tokens` defaults to true for a prompt, false for messages.

    return_token_strs: true: the text of each token; `vocabulary`: the token as the vocabulary spells it.
    """

    model: str | None = None
    prompt: str | None = None
    messages: Messages | None = None
    add_special_tokens: bool | None = None
    return_token_strs: bool | Literal["vocabulary"] = False

    @model_validator(mode="after")
    def _one_of_both(self) -> TokenizeBody:
        if (self.prompt is None) == (self.messages is None):
            raise ValueError("give either prompt or messages")
        return self


class DetokenizeBody(RequestBody):
    """POST /detokenize."""

    model: str | None = None
    tokens: TokenIds
    skip_special_tokens: bool = False
