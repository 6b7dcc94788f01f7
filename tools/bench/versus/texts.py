"""The texts that accuracy is measured on: Python's language reference, which its standard library ships (`pydoc_data.topics`).

It is the same for all who have the same Python: 79 topics, 465,126 characters in 3.11.7.
"""

from __future__ import annotations

from pydoc_data.topics import topics

__all__ = ["prompts_text", "reference_text", "windows"]

EXCERPT_CHARS = 900


def reference_text(num_chars: int) -> str:
    """Return the beginning of the topics joined in order of their names."""
    return "\n\n".join(topics[name] for name in sorted(topics))[:num_chars]


def prompts_text(num_prompts: int) -> str:
    """Return excerpts from places all over the reference, as many as prompts, each longer than a prompt."""
    whole = reference_text(sum(map(len, topics.values())))
    step = len(whole) // num_prompts
    return "\n\n".join(whole[start : start + EXCERPT_CHARS] for start in range(0, step * num_prompts, step))


def windows(token_ids: list[int], length: int, count: int) -> list[list[int]]:
    """Return the first `count` windows of `length` tokens, one after the other: llama-perplexity's chunks."""
    if len(token_ids) < length * count:
        raise ValueError(f"{count} windows of {length} tokens need {length * count}, the text has {len(token_ids)}")
    return [token_ids[start : start + length] for start in range(0, length * count, length)]
