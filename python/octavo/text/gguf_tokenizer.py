"""Tokenizers out of a GGUF file's metadata (`tokenizer.ggml.*`).

Two models are known: `gpt2`, byte-level byte-pair merges, and `llama`, SentencePiece pieces with scores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from octavo.checkpoint.gguf import GgufFile
from octavo.errors import CheckpointError
from octavo.text.fast_tokenizer import FastTokenizer
from octavo.text.pretokenizers import PRETOKENIZERS, Pretokenizer
from octavo.text.prompt_frame import frame_prompts
from octavo.text.sentencepiece_model import CONTROL, UNKNOWN, USER_DEFINED, model_proto
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
    kind = checkpoint.metadata.get("tokenizer.ggml.model")
    builders: dict[str, Callable[[GgufFile], Tokenizer]] = {"gpt2": _byte_level, "llama": _sentencepiece}
    if kind not in builders:
        raise CheckpointError(f"{checkpoint.path}: tokenizer.ggml.model is {kind!r}; known are {' and '.join(builders)}")
    for key in ("tokens", "token_type", "merges" if kind == "gpt2" else "scores"):
        if f"tokenizer.ggml.{key}" not in checkpoint.metadata:
            raise CheckpointError(f"{checkpoint.path}: metadata key tokenizer.ggml.{key} is missing; convert the model again")
    return builders[kind](checkpoint)


def _byte_level(checkpoint: GgufFile) -> FastTokenizer:
    from tokenizers import AddedToken, decoders, normalizers

    metadata, tokens = checkpoint.metadata, checkpoint.metadata["tokenizer.ggml.tokens"]
    rules = _pretokenizer(checkpoint)
    backend = _merging_backend(checkpoint, rules)
    if rules.normalize_nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = rules.build()
    backend.decoder = decoders.ByteLevel()
    special = _of_type(metadata, CONTROL, UNKNOWN)
    backend.add_special_tokens([AddedToken(tokens[i], normalized=False) for i in special])
    backend.add_tokens([AddedToken(tokens[i], normalized=False) for i in _of_type(metadata, USER_DEFINED)])
    settings = gguf_settings(metadata)
    add_bos = rules.add_bos if settings.add_bos is None else settings.add_bos
    frame_prompts(
        backend,
        bos=settings.special_tokens.get("bos_token") if add_bos else None,
        eos=settings.special_tokens.get("eos_token") if settings.add_eos else None,
    )
    return FastTokenizer(
        backend,
        vocab_size=checkpoint.config["vocab_size"],
        bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
        eos_token_ids=checkpoint.generation_config.get("eos_token_id", []),
        special_token_ids=special,
        chat_template=settings.chat_template(),
        tokens=lambda: tokens,
    )


def _merging_backend(checkpoint: GgufFile, rules: Pretokenizer) -> Backend:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    tokens = checkpoint.metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in checkpoint.metadata["tokenizer.ggml.merges"]]
    vocabulary = dict(zip(tokens, range(len(tokens)), strict=True))
    try:
        return Backend(models.BPE(vocabulary, merges, ignore_merges=rules.ignore_merges))
    except Exception as error:  # the library raises bare exceptions
        raise CheckpointError(
            f"{checkpoint.path}: tokenizer.ggml.merges do not fit the vocabulary: {error}; convert the model again"
        ) from error


def _pretokenizer(checkpoint: GgufFile) -> Pretokenizer:
    name = checkpoint.metadata.get("tokenizer.ggml.pre", "default")
    if name not in PRETOKENIZERS:
        known = ", ".join(PRETOKENIZERS)
        raise CheckpointError(
            f"{checkpoint.path}: tokenizer.ggml.pre is {name!r}; known are {known}. "
            "Take the model's Hugging Face folder, which has a tokenizer.json"
        )
    return PRETOKENIZERS[name]


def _sentencepiece(checkpoint: GgufFile) -> SentencePieceTokenizer:
    metadata, tokens = checkpoint.metadata, checkpoint.metadata["tokenizer.ggml.tokens"]
    settings = gguf_settings(metadata)
    add_prefix = metadata.get("tokenizer.ggml.add_space_prefix", True)
    special = _of_type(metadata, CONTROL, UNKNOWN)
    return SentencePieceTokenizer(
        _processor(checkpoint, add_prefix),
        vocab_size=checkpoint.config["vocab_size"],
        bos_token_id=metadata.get("tokenizer.ggml.bos_token_id"),
        eos_token_id=metadata.get("tokenizer.ggml.eos_token_id"),
        eos_token_ids=checkpoint.generation_config.get("eos_token_id", []),
        added_tokens={tokens[i]: i for i in special},
        special_token_ids=special,
        add_bos=True if settings.add_bos is None else settings.add_bos,
        add_eos=bool(settings.add_eos),
        strip_leading_space=add_prefix,
        chat_template=settings.chat_template(),
    )


def _processor(checkpoint: GgufFile, add_prefix: bool) -> SentencePieceProcessor:
    from sentencepiece import SentencePieceProcessor

    metadata, tokens = checkpoint.metadata, checkpoint.metadata["tokenizer.ggml.tokens"]
    kinds = metadata["tokenizer.ggml.token_type"].tolist()
    kinds[metadata.get("tokenizer.ggml.unknown_token_id", 0)] = UNKNOWN  # some converters call it a control token
    # converters write user-defined pieces with plain spaces, SentencePiece wants its own
    texts = [text.replace(" ", "▁") if kind == USER_DEFINED else text for text, kind in zip(tokens, kinds, strict=True)]
    proto = model_proto(
        zip(texts, metadata["tokenizer.ggml.scores"].tolist(), kinds, strict=True),
        add_dummy_prefix=add_prefix,
        remove_extra_whitespaces=metadata.get("tokenizer.ggml.remove_extra_whitespaces", False),
    )
    try:
        return SentencePieceProcessor(model_proto=proto)
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.path}: the vocabulary is no SentencePiece model: {error}; convert the model again") from error


def _of_type(metadata: dict[str, Any], *kinds: int) -> list[int]:
    return np.flatnonzero(np.isin(metadata["tokenizer.ggml.token_type"], kinds)).tolist()
