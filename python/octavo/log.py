"""Logging: one logger tree named `octavo`, set up once by the command line, left to the host program otherwise."""

from __future__ import annotations

import logging
import sys

__all__ = ["configure", "get_logger"]

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module; `name` is its `__name__`."""
    return logging.getLogger(name)


def configure(level: str = "info") -> None:
    """Send the `octavo` logger to standard error at `level` (debug, info, warning, error)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%H:%M:%S"))
    logger = logging.getLogger("octavo")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
