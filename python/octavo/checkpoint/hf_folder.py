"""Hugging Face model folders: config.json and safetensors, in one file or several."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from octavo.checkpoint.config_keys import ConfigKeys
from octavo.checkpoint.expert_names import StackColumns, TensorPart, tensor_parts
from octavo.checkpoint.family_files import family_config, stored_names
from octavo.checkpoint.media_half import MediaHalf
from octavo.checkpoint.mxfp4 import Mxfp4Experts
from octavo.checkpoint.raw_tensor import BLOCK_FORMATS, RawTensor, check_shape
from octavo.checkpoint.row_order import rows_by_kind, rows_in_halves
from octavo.checkpoint.safetensors import SafetensorsFile
from octavo.errors import CheckpointError
from octavo.plugins import available

__all__ = ["HfFolder", "read_configs", "read_json"]

_LAYER = re.compile(r"model\.layers\.(\d+)\.")
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


class HfFolder:
    """A folder as `save_pretrained` writes it; a `Checkpoint`."""

    def __init__(self, path: str | Path) -> None:
        """Read the configuration and the header of every weight file.

        Raises:
            CheckpointError: config.json or the weights are missing, or a file is damaged.
        """
        self.path = Path(path)
        self.config, self.generation_config = read_configs(self.path)
        self._tensors: dict[str, tuple[SafetensorsFile, TensorPart]] = {}
        keys = ConfigKeys(str(self.path / "config.json"), self.config)
        self._stored_names = names = stored_names(keys.name("model_type"))
        self._heads = family_config(keys.source, self.config) if names.paired_rows or names.grouped_qkv or names.rows else None
        self._media: dict[str, tuple[SafetensorsFile, str]] = {}
        self._mxfp4 = Mxfp4Experts()
        for weights in self._weight_files():
            for stored_name in weights.names():
                media = names.media_name(stored_name)
                if media is not None:
                    self._media[media] = (weights, stored_name)
                name = names.name(stored_name) if not self._is_of_drafts(stored_name) else None
                if name is not None and self._mxfp4.take(weights, name, stored_name):
                    continue
                shape = weights.shape(stored_name)
                for part in tensor_parts(name, shape, stored_name, names.expert_columns) if name is not None else ():
                    self._add(weights, part)

        self._mxfp4_names = self._mxfp4.names()
        for path in sorted(self.path.glob("*_Dense/model.safetensors")):  # sentence-transformers' modules behind the pooling
            self._add_module(SafetensorsFile(path), path.parent.name)

    def _add_module(self, weights: SafetensorsFile, folder: str) -> None:
        for stored_name in weights.names():
            for part in tensor_parts(f"{folder}.{stored_name}", weights.shape(stored_name), stored_name):
                self._add(weights, part)

    def names(self) -> set[str]:
        return set(self._tensors) | self._mxfp4_names

    def media_half(self) -> MediaHalf | None:
        """What of the folder makes rows of pictures or sounds; None in a model of text."""
        whole = read_json(self.path / "config.json")
        has_tower = "text_config" in whole or "vision_config" in whole or self._stored_names.tower is not None
        return MediaHalf(self.path, whole, self._media) if self._media and has_tower else None

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        """Read a tensor; see `Checkpoint.tensor`."""
        if name in self._mxfp4_names:
            return self._mxfp4.tensor(name, shape)
        if name not in self._tensors:
            raise CheckpointError(f"{self.path}: tensor {name} is missing from the safetensors files")
        weights, part = self._tensors[name]
        turned = self._is_transposed(name)
        check_shape(weights.path, name, part.shape[::-1] if turned else part.shape, shape)
        raw = weights.tensor(part.stored_name, part)
        if part.columns:
            raw = _from_columns(raw, *part.columns)
        if self._stored_names.expert_columns is StackColumns.ALTERNATING and name.endswith(".experts.gate_up_proj_bias"):
            raw = _from_alternating(raw)
        return self._by_kind(self._in_halves(self._in_order(_transposed(raw) if turned else raw)))

    def _is_of_drafts(self, stored_name: str) -> bool:
        """Whether a tensor is of the layers behind the last, which guess further tokens ahead and take no part in the logits."""
        match = _LAYER.match(stored_name)
        if match is None or not self.config.get("num_nextn_predict_layers"):
            return False
        return int(match[1]) >= self.config.get("num_hidden_layers", 0)

    def _is_transposed(self, name: str) -> bool:
        return self._stored_names.transposed is not None and re.fullmatch(self._stored_names.transposed, name) is not None

    def _in_order(self, raw: RawTensor) -> RawTensor:
        """Rows in the order that the family asks for."""
        if self._heads is None or self._stored_names.rows is None:
            return raw
        order = self._stored_names.rows(raw.name, self._heads)
        if order is None:
            return raw
        if len(order) != raw.shape[0]:
            raise CheckpointError(f"{self.path}: tensor {raw.name} has {raw.shape[0]} rows, but config.json asks for {len(order)}")
        return replace(raw, data=np.ascontiguousarray(raw.data.reshape(raw.shape[0], -1)[order]).reshape(-1))

    def _by_kind(self, raw: RawTensor) -> RawTensor:
        """Rows of a fused q, k and v one kind after the other."""
        if self._heads is None or not self._stored_names.grouped_qkv or ".self_attn.qkv_proj." not in raw.name:
            return raw
        heads, kv_heads = self._heads.num_heads, self._heads.num_kv_heads
        return replace(raw, data=rows_by_kind(raw.data, raw.shape, heads, kv_heads, what=f"{self.path}: tensor {raw.name}"))

    def _in_halves(self, raw: RawTensor) -> RawTensor:
        """Rows of q and k in the order that kernels rotate, whatever the family's files have."""
        if self._heads is None or not self._stored_names.paired_rows or ".self_attn." not in raw.name:
            return raw
        if raw.name.split(".")[-2] not in ("q_proj", "k_proj"):
            return raw
        num_heads = self._heads.num_heads if ".q_proj." in raw.name else self._heads.num_kv_heads
        rope = next((rope for rope in self._heads.ropes if rope is not None), None)
        if rope is None:
            return raw
        data = rows_in_halves(raw.data, raw.shape, num_heads, rotary_dim=rope.rotary_dim, what=f"{self.path}: tensor {raw.name}")
        return RawTensor(raw.name, raw.shape, raw.format, data)

    def _add(self, weights: SafetensorsFile, part: TensorPart) -> None:
        if part.name in self._tensors:
            other, _ = self._tensors[part.name]
            raise CheckpointError(f"{self.path}: tensor {part.name} is in {other.path.name} and in {weights.path.name}")
        self._tensors[part.name] = (weights, part)

    def _weight_files(self) -> list[SafetensorsFile]:
        index = self.path / "model.safetensors.index.json"
        if index.exists():
            return self._indexed_files(index)
        # `consolidated*` are the same weights once more, under their vendor's names
        names = sorted(path for path in self.path.glob("*.safetensors") if not path.name.startswith("consolidated"))
        if not names:
            hint = (
                "; convert pytorch_model.bin with `save_pretrained(..., safe_serialization=True)`" if any(self.path.glob("*.bin")) else ""
            )
            raise CheckpointError(f"{self.path} holds no *.safetensors file{hint}")
        whole = self.path / "model.safetensors"
        return [SafetensorsFile(path) for path in ([whole] if whole in names else names)]

    def _indexed_files(self, index: Path) -> list[SafetensorsFile]:
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
            raise CheckpointError(f"{index} has no `weight_map` of tensor names to file names; download it again")
        files = {name: SafetensorsFile(self.path / name) for name in sorted(set(weight_map.values()))}
        for tensor, file_name in weight_map.items():
            if tensor not in files[file_name].names():
                raise CheckpointError(
                    f"{self.path / file_name}: tensor {tensor} is missing, although {index.name} lists it there; download it again"
                )
        return list(files.values())


