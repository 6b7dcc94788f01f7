"""Models whose layers keep a state per sequence: logits of transformers; the same tokens in chunks, crowds and after preemption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from executors import all_logits, eager, step_program
from harness import Run, run_engine
from make_tiny_checkpoint import make_tiny_checkpoint
from transformers import AutoModelForCausalLM

from octavo import LLM, SamplingParams
from octavo._kernels import KVCache
from octavo.checkpoint import open_checkpoint
from octavo.errors import ConfigError
from octavo.llm_beams import BeamSearchParams
from octavo.models import model_config
from octavo.runner.step_program import StepProgramExecutor

CASES = {
    "mamba2": ("mamba2", {}),
    "mamba2-biases": ("mamba2", {"use_bias": True, "n_groups": 1, "head_dim": 8, "num_heads": 16, "tie_word_embeddings": True}),
    "bamba": ("bamba", {}),
    "falcon_h1": ("falcon_h1", {}),
    "falcon_h1-norm": ("falcon_h1", {"mamba_rms_norm": True, "mamba_d_ssm": None, "mamba_n_heads": 8, "attention_bias": True}),
    "falcon_h1-norm-behind": ("falcon_h1", {"mamba_rms_norm": True, "mamba_norm_before_gate": False, "projectors_bias": True}),
    "qwen3_next": ("qwen3_next", {}),
    "qwen3_next-every-other": ("qwen3_next", {"full_attention_interval": 2, "attention_bias": True, "mlp_only_layers": [1]}),
}
NUM_TOKENS = 64


@pytest.fixture(scope="module", params=CASES, ids=str)
def folder(request, tmp_path_factory) -> Path:
    model_type, settings = CASES[request.param]
    return make_tiny_checkpoint(model_type, tmp_path_factory.mktemp(request.param), **settings)


def prompts(count: int) -> list[list[int]]:
    return [torch.randint(0, 256, (20 + 9 * seed,), generator=torch.Generator().manual_seed(seed)).tolist() for seed in range(count)]


def expected_logits(folder: Path, tokens: list[int]) -> np.ndarray:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.inference_mode():
        return model(torch.tensor([tokens])).logits[0].numpy()


@pytest.mark.parametrize("build", [step_program, eager])
def test_logits_equal_transformers(folder, build):
    tokens = torch.randint(0, 256, (150,), generator=torch.Generator().manual_seed(7)).tolist()
    expected = expected_logits(folder, tokens)
    assert np.abs(all_logits(build(folder), tokens) - expected).max() <= 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize("chunk", [1, 7, 16, 100])
def test_chunked_logits_are_the_same_bits(folder, chunk):
    tokens = prompts(8)[-1]
    executor = step_program(folder)
    whole = all_logits(executor, tokens)
    np.testing.assert_array_equal(all_logits(executor, tokens, chunk), whole)  # a row that was used before begins anew


def test_crowds_and_preemptions_change_no_token(folder, monkeypatch):
    def run(**settings: object) -> Run:
        settings = {"together": True, "arithmetic": "exact", "max_model_len": 256, "max_num_seqs": 4, **settings}
        return run_engine(folder, prompts(6), max_tokens=NUM_TOKENS, monkeypatch=monkeypatch, **settings)

    alone = run(together=False, max_num_seqs=1, max_num_batched_tokens=256)
    together = run(max_num_batched_tokens=24)
    assert together.token_ids == alone.token_ids
    tokens = prompts(1)[0]
    output = alone.token_ids[0]
    logits = expected_logits(folder, tokens + output[:-1])[len(tokens) - 1 :]
    best = np.sort(logits, axis=-1)[:, -2:]
    assert all(token == row.argmax() or gap < 1e-4 for token, row, gap in zip(output, logits, best[:, 1] - best[:, 0], strict=True))
    caches = paged_bytes(folder)
    if caches:
        few = run(max_num_batched_tokens=24, kv_cache_bytes=4 * state_bytes(folder) + 20 * caches)
        assert few.num_preemptions > 0
        assert few.token_ids == alone.token_ids


def test_samples_take_over_the_states_of_their_prompt(folder, monkeypatch):
    (prompt,) = prompts(1)
    params, copies = SamplingParams(n=3, seed=5, max_tokens=12, ignore_eos=True), []
    copy_states = StepProgramExecutor.copy_states
    monkeypatch.setattr(StepProgramExecutor, "copy_states", lambda executor, *rows: copies.append(rows) or copy_states(executor, *rows))

    def samples(**settings: int) -> list[list[int]]:
        with LLM(str(folder), max_model_len=256, threads=2, arithmetic="exact", **settings) as llm:
            return [each.token_ids for each in llm.generate([prompt], params)[0].outputs]

    together = samples(max_num_batched_tokens=8)
    assert len(copies) == 2
    assert samples(max_num_seqs=1) == together  # each computes the prompt
    assert len(copies) == 2


def test_equal_prefixes_are_found_with_their_states(folder):
    base = torch.randint(0, 256, (150,), generator=torch.Generator().manual_seed(3)).tolist()
    turns = [base, [*base, 7, 8, 9], base[:100] + prompts(2)[1], base[:100] + prompts(3)[2], base[:60]]
    params = SamplingParams(max_tokens=8, ignore_eos=True, temperature=0)

    def run(**settings: object) -> list[tuple[list[int], int]]:
        with LLM(str(folder), max_model_len=256, max_num_seqs=2, threads=2, arithmetic="exact", **settings) as llm:
            outputs = [llm.generate([turn], params)[0] for turn in turns]
        return [(output.outputs[0].token_ids, output.num_cached_tokens) for output in outputs]

    plain, cached = run(prefix_caching=False), run(max_num_batched_tokens=64)
    assert [tokens for tokens, _ in cached] == [tokens for tokens, _ in plain]
    # the next turn goes on behind the last whole block; the second prompt that shares a beginning leaves a copy for the third
    assert [count for _, count in cached] == [0, 144, 0, 96, 0]


def test_samples_and_beams_of_one_prompt_have_states_of_their_own(folder):
    (prompt,) = prompts(1)
    with LLM(str(folder), max_model_len=256, threads=2, arithmetic="exact") as llm:
        samples, again = (llm.generate([prompt], SamplingParams(n=3, seed=5, max_tokens=24, ignore_eos=True))[0] for _ in range(2))
        (search,) = llm.beam_search([prompt], BeamSearchParams(beam_width=3, max_tokens=12, ignore_eos=True))
    assert [each.token_ids for each in samples.outputs] == [each.token_ids for each in again.outputs]
    assert len({tuple(each.token_ids) for each in samples.outputs}) == 3
    for beam in search.sequences:
        tokens = torch.tensor(beam.tokens)
        logprobs = torch.from_numpy(expected_logits(folder, beam.tokens)).log_softmax(-1)[len(prompt) - 1 : -1]
        assert beam.cum_logprob == pytest.approx(logprobs.gather(1, tokens[len(prompt) :, None]).sum().item(), abs=1e-3)


def test_states_that_do_not_fit_are_refused(folder):
    with pytest.raises(ConfigError, match="the states of 8 sequences need"):
        LLM(str(folder), max_model_len=256, max_num_seqs=8, kv_cache_bytes=1000)


def state_bytes(folder: Path) -> int:
    """Of one sequence: (tokens of the convolution + state of the scan), 4 bytes each."""
    config = model_config(open_checkpoint(folder))
    if config.ssm is not None:
        ssm, inner = config.ssm, config.ssm.num_heads * config.ssm.head_dim
        convolution = (ssm.conv_kernel - 1) * (inner + 2 * ssm.num_groups * ssm.state_size)
        scan = ssm.num_heads * ssm.state_size * -(-ssm.head_dim // 16) * 16
    else:
        delta = config.delta
        convolution = (delta.conv_kernel - 1) * (2 * delta.num_key_heads * delta.key_dim + delta.num_heads * delta.value_dim)
        scan = delta.num_heads * delta.key_dim * -(-delta.value_dim // 16) * 16
    num_layers = sum(config.recurrent_layers) if config.recurrent_layers else config.num_layers
    return 4 * num_layers * (convolution + scan)


def paged_bytes(folder: Path) -> int:
    """Of a block of the layers that attend; 0 where none does."""
    config = model_config(open_checkpoint(folder))
    num_layers = config.recurrent_layers.count(False)
    return KVCache.bytes_per_block(num_layers, 16, config.num_kv_heads, config.head_dim) if num_layers else 0
