"""Prompts of the offline API, in every form that a script may hold them: texts, token ids of any kind of sequence, mappings of either."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from octavo.engine import ModelInfo
from octavo.errors import InvalidRequestError
from octavo.types import MediaSpan, Picture, PromptEmbeds

__all__ = ["Prompt", "ReadPrompt", "naming", "read_prompts"]

Prompt = str | Sequence[int] | Mapping[str, Any]
_TEXT, _IDS, _EMBEDS = "prompt", "prompt_token_ids", "prompt_embeds"


@dataclass(frozen=True, slots=True)
class ReadPrompt:
    """Token ids and, where the caller gave a text, that text.

    Attributes:
        pictures, media: see `GenerationRequest`.
    """

    token_ids: list[int]
    text: str | None = None
    pictures: tuple[Picture | PromptEmbeds, ...] = ()
    media: tuple[MediaSpan, ...] = ()


def read_prompts(prompts: Prompt | Sequence[Prompt], encode: Callable[[str], list[int]], info: ModelInfo) -> list[ReadPrompt]:
    """Return the prompts; a single one becomes a list of one.

    Args:
        prompts: a text; token ids (a list, a NumPy array, a tensor); `{"prompt": text}`,
            `{"prompt_token_ids": ids}` or `{"prompt_embeds": array or tensor [tokens, E]}`; or a list of such.

    Raises:
        InvalidRequestError: something else; of several prompts the text says which.
    """
    entries = [prompts] if _is_single(prompts) else list(_plain(prompts))
    read = []
    for index, entry in enumerate(entries):
        with naming(index, len(entries)):
            read.append(_read(entry, encode, info))
    return read


@contextmanager
def naming(index: int, count: int) -> Iterator[None]:
    """Let a refusal inside say which of several prompts it is about."""
    try:
        yield
    except InvalidRequestError as error:
        if count == 1:
            raise
        raise InvalidRequestError(f"prompt {index} (of {count}, from 0): {error}", error.param) from error


def _is_single(prompts: Any) -> bool:
    if isinstance(prompts, (str, Mapping)):
        return True
    plain = _plain(prompts)
    return len(plain) > 0 and _is_id(plain[0])


def _read(prompt: Any, encode: Callable[[str], list[int]], info: ModelInfo) -> ReadPrompt:
    if isinstance(prompt, str):
        return ReadPrompt(encode(prompt), prompt)
    if isinstance(prompt, Mapping):
        return _read_mapping(prompt, encode, info)
    token_ids = _plain(prompt)
    if not all(map(_is_id, token_ids)):
        raise InvalidRequestError("a list of token ids holds something that is no whole number", "prompt")
    return ReadPrompt([int(token_id) for token_id in token_ids])


def _read_mapping(prompt: Mapping[str, Any], encode: Callable[[str], list[int]], info: ModelInfo) -> ReadPrompt:
    if prompt.get(_EMBEDS) is not None:
        return _read_embeds(prompt[_EMBEDS], info)
    unknown = [key for key, value in prompt.items() if key not in (_TEXT, _IDS) and value is not None]
    if unknown:
        raise InvalidRequestError(f"a prompt cannot have {unknown[0]!r} here; its keys are {_TEXT!r}, {_IDS!r} or {_EMBEDS!r}", "prompt")
    text, token_ids = prompt.get(_TEXT), prompt.get(_IDS)
    if token_ids is None and not isinstance(text, str):
        raise InvalidRequestError(f"a mapping has neither a text under {_TEXT!r} nor token ids under {_IDS!r}", "prompt")
    if token_ids is None:
        return _read(text, encode, info)
    return ReadPrompt(_read(token_ids, encode, info).token_ids, text)


def _read_embeds(rows: Any, info: ModelInfo) -> ReadPrompt:
    """`rows`: an array or a tensor, of half floats too; torch alone knows bfloat16, so a tensor becomes float32 first."""
    import numpy as np

    from octavo.engine.embeds import embedded_prompt

    for method in ("detach", "float", "cpu"):
        rows = getattr(rows, method)() if hasattr(rows, method) else rows
    made = embedded_prompt(np.asarray(rows), info)
    return ReadPrompt(made.token_ids, "", made.pictures, made.media)


def _plain(prompts: Any) -> Sequence[Any]:
    """A list for NumPy arrays and tensors. Raises InvalidRequestError for what is no sequence."""
    plain = prompts.tolist() if hasattr(prompts, "tolist") else prompts
    if not isinstance(plain, Sequence) or isinstance(plain, (str, bytes)):
        kind = type(prompts).__name__
        raise InvalidRequestError(f"a prompt is a text, token ids, or a mapping with one of them; this is of type {kind}", "prompt")
    return plain


def _is_id(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool) and not hasattr(value, "__len__")
