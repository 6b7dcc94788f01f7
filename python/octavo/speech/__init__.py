"""Speech to text: sound files to log-mel frames, 30 seconds at a time, through the engine to segments with times (Radford et al. 2022).

bytes --audio_file--> samples --log_mel--> Picture of a window --engine--> tokens --segments--> Segment, and where the next window begins
"""

from __future__ import annotations

from octavo.speech.audio_file import SAMPLE_RATE, read_audio
from octavo.speech.segments import Segment
from octavo.speech.transcriber import Transcriber, TranscriptionOptions

__all__ = ["SAMPLE_RATE", "Segment", "Transcriber", "TranscriptionOptions", "read_audio"]
