"""Tokenizers out of a GGUF file's metadata (`tokenizer.ggml.*`).

Two models are known: `gpt2`, byte-level byte-pair merges, and `llama`, SentencePiece pieces with scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo.checkpoint.config_keys import MetadataKeys, one_line
from octavo.checkpoint.gguf import GgufFile
from octavo.errors import CheckpointError
from octavo.text.fast_tokenizer import FastTokenizer
from octavo.text.pretokenizers import PRETOKENIZERS, Pretokenizer
from octavo.text.prompt_frame import frame_prompts
from octavo.text.sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, model_proto
from octavo.text.sentencepiece_tokenizer import SentencePieceTokenizer
from octavo.text.tokenizer import Tokenizer
from octavo.text.tokenizer_settings import gguf_settings

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer as Backend

__all__ = ["gguf_tokenizer"]


def gguf_tokenizer(checkpoint: GgufFile) -> Tokenizer:
    """Build the tokenizer.

    Raises:
        CheckpointError: the metadata hold no tokenizer, or one of an unknown kind.
    """
    vocabulary = _Vocabulary(checkpoint)
    kind = vocabulary.keys.name("ggml.model")
    builders: dict[str, Callable[[GgufFile, _Vocabulary], Tokenizer]] = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in builders:
        raise CheckpointError(f"{checkpoint.path}: tokenizer.ggml.model is {kind!r}; known are {' and '.join(builders)}")
    return builders[kind](checkpoint, vocabulary)


class _Vocabulary:
    """The metadata of a tokenizer, checked: texts of the tokens and their types by id."""

    def __init__(self, checkpoint: GgufFile) -> None:
        self.keys = MetadataKeys(checkpoint.path, checkpoint.metadata, "tokenizer.")
        self.tokens = self.keys.texts("ggml.tokens")
        self.types = self.keys.array("ggml.token_type", len(self.tokens), least=NORMAL, most=BYTE)

    def token_id(self, name: str) -> int | None:
        """Such as `bos`; None where the metadata do not say."""
        return self.keys.optional_count(f"ggml.{name}_token_id", least=0)

    def of_type(self, *types: int) -> list[int]:
        return np.flatnonzero(np.isin(self.types, types)).tolist()


def _byte_level(checkpoint: GgufFile, vocabulary: _Vocabulary) -> FastTokenizer:
    from tokenizers import AddedToken, decoders, normalizers

    tokens = vocabulary.tokens
    rules = _pretokenizer(checkpoint, vocabulary)
    backend = _merging_backend(checkpoint, vocabulary, rules)
    if rules.normalize_nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = rules.build()
    backend.decoder = decoders.ByteLevel()
    special = vocabulary.of_type(CONTROL, UNKNOWN)
    backend.add_special_tokens([AddedToken(tokens[i], normalized=False) for i in special])
    backend.add_tokens([AddedToken(tokens[i], normalized=False) for i in vocabulary.of_type(USER_DEFINED)])
    settings = gguf_settings(checkpoint.path, checkpoint.metadata)
    add_bos = rules.add_bos if settings.add_bos is None else settings.add_bos
    frame_prompts(
        backend,
        bos=settings.special_tokens.get("bos_token") if add_bos else None,
        eos=settings.special_tokens.get("eos_token") if settings.add_eos else None,
    )
    return FastTokenizer(
        backend,
        vocab_size=checkpoint.config["vocab_size"],
        bos_token_id=vocabulary.token_id("bos"),
        eos_token_ids=checkpoint.generation_config.get("eos_token_id", []),
        special_token_ids=special,
        chat_template=settings.chat_template(),
        tokens=lambda: tokens,
    )


def _merging_backend(checkpoint: GgufFile, vocabulary: _Vocabulary, rules: Pretokenizer) -> Backend:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    merges: Any = [tuple(merge.split(" ", 1)) for merge in vocabulary.keys.texts("ggml.merges")]
    ids = dict(zip(vocabulary.tokens, range(len(vocabulary.tokens)), strict=True))
    try:
        return Backend(models.BPE(ids, merges, ignore_merges=rules.ignore_merges))
    except Exception as error:  # the library raises bare exceptions
        raise CheckpointError(
            f"{checkpoint.path}: tokenizer.ggml.merges do not fit the vocabulary: {one_line(error)}; convert the model again"
        ) from error


def _pretokenizer(checkpoint: GgufFile, vocabulary: _Vocabulary) -> Pretokenizer:
    name = vocabulary.keys.name("ggml.pre", "default")
    if name not in PRETOKENIZERS:
        known = ", ".join(PRETOKENIZERS)
        raise CheckpointError(
            f"{checkpoint.path}: tokenizer.ggml.pre is {name!r}; known are {known}. "
            "Take the model's Hugging Face folder, which has a tokenizer.json"
        )
    return PRETOKENIZERS[name]


def _sentencepiece(checkpoint: GgufFile, vocabulary: _Vocabulary) -> SentencePieceTokenizer:
    settings = gguf_settings(checkpoint.path, checkpoint.metadata)
    add_prefix = vocabulary.keys.flag("ggml.add_space_prefix", True)
    special = vocabulary.of_type(CONTROL, UNKNOWN)
    return SentencePieceTokenizer(
        _processor(checkpoint, vocabulary, add_prefix),
        vocab_size=checkpoint.config["vocab_size"],
        bos_token_id=vocabulary.token_id("bos"),
        eos_token_id=vocabulary.token_id("eos"),
        eos_token_ids=checkpoint.generation_config.get("eos_token_id", []),
        added_tokens={vocabulary.tokens[i]: i for i in special},
        special_token_ids=special,
        add_bos=True if settings.add_bos is None else settings.add_bos,
        add_eos=bool(settings.add_eos),
        strip_leading_space=add_prefix,
        chat_template=settings.chat_template(),
    )


def _processor(checkpoint: GgufFile, vocabulary: _Vocabulary, add_prefix: bool) -> SentencePieceProcessor:
    from sentencepiece import SentencePieceProcessor

    keys, tokens = vocabulary.keys, vocabulary.tokens
    kinds = vocabulary.types.tolist()
    kinds[keys.count("ggml.unknown_token_id", 0, least=0, most=len(tokens) - 1)] = UNKNOWN  # some converters call it a control token
    # converters write user-defined pieces with plain spaces, SentencePiece wants its own
    texts = [text.replace(" ", "▁") if kind == USER_DEFINED else text for text, kind in zip(tokens, kinds, strict=True)]
    proto = model_proto(
        zip(texts, keys.array("ggml.scores", len(tokens), least=-1e30, most=1e30).tolist(), kinds, strict=True),
        add_dummy_prefix=add_prefix,
        remove_extra_whitespaces=keys.flag("ggml.remove_extra_whitespaces"),
    )
    try:
        return SentencePieceProcessor(model_proto=proto)
    except RuntimeError as error:
        raise CheckpointError(
            f"{checkpoint.path}: the vocabulary is no SentencePiece model: {one_line(error)}; convert the model again"
        ) from error
