"""Sound files to samples: one channel, 16,000 a second. libsndfile reads them, libsoxr changes their rate (`octavo[audio]`)."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from octavo.errors import InvalidRequestError

__all__ = ["SAMPLE_RATE", "read_audio"]

SAMPLE_RATE = 16_000
_LEAST_RATE, _MOST_RATE, _MOST_CHANNELS = 1_000, 768_000, 64
_LEAST_SECONDS = 0.01


def read_audio(data: bytes, *, max_seconds: float, param: str = "file") -> NDArray[np.float32]:
    """Return float32 [samples] of a WAV, FLAC, Ogg, MP3 or AIFF file; of several channels the mean.

    Args:
        max_seconds: a longer file is refused before it is decoded.
        param: what errors name.

    Raises:
        InvalidRequestError: it is none of these, is damaged, empty or too long, or the extra is not installed.
    """
    try:
        import soundfile
        import soxr
    except ImportError as error:
        raise InvalidRequestError(f"{param}: this installation reads no sound files; pip install 'octavo[audio]'", param) from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            if not _LEAST_RATE <= rate <= _MOST_RATE or not 1 <= channels <= _MOST_CHANNELS:
                raise InvalidRequestError(f"{param}: {channels} channels at {rate} samples a second cannot be read", param)
            most = int(max_seconds * rate) + 1  # a header may promise anything, so no more than that is ever read
            samples = file.read(min(most, file.frames) if file.frames > 0 else most, dtype="float32", always_2d=True)
            longer = file.frames >= most
    except soundfile.LibsndfileError as error:
        raise InvalidRequestError(f"{param}: this is no sound file that can be read (WAV, FLAC, Ogg, MP3, AIFF): {error}", param) from error
    if longer or len(samples) >= most:
        raise InvalidRequestError(
            f"{param}: the sound is longer than {max_seconds:g} seconds (--max-audio-seconds); send it in parts", param
        )
    if len(samples) < _LEAST_SECONDS * rate:
        raise InvalidRequestError(f"{param}: the sound is empty, or shorter than {_LEAST_SECONDS:g} seconds", param)
    mono = samples.mean(axis=1) if channels > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise InvalidRequestError(f"{param}: the sound has samples that are not finite numbers", param)
    return np.ascontiguousarray(mono if rate == SAMPLE_RATE else soxr.resample(mono, rate, SAMPLE_RATE), dtype=np.float32)
