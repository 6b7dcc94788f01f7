"""Logging: one logger tree named `octavo`, set up once by the command line, left to the host program otherwise.

A line that is written while a request is served carries the request's id.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from contextvars import ContextVar

__all__ = ["REQUEST_ID", "configure", "get_logger"]

REQUEST_ID: ContextVar[str] = ContextVar("octavo_request_id", default="")
"""Names the request that this task serves, as its answer's X-Request-Id does; "": none."""


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module; `name` is its `__name__`."""
    return logging.getLogger(name)


def configure(level: str = "info", format: str = "text") -> None:
    """Send the `octavo` logger, and warnings of everybody else, to standard error.

    Args:
        level: debug, info, warning or error; of the `octavo` logger.
        format: text, or json: one object a line with `time` (UTC, ISO 8601), `level`, `logger`, `message`, `request_id` and `exception`
            where there are any, and the fields that a record brings as `extra={"fields": {...}}`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if format == "json" else _TextFormatter())
    logger = logging.getLogger("octavo")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    logging.getLogger().handlers[:] = [handler]


class _TextFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(request)s%(message)s", datefmt="%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        request_id = REQUEST_ID.get()
        record.request = f"[{request_id}] " if request_id else ""
        return super().format(record)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        whole, part = divmod(record.created, 1)
        line: dict[str, object] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int(part * 1e6):06d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request_id"] = request_id
        line |= getattr(record, "fields", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)
