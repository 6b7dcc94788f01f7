"""`best_of` without beams: more choices are drawn than are shown, and the most probable of them, by the token, are."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace
from typing import TYPE_CHECKING

from octavo.types import Delta

if TYPE_CHECKING:
    from octavo.server.edge.generation import Generation, Usage
    from octavo.server.openai.protocol import GenerationBody

__all__ = ["shown_choices"]


def shown_choices(generation: Generation, body: GenerationBody, usage: Usage, *, reports: bool) -> AsyncIterable[tuple[int, Delta]]:
    """Return the choices of `generation` that `body` wants to see: all, or at the end of each prompt the best n, best first.

    Args:
        usage: counts the tokens of those that are not shown, which were computed all the same.
        reports: whether the request asked for log-probabilities itself.
    """
    return generation if body.num_drawn == body.n else _best(generation, body.n, body.num_drawn, usage, reports=reports)


async def _best(generation: Generation, n: int, num_drawn: int, usage: Usage, *, reports: bool) -> AsyncIterator[tuple[int, Delta]]:
    drawn: dict[int, dict[int, list[Delta]]] = {}
    num_ended: dict[int, int] = {}
    async for prompt_index, delta in generation:
        drawn.setdefault(prompt_index, {}).setdefault(delta.index, []).append(delta)
        if delta.finish_reason is None:
            continue
        num_ended[prompt_index] = num_ended.get(prompt_index, 0) + 1
        if num_ended[prompt_index] == num_drawn:
            choices = [Delta.joined(deltas) for _, deltas in sorted(drawn.pop(prompt_index).items())]
            for choice in _ranked(choices, n, prompt_index, usage):
                yield prompt_index, choice if reports else replace(choice, logprobs=None)


def _ranked(choices: list[Delta], n: int, prompt_index: int, usage: Usage) -> list[Delta]:
    """The best n, numbered anew; what was told of the prompt with choice 0 stays with it."""
    ranked = sorted(choices, key=_mean_logprob, reverse=True)
    for choice in ranked[n:]:
        usage.count(prompt_index, choice)
    told = choices[0].prompt_logprobs
    return [replace(choice, index=index, prompt_logprobs=None if index else told) for index, choice in enumerate(ranked[:n])]


def _mean_logprob(choice: Delta) -> float:
    entries = choice.logprobs or ()
    return sum(entry.logprob for entry in entries) / len(entries) if entries else -float("inf")
