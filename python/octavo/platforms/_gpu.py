"""Where Octavo's CUDA library and cuBLASLt are, and which NVIDIA GPUs this process may use."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from octavo._kernels import CudaLibrary
from octavo.errors import ConfigError
from octavo.plugins import entry_points

__all__ = ["GpuStatus", "blas_paths", "gpu_status", "library_path", "open_library"]

_NAME = "liboctavo_cuda.so"
_ENTRY_POINTS = "octavo.cuda"


@dataclass(frozen=True, slots=True)
class GpuStatus:
    """What `--device auto` and `octavo doctor` ask.

    Attributes:
        library: path of liboctavo_cuda.so; None: it is not installed.
        devices: (name, compute capability x 10, multiprocessors, bytes) of each GPU that can be used.
        reason: why no GPU can be used; None where one can.
        info: the library's versions, as `CudaLibrary.info` gives them.
    """

    library: Path | None
    devices: list[tuple[str, int, int, int]]
    reason: str | None
    info: dict[str, object]


def library_path() -> Path | None:
    """liboctavo_cuda.so: OCTAVO_CUDA_LIBRARY, else the wheel's (entry point group `octavo.cuda`), else beside the other extensions."""
    if named := os.environ.get("OCTAVO_CUDA_LIBRARY"):
        path = Path(named)
        if not path.is_file():
            raise ConfigError(f"OCTAVO_CUDA_LIBRARY is {named}, which is no file")
        return path
    for entry in entry_points(_ENTRY_POINTS):
        return Path(entry.load()())
    beside = Path(__file__).parents[1] / _NAME
    return beside if beside.is_file() else None


def open_library() -> CudaLibrary:
    """Load the library. Raises `ConfigError` where it is missing, or belongs to another version of Octavo."""
    path = library_path()
    if path is None:
        raise ConfigError("--device cuda needs Octavo's CUDA library: install octavo-cuda, or build with -DOCTAVO_CUDA=ON; see docs/gpu.md")
    try:
        return CudaLibrary(str(path))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"--device cuda: {error}") from error


@cache
def gpu_status() -> GpuStatus:
    """Look for the library, the driver and GPUs. Never raises; takes a tenth of a second where there is a GPU."""
    try:
        path = library_path()
        if path is None:
            return GpuStatus(None, [], "octavo-cuda is not installed", {})
        library = open_library()
    except ConfigError as error:
        return GpuStatus(None, [], str(error), {})
    info = library.info()
    devices = library.devices()
    if devices:
        return GpuStatus(path, devices, None, info)
    if not info["driver_version"]:
        return GpuStatus(path, [], "there is no NVIDIA driver", info)
    if info["driver_version"] < info["runtime_version"] // 1000 * 1000:
        return GpuStatus(
            path, [], f"the NVIDIA driver is too old for CUDA {info['runtime_version'] // 1000}: install driver 580 or newer", info
        )
    return GpuStatus(path, [], "the driver shows no GPU to this process (see nvidia-smi and CUDA_VISIBLE_DEVICES)", info)


def blas_paths() -> list[str]:
    """Where cuBLASLt may be, best first: NVIDIA's wheels (an installed torch brings them), a toolkit. The loader knows the system's."""
    found: list[Path] = []
    for base in map(Path, dict.fromkeys(sys.path)):
        found += sorted(base.glob("nvidia/*/lib/libcublasLt.so.*"), reverse=True)
    found += sorted(Path("/usr/local/cuda/lib64").glob("libcublasLt.so.*"), reverse=True)
    return list(dict.fromkeys(map(str, found)))
