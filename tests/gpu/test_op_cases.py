"""The list of op cases on a GPU: each in a graph of its own between embeddings, which give the operands, and a head that reads the result.

Cases that read arrays of the step, or integers, are held in C++ (cpp/tests/gpu) and by whole models.
"""

from __future__ import annotations

import numpy as np
import pytest

from kernels.cases import CASES, Case, Placed
from octavo._kernels import CudaDevice, Graph, Weight
from octavo._runtime import Batch
from octavo.platforms._gpu import blas_paths, open_library
from tolerances import relative_error

pytestmark = pytest.mark.gpu

LARGEST_ERROR = 1e-5  # of float32, over the largest expected value: see tests/tolerances.py


def _floats(arrays) -> bool:
    return all(np.issubdtype(array.dtype, np.floating) for array in arrays)


ROWS = [case for case in CASES if not case.step and case.reads and _floats(case.reads) and _floats(case.expected)]


@pytest.fixture(scope="module")
def device() -> CudaDevice:
    return open_library().open(0, "fp32", blas_paths())


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.id)
def test_a_kernel_follows_the_formula(case, device):
    for index, expected in enumerate(case.expected):
        assert relative_error(_run(case, index, device), expected) <= LARGEST_ERROR


def _run(case: Case, index: int, device: CudaDevice) -> np.ndarray:
    """Result `index` of the case's op."""
    num_rows = len(case.reads[0])
    graph = Graph()
    graph.paged_kv(1, 8, None)  # a program has pages, read or not
    reads = [graph.record("embedding", (), (_placed(Placed("embedding", read), device),), scale=1.0) for read in case.reads]
    weights = [None if weight is None else _placed(weight, device) for weight in case.weights]
    made = graph.record(case.op, reads, weights, **case.attributes)
    result = made[index] if isinstance(made, tuple) else made
    identity = Placed("linear", np.eye(graph.num_cols(result), dtype=np.float32))
    logits = graph.record("lm_head", (graph.record("select_logits_rows", (result,)),), (_placed(identity, device), None))
    graph.output("logits", logits)
    program = device.lower(graph, 1, num_rows, num_rows, 64)
    program.make_caches(4)
    batch = Batch(1, num_rows, num_rows, 64, 16)
    batch.start_row(0, list(range(num_rows)), num_rows)
    batch.prepare([0], [num_rows], [[list(range(-(-num_rows // 16)))]], [num_rows])
    return program.run(batch).copy()


def _placed(weight: Placed, device: CudaDevice) -> Weight:
    values = np.ascontiguousarray(weight.values, np.float32)
    if weight.kind == "array":
        return device.array(values)
    rows = (values.reshape(-1).view(np.uint8), "F32", len(values))
    return device.embedding(rows, values.shape[1]) if weight.kind == "embedding" else device.linear([rows], values.shape[1])
