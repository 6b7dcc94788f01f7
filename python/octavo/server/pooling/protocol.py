"""Bodies of the routes that make vectors. OpenAI's, Jina's and Cohere's shapes; what they send and cannot change the answer is ignored."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from octavo.server.edge.body import RequestBody

__all__ = ["MAX_INPUTS", "ClassifyBody", "EmbeddingBody", "PoolingBody", "PoolingRequestBody", "RerankBody", "ScoreBody"]

MAX_INPUTS = 2048  # texts of a request, as OpenAI has it
_MAX_NAME = 200  # characters


def _inputs(value: Any) -> Any:
    """Normalise the four shapes of `input` to a list of texts and token-id lists."""
    if isinstance(value, str) or _is_token_ids(value):
        return [value]
    if isinstance(value, list) and value and all(isinstance(item, str) or _is_token_ids(item) for item in value[: MAX_INPUTS + 1]):
        return _few(value)
    raise PydanticCustomError("input", "must be a text, a list of texts, a list of token ids or a list of such lists, and not empty")


def _is_token_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and set(map(type, value)) == {int}


def _few(values: list[Any]) -> list[Any]:
    if len(values) > MAX_INPUTS:
        raise PydanticCustomError("inputs", "has more than {most} texts; send them in several requests", {"most": MAX_INPUTS})
    return values


def _texts(value: Any) -> Any:
    """A text, a list of texts, or of Jina's objects that hold one."""
    values = [value] if isinstance(value, (str, dict)) else value
    if not isinstance(values, list) or not values:
        raise PydanticCustomError("texts", "must be a text or a list of texts, and not empty")
    texts = [item.get("text") if isinstance(item, dict) and set(item) == {"text"} else item for item in _few(values)]
    if not all(isinstance(text, str) for text in texts):
        raise PydanticCustomError("texts", 'must be texts, or objects such as {{"text": "..."}}')
    return texts


def _document_limit(value: int) -> int:
    if value < 1:
        raise PydanticCustomError("limit", "must be at least 1")
    return value


def _query(value: Any) -> Any:
    return value["text"] if isinstance(value, dict) and set(value) == {"text"} else value


class TextObject(RequestBody):
    """A text as Jina's clients may write it."""

    text: str


_Some = Field(min_length=1, max_length=MAX_INPUTS)
_Ids = Annotated[list[int], Field(min_length=1)]
_InputKinds = str | Annotated[list[str], _Some] | _Ids | Annotated[list[_Ids], _Some]
_TextKinds = str | TextObject | Annotated[list[str | TextObject], _Some]

Inputs = Annotated[list[Any], BeforeValidator(_inputs, json_schema_input_type=_InputKinds)]
Texts = Annotated[list[str], BeforeValidator(_texts, json_schema_input_type=_TextKinds)]
Limit = Annotated[int, AfterValidator(_document_limit)]


class PoolingRequestBody(RequestBody):
    """What all of them have.

    Attributes:
        truncate_prompt_tokens: cut the end off an input with more tokens; -1: than the model takes. Left out: such an input is refused.
    """

    model: Annotated[str, Field(max_length=_MAX_NAME)] | None = None
    user: str | None = None
    priority: Annotated[int, Field(ge=-(2**31), lt=2**31)] = 0
    truncate_prompt_tokens: Annotated[int, Field(ge=-1, lt=2**31)] | None = None


class EmbeddingBody(PoolingRequestBody):
    """POST /v1/embeddings. `prompt_name`: one of the model's own instructions; `normalize`: default as the model's files say."""

    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    normalize: bool | None = None
    prompt_name: Annotated[str, Field(max_length=_MAX_NAME)] | None = None
    add_special_tokens: Literal[True] | None = None


class PoolingBody(EmbeddingBody):
    """POST /pooling: vectors as they are, of texts or of each of their tokens."""

    task: Literal["embed", "classify", "token_embed", "token_classify"] | None = None


class ClassifyBody(PoolingRequestBody):
    """POST /classify. `use_activation`: probabilities rather than logits."""

    input: Inputs
    use_activation: bool | None = None


class ScoreBody(PoolingRequestBody):
    """POST /score: how well each text of the second list goes with its partner in the first, or with the only one there."""

    text_1: Texts
    text_2: Texts
    encoding_format: Literal["float"] = "float"
    use_activation: bool | None = None


class RerankBody(PoolingRequestBody):
    """POST /rerank, as Jina and Cohere have it. `max_tokens_per_doc` and `max_chunks_per_doc` cut pairs of query and document."""

    query: Annotated[str, BeforeValidator(_query, json_schema_input_type=str | TextObject)]
    documents: Texts
    top_n: Limit | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: Limit | None = None
    max_chunks_per_doc: Limit | None = None
    rank_fields: list[str] | None = None
