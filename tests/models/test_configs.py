"""How families read config.json: defaults are transformers', nested text models are found, what is not understood is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from executors import all_logits, step_program

from octavo.checkpoint import open_checkpoint
from octavo.checkpoint.model_config import ModelConfig
from octavo.errors import CheckpointError
from octavo.models import model_config
from octavo.plugins import available

FAMILIES = available("octavo.models")
# Without these, the class alone makes no model: heads of 42 of which 21 rotate, tokens without experts.
NEEDED = {"glm4_moe": {"head_dim": 128}, "deepseek_v2": {"num_experts_per_tok": 6}}
SPELLINGS = {"xlm_roberta": "xlm-roberta"}
REMOTE = {"internlm2", "minicpm", "kimi_k2"}  # their classes come with their checkpoints: tests/models/test_remote_families.py


def read(folder: Path, config: dict[str, Any]) -> ModelConfig:
    (folder / "config.json").write_text(json.dumps(config))
    return model_config(open_checkpoint(folder, "dummy"))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - REMOTE))
def test_a_key_that_is_left_out_means_what_transformers_means(tmp_path, family):
    model_type, needed = SPELLINGS.get(family, family), NEEDED.get(family, {})
    written_out = json.loads(transformers.AutoConfig.for_model(model_type, **needed).to_json_string(use_diff=False))
    written_out["dtype"] = "float32"
    assert read(tmp_path, {"model_type": model_type, **needed}) == read(tmp_path, written_out)


@pytest.mark.parametrize(
    ("family", "changes", "message"),
    [
        ("llama", {"hidden_size": "4096"}, "hidden_size is '4096': a whole number"),
        ("llama", {"hidden_size": None}, "hidden_size is None: a whole number"),
        ("llama", {"num_attention_heads": -1}, "num_attention_heads is -1"),
        ("llama", {"num_hidden_layers": [2]}, "num_hidden_layers is a list of 1"),
        ("llama", {"num_hidden_layers": 10**7}, "num_hidden_layers is 10000000: a whole number of 1 to 4096"),
        ("llama", {"max_position_embeddings": 10**30}, "max_position_embeddings is 1000000000000000"),
        ("llama", {"num_attention_heads": 33}, "hidden_size, 4096, must be a multiple"),
        ("llama", {"head_dim": 7}, "head_dim is 7"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads is 3"),
        ("llama", {"rms_norm_eps": {"a": 1}}, "rms_norm_eps is an object of 1"),
        ("llama", {"rope_theta": -1.0}, "rope_theta is -1.0: a number"),
        ("llama", {"rope_scaling": 3}, "rope_scaling is 3: an object is needed"),
        ("llama", {"rope_parameters": {"rope_type": "linear", "factor": "4"}}, "factor is '4'"),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 4, "wobble": 1}}, "wobble is 1"),
        ("llama", {"rope_parameters": {"rope_type": ["yarn"]}}, "rope_type is a list of 1"),
        ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor is 0.5"),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantization_config is an object"),
        ("llama", {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping is 50.0: this setting changes"),
        ("gpt2", {"n_embd": "768"}, "n_embd is '768': a whole number"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("falcon", {"alibi": True}, "alibi is True"),
        ("opt", {"do_layer_norm_before": False}, "do_layer_norm_before is False"),
        ("opt", {"word_embed_proj_dim": 512}, "word_embed_proj_dim is 512"),
        ("mpt", {"attn_config": {"alibi": False}}, "alibi is False"),
        ("mpt", {"attn_config": {"clip_qkv": 8}}, "clip_qkv is 8"),
        ("gptj", {"rotary_dim": 7}, "rotary_dim is 7"),
        ("olmoe", {"clip_qkv": 8.0}, "clip_qkv is 8.0: this setting changes"),
        ("llama", {"eos_token_id": "</s>"}, "eos_token_id is '</s>'"),
        ("mistral", {"sliding_window": 0}, "sliding_window is 0"),
        ("qwen3", {"layer_types": ["full_attention"]}, "layer_types is a list of 1: 32 of"),
        ("mixtral", {"num_experts_per_tok": 9}, "num_experts_per_tok is 9: there are only 8 experts"),
        ("qwen3_moe", {"mlp_only_layers": ["a"]}, "mlp_only_layers is a list of 1"),
        ("bert", {"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ("bert", {"num_attention_heads": 7}, "num_attention_heads is 7"),
        ("roberta", {"max_position_embeddings": 2}, "max_position_embeddings is 2"),
        ("nomic_bert", {"prenorm": True}, "prenorm is True"),
        ("modernbert", {"layer_types": ["full_attention"]}, "layer_types is a list of 1: 22 of"),
    ],
)
def test_a_setting_that_cannot_be_used_names_file_and_key(tmp_path, family, changes, message):
    with pytest.raises(CheckpointError, match=message) as caught:
        read(tmp_path, {"model_type": family, **changes})
    assert str(tmp_path / "config.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [{}, {"model_type": None}, {"model_type": ["llama"]}, {"model_type": 3}])
def test_a_config_without_a_family_says_so(tmp_path, config):
    with pytest.raises(CheckpointError, match="model_type is"):
        read(tmp_path, config)


def test_notes_of_others_are_left_alone(tmp_path):
    assert read(tmp_path, {"model_type": "llama", "unsloth_version": "1", "pretraining_tp": 2}) == read(tmp_path, {"model_type": "llama"})


@pytest.mark.parametrize("original_format", [True, False])
def test_the_text_half_of_a_model_of_text_and_images(tmp_path, original_format):
    text = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"vocab_size": 64, "head_dim": 16, "sliding_window": 8, "max_position_embeddings": 512, "initializer_range": 0.2}
    vision = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = transformers.Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, boi_token_index=60, eoi_token_index=61, image_token_index=62
    )
    torch.manual_seed(0)
    model = transformers.Gemma3ForConditionalGeneration._from_config(config, dtype=torch.float32, attn_implementation="eager").eval()
    model.save_pretrained(tmp_path, save_original_format=original_format)
    tokens = torch.randint(0, 60, (1, 40))
    with torch.inference_mode():
        expected = model(tokens).logits[0].numpy()
    logits = all_logits(step_program(tmp_path), tokens[0].tolist())
    assert abs(logits - expected).max() <= 1e-4 * abs(expected).max()
