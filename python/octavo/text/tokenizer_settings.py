"""What a model's files say about its tokenizer besides the vocabulary: special tokens, flags, chat templates.

Sources in a Hugging Face folder: tokenizer_config.json, special_tokens_map.json (older), chat_template.jinja,
additional_chat_templates/*.jinja, chat_template.json. In a GGUF file: its metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
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
    keys = ConfigKeys(str(folder / "tokenizer_config.json"), config)
    named = ConfigKeys(keys.source, special_tokens)
    texts = {name: _token_text(named, name) for name in _NAMES}
    return TokenizerSettings(
        special_tokens={name: text for name, text in texts.items() if text is not None},
        add_bos=keys.optional_flag("add_bos_token"),
        add_eos=keys.optional_flag("add_eos_token"),
        chat_templates=_folder_templates(folder, keys),
    )


def gguf_settings(path: Path, metadata: Mapping[str, Any]) -> TokenizerSettings:
    """Read a GGUF file's metadata. Raises CheckpointError for a key of another type than it should be."""
    keys = MetadataKeys(path, metadata)
    tokens = keys.texts("tokenizer.ggml.tokens")
    ids = {
        name: keys.optional_count(f"tokenizer.ggml.{key}_token_id", least=0)
        for name, key in zip(_NAMES, ("bos", "eos", "unknown", "padding"), strict=True)
    }
    prefix = f"{_TEMPLATE_KEY}."
    named = {key.removeprefix(prefix): keys.text(key) for key in metadata if key.startswith(prefix)}
    default = {"default": keys.text(_TEMPLATE_KEY)} if _TEMPLATE_KEY in metadata else {}
    return TokenizerSettings(
        special_tokens={name: tokens[token_id] for name, token_id in ids.items() if token_id is not None and token_id < len(tokens)},
        add_bos=keys.optional_flag("tokenizer.ggml.add_bos_token"),
        add_eos=keys.optional_flag("tokenizer.ggml.add_eos_token"),
        chat_templates=named | default,
    )


def _folder_templates(folder: Path, config: ConfigKeys) -> dict[str, str]:
    """The newest way to store templates wins: .jinja files, then tokenizer_config.json, then chat_template.json."""
    files = {path.stem: _text(path) for path in sorted((folder / "additional_chat_templates").glob("*.jinja"))}
    if (folder / "chat_template.jinja").is_file():
        files["default"] = _text(folder / "chat_template.jinja")
    if files:
        return files
    older = folder / "chat_template.json"
    keys = config if config.value("chat_template", None) else ConfigKeys(str(older), _optional_json(older))
    if isinstance(keys.value("chat_template", None), list):
        entries = [ConfigKeys(f"{keys.source}: chat_template", entry) for entry in keys.objects("chat_template")]
        return {entry.text("name"): entry.text("template") for entry in entries}
    stored = keys.optional_text("chat_template")
    return {"default": stored} if stored else {}


def _token_text(keys: ConfigKeys, name: str) -> str | None:
    """Tokens are stored as text or as an object with `content`."""
    return keys.section(name).optional_text("content") if isinstance(keys.value(name, None), dict) else keys.optional_text(name)


def _optional_json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from error
