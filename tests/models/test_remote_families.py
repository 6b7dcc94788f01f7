"""Families whose classes come with their checkpoints: transformers' class that computes the same stands in, its tensors renamed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from executors import all_logits, eager, logits_after, step_program
from safetensors.torch import save_file

COMMON = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}
INTERNLM2 = {
    "self_attn.o_proj": "attention.wo",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "embed_tokens": "tok_embeddings",
    "lm_head": "output",
}


def internlm2_tensors(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As InternLM 2 stores them: of each key/value head its two queries, its keys, its values."""
    stored = {}
    for name, value in tensors.items():
        if ".self_attn.q_proj." in name:
            q, k, v = (tensors[name.replace("q_proj", f"{kind}_proj")] for kind in "qkv")
            groups = [q.unflatten(0, (2, 2, 16)), k.unflatten(0, (2, 1, 16)), v.unflatten(0, (2, 1, 16))]
            stored[name.replace("self_attn.q_proj", "attention.wqkv")] = torch.cat(groups, 1).flatten(0, 2)
        elif ".k_proj." not in name and ".v_proj." not in name:
            for ours, theirs in INTERNLM2.items():
                name = name.replace(ours, theirs)
            stored[name] = value
    return stored


def internlm2() -> tuple[Any, dict[str, Any], Any]:
    config = transformers.LlamaConfig(**COMMON, attention_bias=True, initializer_range=0.2)
    return config, {"model_type": "internlm2", "bias": True, "tie_word_embeddings": False}, internlm2_tensors


def minicpm() -> tuple[Any, dict[str, Any], Any]:
    factors = {"embedding_multiplier": 12.0, "residual_multiplier": 1.4 / 3**0.5, "logits_scaling": 64 / 32, "attention_multiplier": 0.25}
    config = transformers.GraniteConfig(**COMMON, **factors, tie_word_embeddings=True, initializer_range=0.2)
    return config, {"model_type": "minicpm", "scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 32}, dict


def kimi_k2() -> tuple[Any, dict[str, Any], Any]:
    sizes = {"kv_lora_rank": 40, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24}
    experts = {"n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "n_group": 1, "topk_group": 1}
    experts |= {"first_k_dense_replace": 1, "routed_scaling_factor": 2.8, "num_key_value_heads": 4}
    config = transformers.DeepseekV3Config(**COMMON | sizes | experts, pad_token_id=0, initializer_range=0.2)
    return config, {"model_type": "kimi_k2", "scoring_func": "sigmoid", **sizes, **experts}, dict


CASES = [internlm2, minicpm, kimi_k2]


@pytest.fixture(scope="module", params=CASES, ids=lambda make: make.__name__)
def case(request: Any, tmp_path_factory: Any) -> tuple[Path, list[int], np.ndarray]:
    """(folder of the checkpoint, prompt, logits of the class that stands in)."""
    config, changes, stored = request.param()
    config._attn_implementation = "eager"
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    tensors = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight" or not config.tie_word_embeddings}
    folder = tmp_path_factory.mktemp(changes["model_type"])
    (folder / "config.json").write_text(json.dumps(COMMON | {"rms_norm_eps": config.rms_norm_eps} | changes))
    save_file({name: value.contiguous() for name, value in stored(tensors).items()}, folder / "model.safetensors")
    prompt = torch.randint(0, 320, (1, 90))
    with torch.inference_mode():
        return folder, prompt[0].tolist(), model(prompt).logits[0].numpy()


@pytest.mark.parametrize("build", [step_program, eager])
def test_logits_equal_the_class_that_stands_in(case, build):
    folder, prompt, expected = case
    assert np.abs(all_logits(build(folder), prompt) - expected).max() <= 1e-4 * np.abs(expected).max()


def test_chunks_and_cached_prefixes_are_the_same_bits(case):
    folder, prompt, _ = case
    executor = step_program(folder)
    whole = all_logits(executor, prompt)
    assert np.array_equal(all_logits(executor, prompt, 7).view(np.int32), whole.view(np.int32))
    assert np.array_equal(logits_after(executor, prompt, 64).view(np.int32), whole[64:].view(np.int32))
