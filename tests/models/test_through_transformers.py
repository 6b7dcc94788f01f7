"""Models that transformers builds, on our scheduler and pages: families without a file here, and native ones when asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from executors import SHAPE, all_logits, logits_after
from harness import run_engine
from make_tiny_checkpoint import OTHER_TYPES, make_tiny_checkpoint
from test_family_runs import Preempting, check_tokens
from transformers import AutoConfig, AutoModelForCausalLM

from octavo import LLM, SamplingParams, assemble
from octavo.checkpoint import open_checkpoint
from octavo.config import EngineConfig
from octavo.errors import CheckpointError, ConfigError
from octavo.models import _transformers, families, model_config
from octavo.runner.transformers_executor import TransformersExecutor

NATIVE = ("gemma2", "gpt_oss", "deepseek_v3")  # capped scores and windows; sinks; keys longer than values
TOLERANCE = 1e-4


def executor(folder: Path) -> TransformersExecutor:
    checkpoint = open_checkpoint(folder)
    return TransformersExecutor(model_config(checkpoint, impl="transformers"), checkpoint, SHAPE, "cpu")


def expected_logits(folder: Path, tokens: list[int]) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].numpy()


def prompt(size: int, seed: int = 0) -> list[int]:
    return torch.randint(0, 256, (size,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("model_type", [*OTHER_TYPES, *NATIVE])
def test_logits_equal_transformers_in_chunks_and_after_a_cached_prefix(tmp_path, model_type):
    folder, tokens = make_tiny_checkpoint(model_type, tmp_path), prompt(100)
    expected, runs = expected_logits(folder, tokens), executor(folder)
    for chunk in (512, 1, 19):
        assert np.abs(all_logits(runs, tokens, chunk) - expected).max() <= TOLERANCE * np.abs(expected).max()
    after = logits_after(runs, tokens, 64)
    assert np.abs(after[-1] - expected[-1]).max() <= TOLERANCE * np.abs(expected).max()


@pytest.mark.parametrize("model_type", OTHER_TYPES)
def test_a_crowd_gets_the_tokens_of_transformers(model_type, tmp_path, monkeypatch):
    folder = make_tiny_checkpoint(model_type, tmp_path)
    assert model_type not in {family.model_type for family in families()}, "by itself, because there is no native file"
    monkeypatch.setattr(assemble, "Scheduler", Preempting)
    shared = prompt(48, seed=9)
    prompts = [shared + prompt(5 + 13 * seed, seed) for seed in range(3)]
    settings = {"max_model_len": 256, "max_num_seqs": 2, "max_num_batched_tokens": 24}  # the third waits, and finds the prefix
    run = run_engine(folder, prompts, max_tokens=64, together=True, monkeypatch=monkeypatch, **settings)
    assert run.num_preemptions > 0
    assert max(run.num_cached_tokens) >= 48
    check_tokens(folder, prompts, run.token_ids)


def test_samples_and_beams_of_one_prompt_are_those_of_the_native_file(tmp_path):
    folder = make_tiny_checkpoint("qwen3", tmp_path)
    params = SamplingParams(n=3, temperature=0.7, seed=5, max_tokens=20, ignore_eos=True)

    def texts(impl: str) -> list[str]:
        with LLM(str(folder), model_impl=impl, arithmetic="exact", max_model_len=128, kv_cache_bytes=1 << 22) as llm:
            outputs = llm.generate(["a prompt that several go on from"], params)
            return [output.text for output in outputs[0].outputs]

    assert texts("transformers") == texts("native")


def test_the_log_says_who_builds_the_layers(tmp_path, caplog):
    folder = make_tiny_checkpoint("olmo", tmp_path)
    assemble.build_engine(EngineConfig.of(model=str(folder), kv_cache_bytes=1 << 22))
    assert "the layers of this olmo model are transformers', on torch" in caplog.text


@pytest.mark.parametrize(
    ("model_type", "message"),
    [
        ("stablelm", "a stablelm model cannot be run: StableLmForCausalLM of transformers has no pluggable attention function"),
        ("mamba2", "a mamba2 model cannot be run: Mamba2ForCausalLM of transformers has no pluggable attention function"),
        ("llama4_text", "a llama4_text model cannot be run through transformers: Llama4TextAttention counts positions by itself"),
    ],
)
def test_a_model_that_cannot_run_is_refused_by_name(tmp_path, model_type, message):
    with pytest.raises(CheckpointError, match=message):
        executor(make_tiny_checkpoint(model_type, tmp_path))


def test_a_state_beside_keys_and_values_is_noticed(tmp_path):
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 256}
    config = AutoConfig.for_model("lfm2", num_hidden_layers=2, layer_types=["conv", "full_attention"], **sizes)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="a lfm2 model cannot be run through transformers: 1 of 2 layers attend"):
        executor(tmp_path)


def test_missing_weights_are_an_error_and_not_made_up(tmp_path):
    folder = make_tiny_checkpoint("olmo", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(CheckpointError, match=r"tensors are missing or misshapen: model\.layers\.2\."):
        executor(folder)


def test_without_torch_the_remedy_is_named(tmp_path, monkeypatch):
    folder = make_tiny_checkpoint("olmo", tmp_path)
    monkeypatch.setattr(_transformers, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install octavo\[hf\]"):
        assemble.build_engine(EngineConfig.of(model=str(folder)))


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"model_type": "no_such_thing"}, {}, "model_type 'no_such_thing' has no file here, and transformers .* does not know it either"),
        ({"model_type": "t5"}, {}, "transformers has no decoder for model_type 't5'"),
        ({}, {"model_impl": "native"}, "model_type 'olmo' is not supported; supported: arcee"),
        ({}, {"task": "embed"}, "--task embed: through transformers models make text only"),
        ({}, {"executor": "step_program"}, "--executor step_program runs models that have a file in octavo/models"),
        ({}, {"kv_cache_dtype": "int8"}, "--kv-cache-dtype int8: a model that runs through transformers has fp32, bf16, fp16"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, {"max_model_len": 256}, None),
    ],
)
def test_what_cannot_be_served_is_said(tmp_path, changes, settings, message):
    folder = make_tiny_checkpoint("olmo", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    build = EngineConfig.of(model=str(folder), kv_cache_bytes=1 << 22, **settings)
    if message is None:
        assemble.build_engine(build)
        return
    with pytest.raises((CheckpointError, ConfigError), match=message):
        assemble.build_engine(build)


def test_frequencies_that_follow_the_longest_sequence_are_bounded(tmp_path):
    folder = make_tiny_checkpoint("olmo", tmp_path)
    config = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4, "original_max_position_embeddings": 128}
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))
    with pytest.raises(ConfigError, match="--max-model-len 128"):
        assemble.build_engine(EngineConfig.of(model=str(folder), kv_cache_bytes=1 << 22))