def _from_columns(raw: RawTensor, columns: slice, stored: tuple[int, int]) -> RawTensor:
    """The matrix whose rows are columns of the one that was read."""
    values = raw.data.reshape(*stored, BLOCK_FORMATS[raw.format][1])[:, columns]
    return replace(raw, data=np.ascontiguousarray(values.swapaxes(0, 1)).reshape(-1))


def _from_alternating(raw: RawTensor) -> RawTensor:
    """Of columns of two kinds by turns, those of the first kind and then those of the second."""
    values = raw.data.reshape(raw.shape[0], raw.shape[1] // 2, 2, BLOCK_FORMATS[raw.format][1])
    return replace(raw, data=np.ascontiguousarray(values.swapaxes(1, 2)).reshape(-1))


def _transposed(raw: RawTensor) -> RawTensor:
    values = raw.data.reshape(*raw.shape, BLOCK_FORMATS[raw.format][1])  # plain values: safetensors have no blocks
    return replace(raw, shape=raw.shape[::-1], data=np.ascontiguousarray(values.swapaxes(0, 1)).reshape(-1))


def read_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return config.json (of a model of text and images the text half) and generation_config.json.

    The latter takes token ids that it lacks from the former.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder} holds no config.json; give a Hugging Face model folder or a .gguf file{_gguf_hint(folder)}")
    config = _text_half(path, read_json(path))
    optional = folder / "generation_config.json"
    generation_config = read_json(optional) if optional.is_file() else {}
    for source, values in ((path, config), (optional, generation_config)):
        _check_token_ids(ConfigKeys(str(source), values))
    for key in _TOKEN_IDS:
        if config.get(key) is not None:
            generation_config.setdefault(key, config[key])
    return config, generation_config


def _text_half(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Of a model of text and images its text model's configuration, which stands in an object of its own; otherwise the whole.

    The first files of Qwen2-VL and Qwen2.5-VL have its keys beside `vision_config`.
    """
    if "text_config" not in config:
        text_type = f"{config.get('model_type')}_text"
        return config | {"model_type": text_type} if "vision_config" in config and text_type in available("octavo.models") else config
    text = ConfigKeys(str(path), config).section("text_config").mapping()
    return {key: config[key] for key in (*_TOKEN_IDS, "tie_word_embeddings") if key in config} | text if "model_type" in text else config


def _check_token_ids(keys: ConfigKeys) -> None:
    """Token ids are whole numbers, -1 where there is none; of end tokens there may be several."""
    for key in _TOKEN_IDS:
        if key == "eos_token_id" and isinstance(keys.value(key, None), list):
            keys.counts(key)
        else:
            keys.optional_count(key, least=-1)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises CheckpointError naming the file when it is unreadable or something else."""
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}; check its permissions") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is not valid JSON: {error}; download it again") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path} must hold a JSON object")
    return value


def _gguf_hint(folder: Path) -> str:
    found = sorted(folder.glob("*.gguf")) if folder.is_dir() else []
    return f", for example {found[0]}" if found else ""
