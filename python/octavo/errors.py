"""Every error that Octavo raises on purpose.

An error says what is wrong, names the field or file at fault, and says what to do about it.
`OctavoError` is the root; the command line prints its text without a traceback.
"""

from __future__ import annotations

__all__ = [
    "CONTEXT_LENGTH_EXCEEDED",
    "CheckpointError",
    "ConfigError",
    "EngineDeadError",
    "InvalidRequestError",
    "OctavoError",
    "QueueFullError",
]

CONTEXT_LENGTH_EXCEEDED = "context_length_exceeded"  # agents look for it, and for "maximum context length", to shorten and try again


class OctavoError(Exception):
    """Root of the errors that are the user's to read."""


class ConfigError(OctavoError):
    """An engine setting, or a combination of them, that cannot work on this machine or with this model."""


class CheckpointError(OctavoError):
    """A model file that is missing, truncated, malformed or of an unknown architecture. Names the file, tensor or key."""


class InvalidRequestError(OctavoError):
    """A request that can never be served as it stands (HTTP 400).

    Attributes:
        param: name of the request field at fault, or None where no single field is.
        code: a word for programs, such as `context_length_exceeded`; `invalid_value` where no other fits.
    """

    def __init__(self, message: str, param: str | None = None, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class QueueFullError(OctavoError):
    """The waiting queue is at its limit; the request may be sent again later (HTTP 503)."""


class EngineDeadError(OctavoError):
    """The engine stopped after a fault in its runner; no request can be served until it is restarted (HTTP 503)."""
