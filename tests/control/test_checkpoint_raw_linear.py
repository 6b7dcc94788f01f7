"""A linear layer's matrix is read by the layer's name; codes that a placement cannot pack are refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from octavo.checkpoint.raw_linear import Codes, RawLinear, StoredMethod
from octavo.checkpoint.raw_tensor import RawTensor
from octavo.errors import CheckpointError


def raw(name: str, shape: tuple[int, ...]) -> RawTensor:
    return RawTensor(name, shape, "F32", np.zeros(4 * int(np.prod(shape)), np.uint8))


def test_a_stored_matrix_is_read_by_the_layers_name():
    linear = StoredMethod().read(raw, "model.layers.0.mlp.up_proj", (6, 4))
    assert (linear.name, linear.shape) == ("model.layers.0.mlp.up_proj", (6, 4))
    assert linear.values().name == "model.layers.0.mlp.up_proj.weight"


def test_codes_that_cannot_be_packed_are_refused():
    linear = RawLinear("lm_head", (6, 32), Codes(raw("lm_head.qweight", (6, 4)), 4, 32, raw("lm_head.scales", (6, 1))))
    with pytest.raises(CheckpointError, match="lm_head: codes of 4 bits"):
        linear.values()
