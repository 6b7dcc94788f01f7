"""Tiny decoders on a GPU against the processor's exact float32: logits whatever the chunks, graphs on and off; draws on the device."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fakes.tiny_models import CONFIGS, tiny_checkpoint
from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.models import model_config
from octavo.platforms._gpu import blas_paths, open_library
from octavo.runner.cuda_executor import CudaExecutor, CudaSettings
from octavo.runner.executor import StepShape
from octavo.runner.step_program import StepProgramExecutor
from octavo.step import RowSampling, RowStart, StepPlan

pytestmark = pytest.mark.gpu

SHAPE = StepShape(max_num_seqs=8, max_num_tokens=256, max_num_logits=256, max_model_len=256, num_blocks=128, block_size=16)
LARGEST_ERROR_FP8 = 0.15
LARGEST_ERROR = {"fp32": 1e-4, "fp16": 6e-3, "bf16": 3e-2}  # of logits, over the largest


def gpu_executor(checkpoint, dtype: str, **settings) -> CudaExecutor:
    chosen = CudaSettings(dtype=dtype, kv_cache_bytes=64 << 20, **settings)
    return CudaExecutor(open_library().open(0, dtype, blas_paths()), model_config(checkpoint), checkpoint, SHAPE, ThreadPool(1), chosen)


def step_logits(executor, lengths: list[int], chunk: int, seed: int = 0) -> np.ndarray:
    """Logits of every position of some sequences, computed side by side, `chunk` tokens of each a step."""
    tokens = [np.random.default_rng([seed, row]).integers(0, 1000, length).tolist() for row, length in enumerate(lengths)]
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    for row, ids in enumerate(tokens):
        batch.start_row(row, ids, len(ids))
    found: list[list[np.ndarray]] = [[] for _ in lengths]
    for start in range(0, max(lengths), chunk):
        rows = [row for row, length in enumerate(lengths) if start < length]
        counts = [min(chunk, lengths[row] - start) for row in rows]
        blocks = [[] if start else list(range(row * 16, row * 16 + -(-lengths[row] // 16))) for row in rows]
        batch.prepare(rows, counts, [blocks], counts)
        logits = executor.execute(batch).copy()
        for row, part in zip(rows, np.split(logits, np.cumsum(counts)[:-1]), strict=True):
            found[row].append(part)
    return np.concatenate([np.concatenate(parts) for parts in found])


@pytest.fixture(scope="module", params=CONFIGS)
def checkpoint(request, tmp_path_factory):
    return tiny_checkpoint(request.param, tmp_path_factory.mktemp("tiny"))


LENGTHS = [40, 1, 77]


@pytest.fixture(scope="module")
def expected(checkpoint) -> np.ndarray:
    return step_logits(StepProgramExecutor(model_config(checkpoint), checkpoint, SHAPE, ThreadPool(2)), LENGTHS, 256)


@pytest.mark.parametrize("dtype", LARGEST_ERROR)
@pytest.mark.parametrize(
    ("chunk", "attention", "graphs"), [(256, "auto", True), (7, "auto", True), (1, "auto", True), (1, "auto", False), (7, "paged", True)]
)
def test_logits_are_the_processors(checkpoint, expected, dtype, chunk, attention, graphs):
    got = step_logits(gpu_executor(checkpoint, dtype, attention=attention, graphs=graphs), LENGTHS, chunk)
    check_logits(got, expected, LARGEST_ERROR[dtype])


def check_logits(got: np.ndarray, expected: np.ndarray, largest: float) -> None:
    error = np.abs(got - expected).max() / np.abs(expected).max()
    assert error <= largest, f"largest error {error:.2e} of the largest logit"


@pytest.mark.parametrize("dtype", ["fp16", "bf16"])
def test_keys_and_values_may_be_eight_bits(checkpoint, expected, dtype):
    """E4M3 keeps three bits of a fraction, half a unit of which is 6 % of a key and of a value; the logits average over many."""
    if model_config(checkpoint).model_type.startswith("deepseek"):
        with pytest.raises(ValueError, match="latents are of one head and of the activations' type"):
            gpu_executor(checkpoint, dtype, kv_cache_dtype="fp8")
        return
    executor = gpu_executor(checkpoint, dtype, kv_cache_dtype="fp8")
    assert executor.shape.kv_cache_dtype == "fp8"
    got = step_logits(executor, LENGTHS, 7)
    check_logits(got, expected, LARGEST_ERROR_FP8)


def test_tokens_that_the_host_has_not_seen_are_computed(checkpoint):
    """Two steps under way: greedy draws equal those of a host that waits for every token."""
    executor = gpu_executor(checkpoint, "fp32")
    prompts = [[5, 6, 7], list(range(20, 60))]
    num_outputs = 12
    sampling = RowSampling(temperature=0.0)
    started = [RowStart(row, prompt, len(prompt), sampling) for row, prompt in enumerate(prompts)]
    blocks = [[0, 1], [2, 3, 4, 5]]
    first = StepPlan(0, started=started, rows=[0, 1], num_scheduled_tokens=[3, 40], new_block_ids=[blocks], num_logits=[1, 1])
    plans = [replace(first, draws=[True, True], num_drafts=[0, 0])]
    for step in range(1, num_outputs):
        plan = StepPlan(step, rows=[0, 1], num_scheduled_tokens=[1, 1], new_block_ids=[[[], []]], num_logits=[1, 1])
        plans.append(replace(plan, draws=[True, True], num_drafts=[0, 0]))
    outputs: list[list[int]] = [[], []]
    for index, plan in enumerate(plans):
        executor.launch(plan)
        if index > 0:
            take(executor.collect(), outputs)
    take(executor.collect(), outputs)
    for row, prompt in enumerate(prompts):
        reference = StepProgramExecutor(model_config(checkpoint), checkpoint, SHAPE, ThreadPool(2))
        assert outputs[row] == greedy(reference, prompt, num_outputs)


def take(result, outputs: list[list[int]]) -> None:
    assert not result.errors
    for row, tokens in zip(result.rows, result.token_ids, strict=True):
        outputs[row] += tokens


def greedy(executor, prompt: list[int], num_outputs: int) -> list[int]:
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    batch.start_row(0, prompt, len(prompt))
    blocks, outputs, computed = list(range(8)), [], 0
    for _ in range(num_outputs):
        count = len(prompt) + len(outputs) - computed
        batch.prepare([0], [count], [[blocks]], [1])
        blocks, computed = [], computed + count
        outputs.append(int(executor.execute(batch)[0].argmax()))
        batch.append_tokens([0], outputs[-1:])
    return outputs
