"""What the outside may know about the model that an engine serves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octavo.checkpoint.pooling_config import PoolingConfig
    from octavo.checkpoint.speech_config import SpeechConfig

__all__ = ["ModelInfo"]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Facts of a loaded model.

    Attributes:
        name: its name in the API.
        path: folder or file that it came from.
        max_model_len: context window in tokens, prompt and output together.
        vocab_size: token ids are below this.
        created: when it was loaded, seconds since the epoch.
        pooling: of a model that makes vectors, how; None: it makes text.
        speech: of a model that hears speech, how; None: it hears none.
        aliases: further names that requests may give it.
        embeds_width: values of each row of `prompt_embeds`; None: requests may give none.
        extra: further facts to show (architecture, weight formats, kernels); plain JSON values.
    """

    name: str
    path: str
    max_model_len: int
    vocab_size: int
    created: int
    extra: dict[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    pooling: PoolingConfig | None = None
    embeds_width: int | None = None
    speech: SpeechConfig | None = None
