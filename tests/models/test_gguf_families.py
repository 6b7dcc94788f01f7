"""GGUF files of every family that has them give the model of the folder that they were converted from.

The names are those of the `gguf` package, the changes to tensors those of llama.cpp's converter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from executors import all_logits, step_program
from safetensors.numpy import load_file

from fakes.tiny_gguf import write_gguf
from octavo.checkpoint.family_files import GgufFamily
from octavo.plugins import available, load

FAMILIES: dict[str, GgufFamily] = {
    family.architecture: family for name in available("octavo.models") if (family := getattr(load("octavo.models", name), "GGUF", None))
}
SETTINGS: dict[str, dict[str, Any]] = {
    "gemma2": {"sliding_window": 8, "query_pre_attn_scalar": 16},
    "gemma3": {"sliding_window": 8, "query_pre_attn_scalar": 16, "num_hidden_layers": 6},
    "granite": {"attention_multiplier": 0.2, "embedding_multiplier": 3.0, "residual_multiplier": 0.3, "logits_scaling": 2.0},
    "command-r": {"logit_scale": 0.3},
    "cohere2": {"logit_scale": 0.3, "sliding_window": 8, "num_hidden_layers": 4},
    "starcoder2": {"sliding_window": 8},
    "phi3": {"sliding_window": 8},
}
TESTED_AS_EXPERTS = {"qwen2moe", "qwen3moe", "olmoe"}  # tests/models/test_expert_layouts.py


@pytest.mark.parametrize("architecture", sorted(set(FAMILIES) - TESTED_AS_EXPERTS))
def test_a_converted_model_is_the_same_model(tmp_path, architecture):
    family = FAMILIES[architecture]
    common = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    common |= {"head_dim": 16, "vocab_size": 64, "max_position_embeddings": 64, "initializer_range": 0.2, "tie_word_embeddings": True}
    common |= {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(family.model_type, **common | SETTINGS.get(architecture, {}))
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("norm.weight", "bias")):
                parameter.add_(torch.randint(-2, 3, parameter.shape) / 8)  # exact in float32 whatever is added at conversion
    model.save_pretrained(tmp_path / "folder")
    path = write_gguf(tmp_path / "model.gguf", metadata(family, config), tensors(family, tmp_path / "folder", config))
    tokens = list(range(40))
    ours, theirs = all_logits(step_program(path), tokens), all_logits(step_program(tmp_path / "folder"), tokens)
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()  # a converter stores 32-bit settings


def metadata(family: GgufFamily, config: Any) -> dict[str, Any]:
    keys = gguf.Keys
    rope = config.rope_parameters
    values = {
        keys.LLM.BLOCK_COUNT: config.num_hidden_layers,
        keys.LLM.EMBEDDING_LENGTH: config.hidden_size,
        keys.LLM.FEED_FORWARD_LENGTH: config.intermediate_size,
        keys.LLM.CONTEXT_LENGTH: config.max_position_embeddings,
        keys.Attention.HEAD_COUNT: config.num_attention_heads,
        keys.Attention.HEAD_COUNT_KV: config.num_key_value_heads,
        keys.Attention.KEY_LENGTH: config.head_dim,
        keys.Attention.LAYERNORM_RMS_EPS: getattr(config, "rms_norm_eps", None),
        keys.Attention.LAYERNORM_EPS: getattr(config, "layer_norm_eps", getattr(config, "norm_epsilon", None)),
        keys.Attention.SCALE: getattr(config, "attention_multiplier", None),
        keys.LLM.EMBEDDING_SCALE: getattr(config, "embedding_multiplier", None),
        keys.LLM.RESIDUAL_SCALE: getattr(config, "residual_multiplier", None),
        keys.LLM.LOGIT_SCALE: getattr(config, "logits_scaling", getattr(config, "logit_scale", None)),
        keys.Rope.FREQ_BASE: rope["full_attention"]["rope_theta"] if "full_attention" in rope else rope["rope_theta"],
    }
    if family.model_type in ("gemma2", "gemma3_text", "cohere2", "starcoder2", "phi3"):
        values[keys.Attention.SLIDING_WINDOW] = config.sliding_window
    return {"general.architecture": family.architecture} | {
        key.format(arch=family.architecture): value for key, value in values.items() if value is not None
    }


def tensors(family: GgufFamily, folder: Path, config: Any) -> dict[str, np.ndarray]:
    """What llama.cpp's converter makes of a folder."""
    kinds = {kind: number for number, kind in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[family.architecture], config.num_hidden_layers)
    converted = {}
    for name, value in load_file(folder / "model.safetensors").items():
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}.get(name.split(".")[-2])
        if family.architecture in ("llama", "smollm3", "granite", "arcee") and heads:
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        if family.architecture.startswith("gemma") and name.endswith("norm.weight"):
            value = value + np.float32(1)
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert gguf_name is not None, name
        converted[gguf_name] = np.ascontiguousarray(value)
    return converted
