"""Tiny random checkpoints of every architecture, against transformers' logits; both executors, whole and in chunks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from executors import SHAPE, all_logits, eager, logits_after, step_program

COMMON = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,  # larger than usual: logits far apart
}


def rope(kind: str, **parameters: object) -> dict[str, object]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **parameters}}


TAME = {"initializer_range": 0.1}  # with more, one fp16 key that rounds the other way moves the logits as much as all rounding does
MULTI_HEAD = {"num_key_value_heads": None}
MIXTRAL = {"num_local_experts": 5, "num_experts_per_tok": 2}
MOE = {"num_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 40}
SHARED = {**MOE, "shared_expert_intermediate_size": 56}
GROUPED = {"n_routed_experts": 8, "num_experts_per_tok": 3, "moe_intermediate_size": 40, "n_group": 4, "topk_group": 2}
GROUPED |= {"n_shared_experts": 2, "routed_scaling_factor": 1.7}
MLA = {**GROUPED, "kv_lora_rank": 40, "q_lora_rank": 24, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 24}
MLA |= {"num_key_value_heads": 4, "pad_token_id": 0}
YARN_MLA = rope("yarn", factor=4.0, original_max_position_embeddings=128, mscale=1.0, mscale_all_dim=0.8)
LLAMA4 = {"num_local_experts": 5, "intermediate_size_mlp": 72, "head_dim": 16, "num_hidden_layers": 4, "pad_token_id": 0}
ERNIE = {"moe_num_experts": 6, "moe_k": 2, "moe_intermediate_size": 40}
OLMOE = {"num_experts": 8, "num_experts_per_tok": 3, "eos_token_id": 2}
LLAMA3 = rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=128)
LONG = {"short_factor": [1.0] * 8, "long_factor": [1.0 + index / 2 for index in range(8)]}
HALF = {"short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [9.0] * 4, "partial_rotary_factor": 0.5}
FACTORS = {"embedding_multiplier": 3.0, "logits_scaling": 2.0, "residual_multiplier": 0.3, "attention_multiplier": 0.2}
CASES = {
    "llama": ("LlamaConfig", {}),
    "llama-tied": ("LlamaConfig", {"tie_word_embeddings": True}),
    "llama-multi-head": ("LlamaConfig", {"num_key_value_heads": 4}),
    "llama-biases": ("LlamaConfig", {"attention_bias": True, "mlp_bias": True}),
    "llama-odd-heads": ("LlamaConfig", {"head_dim": 40, "hidden_size": 96, "num_attention_heads": 6, "num_key_value_heads": 1}),
    "llama-rope-linear": ("LlamaConfig", rope("linear", factor=4.0)),
    "llama-rope-llama3": ("LlamaConfig", LLAMA3),
    "llama-rope-yarn": ("LlamaConfig", rope("yarn", factor=4.0, original_max_position_embeddings=128)),
    "mistral": ("MistralConfig", {"sliding_window": 24}),
    "mistral-full": ("MistralConfig", {"sliding_window": None}),
    "qwen2": ("Qwen2Config", {}),
    "qwen2-window": ("Qwen2Config", {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}),
    "qwen3": ("Qwen3Config", {"head_dim": 32}),
    "mixtral": ("MixtralConfig", MIXTRAL),
    "mixtral-window": ("MixtralConfig", {**MIXTRAL, "sliding_window": 24, "num_experts_per_tok": 5}),
    "qwen2_moe": ("Qwen2MoeConfig", SHARED),
    "qwen2_moe-dense-layers": ("Qwen2MoeConfig", {**SHARED, "norm_topk_prob": True, "mlp_only_layers": [1], "qkv_bias": False}),
    "qwen2_moe-window": ("Qwen2MoeConfig", {**SHARED, "use_sliding_window": True, "sliding_window": 20, "max_window_layers": 2}),
    "qwen3_moe": ("Qwen3MoeConfig", {**MOE, "head_dim": 32, "norm_topk_prob": True}),
    "qwen3_moe-sparse-step": ("Qwen3MoeConfig", {**MOE, "head_dim": 32, "decoder_sparse_step": 2}),
    "olmoe": ("OlmoeConfig", OLMOE),
    "phi3": ("Phi3Config", {"pad_token_id": 0}),
    "phi3-long": ("Phi3Config", {"pad_token_id": 0, "original_max_position_embeddings": 64, **rope("longrope", **LONG)}),
    "phi3-short-partial": (
        "Phi3Config",
        {"pad_token_id": 0, "original_max_position_embeddings": 512, "max_position_embeddings": 2048, **rope("longrope", **HALF)},
    ),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {"sliding_window": 20, "num_hidden_layers": 4}),
    "exaone4": ("Exaone4Config", {"sliding_window": 20, "num_hidden_layers": 4}),
    "exaone4-full": ("Exaone4Config", {"sliding_window": None, "layer_types": ["full_attention"] * 3}),
    "smollm3": ("SmolLM3Config", {"no_rope_layer_interval": 2, "pad_token_id": 0}),
    "smollm3-window": ("SmolLM3Config", {"no_rope_layers": [1, 0, 1], "pad_token_id": 0, "use_sliding_window": True, "sliding_window": 20}),
    "seed_oss": ("SeedOssConfig", {"head_dim": 32, "mlp_bias": True}),
    "ministral": (
        "MinistralConfig",
        {"head_dim": 16, "sliding_window": 20, "layer_types": ["full_attention", "sliding_attention", "full_attention"]},
    ),
    "ernie4_5": ("Ernie4_5Config", {"head_dim": 32, "use_bias": True}),
    "helium": ("HeliumConfig", {"head_dim": 16}),
    "glm": ("GlmConfig", {"head_dim": 32, "pad_token_id": 0}),
    "glm4": ("Glm4Config", {"head_dim": 32, "pad_token_id": 0}),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", {"head_dim": 32}),
    "starcoder2": ("Starcoder2Config", {}),
    "starcoder2-window": ("Starcoder2Config", {"sliding_window": 20, "use_bias": False}),
    "arcee": ("ArceeConfig", {"mlp_bias": True}),
    "nemotron": ("NemotronConfig", {"pad_token_id": 0}),
    "stablelm": ("StableLmConfig", {"use_qkv_bias": True}),
    "granite": ("GraniteConfig", FACTORS),
    "granitemoe": ("GraniteMoeConfig", {**FACTORS, "num_local_experts": 4}),
    "cohere": ("CohereConfig", {"logit_scale": 0.3, "pad_token_id": 0}),
    "cohere2": ("Cohere2Config", {"logit_scale": 0.3, "head_dim": 32, "num_hidden_layers": 4, "sliding_window": 20, "pad_token_id": 0}),
    "gpt_neox": ("GPTNeoXConfig", MULTI_HEAD),
    "gpt_neox-in-turn": ("GPTNeoXConfig", {**MULTI_HEAD, "use_parallel_residual": False}),
    "gptj": ("GPTJConfig", {**MULTI_HEAD, "rotary_dim": 8, "n_inner": 96}),
    "phi": ("PhiConfig", {"initializer_range": 0.15}),
    "falcon": ("FalconConfig", {"bias": True}),
    "falcon-multi-head": ("FalconConfig", {"multi_query": False, "parallel_attn": False}),
    "falcon-40b": ("FalconConfig", {"new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon-11b": ("FalconConfig", {**TAME, "new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    "exaone": ("ExaoneConfig", {"head_dim": 16, "pad_token_id": 0}),
    "internlm3": ("InternLM3Config", {"head_dim": 16, "attention_bias": True, "mlp_bias": True}),
    "gpt2": ("GPT2Config", {**MULTI_HEAD, "n_positions": 512, "scale_attn_weights": False}),
    "opt": ("OPTConfig", {**MULTI_HEAD, "ffn_dim": 96, "word_embed_proj_dim": 64, "init_std": 0.2}),
    "bloom": ("BloomConfig", {**MULTI_HEAD, **TAME}),
    "bloom-six-heads": ("BloomConfig", {**MULTI_HEAD, "hidden_size": 96, "num_attention_heads": 6}),
    "mpt": ("MptConfig", MULTI_HEAD),
    "mpt-six-heads": ("MptConfig", {**MULTI_HEAD, "hidden_size": 96, "num_attention_heads": 6}),
    "glm4_moe": ("Glm4MoeConfig", {**GROUPED, "head_dim": 32, "pad_token_id": 0, "use_qk_norm": True}),
    "glm4_moe-plain": ("Glm4MoeConfig", {**GROUPED, "n_group": 1, "topk_group": 1, "norm_topk_prob": False, "attention_bias": True}),
    "phimoe": (
        "PhimoeConfig",
        {**MIXTRAL, **TAME, "pad_token_id": 0, "router_jitter_noise": 0.3, "lm_head_bias": True, "attention_bias": True},
    ),
    "llama4": ("Llama4TextConfig", {**LLAMA4, "attention_chunk_size": 20, "floor_scale": 30}),
    "llama4-interleaved": (
        "Llama4TextConfig",
        {**LLAMA4, "use_qk_norm": False, "interleave_moe_layer_step": 2, "attention_chunk_size": None},
    ),
    "ernie4_5_moe": ("Ernie4_5_MoeConfig", {**ERNIE, "moe_num_shared_experts": 2}),
    "ernie4_5_moe-unshared": (
        "Ernie4_5_MoeConfig",
        {**ERNIE, "moe_layer_start_index": 0, "moe_layer_interval": 2, "moe_num_shared_experts": 0},
    ),
    "hunyuan_v1_moe": ("HunYuanMoEV1Config", {"head_dim": 32, "num_experts": 5, "moe_topk": 2}),
    "gpt_oss": ("GptOssConfig", {**MIXTRAL, **TAME, "head_dim": 16, "sliding_window": 20, "num_experts_per_tok": 3, "pad_token_id": 0}),
    "deepseek_v2": ("DeepseekV2Config", {**MLA, "q_lora_rank": None, "routed_scaling_factor": 1.5, "attention_bias": True}),
    "deepseek_v2-groups": ("DeepseekV2Config", {**MLA, "topk_method": "group_limited_greedy", "first_k_dense_replace": 1}),
    "deepseek_v3": ("DeepseekV3Config", {**MLA, "first_k_dense_replace": 1, **YARN_MLA}),
    "deepseek_v3-halves": ("DeepseekV3Config", {**MLA, "first_k_dense_replace": 1, "rope_interleave": False, "attention_bias": True}),
    "glm4_moe_lite": ("Glm4MoeLiteConfig", MLA),
    "gemma": ("GemmaConfig", {"head_dim": 32}),
    "gemma2": ("Gemma2Config", {"head_dim": 32, "sliding_window": 20, "query_pre_attn_scalar": 24, "attn_logit_softcapping": 5.0}),
    "gemma2-unbounded": ("Gemma2Config", {"head_dim": 32, "attn_logit_softcapping": None, "final_logit_softcapping": None}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 32, "sliding_window": 20, "query_pre_attn_scalar": 24}),
    "gemma3-softcap": ("Gemma3TextConfig", {"head_dim": 32, "sliding_window": 20, "final_logit_softcapping": 5.0}),
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request, tmp_path_factory):
    """(folder of the checkpoint, prompt, transformers' logits of every position)."""
    class_name, settings = CASES[request.param]
    torch.manual_seed(len(request.param))
    config = getattr(transformers, class_name)(**{**COMMON, **settings})
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for name, parameter in [*model.named_parameters(), *model.named_buffers()]:
            if name.endswith(
                ("norm.weight", "bias", "ln_1.weight", "ln_2.weight", "norm_1.weight", "norm_2.weight", "ln_f.weight", "sinks")
            ):
                parameter.add_(torch.randn_like(parameter) * 0.2)  # not the constants that initialisation leaves
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder, max_shard_size="100KB")
    prompt = torch.randint(0, COMMON["vocab_size"], (1, 90))
    with torch.inference_mode():
        return folder, prompt[0].tolist(), model(prompt).logits[0].numpy()


