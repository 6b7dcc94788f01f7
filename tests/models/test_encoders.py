"""Tiny random encoders of every family, against transformers: hidden states and classifiers' logits, mixed lengths in one step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers
from executors import eager, step_program, vectors

from octavo.step import RowPooling

COMMON = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
IDS = {"eos_token_id": 2, "bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2}
CASES = {
    "bert": ("BertConfig", {}),
    "bert-gelu-new": ("BertConfig", {"hidden_act": "gelu_new", "type_vocab_size": 1}),
    "roberta": ("RobertaConfig", {"pad_token_id": 1}),
    "xlm_roberta": ("XLMRobertaConfig", {"pad_token_id": 1, "max_position_embeddings": 258}),
    "distilbert": ("DistilBertConfig", {"hidden_dim": 96}),
    "modernbert": ("ModernBertConfig", {**IDS, "num_hidden_layers": 4, "local_attention": 20}),
    "modernbert-biases": (
        "ModernBertConfig",
        {**IDS, "norm_bias": True, "attention_bias": True, "mlp_bias": True, "classifier_bias": True, "classifier_pooling": "mean"},
    ),
    "nomic_bert": ("NomicBertConfig", {}),
    "gte": ("GteConfig", {}),
    "gte-untyped": ("GteConfig", {"type_vocab_size": 0, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}}),
}
LENGTHS = (1, 5, 90, 200)


def prompts() -> list[list[int]]:
    drawn = np.random.default_rng(3)
    return [drawn.integers(3, COMMON["vocab_size"], length).tolist() for length in LENGTHS]


def make(name: str, folder, auto_class: str, **settings):
    """transformers' model of a case, saved in `folder`."""
    class_name, own = CASES[name]
    torch.manual_seed(len(name))
    config = getattr(transformers, class_name)(**{**COMMON, **own, **settings})
    config._attn_implementation = "eager"
    model = getattr(transformers, auto_class).from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "norm" in key.lower() or key.endswith("bias"):
                parameter.add_(torch.randn_like(parameter) * 0.2)  # not the constants that initialisation leaves
    model.save_pretrained(folder)
    return model


def check_close(actual, expected) -> None:
    for got, want in zip(actual, expected, strict=True):
        assert np.abs(got.reshape(want.shape) - want).max() <= 1e-4 * np.abs(want).max()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("build", [step_program, eager])
def test_hidden_states_equal_transformers(name, build, tmp_path):
    model = make(name, tmp_path, "AutoModel")
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).last_hidden_state[0].numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(token_wise=True), build=build), expected)
    mean = [rows.mean(0) for rows in expected]
    check_close(vectors(tmp_path, prompts(), RowPooling(), build=build), mean)
    unit = [row[:16] / np.linalg.norm(row[:16]) for row in mean]
    check_close(vectors(tmp_path, prompts(), RowPooling(dimensions=16, activation="normalize"), build=build), unit)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("build", [step_program, eager])
def test_classifiers_equal_transformers(name, build, tmp_path):
    model = make(name, tmp_path, "AutoModelForSequenceClassification", num_labels=3)
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(), build=build), expected)
    softmax = [np.exp(row) / np.exp(row).sum() for row in expected]
    check_close(vectors(tmp_path, prompts(), RowPooling(activation="softmax"), build=build), softmax)


@pytest.mark.parametrize("name", CASES)
def test_token_classifiers_equal_transformers(name, tmp_path):
    model = make(name, tmp_path, "AutoModelForTokenClassification", num_labels=5)
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(token_wise=True)), expected)
