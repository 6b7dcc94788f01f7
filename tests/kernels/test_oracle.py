"""The oracle against the list of op cases, and that the list knows every op."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from kernels.cases import CASES, ELSEWHERE, Case
from octavo.ops.reference import ReferenceOps

HERE = Path(__file__).parent
OP_TABLE = HERE.parents[1] / "cpp" / "ops" / "op_table.cc"


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array.astype(np.int64) if array.dtype == np.int32 else array)


def by_oracle(case: Case) -> list[torch.Tensor]:
    step = [SimpleNamespace(**{name: tensor(array) for name, array in case.step.items()})] if case.step else []
    weights = [None if weight is None else tensor(weight.values) for weight in case.weights]
    made = getattr(ReferenceOps(), case.op)(*step, *map(tensor, case.reads), *weights, **case.attributes)
    return [made] if isinstance(made, torch.Tensor) else list(made)


@pytest.mark.parametrize("case", [case for case in CASES if hasattr(ReferenceOps, case.op)], ids=lambda case: case.id)
def test_the_oracle_follows_the_formula(case: Case):
    """Torch rounds more often than the kernels do. The one op that it does not have, `choose_rows`, is a part of its `insert_media`."""
    for result, expected in zip(by_oracle(case), case.expected, strict=True):
        np.testing.assert_allclose(result.numpy(), expected, rtol=4 * case.rtol, atol=4 * case.atol + 2e-6 * (case.rtol > 0))


def test_every_op_has_its_cases_or_a_file_of_its_own():
    names = set(re.findall(r"^  OP\((\w+)\)", OP_TABLE.read_text(), re.MULTILINE))
    listed = {case.op for case in CASES}
    assert len(names) > 30 and names - listed - ELSEWHERE.keys() == set(), "ops without a test"
    assert ELSEWHERE.keys() & listed == set()
    untested = [op for op, name in ELSEWHERE.items() if op not in (HERE / name).read_text()]
    assert untested == [], "files that do not name the op that they test"
