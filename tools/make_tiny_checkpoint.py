#!/usr/bin/env python3
"""Make a tiny checkpoint of random weights in Hugging Face's format: tools/make_tiny_checkpoint.py MODEL_TYPE FOLDER

The weights come from a seed, the configuration from transformers' own class, the tokenizer has one token per byte. For tests:
such a model runs in milliseconds and transformers is its reference. Needs torch, transformers and tokenizers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

__all__ = ["MODEL_TYPES", "OTHER_TYPES", "make_tiny_checkpoint"]

SPECIAL_TOKENS = ("<|bos|>", "<|eos|>", "<|pad|>")
VOCAB_SIZE = 256 + len(SPECIAL_TOKENS)
BOS, EOS, PAD = range(256, VOCAB_SIZE)

_SHAPE: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,  # far from uniform logits, so that greedy choices are clear
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
_EXPERTS = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 32}
_MLA = {
    "kv_lora_rank": 24,
    "q_lora_rank": 32,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "head_dim": 8,
    "v_head_dim": 16,
    "num_key_value_heads": 4,
    "first_k_dense_replace": 1,
}
# What makes each family itself, small enough to matter within a few tokens.
_FAMILY: dict[str, dict[str, Any]] = {
    "llama": {"tie_word_embeddings": False},
    "mistral": {"tie_word_embeddings": False, "sliding_window": 24},
    "qwen2": {"tie_word_embeddings": True},
    "qwen3": {"tie_word_embeddings": True},
    "mixtral": {"tie_word_embeddings": False, "num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": {"tie_word_embeddings": False, "shared_expert_intermediate_size": 48, **_EXPERTS},
    "qwen3_moe": {"tie_word_embeddings": False, "norm_topk_prob": True, **_EXPERTS},
    "olmoe": {"tie_word_embeddings": False, "num_experts": 8, "num_experts_per_tok": 3},
    "phi3": {"tie_word_embeddings": False},
    "olmo2": {"tie_word_embeddings": False},
    "olmo3": {"tie_word_embeddings": False, "num_hidden_layers": 4, "sliding_window": 24},
    "smollm3": {"tie_word_embeddings": True, "no_rope_layer_interval": 2},
    "exaone4": {"tie_word_embeddings": False, "num_hidden_layers": 4, "sliding_window": 24},
    "seed_oss": {"tie_word_embeddings": False},
    "ministral": {"tie_word_embeddings": False, "sliding_window": 24},
    "ernie4_5": {"tie_word_embeddings": True},
    "helium": {"tie_word_embeddings": False},
    "glm": {"tie_word_embeddings": False},
    "glm4": {"tie_word_embeddings": False},
    "hunyuan_v1_dense": {"tie_word_embeddings": False},
    "starcoder2": {"tie_word_embeddings": True},
    "stablelm": {"tie_word_embeddings": False},
    "nemotron": {"tie_word_embeddings": False},
    "granite": {"tie_word_embeddings": True, "embedding_multiplier": 4.0, "residual_multiplier": 0.5},
    "granitemoe": {"tie_word_embeddings": True, "num_local_experts": 4},
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True, "num_hidden_layers": 4, "sliding_window": 24},
    "glm4_moe": {"tie_word_embeddings": False, "n_routed_experts": 8, "n_group": 4, "topk_group": 2, **_EXPERTS},
    "phimoe": {"tie_word_embeddings": False, "num_local_experts": 4, "num_experts_per_tok": 2, "router_jitter_noise": 0.3},
    "llama4_text": {
        "tie_word_embeddings": False,
        "num_hidden_layers": 4,
        "num_local_experts": 4,
        "intermediate_size_mlp": 96,
        "attention_chunk_size": 24,
        "floor_scale": 30,
    },
    "ernie4_5_moe": {"tie_word_embeddings": True, "moe_num_experts": 8, "moe_k": 3, "moe_intermediate_size": 32},
    "hunyuan_v1_moe": {"tie_word_embeddings": False, "num_experts": 4, "moe_topk": 2},
    "gpt_oss": {"tie_word_embeddings": False, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 24},
    "deepseek_v2": {"tie_word_embeddings": False, "n_routed_experts": 8, **_EXPERTS, **_MLA},
    "deepseek_v3": {"tie_word_embeddings": False, "n_routed_experts": 8, "n_group": 4, "topk_group": 2, **_EXPERTS, **_MLA},
    "glm4_moe_lite": {"tie_word_embeddings": False, "n_routed_experts": 8, **_EXPERTS, **_MLA},
    "mamba2": {"num_heads": 8, "head_dim": 16, "state_size": 24, "n_groups": 2, "expand": 2, "initializer_range": 0.1},
    "bamba": {"num_hidden_layers": 3, "attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_n_groups": 2, "mamba_d_state": 24},
    "falcon_h1": {
        "mamba_d_ssm": 96,
        "mamba_n_heads": 6,
        "mamba_n_groups": 2,
        "mamba_d_state": 24,
        "embedding_multiplier": 3.0,
        "lm_head_multiplier": 0.5,
        "mlp_multipliers": [0.7, 1.3],
        "key_multiplier": 0.6,
        "attention_in_multiplier": 1.2,
        "attention_out_multiplier": 0.8,
        "ssm_multipliers": [0.5, 1.5, 0.7, 1.2, 0.9],
        "ssm_in_multiplier": 1.1,
        "ssm_out_multiplier": 0.6,
    },
    "qwen3_next": {
        "num_hidden_layers": 4,
        "linear_key_head_dim": 16,
        "linear_value_head_dim": 24,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "shared_expert_intermediate_size": 48,
        **_EXPERTS,
    },
    "arcee": {"tie_word_embeddings": False},
    "gemma": {"tie_word_embeddings": True},
    "gemma2": {"tie_word_embeddings": True, "sliding_window": 24, "query_pre_attn_scalar": 16},
    "gemma3_text": {
        "tie_word_embeddings": True,
        "num_hidden_layers": 6,  # five layers of local attention to one of global
        "sliding_window": 24,
        "query_pre_attn_scalar": 16,
    },
}
MODEL_TYPES = tuple(_FAMILY)
# Families without a file in `octavo/models`, which run through transformers.
_OTHERS: dict[str, dict[str, Any]] = {
    "apertus": {"tie_word_embeddings": False},
    "dots1": {
        "tie_word_embeddings": False,
        "n_shared_experts": 1,
        "n_routed_experts": 8,
        "n_group": 1,
        "topk_group": 1,
        "sliding_window": 24,
        **_EXPERTS,
    },
    "granitemoeshared": {"tie_word_embeddings": True, "num_local_experts": 4, "shared_intermediate_size": 48},
    "jais2": {"tie_word_embeddings": False},
    "minimax_m2": {"tie_word_embeddings": False, "num_local_experts": 8, "num_experts_per_tok": 3, "rotary_dim": 8},
    "olmo": {"tie_word_embeddings": False, "clip_qkv": 8.0},
    "vaultgemma": {"tie_word_embeddings": True, "sliding_window": 24, "query_pre_attn_scalar": 16},
}
OTHER_TYPES = tuple(_OTHERS)

CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


def make_tiny_checkpoint(model_type: str, folder: str | Path, *, seed: int = 0, max_shard_size: str = "5GB", **overrides: Any) -> Path:
    """Write config.json, generation_config.json, safetensors and the tokenizer's files into `folder`, and return it.

    Args:
        model_type: one of `MODEL_TYPES`, or of `OTHER_TYPES`.
        seed: of the weights.
        max_shard_size: such as "100KB", to split the weights into several files.
        overrides: fields of transformers' configuration class, such as `rope_parameters` or `tie_word_embeddings`.

    Raises:
        ValueError: an unknown model type.
    """
    families = _FAMILY | _OTHERS
    if model_type not in families:
        raise ValueError(f"model type {model_type!r} is not one of: {', '.join(families)}")
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(model_type, **{**_SHAPE, **families[model_type], **overrides})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        _randomize_vectors(model)
    model.save_pretrained(folder, max_shard_size=max_shard_size)
    _write_tokenizer(Path(folder))
    return Path(folder)


def _randomize_vectors(model: Any) -> None:
    """Norm weights start at one and biases at zero, which would hide that they are missing."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def _write_tokenizer(folder: Path) -> None:
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({symbol: index for index, symbol in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    tokenizer.save(str(folder / "tokenizer.json"))
    bos, eos, pad = SPECIAL_TOKENS
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": bos,
        "eos_token": eos,
        "pad_token": pad,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_type", choices=(*MODEL_TYPES, *OTHER_TYPES))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(make_tiny_checkpoint(args.model_type, args.folder, seed=args.seed))


if __name__ == "__main__":
    main()
