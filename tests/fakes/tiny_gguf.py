"""Writes small GGUF files with the `gguf` package, as llama.cpp's converter would."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np

__all__ = ["HEADS", "HIDDEN", "KV_HEADS", "LAYERS", "VOCAB", "converted_tensors", "llama_metadata", "write_gguf"]

LAYERS, HIDDEN, HEADS, KV_HEADS, FEED_FORWARD, VOCAB = 1, 64, 4, 2, 96, 40
_WRITERS = {bool: "add_bool", int: "add_uint32", float: "add_float32", str: "add_string", list: "add_array"}


def llama_metadata(architecture: str = "llama", **overrides: Any) -> dict[str, Any]:
    """Hyper-parameters of a tiny model; an override of None leaves the key out. Double underscores stand for dots."""
    values: dict[str, Any] = {
        "block_count": LAYERS,
        "embedding_length": HIDDEN,
        "feed_forward_length": FEED_FORWARD,
        "attention.head_count": HEADS,
        "attention.head_count_kv": KV_HEADS,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "context_length": 128,
        "rope.freq_base": 10000.0,
    }
    values |= {key.replace("__", "."): value for key, value in overrides.items()}
    return {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in values.items() if value is not None}


def converted_tensors() -> dict[str, np.ndarray]:
    """float32 tensors of one Llama layer under llama.cpp's names."""
    rng = np.random.default_rng(0)
    kv_size = HIDDEN // HEADS * KV_HEADS
    shapes = {
        "token_embd.weight": (VOCAB, HIDDEN),
        "output_norm.weight": (HIDDEN,),
        "blk.0.attn_norm.weight": (HIDDEN,),
        "blk.0.ffn_norm.weight": (HIDDEN,),
        "blk.0.attn_q.weight": (HIDDEN, HIDDEN),
        "blk.0.attn_k.weight": (kv_size, HIDDEN),
        "blk.0.attn_v.weight": (kv_size, HIDDEN),
        "blk.0.attn_output.weight": (HIDDEN, HIDDEN),
        "blk.0.ffn_gate.weight": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_up.weight": (FEED_FORWARD, HIDDEN),
        "blk.0.ffn_down.weight": (HIDDEN, FEED_FORWARD),
    }
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def write_gguf(
    path: Path,
    metadata: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    formats: Mapping[str, str] | None = None,
) -> Path:
    """Write a file. A tensor named in `formats` is raw uint8 blocks [rows, row bytes] of that format."""
    writer = gguf.GGUFWriter(path, str(metadata["general.architecture"]))
    for key, value in metadata.items():
        if key != "general.architecture":
            getattr(writer, _WRITERS[type(value)])(key, value)
    for name, array in tensors.items():
        kind = (formats or {}).get(name)
        writer.add_tensor(name, array, raw_dtype=gguf.GGMLQuantizationType[kind] if kind else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
