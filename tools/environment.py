"""The virtual environment that tools/serve, tools/test and tools/check share: made once, brought up to date when sources change.

Standard library only. `.venv/octavo.json` records what is installed and from which sources; when nothing changed since,
`prepare` costs a hash of the source files and nothing else.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

__all__ = ["BUILD", "ROOT", "VENV", "SetupError", "build_environment", "cmake", "has_nvidia_gpu", "prepare", "say"]

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BUILD = ROOT / "build" / "tools"
STAMP = VENV / "octavo.json"
LOG = VENV / "octavo-build.log"
# The build backend and what it runs, outside .venv: what serves does not need them. Their paths stay the same, so C++ objects are reused.
BACKEND = ROOT / "build" / "backend"
WHEELS = ROOT / "build" / "wheel"
BUILD_TOOLS = ("scikit-build-core>=0.11", "pybind11>=2.12", "cmake>=3.25", "ninja")
SOURCES = ("pyproject.toml", "CMakeLists.txt", "cpp", "third_party", "python/octavo")
NOT_INSTALLED = ("cpp/tests/", "cpp/bench/")
SERVING = ("jinja2.sandbox", "octavo.assemble", "octavo.server.serve", "tokenizers", "uvloop")
PROGRESS = re.compile(r"^\s*(\[\d+/\d+\] .*|Downloading .*|Collecting \S+|Building wheel.*|Installing collected packages)")

ERROR = re.compile(
    r"(?<![\w-])(?:fatal )?error: (?!subprocess|metadata|command)|CMake Error|No space left|Read-only file system", re.IGNORECASE
)


class SetupError(Exception):
    """Something is missing on this machine; the text says what to install."""


def say(text: str) -> None:
    print(f"==> {text}", file=sys.stderr, flush=True)


def has_nvidia_gpu() -> bool:
    return Path("/proc/driver/nvidia/version").exists()


def prepare(extras: Sequence[str] = (), requirements: Sequence[str] = (), *, every_cpu: bool = False) -> None:
    """Make `.venv` hold the package as it stands in the tree, with these extras and further requirements. What it has once, it keeps.

    Args:
        every_cpu: with kernels for every instruction set of the processor family; else for the best of this machine only, which is
            built sooner.

    Raises:
        SetupError: Python, its venv module or a compiler is missing, or the build failed.
    """
    _check_python()
    if _read_stamp() == _wanted_stamp(extras, requirements, every_cpu):
        return  # before the lock: a checkout that cannot be written serves as long as nothing changed
    with _lock():
        current = _wanted_stamp(extras, requirements, every_cpu)
        if _read_stamp() == current:
            return
        _check_tools()
        if not _venv_fits():
            _make_venv()
        STAMP.unlink(missing_ok=True)
        _install(current["extras"], current["requirements"], current["cpu"])
        STAMP.write_text(json.dumps(current, indent=1))


def _wanted_stamp(extras: Sequence[str], requirements: Sequence[str], every_cpu: bool) -> dict:
    stamp = _read_stamp()
    wanted = sorted({*stamp.get("extras", ()), *extras})
    needed = sorted({*stamp.get("requirements", ()), *requirements})
    cpu = "all" if every_cpu else stamp.get("cpu", "native")
    current = {"sources": _hash_sources(), "python": sys.version, "extras": wanted, "requirements": needed, "cpu": cpu}
    current["folder"] = str(ROOT)  # scripts in .venv name their Python by its path, so a folder that was moved is made anew
    if cpu == "native":
        current["cpu features"] = _cpu_features()  # a folder may be carried to another machine
    return current


def _check_python() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036  (this script is what says so)
        raise SetupError(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]} ({sys.executable})")


def _check_tools() -> None:
    """Name everything that is missing at once, with the packages that bring it."""
    python = f"python{sys.version_info.major}.{sys.version_info.minor}"
    compiler, header = os.environ.get("CXX", "c++"), Path(sysconfig.get_path("include")) / "Python.h"
    needs = (
        (shutil.which(compiler.split()[0]) is not None, f"a C++ compiler ({compiler})", "g++"),
        (all(map(find_spec, ("ensurepip", "venv"))), "Python's venv module", f"{python}-venv"),
        (header.exists(), f"Python's C headers ({header})", f"{python}-dev"),
    )
    missing = [(what, package) for there, what, package in needs if not there]
    if missing:
        names = ", ".join(what for what, _ in missing)
        packages = " ".join(package for _, package in missing)
        raise SetupError(f"missing: {names}; on Debian and Ubuntu: apt-get install {packages}")


@contextmanager
def _lock() -> Iterator[None]:
    """Two of the tools may start at once; the second waits for the first."""
    try:
        BUILD.parent.mkdir(exist_ok=True)
        file = BUILD.with_suffix(".lock").open("w")
    except OSError as error:
        raise SetupError(
            f"cannot write to {ROOT} ({error.strerror}), and something has to be built there; use a copy of your own"
        ) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _read_stamp() -> dict:
    return json.loads(STAMP.read_text()) if STAMP.exists() else {}


def _cpu_features() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^(?:flags|Features|cpu)\s*:\s*(.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return hashlib.sha256(found[1].encode()).hexdigest() if found else ""


def _hash_sources() -> str:
    digest = hashlib.sha256()
    for path in _source_files():
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _source_files() -> Iterator[Path]:
    for source in SOURCES:
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            name = str(file.relative_to(ROOT))
            if file.is_file() and file.suffix not in (".so", ".pyc") and not name.startswith(NOT_INSTALLED):
                yield file


def _venv_fits() -> bool:
    settings = VENV / "pyvenv.cfg"
    version = ".".join(map(str, sys.version_info[:3]))
    pip = VENV / "bin" / "pip"
    return pip.exists() and f"version = {version}\n" in settings.read_text() and f"{VENV}/bin/python" in pip.read_text()


def _make_venv() -> None:
    say(f"making the virtual environment {VENV.name} (Python {sys.version.split()[0]})")
    for folder in (BUILD, BACKEND):  # the CMake cache names the Python of the old environment, the tools are for that Python
        shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)


def _install(extras: Sequence[str], requirements: Sequence[str], cpu: str) -> None:
    if not (BACKEND / "bin" / "cmake").exists():
        _pip("installing the build tools", "install", f"--target={BACKEND}", *BUILD_TOOLS)
    # Bytecode of the whole is for the tests; what only serves has it for what it imports, a quarter of the size.
    compiling = () if extras else ("--no-compile",)
    if requirements:
        _pip(f"installing {', '.join(requirements)}", "install", *compiling, *requirements)
    wheel = _build_wheel(cpu)
    installed = next(VENV.glob("lib/python*/site-packages/octavo-*.dist-info"), None)
    package = f"{wheel}[{','.join(extras)}]" if extras else str(wheel)
    _pip("installing Octavo and what it needs", "install", *compiling, package)
    if installed:  # pip left it in place: the version is the same
        _pip("replacing Octavo", "install", *compiling, "--no-deps", "--force-reinstall", str(wheel))
    if not extras:
        _compile_what_serves()


def _compile_what_serves() -> None:
    """Import it once, so that no start has to compile it, whether or not Python may write bytecode later."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    program = f"import compileall, {', '.join(SERVING)}; compileall.compile_dir(octavo.__path__[0], quiet=1)"
    subprocess.run([str(VENV / "bin" / "python"), "-c", program], env=environment, check=True)


