"""Texts and pairs of texts as a model that makes vectors takes them: its prompts before them, its special tokens around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    from octavo.checkpoint.pooling_config import PoolingConfig
    from octavo.engine.model_info import ModelInfo
    from octavo.text.tokenizer import Tokenizer

__all__ = ["PoolingInput", "pooling_input", "pooling_of"]


class PoolingInput(NamedTuple):
    """Token ids, and where those of the second segment begin (`PoolingParams.second_segment`)."""

    token_ids: list[int]
    second_segment: int | None = None


def pooling_of(info: ModelInfo) -> PoolingConfig:
    """How the model makes vectors. Raises `InvalidRequestError` for one that makes text."""
    if info.pooling is None:
        raise InvalidRequestError(f"{info.name} makes text, not vectors; serve an embedding model, or this one with --task embed", "model")
    return info.pooling


def pooling_input(
    tokenizer: Tokenizer,
    info: ModelInfo,
    text: str,
    other: str | None = None,
    *,
    prompt_name: str | None = None,
    most: int | None = None,
) -> PoolingInput:
    """Tokenize a text, or a pair of texts.

    Args:
        prompt_name: which of the model's prompts (instructions) comes first; None: its default one, if it has one.
        most: tokens that are kept; -1: as many as the model takes. None: all, so that a longer text is refused later.

    Raises:
        InvalidRequestError: an unknown prompt, a text that cannot be tokenized; names the field.
    """
    model = pooling_of(info)
    name = model.default_prompt if prompt_name is None else prompt_name
    if name is not None and name not in model.prompts:
        known = ", ".join(map(repr, model.prompts)) or "none"
        raise InvalidRequestError(f"prompt_name is {name[:60]!r}; this model's prompts are: {known}", "prompt_name")
    prompt = "" if name is None or other is not None else model.prompts[name]
    texts = [each.lower() if model.lower_case else each for each in (prompt + text, other) if each is not None]
    kept = info.max_model_len if most == -1 else most
    return PoolingInput(*tokenizer.encode_input(*texts, most=kept))
