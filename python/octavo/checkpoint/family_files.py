"""What a model family says about its files, in its own file of `models/`: how tensors are named in a folder, and its GGUF architecture.

`models/` stands above this folder, so a family is found as every plugin is: by its file's name (`plugins.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.config_keys import ConfigKeys, MetadataKeys
from octavo.checkpoint.expert_names import StackColumns
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.plugins import available, load

__all__ = [
    "BLOCK_NAMES",
    "POST_NORM_NAMES",
    "SANDWICH_NAMES",
    "SHARED_EXPERTS",
    "GgufFamily",
    "StoredNames",
    "family_config",
    "gguf_family",
    "name_patterns",
    "stored_names",
]

# Parts of a block in GGUF files (llama.cpp's `gguf-py/gguf/constants.py`) by Hugging Face's most common names.
BLOCK_NAMES: dict[str, str] = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.gate_proj",  # stacks [X, F, E]
    "ffn_up_exps": "mlp.experts.up_proj",
    "ffn_gate_up_exps": "mlp.experts.gate_up_proj",  # [X, 2F, E]
    "ffn_down_exps": "mlp.experts.down_proj",
    "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj",
    "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
# The same for blocks with norms behind attention and feed-forward as well.
SANDWICH_NAMES = BLOCK_NAMES | {
    "ffn_norm": "pre_feedforward_layernorm",
    "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
# The same for blocks with norms behind attention and feed-forward only.
POST_NORM_NAMES = BLOCK_NAMES | {"post_attention_norm": "post_attention_layernorm", "post_ffw_norm": "post_feedforward_layernorm"}
# Patterns of `StoredNames` for files that speak of shared experts where there is one block of their joint size.
SHARED_EXPERTS = ((r"(.*)\.mlp\.shared_experts\.(.*)", r"\1.mlp.shared_expert.\2"),)
_TOP_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
# Models of text and images keep the language model one level deeper, in the spelling of transformers 4 or 5.
_TEXT_HALF = re.compile(r"^(?:model\.(?:language|text)_model\.|language_model\.model\.|language_model\.(?=lm_head))")
# The body of a decoder saved by itself has no `model.` before its names.
_BODY = re.compile(r"^(?=(?:layers\.\d+|embed_tokens|norm)\.)")
_OTHER_HALVES = (
    "mtp.",  # guesses further tokens ahead
    *(
        f"{prefix}{part}."
        for prefix in ("", "model.")
        for part in (
            "vision_tower",
            "vision_model",
            "visual",
            "multi_modal_projector",
            "connector",
            "audio_tower",
            "embed_vision",
            "embed_audio",
        )
    ),
)


@dataclass(frozen=True, slots=True)
class StoredNames:
    """From the names in a folder's safetensors files to those that the family's layers ask for.

    Attributes:
        patterns: (regular expression, replacement), tried in order until one matches the whole name.
        paired_rows: whether heads rotate in pairs of neighbours: rows of q and k are then put into halves as they are read.
        grouped_qkv: whether the rows of `qkv_proj` stand by key/value head: its queries, its keys, its values; they are put into all
            queries, all keys, all values.
        expert_columns: where stacks of experts hold matrices [in, out], how gate and up share the columns; None: [out, in].
        rows: of a tensor by its name, the order in which its rows are read; None: as they lie.
        tower: regular expression of the stored names that are of the family's own encoder, which is a tower; None: it has none.
        transposed: regular expression of the family's names whose matrices are stored as [in, out] and read as [out, in].
    """

    patterns: tuple[tuple[str, str], ...] = ()
    paired_rows: bool = False
    grouped_qkv: bool = False
    transposed: str | None = None
    expert_columns: StackColumns | None = None
    rows: Callable[[str, ModelConfig], NDArray[np.int64] | None] | None = None
    tower: str | None = None

    def name(self, stored: str) -> str | None:
        """The family's name for a stored tensor; None when it belongs to another half of the model, such as an image encoder."""
        if stored.startswith(_OTHER_HALVES) or self._is_of_tower(stored):
            return None
        stored = _TEXT_HALF.sub(lambda match: "" if stored.startswith("lm_head", match.end()) else "model.", stored)
        stored = _BODY.sub("model.", stored)
        for pattern, replacement in self.patterns:
            match = re.fullmatch(pattern, stored)
            if match:
                return match.expand(replacement)
        return stored

    def media_name(self, stored: str) -> str | None:
        """A tower's name for a stored tensor, without what transformers puts before it; None when it is of the language model."""
        if not stored.startswith(_OTHER_HALVES) and not self._is_of_tower(stored):
            return None
        return stored.removeprefix("model.").replace("vision_tower.vision_model.", "vision_tower.", 1)

    def _is_of_tower(self, stored: str) -> bool:
        return self.tower is not None and re.fullmatch(self.tower, stored) is not None


