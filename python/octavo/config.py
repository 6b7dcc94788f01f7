"""Settings of an engine, as one frozen dataclass: the command line, the offline API and the composition root all use it.

Each field's `help` metadata is its command-line help; the flag is the name with dashes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from octavo.errors import ConfigError

__all__ = ["EngineConfig", "ServerConfig"]


_MOST = {"max_num_seqs": 65536, "max_num_batched_tokens": 1 << 20}


def _option(default: Any, help_text: str, **extra: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **extra})


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How a model is loaded and run. Sizes are counts unless the name says otherwise."""

    model: str = _option(
        "", "folder (config.json + safetensors), .gguf file, or name on the Hugging Face hub; empty: the default model", positional=True
    )
    served_model_name: tuple[str, ...] = _option(
        (), "name in the API, repeatable: the first is shown, all are taken; default: the file's name"
    )
    device: str = _option("auto", "auto (a GPU where one can be used), cpu, cuda, cuda:1, or another torch device", choices=None)
    executor: str = _option(
        "auto", "step_program (C++ kernels, no torch) or eager (plain torch, the oracle)", choices=("auto", "step_program", "eager")
    )
    arithmetic: str = _option(
        "auto", "auto: 8-bit activations where weights are quantised; exact: float32 on the dequantised weights", choices=("auto", "exact")
    )
    dtype: str = _option(
        "auto", "on a GPU: type of weights, activations and KV cache; auto: bf16", choices=("auto", "bf16", "fp16", "fp32")
    )
    attention: str = _option(
        "auto",
        "on a GPU: flashinfer, or paged (Octavo's own); auto: the faster one that serves the model",
        choices=("auto", "flashinfer", "paged"),
    )
    gpu_memory_utilization: float = _option(0.9, "share of a GPU's memory that this process may take, KV cache included")
    load_format: str = _option("auto", "auto, or dummy: make random weights up from config.json alone", choices=("auto", "dummy"))
    max_model_len: int | None = _option(None, "context window in tokens; default: the model's own")
    max_num_seqs: int = _option(64, "most sequences that run at once")
    max_num_batched_tokens: int = _option(256, "token budget of a step")
    max_step_ms: float = _option(100.0, "milliseconds that a step takes, about, while prompts arrive and others decode; 0: any time")
    max_priority: int | None = _option(None, "most urgent priority of a request: a lower number counts as this one; default: any")
    max_waiting: int = _option(4096, "most choices (n of each prompt) that wait; one more is answered 503")
    block_size: int = _option(16, "tokens in a KV-cache block", choices=(16,))
    kv_cache_bytes: int | None = _option(
        None, "bytes for the KV cache; default: what the sequences can fill, at most 40 % of what the loaded model leaves"
    )
    kv_cache_dtype: str = _option(
        "auto",
        "element type of the KV cache; int8 has a scale per token and head; auto: fp16, or fp32 with --arithmetic exact",
        choices=("auto", "fp32", "bf16", "fp16", "int8"),
    )
    prefix_caching: bool = _option(True, "share the KV blocks of equal prefixes")
    threads: int | None = _option(None, "compute threads; default: one for each core that this process may use")
    pin_threads: bool = _option(False, "keep each compute thread on a core of its own; for a machine that nothing else uses")
    numa_node: int | None = _option(None, "compute on the cores of this NUMA node, with weights and KV cache in its memory; default: any")
    seed: int = _option(0, "seed of requests that name none is drawn from this; 0: from the clock")
    log_stats_s: float = _option(10.0, "seconds between lines of throughput statistics in the log; 0: none")

    def __post_init__(self) -> None:
        for name in ("max_model_len", "max_num_seqs", "max_num_batched_tokens", "max_waiting", "kv_cache_bytes", "threads"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it may be {most} at most")
        if self.numa_node is not None and self.numa_node < 0:
            raise ConfigError(f"--numa-node is {self.numa_node}; nodes are counted from 0")
        if not 0 < self.gpu_memory_utilization <= 1:
            raise ConfigError(f"--gpu-memory-utilization is {self.gpu_memory_utilization}; it must be above 0 and at most 1")
        if not self.max_step_ms >= 0:
            raise ConfigError(f"--max-step-ms is {self.max_step_ms}; it must be at least 0")
        if not isinstance(self.served_model_name, tuple):
            object.__setattr__(self, "served_model_name", (self.served_model_name,) if self.served_model_name else ())
        for setting in fields(self):
            choices = setting.metadata.get("choices")
            if choices and getattr(self, setting.name) not in choices:
                allowed = ", ".join(map(str, choices))
                raise ConfigError(f"--{setting.name.replace('_', '-')} is {getattr(self, setting.name)!r}; it must be one of: {allowed}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The HTTP edge."""

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = _option(8000, "port to listen on; 0: any free port")
    api_key: tuple[str, ...] = _option(
        (), "require this bearer token everywhere but on /health; may be repeated; OCTAVO_API_KEY in the environment is one more"
    )
    api_key_file: str | None = _option(None, "file with such keys, one a line")
    cors_origins: tuple[str, ...] = _option((), "web page's origin, such as https://app.example, that may use the API; *: any; repeatable")
    allowed_hosts: tuple[str, ...] = _option((), "further name that the server answers to when it listens on loopback; repeatable")
    trust_request_chat_template: bool = _option(False, "let a request bring its own chat template, a program that runs in a sandbox")
    max_body_bytes: int = _option(4 * 1024 * 1024, "largest request body; eight times as much where long data URIs make up the rest")
    body_timeout_s: float = _option(30.0, "seconds that a request body may take to arrive, and one more for each 64 KiB of it")
    idle_timeout_s: float = _option(75.0, "seconds that a connection may take to send the head of its next request")
    tool_parser: str | None = _option(
        None, "format of the model's tool calls, a name of octavo.parsers such as hermes or mistral, or none; default: by its chat template"
    )
    resume_s: float = _option(30.0, "seconds that a response of /v1/responses goes on without a reader, who may resume its stream")
    log_level: str = _option("info", "debug, info, warning or error", choices=("debug", "info", "warning", "error"))
    shutdown_s: float = _option(30.0, "seconds that running requests get to finish after SIGTERM")

    def __post_init__(self) -> None:
        if not 0 <= self.shutdown_s < math.inf:  # false for NaN
            raise ConfigError(f"--shutdown-s is {self.shutdown_s}; it must be a number of seconds, at least 0")
        if not 0 <= self.resume_s < math.inf:
            raise ConfigError(f"--resume-s is {self.resume_s}; it must be a number of seconds, at least 0")
        if self.max_body_bytes < 1:
            raise ConfigError(f"--max-body-bytes is {self.max_body_bytes}; it must be at least 1")
        for name in ("body_timeout_s", "idle_timeout_s"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be greater than 0")
        object.__setattr__(self, "cors_origins", tuple(origin.rstrip("/").lower() for origin in self.cors_origins))
        object.__setattr__(self, "allowed_hosts", tuple(name.lower() for name in self.allowed_hosts))
