"""Text to tokens and back, and chat messages to text."""

from __future__ import annotations

from octavo.checkpoint import Checkpoint
from octavo.text.chat_template import ChatTemplate
from octavo.text.tokenizer import Detokenizer, Tokenizer

__all__ = ["ChatTemplate", "Detokenizer", "Tokenizer", "open_tokenizer"]


def open_tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    """Open the tokenizer that belongs to a checkpoint. Made-up weights without tokenizer files get `ByteTokenizer`.

    Raises:
        CheckpointError: no tokenizer, a damaged one, or one of an unknown kind.
    """
    from octavo.checkpoint.dummy import DummyCheckpoint
    from octavo.checkpoint.gguf import GgufFile

    if isinstance(checkpoint, GgufFile):
        from octavo.text.gguf_tokenizer import gguf_tokenizer

        return gguf_tokenizer(checkpoint)
    folder = checkpoint.path if checkpoint.path.is_dir() else checkpoint.path.parent
    if isinstance(checkpoint, DummyCheckpoint) and not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        from octavo.text.byte_tokenizer import ByteTokenizer

        return ByteTokenizer(checkpoint.config.get("vocab_size", 0))
    from octavo.text.folder_tokenizer import folder_tokenizer

    return folder_tokenizer(checkpoint, folder)