def name_patterns(layers: str, parts: Mapping[str, str], top: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Patterns for `StoredNames`.

    Args:
        layers: regular expression of what stands before a layer's number.
        parts: part of a layer in the files -> in the family's layers; others keep their names.
        top: regular expression of what belongs to no layer -> its name.
    """
    of_layers = [(rf"{layers}\.(\d+)\.{re.escape(part)}\.(\w+)", rf"model.layers.\1.{name}.\2") for part, name in parts.items()]
    of_top = [(rf"{stored}\.(\w+)", rf"{name}.\1") for stored, name in top.items()]
    return (*of_layers, *of_top, (rf"{layers}\.(\d+)\.(.*)", r"model.layers.\1.\2"))


def _nothing(keys: MetadataKeys, config: dict[str, Any]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True)
class GgufFamily:
    """One architecture of GGUF files.

    Attributes:
        architecture: value of `general.architecture`.
        model_type: file in `models/` that serves it.
        config: from the metadata and the keys of config.json that all decoders share to those that only this family has.
        names: part of a block in GGUF -> in Hugging Face's layout.
        renormalise: whether the weights of a token's experts add up to 1, which no key says; None in families without experts.
        paired_rows: whether rows of q and k stand in pairs, because the converter puts them so or the family rotates neighbours.
        norm_offset: what the converter adds to norm weights.
    """

    architecture: str
    model_type: str
    config: Callable[[MetadataKeys, dict[str, Any]], dict[str, Any]] = _nothing
    names: Mapping[str, str] = field(default_factory=lambda: BLOCK_NAMES)
    renormalise: bool | None = None
    paired_rows: bool = False
    norm_offset: float = 0.0

    def name(self, stored: str) -> str:
        """`blk.0.attn_q.weight` -> `model.layers.0.self_attn.q_proj.weight`. An unknown name stays, so that the loader reports it."""
        stem, _, kind = stored.rpartition(".")
        if not stem.startswith("blk."):
            return f"{_TOP_NAMES[stem]}.{kind}" if stem in _TOP_NAMES else stored
        _, layer, part = stem.split(".", 2) if stem.count(".") >= 2 else ("", "", "")
        return f"model.layers.{layer}.{self.names[part]}.{kind}" if part in self.names else stored


def stored_names(model_type: str) -> StoredNames:
    """How the family's folders name tensors; as they stand where the family is unknown or says nothing."""
    try:
        return getattr(load("octavo.models", model_type), "STORED_NAMES", StoredNames())
    except LookupError:
        return StoredNames()


def family_config(source: str, config: Mapping[str, Any]) -> ModelConfig:
    """Read a config.json dictionary as its family understands it.

    Args:
        source: what messages begin with.

    Raises:
        CheckpointError: a key that is missing or makes no sense, or one that changes what the model computes and that its family does
            not know.
        LookupError: an unknown model_type.
    """
    family = load("octavo.models", ConfigKeys(source, config).name("model_type")).Model
    keys = ConfigKeys(source, config, family.defaults, aliases=family.aliases)
    model = family.read_config(keys)
    keys.check_unread()
    return model


def gguf_family(path: Path, architecture: str) -> GgufFamily:
    """The family of a GGUF file. Raises `CheckpointError` listing the known architectures."""
    files = sorted(available("octavo.models"), key=lambda name: name.replace("_", "") != architecture)  # the likeliest first
    known = []
    for name in files:
        family = getattr(load("octavo.models", name), "GGUF", None)
        if family is not None:
            if family.architecture == architecture:
                return family
            known.append(family.architecture)
    raise CheckpointError(f"{path}: general.architecture is {architecture!r}, which cannot be run; supported: {', '.join(sorted(known))}")
