"""`suffix`: the text between a beginning and an end, by models that were trained to fill in the middle.

Such a model is shown both parts with three marks, and goes on with what belongs between (Bavarian et al. 2022, "Efficient Training of
Language Models to Fill in the Middle": the order prefix, suffix, middle). Which marks it knows, its vocabulary tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from octavo.errors import InvalidRequestError

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["with_suffix"]

# before the beginning, before the end, before the middle
_MARKS = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),  # Qwen2.5-Coder, CodeGemma
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),  # StarCoder
    ("<fim-prefix>", "<fim-suffix>", "<fim-middle>"),  # SantaCoder
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    ("<PRE>", "<SUF>", "<MID>"),  # Code Llama
)


def with_suffix(tokenizer: Tokenizer, prompts: list[str | list[int]], suffix: str) -> list[str | list[int]]:
    """Return the prompts, texts, as the model wants them shown when `suffix` follows.

    Raises:
        InvalidRequestError: the vocabulary has no such marks, or a prompt is token ids.
    """
    marks = next((marks for marks in _MARKS if all(len(tokenizer.encode(mark, add_special_tokens=False)) == 1 for mark in marks)), None)
    if marks is None:
        raise InvalidRequestError("suffix: this model was not trained to fill in the middle (its vocabulary has no marks for it)", "suffix")
    before, after, middle = marks
    shown: list[str | list[int]] = []
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise InvalidRequestError("suffix needs prompts that are texts", "suffix")
        shown.append(f"{before}{prompt}{after}{suffix}{middle}")
    return shown
