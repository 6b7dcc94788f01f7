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
    "glm4_moe": {
        "model_type": "glm4_moe",
        "architectures": ["Glm4MoeForCausalLM"],
        "head_dim": 64,
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 96,
        "n_shared_experts": 1,
        "n_group": 4,
        "topk_group": 2,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.5,
        "partial_rotary_factor": 0.5,
    },
    "phimoe": {
        "model_type": "phimoe",
        "architectures": ["PhimoeForCausalLM"],
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "router_jitter_noise": 0.3,
        "attention_bias": True,
        "lm_head_bias": True,
        "tie_word_embeddings": False,
    },
    "deepseek_v3": {
        "model_type": "deepseek_v3",
        "architectures": ["DeepseekV3ForCausalLM"],
        "num_key_value_heads": 4,
        "kv_lora_rank": 64,
        "q_lora_rank": 64,
        "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16,
        "v_head_dim": 32,
        "n_routed_experts": 8,
        "num_experts_per_tok": 3,
        "moe_intermediate_size": 96,
        "n_shared_experts": 1,
        "n_group": 4,
        "topk_group": 2,
        "first_k_dense_replace": 1,
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.5,
        "tie_word_embeddings": False,
    },
    "gpt_oss": {
        "model_type": "gpt_oss",
        "architectures": ["GptOssForCausalLM"],
        "head_dim": 64,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": 24,
        "layer_types": ["sliding_attention", "full_attention"],
        "tie_word_embeddings": False,
    },
    "gpt2": {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": 256, "n_layer": 2, "n_head": 4, "n_positions": 512},
    "gpt_neox": {"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"], "rotary_pct": 0.25, "hidden_act": "gelu"},
    "falcon": {"model_type": "falcon", "architectures": ["FalconForCausalLM"], "multi_query": True, "parallel_attn": True, "bias": False},
    "opt": {"model_type": "opt", "architectures": ["OPTForCausalLM"], "ffn_dim": 512, "word_embed_proj_dim": 256},
    "bloom": {"model_type": "bloom", "architectures": ["BloomForCausalLM"], "n_layer": 2, "n_head": 4},
    "mpt": {
        "model_type": "mpt",
        "architectures": ["MptForCausalLM"],
        "d_model": 256,
        "n_heads": 4,
        "n_layers": 2,
        "expansion_ratio": 2,
        "max_seq_len": 512,
        "attn_config": {"alibi": True},
    },
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