@pytest.mark.parametrize("build", [step_program, eager])
def test_logits_equal_transformers(case, build):
    folder, prompt, expected = case
    logits = all_logits(build(folder), prompt)
    scale = np.abs(expected).max()
    assert np.abs(logits - expected).max() <= 1e-4 * scale
    assert np.array_equal(logits.argmax(-1), expected.argmax(-1))


@pytest.mark.parametrize("chunk", [1, 7, 16])
def test_chunked_logits_are_the_same_bits(case, chunk):
    folder, prompt, _ = case
    executor = step_program(folder)
    whole, chunked = all_logits(executor, prompt), all_logits(executor, prompt, chunk)
    assert np.array_equal(whole.view(np.int32), chunked.view(np.int32))


def test_a_prefix_that_is_cached_is_not_computed_again(case):
    folder, prompt, _ = case
    executor = step_program(folder)
    whole = all_logits(executor, prompt)
    assert np.array_equal(logits_after(executor, prompt, 64).view(np.int32), whole[64:].view(np.int32))


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "int8"])
def test_executors_round_keys_and_values_alike(case, dtype):
    folder, prompt, exact = case
    shape = replace(SHAPE, kv_cache_dtype=dtype)
    logits, oracle = (all_logits(build(folder, shape), prompt) for build in (step_program, eager))
    rounding = np.abs(oracle - exact).mean()
    assert rounding > 0
    assert np.abs(logits - oracle).mean() < 0.1 * rounding  # not 0: a last bit decides where a value is rounded to
