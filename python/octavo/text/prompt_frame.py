"""The tokens that every prompt begins and ends with, as a post-processor of the `tokenizers` library."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Backend

__all__ = ["frame_prompts"]


def frame_prompts(backend: Backend, *, bos: str | None, eos: str | None) -> None:
    """Make `encode(..., add_special_tokens=True)` put these tokens around a prompt; None: nothing on that side."""
    from tokenizers import processors

    around = {token: backend.token_to_id(token) for token in (bos, eos) if token is not None}
    single = [piece for piece in (bos, "$A", eos) if piece is not None]
    backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=list(around.items()))
