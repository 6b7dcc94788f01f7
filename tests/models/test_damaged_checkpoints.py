"""A checkpoint whose tensors and configuration do not fit together is refused by name, before anything is served."""

from __future__ import annotations

import json

import pytest
import torch
from executors import step_program
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig

from octavo.errors import CheckpointError


@pytest.fixture
def folder(tmp_path):
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def configure(folder, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_missing_tensor(folder):
    rewrite(folder, lambda tensors: tensors.pop("model.layers.0.mlp.up_proj.weight"))
    with pytest.raises(CheckpointError, match=r"model\.layers\.0\.mlp\.up_proj\.weight is missing"):
        step_program(folder)


def test_an_unexpected_tensor(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.layers.0.self_attn.q_norm.weight": torch.ones(16)}))
    with pytest.raises(CheckpointError, match=r"does not have: model\.layers\.0\.self_attn\.q_norm\.weight"):
        step_program(folder)


def test_a_tensor_of_another_shape(folder):
    rewrite(folder, lambda tensors: tensors.update({"model.norm.weight": torch.ones(33)}))
    with pytest.raises(CheckpointError, match=r"model\.norm\.weight has shape \[33\]"):
        step_program(folder)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_type": "mamba"}, "mamba"),
        ({"hidden_size": None}, "hidden_size"),
        ({"num_key_value_heads": 3}, "num_key_value_heads"),
        ({"hidden_act": "relu6"}, "relu6"),
        ({"rope_parameters": {"rope_type": "spiral"}}, "spiral"),
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "factor"),
    ],
)
def test_a_configuration_that_makes_no_sense(folder, changes, named):
    configure(folder, **changes)
    with pytest.raises(CheckpointError, match=named):
        step_program(folder)
