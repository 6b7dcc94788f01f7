"""Settings and methods of vLLM's `LLM`, for scripts that change only their import.

A value that asks for nothing Octavo would not do anyway is taken; another value, and what Octavo has not, is refused by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from octavo.config import EngineConfig
from octavo.config import settings as known_settings
from octavo.errors import ConfigError
from octavo.log import get_logger

__all__ = ["ABSENT_METHODS", "check_absent", "engine_settings"]

log = get_logger(__name__)

# Setting of vLLM -> values that change nothing here.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "async_scheduling": (None, True, False),
    "cpu_offload_gb": (0, 0.0),
    "data_parallel_size": (1,),
    "disable_custom_all_reduce": (True, False),
    "distributed_executor_backend": (None, "uni", "mp"),
    "enable_chunked_prefill": (None, True),
    "enable_expert_parallel": (False,),
    "enable_lora": (False,),
    "hf_config_path": (None,),
    "hf_overrides": (None, {}),
    "limit_mm_per_prompt": (None, {}),
    "pipeline_parallel_size": (1,),
    "quantization": (None,),
    "runner": ("auto", "generate"),
    "skip_tokenizer_init": (False,),
    "speculative_config": (None,),
    "tensor_parallel_size": (1,),
    "tokenizer": (None,),
    "tokenizer_mode": ("auto",),
    "tokenizer_revision": (None,),
    "trust_remote_code": (False,),
}
# Hints that cannot change an answer: taken with any value, with a line in the log.
_HINTS = frozenset(("compilation_config", "dtype", "enforce_eager", "gpu_memory_utilization", "max_seq_len_to_capture", "swap_space"))
_TASKS = {None: "auto", "score": "classify", "reward": "classify", "embedding": "embed"}  # vLLM's words for tasks -> ours
ABSENT_METHODS = frozenset(
    "apply_model collective_rpc get_metrics reset_prefix_cache reward sleep start_profile"  # noqa: SIM905
    " stop_profile wake_up".split()
)


def engine_settings(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of `EngineConfig`, by flat name, that these keyword arguments of a script mean.

    Raises:
        ConfigError: a setting that Octavo has not, by its name.
    """
    own = set(known_settings(EngineConfig))
    chosen: dict[str, Any] = {"model": model}
    for name, value in settings.items():
        if name == "task":
            chosen[name] = _TASKS.get(value, value)
        elif name in own:
            chosen[name] = value
        elif name in _RENAMED:
            chosen |= _RENAMED[name](value)
        elif name == "revision":
            chosen["model"] = f"{model}@{value}" if value else model
        elif name in _HINTS:
            log.info("%s has no effect in Octavo", name)
        elif value not in _NEUTRAL.get(name, ()):
            raise ConfigError(_refusal(name, value, own))
    return chosen


_RENAMED: dict[str, Callable[[Any], dict[str, Any]]] = {
    "disable_log_stats": lambda value: {"log_stats_s": 0.0} if value else {},
    "enable_prefix_caching": lambda value: {} if value is None else {"prefix_caching": value},
}


def _refusal(name: str, value: Any, own: set[str]) -> str:
    if name in _NEUTRAL:
        return f"{name}={value!r} asks for something that Octavo does not have; leave it out"
    import difflib

    close = difflib.get_close_matches(name, sorted(own | _NEUTRAL.keys()), 1)
    return f"LLM has no setting {name!r}" + (f"; did you mean {close[0]!r}?" if close else "; the settings are those of EngineConfig")


def check_absent(name: str, value: Any) -> None:
    """Refuse an argument of a method of vLLM's that Octavo takes only to ignore None."""
    if value is not None:
        raise ConfigError(f"Octavo has no {name} here; leave it out")
