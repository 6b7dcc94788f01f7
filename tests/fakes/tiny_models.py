"""Decoders of two layers, one for each thing that families differ in; weights made up on the host, the same for every executor."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from octavo.checkpoint import RawTensor
from octavo.checkpoint.dummy import DummyCheckpoint

__all__ = ["CONFIGS", "tiny_checkpoint"]

_COMMON = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "float32",
}

CONFIGS: dict[str, dict] = {
    "llama": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "tie_word_embeddings": False},
    "llama, heads of 80": {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "head_dim": 80},
    "qwen2": {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]},
    "qwen3": {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "head_dim": 128},
    "gemma3": {
        "model_type": "gemma3_text",
        "architectures": ["Gemma3ForCausalLM"],
        "head_dim": 64,
        "sliding_window": 32,
        "layer_types": ["sliding_attention", "full_attention"],
        "query_pre_attn_scalar": 64,
        "hidden_activation": "gelu_pytorch_tanh",
        "rope_local_base_freq": 10000.0,
    },
    "mixtral": {"model_type": "mixtral", "architectures": ["MixtralForCausalLM"], "num_local_experts": 4, "num_experts_per_tok": 2},
}


class _HostMade(DummyCheckpoint):
    """Names no tensors, so that no executor makes weights up by itself.

    Gemma adds 1 to the norms that it stores. With ones stored, its q and k have heads of length 2 * sqrt(64), so scores reach 32, and
    rounding them to bf16 alone moves the softmax by 32 * 2^-9 = 6 %. Zeros stored keep scores below 8, as in the other decoders.
    """

    def names(self) -> set[str]:  # type: ignore[override]
        return set()

    def tensor(self, name: str, shape: tuple[int, ...] | None = None) -> RawTensor:
        made = super().tensor(name, shape)
        if name.endswith("norm.weight") and self.config["model_type"] == "gemma3_text":
            return replace(made, data=np.zeros_like(made.data))
        return made


def tiny_checkpoint(name: str, folder: Path) -> DummyCheckpoint:
    """The checkpoint of an entry of `CONFIGS`."""
    (folder / "config.json").write_text(json.dumps(_COMMON | CONFIGS[name]))
    return _HostMade(folder)
