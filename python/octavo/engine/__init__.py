"""The life of a request: submit, an asynchronous iterator of deltas, abort. README.md beside this file tells it in order."""

from __future__ import annotations

from octavo.engine.async_engine import AsyncEngine
from octavo.engine.engine_core import EngineCore
from octavo.engine.late_plans import LatePlans
from octavo.engine.local_core import LocalCore
from octavo.engine.model_info import ModelInfo
from octavo.engine.port import Core, Engine
from octavo.engine.request_stream import RequestStream
from octavo.engine.stats import EngineObserver, EngineStats, RequestSummary
from octavo.engine.step_pace import StepPace

__all__ = [
    "AsyncEngine",
    "Core",
    "Engine",
    "EngineCore",
    "EngineObserver",
    "EngineStats",
    "LatePlans",
    "LocalCore",
    "ModelInfo",
    "RequestStream",
    "RequestSummary",
    "StepPace",
]
