"""Octavo serves large language models: paged KV cache, continuous batching, an OpenAI-compatible server.

The public names are resolved when they are first used, so `import octavo` costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from octavo.config import EngineConfig
    from octavo.engine.async_engine import AsyncEngine
    from octavo.llm import LLM
    from octavo.llm_beams import BeamSearchParams
    from octavo.types import Logprob, RequestOutput, SamplingParams

__all__ = ["LLM", "AsyncEngine", "BeamSearchParams", "EngineConfig", "Logprob", "RequestOutput", "SamplingParams", "__version__"]

_HOME = {
    "LLM": "octavo.llm",
    "AsyncEngine": "octavo.engine.async_engine",
    "BeamSearchParams": "octavo.llm_beams",
    "EngineConfig": "octavo.config",
    "Logprob": "octavo.types",
    "RequestOutput": "octavo.types",
    "SamplingParams": "octavo.types",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = import_module("octavo._runtime").version()
    elif name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    else:
        raise AttributeError(f"module 'octavo' has no attribute {name!r}")
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
