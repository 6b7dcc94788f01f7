"""The package octavo-cuda in `.venv`, built for this machine's GPU: what tools/serve adds where there is a GPU and nvcc.

The library is built again when its sources change. Attention of FlashInfer is compiled for the heads of most models on compute capability
9.0, which takes some minutes once; elsewhere Octavo's own kernels do.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import environment
from environment import BACKEND, ROOT, VENV, build_environment, say

__all__ = ["add_gpu_kernels", "architecture", "cuda_compiler"]

_STAMP = VENV / "octavo-cuda.sources"
_INSTANCES = "fa2:bf16:128:plain;fa2:bf16:64:plain;hopper:bf16:128:plain;hopper:bf16:64:plain"
_TOOLKITS = ("/usr/local/cuda/bin/nvcc", "/opt/cuda/bin/nvcc")


def add_gpu_kernels() -> None:
    """Install octavo-cuda for the GPU of this machine, or say what is missing for that. Raises `SetupError` where the build fails."""
    nvcc = cuda_compiler()
    if nvcc is None:
        say("there is an NVIDIA GPU, but no nvcc: install the CUDA toolkit 13 to compute on it; until then Octavo uses the processor")
        return
    target = architecture()
    stamp = f"{environment._hash_sources()} {target}"
    if _STAMP.is_file() and _STAMP.read_text() == stamp:
        return
    settings = {
        "OCTAVO_CUDA_ARCHITECTURES": target,
        "OCTAVO_CUDA_FLASHINFER": "ON" if target.startswith("90") else "OFF",
        "OCTAVO_FLASHINFER_INSTANCES": _INSTANCES,
        "CMAKE_CUDA_COMPILER": nvcc,
    }
    defines = [f"--config-settings=cmake.define.{name}={value}" for name, value in settings.items()]
    folder = f"--config-settings=build-dir={BACKEND.with_name('octavo-cuda')}"
    source = str(ROOT / "python" / "octavo-cuda")
    options = ("--no-deps", "--no-build-isolation", "--force-reinstall", folder, *defines, source)
    environment._pip("building the GPU's kernels", "install", *options, environment=build_environment())
    _STAMP.write_text(stamp)


def cuda_compiler() -> str | None:
    """Path of nvcc."""
    return shutil.which("nvcc") or next((path for path in _TOOLKITS if Path(path).is_file()), None)


def architecture() -> str:
    """What to compile for, as CMake writes it: that of the first GPU; of code for all where nvidia-smi does not say."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        answer = ""
    found = re.match(r"(\d+)\.(\d)", answer)
    if found is None:
        return "80-virtual"
    number = found[1] + found[2]
    return "90a-real" if number == "90" else f"{number}-real"
