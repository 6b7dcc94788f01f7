"""The ways a file may store experts give the same model, bit for bit: a matrix each, stacks of transformers 5, stacks of GGUF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
import transformers
from executors import all_logits, step_program
from safetensors.numpy import load_file, save_file

from fakes.tiny_gguf import write_gguf
from octavo.errors import CheckpointError

NUM_EXPERTS, TOP_K, HEADS, KV_HEADS = 4, 2, 4, 2
TOKENS = list(range(40))
SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS}
QWEN = {"num_experts": NUM_EXPERTS, "moe_intermediate_size": 32}
FAMILIES = {
    "llama": ("MixtralConfig", {"num_local_experts": NUM_EXPERTS}),
    "qwen2moe": ("Qwen2MoeConfig", {**QWEN, "shared_expert_intermediate_size": 48}),
    "qwen3moe": ("Qwen3MoeConfig", {**QWEN, "head_dim": 16, "norm_topk_prob": True}),
    "olmoe": ("OlmoeConfig", {"num_experts": NUM_EXPERTS, "eos_token_id": 2}),
}


@pytest.fixture(params=FAMILIES)
def architecture(request) -> str:
    return request.param


@pytest.fixture
def model(architecture) -> Any:
    class_name, settings = FAMILIES[architecture]
    torch.manual_seed(0)
    common = {**SIZES, "vocab_size": 64, "max_position_embeddings": 64, "num_experts_per_tok": TOP_K, "initializer_range": 0.2}
    config = getattr(transformers, class_name)(**{**common, **settings, "rms_norm_eps": 1e-5})
    return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)


@pytest.fixture
def classic(model, tmp_path) -> Path:
    """The layout of checkpoints on the hub, which save_pretrained writes too."""
    model.save_pretrained(tmp_path / "classic")
    return tmp_path / "classic"


def same_logits(path: Path, other: Path) -> bool:
    return np.array_equal(all_logits(step_program(path), TOKENS).view(np.int32), all_logits(step_program(other), TOKENS).view(np.int32))


def test_stacks_of_transformers(model, classic, tmp_path):
    model.save_pretrained(tmp_path / "stacked", save_original_format=False)
    assert "model.layers.0.mlp.experts.gate_up_proj" in load_file(tmp_path / "stacked" / "model.safetensors")
    assert same_logits(tmp_path / "stacked", classic)


def test_stacks_of_gguf(architecture, model, classic, tmp_path):
    assert same_logits(write_gguf(tmp_path / "model.gguf", metadata(architecture, model.config), tensors(architecture, classic)), classic)


def test_a_missing_expert_is_named(architecture, classic):
    path = classic / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if ".experts.3." not in name}
    save_file(kept, path)
    with pytest.raises(CheckpointError, match=r"model\.layers\.0\.mlp\.experts\.3\.gate_proj\.weight is missing"):
        step_program(classic)


def metadata(architecture: str, config: Any) -> dict[str, Any]:
    keys = gguf.Keys
    values = {
        keys.LLM.BLOCK_COUNT: config.num_hidden_layers,
        keys.LLM.EMBEDDING_LENGTH: config.hidden_size,
        keys.LLM.FEED_FORWARD_LENGTH: config.intermediate_size,
        keys.LLM.CONTEXT_LENGTH: config.max_position_embeddings,
        keys.LLM.EXPERT_COUNT: NUM_EXPERTS,
        keys.LLM.EXPERT_USED_COUNT: TOP_K,
        keys.LLM.EXPERT_FEED_FORWARD_LENGTH: getattr(config, "moe_intermediate_size", None),
        keys.LLM.EXPERT_SHARED_FEED_FORWARD_LENGTH: getattr(config, "shared_expert_intermediate_size", None),
        keys.Attention.HEAD_COUNT: HEADS,
        keys.Attention.HEAD_COUNT_KV: KV_HEADS,
        keys.Attention.LAYERNORM_RMS_EPS: 1e-5,
        keys.Rope.FREQ_BASE: config.rope_parameters["rope_theta"],
    }
    named = {key.format(arch=architecture): value for key, value in values.items() if value is not None}
    return {"general.architecture": architecture, **named}


def tensors(architecture: str, folder: Path) -> dict[str, np.ndarray]:
    """What llama.cpp's converter makes of a folder: experts stacked, the `gguf` package's names, q and k permuted for `llama`."""
    found = load_file(folder / "model.safetensors")
    stacked = {name: value for name, value in found.items() if ".experts." not in name}
    for name in found:
        before, _, rest = name.partition(".experts.0.")
        if rest:
            stacked[f"{before}.experts.{rest}"] = np.stack([found[f"{before}.experts.{index}.{rest}"] for index in range(NUM_EXPERTS)])
    kinds = {kind: number for number, kind in gguf.MODEL_ARCH_NAMES.items()}
    names = gguf.get_tensor_name_map(kinds[architecture], SIZES["num_hidden_layers"])
    converted = {}
    for name, value in stacked.items():
        heads = HEADS if ".q_proj." in name else KV_HEADS if ".k_proj." in name else None
        if architecture == "llama" and heads:
            value = value.reshape(heads, 2, value.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(value.shape)
        gguf_name = names.get_name(name, try_suffixes=(".weight", ".bias"))
        assert gguf_name is not None, name
        converted[gguf_name] = np.ascontiguousarray(value)
    return converted
