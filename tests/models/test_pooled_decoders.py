"""Decoders that make vectors, against transformers: embeddings by the last token or by mean, classifiers and rewards; in chunks."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers
from executors import eager, step_program, vectors
from safetensors.torch import save_file
from test_architectures import COMMON

from octavo.checkpoint import open_checkpoint
from octavo.models import model_config
from octavo.step import RowPooling

CASES = {"llama": ("LlamaConfig", {}), "qwen3": ("Qwen3Config", {"head_dim": 32}), "mistral": ("MistralConfig", {"sliding_window": 24})}
LENGTHS = (1, 17, 90)


def prompts() -> list[list[int]]:
    drawn = np.random.default_rng(3)
    return [drawn.integers(3, COMMON["vocab_size"], length).tolist() for length in LENGTHS]


def make(name: str, folder, auto_class: str, **settings):
    class_name, own = CASES[name]
    torch.manual_seed(len(name))
    config = getattr(transformers, class_name)(**{**COMMON, "pad_token_id": 0, **own, **settings})
    config._attn_implementation = "eager"
    model = getattr(transformers, auto_class).from_config(config, dtype=torch.float32).eval()
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
    for chunk in (512, 7):
        check_close(vectors(tmp_path, prompts(), RowPooling(token_wise=True), build=build, chunk=chunk), expected)
        check_close(vectors(tmp_path, prompts(), RowPooling(), build=build, chunk=chunk), [rows[-1] for rows in expected])


@pytest.mark.parametrize(("mode", "pick"), [("mean", lambda rows: rows.mean(0)), ("cls", lambda rows: rows[0])])
def test_chunks_of_a_prompt_are_pooled_together(mode, pick, tmp_path):
    model = make("llama", tmp_path, "AutoModel")
    modules = [
        {"type": "sentence_transformers.models.Transformer", "path": ""},
        {"type": "sentence_transformers.models.Pooling", "path": "1"},
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "config.json").write_text(json.dumps({"pooling_mode": mode}))
    with torch.inference_mode():
        expected = [pick(model(torch.tensor([prompt])).last_hidden_state[0].numpy()) for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(), chunk=7), expected)


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("name", CASES)
def test_classifiers_equal_transformers(name, num_labels, tmp_path):
    model = make(name, tmp_path, "AutoModelForSequenceClassification", num_labels=num_labels)
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(), chunk=16), expected)


def test_embedding_gemma_sees_both_ways(tmp_path):
    """EmbeddingGemma: bidirectional attention, windows to both sides, dense layers behind the mean."""
    settings = {
        **COMMON,
        "pad_token_id": 0,
        "head_dim": 32,
        "sliding_window": 40,
        "use_bidirectional_attention": True,
        "num_hidden_layers": 6,
    }
    transformers.AutoModel.from_config(transformers.Gemma3TextConfig(**settings), dtype=torch.float32).save_pretrained(tmp_path)
    model = transformers.AutoModel.from_pretrained(tmp_path, dtype=torch.float32, attn_implementation="eager").eval()
    names = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    modules = [
        {"type": f"sentence_transformers.models.{name}", "path": f"{index}_{name}" * (index > 0)} for index, name in enumerate(names)
    ]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    layers = [torch.nn.Linear(64, 80, bias=False), torch.nn.Linear(80, 48)]
    for index, (layer, function) in enumerate(zip(layers, ("linear.Identity", "activation.Tanh"), strict=True), start=2):
        folder = tmp_path / f"{index}_Dense"
        folder.mkdir()
        settings = {"in_features": layer.in_features, "out_features": layer.out_features, "bias": layer.bias is not None}
        (folder / "config.json").write_text(json.dumps({**settings, "activation_function": f"torch.nn.modules.{function}"}))
        save_file({f"linear.{name}": value for name, value in layer.state_dict().items()}, folder / "model.safetensors")
    with torch.inference_mode():
        means = [model(torch.tensor([prompt])).last_hidden_state[0].mean(0) for prompt in prompts()]
        expected = [torch.nn.functional.normalize(torch.tanh(layers[1](layers[0](row))), dim=0).numpy() for row in means]
    check_close(vectors(tmp_path, prompts(), RowPooling(activation="normalize")), expected)


def test_a_reward_of_two_layers(tmp_path):
    """Qwen 2.5's reward models: score = linear(relu(linear(x))) of the last token, and no function after it."""
    model = make("llama", tmp_path, "AutoModel")
    head = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    stored = {f"model.{name}": value for name, value in model.state_dict().items()}
    save_file(stored | {f"score.{name}": value for name, value in head.state_dict().items()}, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"architectures": ["LlamaForRewardModel"]}))
    with torch.inference_mode():
        expected = [head(model(torch.tensor([prompt])).last_hidden_state[0, -1]).numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(), chunk=16), expected)
    pooling = model_config(open_checkpoint(tmp_path)).pooling
    assert pooling is not None and (pooling.activation, pooling.width) == ("none", 1)


def test_token_classifiers_equal_transformers(tmp_path):
    model = make("llama", tmp_path, "AutoModelForTokenClassification", num_labels=5)
    with torch.inference_mode():
        expected = [model(torch.tensor([prompt])).logits[0].numpy() for prompt in prompts()]
    check_close(vectors(tmp_path, prompts(), RowPooling(token_wise=True), chunk=16), expected)
