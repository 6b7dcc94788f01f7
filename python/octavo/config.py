"""Settings as frozen dataclasses: the command line, the offline API and the composition root all use them.

A field is a flag: its name with dashes, its `help` metadata the text, `least`, `above`, `most` and `choices` what it may be. Fields that
belong together are a section, a dataclass of its own. Flags and keyword arguments stay flat, so that a setting may move to another section.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_type_hints

from octavo.errors import ConfigError

__all__ = [
    "CacheConfig",
    "EngineConfig",
    "LimitsConfig",
    "PlacementConfig",
    "SchedulingConfig",
    "ServerConfig",
    "Setting",
    "TlsConfig",
    "from_flat",
    "settings",
    "to_flat",
]

ConfigT = TypeVar("ConfigT")


class Setting(NamedTuple):
    """A field that is a flag.

    Attributes:
        section: the field of the whole configuration that holds it; "": it stands there itself.
        kind: its type.
    """

    section: str
    field: Field[Any]
    kind: Any


def settings(config_class: type) -> dict[str, Setting]:
    """Flat name -> setting, of a configuration and its sections, in the order of their fields."""
    found: dict[str, Setting] = {}
    types = get_type_hints(config_class)
    for each in fields(config_class):
        section = _section_class(each)
        if section is None:
            found[each.name] = Setting("", each, types[each.name])
        else:
            found |= {name: setting._replace(section=each.name) for name, setting in settings(section).items()}
    return found


def from_flat(config_class: type[ConfigT], values: Mapping[str, Any]) -> ConfigT:
    """Build a configuration, and its sections, from values by flat name; what is left out is at its default.

    Raises:
        ConfigError: a value out of range; names the flag.
        TypeError: a name that is no setting.
    """
    known = settings(config_class)
    sections = _sections(config_class)
    parts: dict[str, dict[str, Any]] = {name: {} for name in ("", *sections)}
    for name, value in values.items():
        if name not in known:
            raise TypeError(f"{config_class.__name__} has no setting {name!r}")
        parts[known[name].section][name] = value
    built = {name: section(**parts[name]) for name, section in sections.items()}
    return config_class(**parts[""], **built)


def to_flat(config: Any) -> dict[str, Any]:
    """The value of each setting, by flat name."""
    return {
        name: getattr(getattr(config, setting.section) if setting.section else config, name)
        for name, setting in settings(type(config)).items()
    }


def _sections(config_class: type) -> dict[str, type]:
    """Field -> class, of the sections."""
    return {each.name: section for each in fields(config_class) if (section := _section_class(each)) is not None}


def _section_class(each: Field[Any]) -> type | None:
    made_by = each.default_factory
    return made_by if isinstance(made_by, type) and is_dataclass(made_by) else None


def _option(default: Any, help_text: str, **extra: Any) -> Any:
    return field(default=default, metadata={"help": help_text, **extra})


def _check(config: Any) -> None:
    """Hold each field to what its metadata says. Every comparison is false for NaN."""
    for each in fields(config):
        value, flag, may = getattr(config, each.name), f"--{each.name.replace('_', '-')}", each.metadata
        if value is None:
            continue
        if "least" in may and not value >= may["least"]:
            raise ConfigError(f"{flag} is {value}; it must be at least {may['least']}")
        if "above" in may and not value > may["above"]:
            raise ConfigError(f"{flag} is {value}; it must be greater than {may['above']}")
        if "most" in may and not value <= may["most"]:
            raise ConfigError(f"{flag} is {value}; it may be {may['most']} at most")
        if may.get("choices") and value not in may["choices"]:
            raise ConfigError(f"{flag} is {value!r}; it must be one of: {', '.join(map(str, may['choices']))}")


@dataclass(frozen=True, slots=True)
class CacheConfig:
    """The KV cache."""

    block_size: int = _option(16, "tokens in a KV-cache block", choices=(16,))
    kv_cache_bytes: int | None = _option(
        None, "bytes for the KV cache; default: what the sequences can fill, at most 40 % of what the loaded model leaves", least=1
    )
    kv_cache_dtype: str = _option(
        "auto",
        "element type of the KV cache; int8 has a scale per token and head, fp8 is for GPUs; auto: fp16, or fp32 with --arithmetic exact, "
        "on a GPU --dtype",
        choices=("auto", "fp32", "bf16", "fp16", "int8", "fp8"),
    )
    prefix_caching: bool = _option(True, "share the KV blocks of equal prefixes")

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class SchedulingConfig:
    """What runs in a step, and who waits. None: what suits the device, as its platform says."""

    max_num_seqs: int | None = _option(
        None, "most sequences that run at once; default: 64 on a processor, 1024 on a GPU", least=1, most=65536
    )
    max_num_batched_tokens: int | None = _option(
        None, "token budget of a step; default: 256 on a processor, 8192 on a GPU", least=1, most=1 << 20
    )
    max_step_ms: float | None = _option(
        None,
        "milliseconds that a step takes, about, while prompts arrive and others decode; 0: any time; default: 100, 15 on a GPU",
        least=0,
    )
    max_priority: int | None = _option(None, "most urgent priority of a request: a lower number counts as this one; default: any")
    max_waiting: int = _option(4096, "most choices (n of each prompt) that wait; one more is answered 503", least=1)
    max_waiting_tokens: int | None = _option(
        None, "most prompt tokens that wait; a prompt beyond them is answered 503, unless none waits; default: any number", least=1
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class PlacementConfig:
    """Where the model is computed, with what, and in which types."""

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
    deterministic: bool = _option(
        False,
        "on a GPU: a request's tokens and log-probabilities to the same bits whatever runs beside it, however its prompt is cut; slower",
    )
    gpu_memory_utilization: float = _option(0.9, "share of a GPU's memory that this process may take, KV cache included", above=0, most=1)
    threads: int | None = _option(None, "compute threads; default: one for each core that this process may use", least=1)
    pin_threads: bool = _option(False, "keep each compute thread on a core of its own; for a machine that nothing else uses")
    numa_node: int | None = _option(
        None, "compute on the cores of this NUMA node, with weights and KV cache in its memory; default: any", least=0
    )

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """How a model is loaded and run. Sizes are counts unless the name says otherwise."""

    model: str = _option(
        "", "folder (config.json + safetensors), .gguf file, or name on the Hugging Face hub; empty: the default model", positional=True
    )
    served_model_name: tuple[str, ...] = _option(
        (), "name in the API, repeatable: the first is shown, all are taken; default: the file's name"
    )
    task: str = _option(
        "auto",
        "generate (text), embed (vectors of texts), classify or token_classify (by the model's own head); auto: what its files say",
        choices=("auto", "generate", "embed", "classify", "token_classify"),
    )
    pooling: str = _option(
        "auto",
        "of a model that makes vectors: whose hidden state is a text's, that of the last token, the first (cls) or the mean; "
        "auto: what its files say",
        choices=("auto", "last", "cls", "mean"),
    )
    model_impl: str = _option(
        "auto",
        "who builds the model's layers: native (octavo/models), transformers (torch, octavo[hf]), or auto: transformers where there is no "
        "native file",
        choices=("auto", "native", "transformers"),
    )
    load_format: str = _option("auto", "auto, or dummy: make random weights up from config.json alone", choices=("auto", "dummy"))
    max_model_len: int | None = _option(None, "context window in tokens; default: the model's own", least=1)
    enable_prompt_embeds: bool = _option(False, "let completions bring embeddings in place of tokens (prompt_embeds); CPU")
    seed: int = _option(0, "seed of requests that name none is drawn from this; 0: from the clock")
    log_stats_s: float = _option(10.0, "seconds between lines of throughput statistics in the log; 0: none")
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    placement: PlacementConfig = field(default_factory=PlacementConfig)

    def __post_init__(self) -> None:
        _check(self)
        if not isinstance(self.served_model_name, tuple):
            object.__setattr__(self, "served_model_name", (self.served_model_name,) if self.served_model_name else ())

    @classmethod
    def of(cls, **flat: Any) -> EngineConfig:
        """The configuration of settings by flat name: `EngineConfig.of(model="m.gguf", threads=2)`. Raises what `from_flat` raises."""
        return from_flat(cls, flat)


@dataclass(frozen=True, slots=True)
class TlsConfig:
    """HTTPS. The files are read again when they change, and at SIGHUP."""

    ssl_certfile: str | None = _option(None, "serve HTTPS with this certificate: a PEM file, those of its issuers behind it")
    ssl_keyfile: str | None = _option(None, "the certificate's key, a PEM file without a password; default: it stands in --ssl-certfile")
    ssl_ca_certs: str | None = _option(None, "take only clients with a certificate that one of this PEM file has issued")

    def __post_init__(self) -> None:
        _check(self)
        for name in ("ssl_keyfile", "ssl_ca_certs"):
            if getattr(self, name) is not None and self.ssl_certfile is None:
                raise ConfigError(f"--{name.replace('_', '-')} is given without --ssl-certfile, which makes the server speak TLS")


@dataclass(frozen=True, slots=True)
class LimitsConfig:
    """What each API key may use, unless its line in the file of keys says otherwise; more is answered 429."""

    key_requests: int | None = _option(None, "most requests of one API key that run at once; default: any number", least=1)
    key_requests_per_minute: int | None = _option(None, "requests that one API key may send in a minute; default: any number", least=1)
    key_tokens_per_minute: int | None = _option(
        None, "tokens, of prompts and answers, that one API key may use in a minute; default: any number", least=1
    )

    def __post_init__(self) -> None:
        _check(self)

    def of_a_key(self) -> tuple[int | None, int | None, int | None]:
        """The three, in their order."""
        return self.key_requests, self.key_requests_per_minute, self.key_tokens_per_minute


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The HTTP edge."""

    host: str = _option("127.0.0.1", "address to listen on; 0.0.0.0 for every interface")
    port: int = _option(8000, "port to listen on; 0: any free port")
    uds: str | None = _option(None, "listen on a Unix socket at this path, in the place of an address")
    frontends: int = _option(
        1, "processes that speak HTTP, all in front of one engine; each keeps its own stored responses and limits", least=1, most=256
    )
    api_key: tuple[str, ...] = _option(
        (), "require this bearer token everywhere but on /health; may be repeated; OCTAVO_API_KEY in the environment is one more"
    )
    api_key_file: str | None = _option(
        None, "file with such keys, one a line, with limits of its own behind it: KEY name=alice requests=4; read again at SIGHUP"
    )
    cors_origins: tuple[str, ...] = _option((), "web page's origin, such as https://app.example, that may use the API; *: any; repeatable")
    allowed_hosts: tuple[str, ...] = _option((), "further name that the server answers to when it listens on loopback; repeatable")
    allowed_media_domains: tuple[str, ...] = _option(
        (), "host from which images that requests name by URL are fetched; *.example.com: those below; *: any public one; repeatable"
    )
    allowed_local_media_path: str | None = _option(None, "folder from which images that requests name by file: URLs are read")
    trust_request_chat_template: bool = _option(False, "let a request bring its own chat template, a program that runs in a sandbox")
    max_body_bytes: int = _option(4 * 1024 * 1024, "largest request body; eight times as much where long data URIs make up the rest")
    max_audio_seconds: float = _option(3600.0, "longest sound that a transcription may be asked of, in seconds")
    body_timeout_s: float = _option(30.0, "seconds that a request body may take to arrive, and one more for each 64 KiB of it")
    idle_timeout_s: float = _option(75.0, "seconds that a connection may take to send the head of its next request")
    tool_parser: str | None = _option(
        None, "format of the model's tool calls, a name of octavo.parsers such as hermes or mistral, or none; default: by its chat template"
    )
    resume_s: float = _option(30.0, "seconds that a response of /v1/responses goes on without a reader, who may resume its stream")
    log_level: str = _option("info", "debug, info, warning or error", choices=("debug", "info", "warning", "error"))
    log_format: str = _option("text", "text, or json: one object a line", choices=("text", "json"))
    access_log: bool = _option(False, "write a line for each request that has ended")
    otlp_traces_endpoint: str | None = _option(
        None, "send OpenTelemetry traces there, such as http://127.0.0.1:4318/v1/traces; needs octavo[otel]"
    )
    shutdown_s: float = _option(30.0, "seconds that running requests get to finish after SIGTERM")
    tls: TlsConfig = field(default_factory=TlsConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)

    def __post_init__(self) -> None:
        _check(self)
        if not 0 <= self.shutdown_s < math.inf:  # false for NaN
            raise ConfigError(f"--shutdown-s is {self.shutdown_s}; it must be a number of seconds, at least 0")
        if not 0 <= self.resume_s < math.inf:
            raise ConfigError(f"--resume-s is {self.resume_s}; it must be a number of seconds, at least 0")
        if self.max_body_bytes < 1:
            raise ConfigError(f"--max-body-bytes is {self.max_body_bytes}; it must be at least 1")
        if self.allowed_local_media_path is not None and not Path(self.allowed_local_media_path).is_dir():
            raise ConfigError(f"--allowed-local-media-path is {self.allowed_local_media_path!r}, which is no folder")
        for name in ("body_timeout_s", "idle_timeout_s", "max_audio_seconds"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; it must be greater than 0")
        object.__setattr__(self, "cors_origins", tuple(origin.rstrip("/").lower() for origin in self.cors_origins))
        object.__setattr__(self, "allowed_hosts", tuple(name.lower() for name in self.allowed_hosts))
