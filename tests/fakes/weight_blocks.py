"""Random raw weight blocks of every storage format, and what they stand for according to the `gguf` package."""

from __future__ import annotations

import gguf
import numpy as np
from numpy.typing import NDArray

HALF_FIELDS = {  # byte offsets of the scales (and mins) in a block
    "Q8_0": (0,),
    "Q4_0": (0,),
    "Q4_1": (0, 2),
    "Q5_0": (0,),
    "Q5_1": (0, 2),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
}
GROUPS = {"U4_G32": 32, "U4_G64": 64, "U4_G128": 128, "U8_G32": 32, "U8_G128": 128}
FORMATS = ("F32", "F16", "BF16", *HALF_FIELDS, *GROUPS)


def block_elements(format: str) -> int:
    if format in GROUPS:
        return GROUPS[format]
    return int(gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]][0])


def random_blocks(format: str, num_elements: int, rng: np.random.Generator, *, extreme: bool = False) -> NDArray[np.uint8]:
    """Bytes [format_bytes]. Scales are about 0.01, or any finite half float, subnormals and both zeros too, if `extreme`."""
    if format == "F32":
        return rng.standard_normal(num_elements, np.float32).view(np.uint8)
    if format == "F16":
        return _halves(num_elements, rng, extreme).view(np.uint8)
    if format == "BF16":
        return (rng.standard_normal(num_elements, np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    if format in GROUPS:
        blocks = np.empty(num_elements // GROUPS[format], _group_block(format))
        blocks["codes"] = rng.integers(0, 16 if format.startswith("U4") else 256, blocks["codes"].shape, np.uint8)
        blocks["scale"], blocks["min"] = _halves(len(blocks), rng, extreme), _halves(len(blocks), rng, extreme)
        return blocks.view(np.uint8).reshape(-1)
    elements, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]]
    blocks = rng.integers(0, 256, (num_elements // elements, block_bytes), np.uint8)
    for offset in HALF_FIELDS[format]:
        blocks[:, offset : offset + 2] = _halves(len(blocks), rng, extreme).view(np.uint8).reshape(-1, 2)
    return blocks.reshape(-1)


def expected_values(data: NDArray[np.uint8], format: str) -> NDArray[np.float32]:
    if format in GROUPS:
        blocks = data.view(_group_block(format))
        return (blocks["codes"] * blocks["scale"][:, None] + blocks["min"][:, None]).reshape(-1)
    return gguf.dequantize(data, gguf.GGMLQuantizationType[format]).reshape(-1)


def _group_block(format: str) -> np.dtype:
    return np.dtype([("scale", "<f4"), ("min", "<f4"), ("codes", "u1", (GROUPS[format],))])


def _halves(count: int, rng: np.random.Generator, extreme: bool) -> NDArray[np.float16]:
    if not extreme:
        return (rng.standard_normal(count) * 0.01).astype(np.float16)
    bits = rng.integers(0, 1 << 16, count, np.uint16)
    return np.where((bits & 0x7C00) == 0x7C00, bits & 0x83FF, bits).astype(np.uint16).view(np.float16)
