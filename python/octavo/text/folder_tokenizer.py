"""Tokenizers of Hugging Face folders: tokenizer.json, or else SentencePiece's tokenizer.model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from octavo.checkpoint import Checkpoint
from octavo.checkpoint.config_keys import MAX_COUNT, ConfigKeys, one_line
from octavo.checkpoint.hf_folder import read_json
from octavo.errors import CheckpointError
from octavo.text.fast_tokenizer import FastTokenizer
from octavo.text.prompt_frame import frame_prompts
from octavo.text.sentencepiece_tokenizer import SentencePieceTokenizer
from octavo.text.tokenizer import Tokenizer
from octavo.text.tokenizer_settings import TokenizerSettings, folder_settings

__all__ = ["folder_tokenizer"]


def folder_tokenizer(checkpoint: Checkpoint, folder: Path) -> Tokenizer:
    """Open the tokenizer of a folder.

    Raises:
        CheckpointError: there is none, or its file is damaged.
    """
    settings = folder_settings(folder)
    if (folder / "tokenizer.json").is_file():
        return _fast(checkpoint, folder / "tokenizer.json", settings)
    if (folder / "tokenizer.model").is_file():
        return _sentencepiece(checkpoint, folder / "tokenizer.model", settings)
    raise CheckpointError(f"{folder} holds neither tokenizer.json nor tokenizer.model; copy the model's tokenizer files there")


def _fast(checkpoint: Checkpoint, path: Path, settings: TokenizerSettings) -> FastTokenizer:
    from tokenizers import Tokenizer as Backend

    try:
        backend = Backend.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise CheckpointError(f"{path} is not a tokenizer that can be read: {one_line(error)}; download it again") from error
    backend.no_truncation()
    backend.no_padding()
    bos, eos = settings.special_tokens.get("bos_token"), settings.special_tokens.get("eos_token")
    if settings.add_bos is not None or settings.add_eos is not None:  # explicit flags override the file's own post-processor
        frame_prompts(backend, bos=bos if settings.add_bos else None, eos=eos if settings.add_eos else None)
    return FastTokenizer(
        backend,
        vocab_size=_vocab_size(checkpoint),
        bos_token_id=_first_id(backend.token_to_id(bos) if bos else None, checkpoint.generation_config.get("bos_token_id")),
        eos_token_ids=_eos_ids(checkpoint, backend.token_to_id(eos) if eos else None),
        special_token_ids=[token_id for token_id, token in backend.get_added_tokens_decoder().items() if token.special],
        chat_template=settings.chat_template(),
    )


def _sentencepiece(checkpoint: Checkpoint, path: Path, settings: TokenizerSettings) -> SentencePieceTokenizer:
    from sentencepiece import SentencePieceProcessor

    try:
        processor = SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError) as error:
        raise CheckpointError(f"{path} is not a SentencePiece model: {one_line(error)}; download it again") from error
    ids = list(range(processor.get_piece_size()))
    special = [token_id for token_id in ids if processor.is_control(token_id) or processor.is_unknown(token_id)]
    added, added_special = _added_tokens(path.parent)
    bos, eos = (token_id if token_id >= 0 else None for token_id in (processor.bos_id(), processor.eos_id()))
    return SentencePieceTokenizer(
        processor,
        vocab_size=_vocab_size(checkpoint),
        bos_token_id=bos,
        eos_token_id=eos,
        eos_token_ids=_eos_ids(checkpoint, eos),
        added_tokens={processor.id_to_piece(token_id): token_id for token_id in special} | added,
        special_token_ids={*special, *added_special},
        add_bos=True if settings.add_bos is None else settings.add_bos,
        add_eos=bool(settings.add_eos),
        strip_leading_space=_adds_prefix(processor),
        chat_template=settings.chat_template(),
    )


def _added_tokens(folder: Path) -> tuple[dict[str, int], set[int]]:
    """Tokens beyond the SentencePiece model: text -> id, and the ids of those that are special."""
    listed = folder / "added_tokens.json"
    keys = ConfigKeys(str(listed), read_json(listed) if listed.is_file() else {})
    added = {text: keys.count(text, least=0) for text in keys.mapping()}
    config = folder / "tokenizer_config.json"
    decoder = ConfigKeys(str(config), read_json(config) if config.is_file() else {}).section("added_tokens_decoder")
    special = set()
    for name in decoder.mapping():
        if not name.isdecimal() or len(name) > 9 or int(name) > MAX_COUNT:
            raise decoder.refused(name, "its name must be a token id")
        entry = decoder.section(name)
        added[entry.text("content")] = int(name)
        if entry.flag("special"):
            special.add(int(name))
    return added, special


def _adds_prefix(processor: Any) -> bool:
    """Whether a text is encoded as if a space stood before it: then the pieces of "a" begin with SentencePiece's space."""
    return processor.encode("a", out_type=str)[0].startswith("▁")


def _vocab_size(checkpoint: Checkpoint) -> int:
    return ConfigKeys(str(checkpoint.path), checkpoint.config).optional_count("vocab_size") or 0


def _eos_ids(checkpoint: Checkpoint, own: int | None) -> Iterable[int]:
    """Those of generation_config.json and config.json, and the tokenizer's own."""
    sources = (checkpoint.generation_config.get("eos_token_id"), checkpoint.config.get("eos_token_id"), own)
    return {token_id for source in sources if source is not None for token_id in (source if isinstance(source, list) else [source])}


def _first_id(*candidates: int | None) -> int | None:
    return next((token_id for token_id in candidates if token_id is not None), None)
