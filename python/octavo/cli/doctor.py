"""`octavo doctor`: what this machine has, what Octavo will use of it, and what to do about what is missing."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from octavo.cli.machine import processor_name
from octavo.cli.options import add_options, from_options
from octavo.cli.table import format_table
from octavo.config import EngineConfig
from octavo.errors import ConfigError

__all__ = ["Finding", "add_arguments", "examine", "run"]

_FEW_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        subject: what was looked at.
        verdict: "ok", "note" (works, could be better) or "problem" (will not work).
        fact: what was found.
        remedy: what to do about it; empty with "ok".
    """

    subject: str
    verdict: str
    fact: str
    remedy: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_options(parser, EngineConfig, "engine", positional=True)


def run(args: argparse.Namespace) -> int:
    findings = list(examine(from_options(EngineConfig, args)))
    lines = [(each.verdict, each.subject, each.fact, each.remedy) for each in findings]
    print(format_table([("", "", "found", "remedy"), *lines]))
    return int(any(finding.verdict == "problem" for finding in findings))


def examine(config: EngineConfig) -> Iterator[Finding]:
    """Look at everything that matters for serving with `config`. Loads no model and imports no torch."""
    yield Finding("Python", "ok", f"{platform.python_version()} on {platform.platform()}")
    yield (octavo := _octavo(config))
    if octavo.verdict == "problem":
        return  # what follows asks the compiled parts
    checks: tuple[Callable[[EngineConfig], Finding], ...] = (_processor, _kernels, _cores, _memory, _gpu, _torch, _executor, _model)
    for check in checks:
        yield check(config)


def _octavo(config: EngineConfig) -> Finding:
    try:
        from octavo import _kernels, _runtime
    except ImportError as error:
        return Finding("Octavo", "problem", f"the compiled parts do not load: {error}", "install Octavo again for this Python")
    versions = {_runtime.version(), _kernels.version()}
    if len(versions) > 1:
        return Finding("Octavo", "problem", f"parts of different versions: {', '.join(sorted(versions))}", "install Octavo again")
    return Finding("Octavo", "ok", f"{versions.pop()} in {Path(__file__).parent.parent}")


def _processor(config: EngineConfig) -> Finding:
    return Finding("Processor", "ok", processor_name())


def _kernels(config: EngineConfig) -> Finding:
    from octavo._kernels import active_isa, available_isas

    available, active = available_isas(), active_isa()
    fact = f"{active} (available: {', '.join(available)})"
    if active != available[0]:
        return Finding("Kernels", "note", fact, f"{available[0]} is faster; OCTAVO_ISA={os.environ.get('OCTAVO_ISA', '')} holds it back")
    if active == "portable":
        return Finding("Kernels", "note", fact, "this processor has no vector extension that Octavo has kernels for; expect it to be slow")
    return Finding("Kernels", "ok", fact)


def _cores(config: EngineConfig) -> Finding:
    from octavo.platforms._processor import num_cores, place_threads

    wanted = config.placement
    try:
        usable, present = num_cores(wanted.numa_node), os.cpu_count() or 1
        threads = place_threads(wanted.threads, wanted.pin_threads, wanted.numa_node).num_threads
    except ConfigError as error:
        return Finding("Cores", "problem", str(error), "leave --numa-node out, or take a node that exists")
    fact = f"{usable} usable of {present}; {threads} compute threads"
    if wanted.threads and wanted.threads > threads:
        return Finding("Cores", "note", fact, f"--threads {wanted.threads} is cut to the cores there are")
    if usable < present:
        return Finding("Cores", "note", fact, "an affinity mask or a container limit holds the others back; raise it if they are idle")
    return Finding("Cores", "ok", fact)


def _memory(config: EngineConfig) -> Finding:
    from octavo.platforms._processor import available_memory_bytes

    available = available_memory_bytes()
    fact = f"{available / 2**30:.1f} GiB available, container limits included"
    if available < _FEW_BYTES:
        return Finding("Memory", "note", fact, "take a small model, a lower --max-model-len, or end other programs")
    return Finding("Memory", "ok", fact)


def _gpu(config: EngineConfig) -> Finding:
    from octavo.platforms._gpu import gpu_status

    status = gpu_status()
    if status.reason:
        wanted = config.placement.device.startswith("cuda") and config.placement.executor != "eager"
        return Finding("GPU", "problem" if wanted else "ok", f"none is used: {status.reason}", "see docs/gpu.md" if wanted else "")
    kernels = "FlashInfer and own kernels" if status.info["flashinfer"] else "own kernels"
    found = "; ".join(f"{name}, compute capability {cc / 10}, {size / 2**30:.0f} GiB" for name, cc, _, size in status.devices)
    return Finding("GPU", "ok", f"{found}; {kernels} for {status.info['architectures']}")


def _torch(config: EngineConfig) -> Finding:
    if find_spec("torch") is None:
        return Finding("torch", "ok", "not installed; only --executor eager and GPUs need it")
    return Finding("torch", "ok", f"{metadata.version('torch')} installed; not used by the step program")


def _executor(config: EngineConfig) -> Finding:
    from octavo.platforms import platform_name

    name = "eager" if platform_name(config) == "torch" else "step_program"
    if name == "eager" and find_spec("torch") is None:
        return Finding("Executor", "problem", "eager, but torch is not installed", 'pip install "octavo[torch]", or use --device cpu')
    device = config.placement.device
    return Finding("Executor", "ok", f"{name} on {device if device != 'auto' else 'cpu'}")


def _model(config: EngineConfig) -> Finding:
    from octavo.fetch.default_model import DEFAULT_MODEL
    from octavo.fetch.pypi_model import cache_folder

    if config.model:
        return _named_model(config.model)
    if (cache_folder() / DEFAULT_MODEL.file_name).is_file():
        return Finding("Model", "ok", f"default model {DEFAULT_MODEL.file_name} in {cache_folder()}")
    if find_spec("pip") is None:
        return Finding(
            "Model", "problem", "the default model is not here and pip, which fetches it, is missing", f"{sys.executable} -m ensurepip"
        )
    return Finding("Model", "note", "the default model is not here yet", "the first start fetches it (98 MB)")


def _named_model(model: str) -> Finding:
    from octavo.fetch.hub import cached_hub_model
    from octavo.fetch.hub_name import parse_hub_name

    if Path(model).exists():
        return Finding("Model", "ok", model)
    name = parse_hub_name(model)
    if name is None:
        return Finding("Model", "problem", f"{model} does not exist", "give a folder with config.json and safetensors, or a .gguf file")
    path = cached_hub_model(name)
    if path is None:
        return Finding("Model", "note", f"{name} is not in the local cache", "the first start downloads it from the Hugging Face hub")
    return Finding("Model", "ok", f"{name} in {path}")
