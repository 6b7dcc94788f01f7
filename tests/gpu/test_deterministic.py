"""`--deterministic`: a sequence's logits have the same bits whatever runs beside it, however it is cut into steps, graphs on and off."""

from __future__ import annotations

import numpy as np
import pytest

from fakes.tiny_models import CONFIGS, tiny_checkpoint
from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.models import model_config
from octavo.platforms._gpu import blas_paths, open_library
from octavo.runner.cuda_executor import CudaExecutor, CudaSettings
from octavo.runner.executor import StepShape

pytestmark = pytest.mark.gpu

SHAPE = StepShape(max_num_seqs=8, max_num_tokens=512, max_num_logits=512, max_model_len=512, num_blocks=256, block_size=16)
LENGTHS = [40, 1, 77, 200, 16]


def deterministic(checkpoint, dtype: str, graphs: bool = True) -> CudaExecutor:
    device = open_library().open(0, dtype, blas_paths(), deterministic=True)
    settings = CudaSettings(dtype=dtype, kv_cache_bytes=64 << 20, graphs=graphs)
    return CudaExecutor(device, model_config(checkpoint), checkpoint, SHAPE, ThreadPool(1), settings)


def sequence(row: int) -> list[int]:
    return np.random.default_rng([9, row]).integers(0, 1000, LENGTHS[row]).tolist()


def logits_of(executor: CudaExecutor, rows: list[int], chunk: int) -> dict[int, np.ndarray]:
    """The logits [n, V] of these sequences, `chunk` tokens of each a step, side by side."""
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    for row in rows:
        batch.start_row(row, sequence(row), LENGTHS[row])
    found: dict[int, list[np.ndarray]] = {row: [] for row in rows}
    for start in range(0, max(LENGTHS[row] for row in rows), chunk):
        running = [row for row in rows if start < LENGTHS[row]]
        counts = [min(chunk, LENGTHS[row] - start) for row in running]
        blocks = [[] if start else list(range(row * 32, row * 32 + -(-LENGTHS[row] // 16))) for row in running]
        batch.prepare(running, counts, [blocks], counts)
        logits = executor.execute(batch).copy()
        for row, part in zip(running, np.split(logits, np.cumsum(counts)[:-1]), strict=True):
            found[row].append(part)
    return {row: np.concatenate(parts) for row, parts in found.items()}


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("family", [name for name in CONFIGS if "heads of 80" in name] + ["llama", "qwen3", "gemma3", "mixtral"])
def test_logits_have_the_same_bits(family, dtype, tmp_path):
    checkpoint = tiny_checkpoint(family, tmp_path)
    every = list(range(len(LENGTHS)))
    executor = deterministic(checkpoint, dtype)
    expected = logits_of(executor, every, 512)
    ways = [logits_of(executor, every, chunk) for chunk in (1, 7, 64)]
    ways += [logits_of(executor, [row], chunk) for row in (0, 3) for chunk in (512, 33)]
    ways.append(logits_of(deterministic(checkpoint, dtype, graphs=False), every[::-1], 1))
    for way in ways:
        for row, logits in way.items():
            assert np.array_equal(logits.view(np.uint32), expected[row].view(np.uint32)), (
                f"sequence {row}: {np.abs(logits - expected[row]).max()}"
            )
