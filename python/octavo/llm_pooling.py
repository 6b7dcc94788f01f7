"""What `LLM.embed`, `score`, `classify` and `encode` return, under vLLM's names, and how they ask for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from octavo.engine.pooling_inputs import PoolingInput, pooling_input, pooling_of
from octavo.errors import InvalidRequestError
from octavo.llm_prompts import Prompt, naming, read_prompts
from octavo.types import PoolingParams

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from octavo.checkpoint.pooling_config import PoolingConfig
    from octavo.engine.port import Engine

__all__ = [
    "ClassificationOutput",
    "EmbeddingOutput",
    "PoolingOutput",
    "PoolingRequestOutput",
    "ScoringOutput",
    "matrix_of",
    "model_for",
    "pair_inputs",
    "text_inputs",
    "with_segment",
]

OutputT = TypeVar("OutputT")


@dataclass(frozen=True, slots=True)
class EmbeddingOutput:
    """One vector."""

    embedding: list[float]


@dataclass(frozen=True, slots=True)
class ScoringOutput:
    """How well two texts go together: a cross-encoder's probability, or the cosine of embeddings."""

    score: float


@dataclass(frozen=True, slots=True)
class ClassificationOutput:
    """The probability of each label, in the order of the model's; `label`: the most probable one's name."""

    probs: list[float]
    label: str


@dataclass(frozen=True, slots=True)
class PoolingOutput:
    """float32 [width], or [tokens, width] where vectors of tokens were asked for."""

    data: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PoolingRequestOutput(Generic[OutputT]):
    """One input's vectors.

    Attributes:
        num_cached_tokens: tokens that the prefix cache served.
    """

    request_id: str
    outputs: OutputT
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True


def model_for(engine: Engine, tasks: Sequence[str], method: str) -> PoolingConfig:
    """How the model makes vectors. Raises `InvalidRequestError` where it does not make those of `tasks`."""
    model = pooling_of(engine.info)
    if model.task not in tasks:
        raise InvalidRequestError(f"{engine.info.name} is no model for {method} ({model.task})", "model")
    return model


def text_inputs(
    engine: Engine, prompts: Prompt | Sequence[Prompt], *, prompt_name: str | None = None, most: int | None = None
) -> list[PoolingInput]:
    """Tokenize texts as `pooling_input` does; token ids stay what they are but for being cut."""
    pooling_of(engine.info)
    kept = engine.info.max_model_len if most == -1 else most
    read = read_prompts(prompts, lambda text: [], engine.info)
    inputs = []
    for index, each in enumerate(read):
        with naming(index, len(read)):
            is_text = each.text is not None and not each.token_ids
            inputs.append(
                pooling_input(engine.tokenizer, engine.info, each.text or "", prompt_name=prompt_name, most=most)
                if is_text
                else PoolingInput(each.token_ids[:kept])
            )
    return inputs


def pair_inputs(engine: Engine, firsts: Sequence[str], seconds: Sequence[str], most: int | None) -> list[PoolingInput]:
    """Tokenize pairs; an only first text goes with each of the second ones."""
    inputs = []
    for index, second in enumerate(seconds):
        with naming(index, len(seconds)):
            inputs.append(pooling_input(engine.tokenizer, engine.info, firsts[index if len(firsts) > 1 else 0], second, most=most))
    return inputs


def with_segment(params: PoolingParams, each: PoolingInput) -> PoolingParams:
    """The parameters of one input."""
    return PoolingParams(params.dimensions, params.use_activation, params.token_wise, each.second_segment)


def matrix_of(data: bytes, width: int) -> NDArray[np.float32]:
    """float32 [vectors, width]."""
    import numpy as np

    return np.frombuffer(data, np.float32).reshape(-1, width)


Convert = Callable[["NDArray[np.float32]"], Any]
