"""What a script reads of the offline API: log-probabilities by token id, and a tokenizer with the methods of transformers' ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from octavo.errors import InvalidRequestError
from octavo.types import Logprob, TokenLogprobs

if TYPE_CHECKING:
    from octavo.text.tokenizer import Tokenizer

__all__ = ["ScriptTokenizer", "logprob_mapping"]


def logprob_mapping(entry: TokenLogprobs, tokenizer: Tokenizer) -> dict[int, Logprob]:
    """Token id -> log-probability of the token that stands there, first, and of the most probable ones."""

    def of(token_id: int, logprob: float, rank: int | None) -> Logprob:
        return Logprob(logprob, rank, tokenizer.token_bytes(token_id).decode(errors="replace"))

    mapping = {entry.token_id: of(entry.token_id, entry.logprob, entry.rank)}
    for rank, (token_id, logprob) in enumerate(entry.top, 1):
        mapping.setdefault(token_id, of(token_id, logprob, rank))
    for token_id, logprob in entry.named:
        mapping.setdefault(token_id, of(token_id, logprob, None))
    return mapping


class ScriptTokenizer:
    """A model's tokenizer under the names that transformers has.

    Attributes:
        vocab_size, bos_token_id, eos_token_id: as there; the first end token, where a model has several.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.vocab_size = tokenizer.vocab_size
        self.bos_token_id = tokenizer.bos_token_id
        self.eos_token_id = next(iter(tokenizer.eos_token_ids), None)

    def __len__(self) -> int:
        return self.vocab_size

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Return the ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Return the text of ids."""
        return self._tokenizer.decode([int(token_id) for token_id in token_ids], skip_special_tokens=skip_special_tokens)

    def apply_chat_template(
        self,
        conversation: Sequence[dict[str, Any]],
        *,
        tools: list[dict[str, Any]] | None = None,
        add_generation_prompt: bool = False,
        tokenize: bool = True,
        **variables: Any,
    ) -> str | list[int]:
        """Return the prompt of one conversation, as token ids or (`tokenize=False`) as text.

        Raises:
            InvalidRequestError: the model has no chat template, or the template refuses the messages.
        """
        template = self._tokenizer.chat_template
        if template is None:
            raise InvalidRequestError("this model has no chat template", "conversation")
        text = template.render(list(conversation), tools=tools, add_generation_prompt=add_generation_prompt, **variables)
        return self.encode(text, add_special_tokens=False) if tokenize else text