def _build_wheel(cpu: str) -> Path:
    shutil.rmtree(WHEELS, ignore_errors=True)
    settings = (f"--config-settings=build-dir={BUILD}", f"--config-settings=cmake.define.OCTAVO_CPU={cpu}")
    options = ("--no-deps", "--no-build-isolation", *settings, f"--wheel-dir={WHEELS}")
    _pip("building Octavo", "wheel", *options, ".", environment=build_environment())
    return next(WHEELS.glob("octavo-*.whl"))


def build_environment() -> dict[str, str]:
    """Environment variables under which the build tools are found. Not for installing: pip would take them for a part of .venv."""
    path = f"{BACKEND / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(BACKEND)}


def cmake() -> str | None:
    """Path of the cmake that builds Octavo here, if there is one yet."""
    return shutil.which("cmake", path=build_environment()["PATH"])


def _pip(what: str, command: str, *arguments: str, environment: dict[str, str] | None = None) -> None:
    """Run a pip command, showing one line of progress; the whole output goes to `LOG`."""
    say(what)
    words = [str(VENV / "bin" / "python"), "-m", "pip", command, "--verbose", "--disable-pip-version-check", *arguments]
    process = subprocess.Popen(
        words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    lines = []
    with LOG.open("w") as log:
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            _show_progress(line)
    _clear_progress()
    if process.wait() != 0:
        sys.stderr.writelines(_telling(lines))
        raise SetupError(f"{what} failed; the whole output is in {LOG}")


def _telling(lines: Sequence[str]) -> Sequence[str]:
    """The first errors of an output, with what follows each, or its end where it names none."""
    errors = [index for index, line in enumerate(lines) if ERROR.search(line)][:3]
    return [line for index in errors for line in lines[index : index + 4]] or lines[-40:]


def _show_progress(line: str) -> None:
    found = PROGRESS.match(line)
    if not found:
        return
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns - 6
        print(f"\r\033[K    {found[1].strip()[:width]}", end="", file=sys.stderr, flush=True)
    elif found[1].startswith(("[", "Downloading")):
        print(f"    {found[1].strip()[:140]}", file=sys.stderr, flush=True)


def _clear_progress() -> None:
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
