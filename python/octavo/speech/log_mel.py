"""Log-mel spectrograms as Whisper was trained on them (Radford et al. 2022), in numpy, and what its encoder reads of a window.

Frames of 400 samples, 160 apart, under a Hann window; powers are summed over triangles that are evenly spaced on Slaney's mel scale
("Auditory Toolbox", 1998) and have equal areas; then the logarithm, cut off 8 below its greatest value and scaled.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from octavo.speech.audio_file import SAMPLE_RATE
from octavo.types import Picture

__all__ = ["WINDOW_SECONDS", "log_mel", "window_picture"]

WINDOW_SECONDS = 30
_WINDOW, _HOP = 400, 160
_LINEAR_HZ = 1000.0  # below it mels are linear, 3 for each 200 Hz
_LINEAR_MELS = 15.0
_LOG_STEP = np.log(6.4) / 27.0

Floats = NDArray[np.float32]


def log_mel(samples: Floats, num_mels: int, num_samples: int) -> Floats:
    """float32 [num_samples / 160, num_mels] of samples, zeros behind them up to `num_samples`."""
    padded = np.zeros(num_samples, np.float32)
    padded[: len(samples)] = samples[:num_samples]
    around = np.pad(padded, _WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(around, _WINDOW)[::_HOP][:-1]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)
    powers = np.abs(np.fft.rfft(frames * hann)) ** 2
    logs = np.log10(np.maximum(powers @ _mel_filters(num_mels), 1e-10))
    return ((np.maximum(logs, logs.max() - 8.0) + 4.0) / 4.0).astype(np.float32)


def window_picture(samples: Floats, num_mels: int, num_positions: int) -> Picture:
    """What the encoder reads of up to 30 seconds: for each of its positions seven frames (`towers/whisper.py`)."""
    mel = log_mel(samples, num_mels, 2 * num_positions * _HOP)
    frames = np.zeros((2 * num_positions + 4, num_mels), np.float32)
    frames[2:-2] = mel
    first = 2 * np.arange(num_positions)[:, None]  # of frame 2 t - 2
    patches = np.concatenate([frames[first + np.arange(3)], frames[first + np.arange(1, 5)]], axis=1)
    patches[0, :3] = 0.0
    data, places = patches.tobytes(), np.arange(num_positions, dtype=np.int32).tobytes()
    return Picture(hashlib.sha256(data).digest(), data, places, places, (num_positions,), num_positions)


@lru_cache(maxsize=4)
def _mel_filters(num_mels: int) -> NDArray[np.float64]:
    """[201, num_mels]."""
    edges = _hz_of(np.linspace(0.0, _mels_of(SAMPLE_RATE / 2), num_mels + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, _WINDOW // 2 + 1)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rising, falling)) * (2.0 / (edges[2:] - edges[:-2]))


def _mels_of(hz: float) -> float:
    return hz * 3 / 200 if hz < _LINEAR_HZ else _LINEAR_MELS + float(np.log(hz / _LINEAR_HZ)) / _LOG_STEP


def _hz_of(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mels < _LINEAR_MELS, mels * 200 / 3, _LINEAR_HZ * np.exp(_LOG_STEP * (mels - _LINEAR_MELS)))
