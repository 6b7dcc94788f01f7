"""One-token labels for the answers of a decision, and the prompt that asks for one of them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase, ascii_uppercase
from typing import TYPE_CHECKING

from octavo.errors import InvalidRequestError
from octavo.server.openai.decision_body import ChoiceQuestion, Predicate, ScoreQuestion

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["answers_of", "labels", "question_text"]

_YES_NO = (("Yes", None), ("No", None))


def answers_of(question: Predicate | ChoiceQuestion | ScoreQuestion) -> list[tuple[str, str | None]]:
    """Return the possible answers in order, each with its description."""
    match question:
        case Predicate():
            return list(_YES_NO)
        case ChoiceQuestion():
            return [(str(option.value), option.description) for option in question.choices]
    return [(level.label, level.description) for level in question.levels]


def labels(tokenizer: Tokenizer, num_answers: int) -> dict[str, int]:
    """Return as many labels, each with its one token id: A, B, ... as far as the vocabulary has them.

    Raises:
        InvalidRequestError: the vocabulary has not so many.
    """
    found: dict[str, int] = {}
    for label in _candidates():
        token_ids = tokenizer.encode(label, add_special_tokens=False)
        if len(token_ids) == 1 and token_ids[0] not in found.values():
            found[label] = token_ids[0]
            if len(found) == num_answers:
                return found
    raise InvalidRequestError(f"this model's vocabulary has one-token labels for {len(found)} answers only, not {num_answers}", "questions")


def _candidates() -> Iterator[str]:
    yield from ascii_uppercase
    yield from ascii_lowercase
    yield from map("".join, product(ascii_uppercase + ascii_lowercase, repeat=2))
    yield from map(str, range(10))


def question_text(question: Predicate | ChoiceQuestion | ScoreQuestion, names: list[str]) -> str:
    """Return the text that asks `question` about what stands before it, to be answered with one of the labels `names`."""
    kind = {"predicate": "Is this statement true?", "choice": "Which answer fits?", "score": "Which level fits? They go from low to high."}
    lines = [f"{kind[question.type]} {question.instructions}", ""]
    for name, (answer, description) in zip(names, answers_of(question), strict=True):
        lines.append(f"{name}. {answer}" + (f": {description}" if description else ""))
    return "\n".join([*lines, "", "Answer with one label only."])
