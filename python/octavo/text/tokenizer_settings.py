"""What a model's files say about its tokenizer besides the vocabulary: special tokens, flags, chat templates.

Sources in a Hugging Face folder: tokenizer_config.json, special_tokens_map.json (older), chat_template.jinja,
additional_chat_templates/*.jinja, chat_template.json. In a GGUF file: its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octavo.checkpoint.hf_folder import read_json
from octavo.errors import CheckpointError
from octavo.text.chat_template import ChatTemplate

__all__ = ["TokenizerSettings", "folder_settings", "gguf_settings"]

_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token")
_TEMPLATE_KEY = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True)
class TokenizerSettings:
    """Attributes:
    special_tokens: `bos_token`, `eos_token`, ... -> text.
    add_bos, add_eos: whether a prompt gets the token at its begin or end; None where the files do not say.
    chat_templates: name -> Jinja source.
    """

    special_tokens: dict[str, str] = field(default_factory=dict)
    add_bos: bool | None = None
    add_eos: bool | None = None
    chat_templates: dict[str, str] = field(default_factory=dict)

    def chat_template(self) -> ChatTemplate | None:
        return ChatTemplate(self.chat_templates, self.special_tokens) if self.chat_templates else None


def folder_settings(folder: Path) -> TokenizerSettings:
    """Read a Hugging Face folder. Every file is optional; raises CheckpointError for one that is malformed."""
    config = _optional_json(folder / "tokenizer_config.json")
    special_tokens = _optional_json(folder / "special_tokens_map.json") | config
    texts = {name: _token_text(special_tokens.get(name)) for name in _NAMES}
    return TokenizerSettings(
        special_tokens={name: text for name, text in texts.items() if text is not None},
        add_bos=config.get("add_bos_token"),
        add_eos=config.get("add_eos_token"),
        chat_templates=_folder_templates(folder, config),
    )


def gguf_settings(metadata: Mapping[str, Any]) -> TokenizerSettings:
    """Read a GGUF file's metadata."""
    tokens = metadata["tokenizer.ggml.tokens"]
    ids = {
        name: metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in zip(_NAMES, ("bos", "eos", "unknown", "padding"), strict=True)
    }
    named = {key.removeprefix(f"{_TEMPLATE_KEY}."): text for key, text in metadata.items() if key.startswith(f"{_TEMPLATE_KEY}.")}
    default = {"default": metadata[_TEMPLATE_KEY]} if _TEMPLATE_KEY in metadata else {}
    return TokenizerSettings(
        special_tokens={name: tokens[token_id] for name, token_id in ids.items() if token_id is not None and token_id < len(tokens)},
        add_bos=metadata.get("tokenizer.ggml.add_bos_token"),
        add_eos=metadata.get("tokenizer.ggml.add_eos_token"),
        chat_templates=named | default,
    )


def _folder_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, str]:
    """The newest way to store templates wins: .jinja files, then tokenizer_config.json, then chat_template.json."""
    files = {path.stem: _text(path) for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = _text(folder / "chat_template.jinja")
    if files:
        return files
    stored = config.get("chat_template") or _optional_json(folder / "chat_template.json").get("chat_template")
    if isinstance(stored, list):
        return {str(entry["name"]): entry["template"] for entry in stored}
    return {"default": stored} if stored else {}


def _token_text(token: Any) -> str | None:
    """Tokens are stored as text or as an object with `content`."""
    return token.get("content") if isinstance(token, dict) else token


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
