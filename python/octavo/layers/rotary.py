"""Rotary position embedding: the table of cosines and sines, for every scaling of the supported families.

Su et al. 2021 (RoFormer); linear: Chen et al. 2023 (position interpolation); dynamic: NTK-aware base, fixed at the context window
that is served, because frequencies that move with the length would invalidate cached keys; yarn: Peng et al. 2023; llama3: the
wavelength-dependent scaling of Llama 3.1, as formula or as a table of factors (GGUF's rope_freqs); longrope: Ding et al. 2024.

Angles are computed in float32 as transformers does, so that both round alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from octavo.checkpoint.model_config import RopeConfig

__all__ = ["position_scale", "rope_table"]

Frequencies = NDArray[np.float32]


def rope_table(rope: RopeConfig, num_positions: int) -> NDArray[np.float32]:
    """Return float32 [num_positions, rotary_dim]: rotary_dim / 2 cosines, then as many sines."""
    frequencies, amplitude = _SCALINGS[rope.scaling](rope, rope.rotary_dim, num_positions)
    angles = np.arange(num_positions, dtype=np.float32)[:, None] * frequencies
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1) * np.float32(amplitude)


def position_scale(factors: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Return a table [num_positions, head_dim] with which the rotation turns nothing and scales by a factor per position."""
    cosines = np.repeat(factors[:, None], head_dim // 2, axis=1)
    return np.concatenate([cosines, np.zeros_like(cosines)], axis=1).astype(np.float32)


def _base_frequencies(theta: float, rotary_dim: int) -> Frequencies:
    exponents = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    return (np.float32(1.0) / np.float32(theta) ** exponents).astype(np.float32)


def _default(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    return _base_frequencies(rope.theta, rotary_dim), 1.0


def _linear(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    return _base_frequencies(rope.theta, rotary_dim) / np.float32(rope.parameters["factor"]), 1.0


def _dynamic(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    factor, original = rope.parameters["factor"], rope.parameters["original_max_position_embeddings"]
    stretch = max(1.0, factor * num_positions / original - (factor - 1))
    return _base_frequencies(rope.theta * stretch ** (rotary_dim / (rotary_dim - 2)), rotary_dim), 1.0


def _llama3(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    factor, low, high = (np.float32(rope.parameters[key]) for key in ("factor", "low_freq_factor", "high_freq_factor"))
    original = rope.parameters["original_max_position_embeddings"]
    frequencies = _base_frequencies(rope.theta, rotary_dim)
    wavelengths = np.float32(2 * math.pi) / frequencies
    blend = (original / wavelengths - low) / (high - low)
    smoothed = (1 - blend) * frequencies / factor + blend * frequencies
    scaled = np.where(wavelengths > original / low, frequencies / factor, smoothed)
    return np.where(wavelengths < original / high, frequencies, scaled).astype(np.float32), 1.0


def _llama3_factors(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    factors = np.asarray(rope.parameters["factors"], dtype=np.float32)
    return (_base_frequencies(rope.theta, rotary_dim) / factors).astype(np.float32), 1.0


def _longrope(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    """Factors for the original window or beyond it, by the window that is served: cached keys hold for one of them only."""
    original = rope.parameters["original_max_position_embeddings"]
    factors = np.asarray(rope.parameters["long_factor" if num_positions > original else "short_factor"], dtype=np.float32)
    stretch = rope.parameters.get("factor", 1.0)
    amplitude = rope.parameters.get("attention_factor")
    if amplitude is None:
        amplitude = math.sqrt(1 + math.log(stretch) / math.log(original)) if stretch > 1 else 1.0
    exponents = np.arange(0, rotary_dim, 2, dtype=np.float32) / np.float32(rotary_dim)
    return (np.float32(1.0) / (factors * np.float32(rope.theta) ** exponents)).astype(np.float32), amplitude


def _yarn(rope: RopeConfig, rotary_dim: int, num_positions: int) -> tuple[Frequencies, float]:
    factor, original = rope.parameters["factor"], rope.parameters["original_max_position_embeddings"]
    low = _yarn_dim(rope, rotary_dim, rope.parameters.get("beta_fast") or 32, original)
    high = _yarn_dim(rope, rotary_dim, rope.parameters.get("beta_slow") or 1, original)
    if rope.parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, rotary_dim - 1)
    ramp = (np.arange(rotary_dim // 2, dtype=np.float32) - np.float32(low)) / np.float32(max(high - low, 0.001))
    keep = 1 - np.clip(ramp, 0, 1)
    frequencies = _base_frequencies(rope.theta, rotary_dim)
    blended = frequencies / np.float32(factor) * (1 - keep) + frequencies * keep
    return blended.astype(np.float32), _yarn_amplitude(rope, factor)


def _yarn_dim(rope: RopeConfig, rotary_dim: int, rotations: float, original: int) -> float:
    """The (fractional) frequency that makes this many rotations over the original context."""
    return rotary_dim * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(rope.theta))


def _yarn_amplitude(rope: RopeConfig, factor: float) -> float:
    def growth(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    given = rope.parameters.get("attention_factor")
    if given is not None:
        return given
    mscale, mscale_all = rope.parameters.get("mscale"), rope.parameters.get("mscale_all_dim")
    return growth(mscale) / growth(mscale_all) if mscale and mscale_all else growth(1.0)


_SCALINGS: dict[str, Callable[[RopeConfig, int, int], tuple[Frequencies, float]]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _dynamic,
    "llama3": _llama3,
    "llama3_factors": _llama3_factors,
    "yarn": _yarn,
    "longrope": _longrope,
}
