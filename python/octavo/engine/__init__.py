"""The life of a request: submit, an asynchronous iterator of deltas, abort. README.md beside this file tells it in order."""

from __future__ import annotations

from octavo.engine.async_engine import AsyncEngine
from octavo.engine.engine_core import EngineCore
from octavo.engine.model_info import ModelInfo
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import EngineObserver, EngineStats, RequestSummary
from octavo.engine.step_pace import StepPace

__all__ = ["AsyncEngine", "EngineCore", "EngineObserver", "EngineStats", "ModelInfo", "RequestStream", "RequestSummary", "StepPace"]
