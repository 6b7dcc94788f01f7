"""Where the wheel has put liboctavo_cuda.so. Octavo asks through the entry point group `octavo.cuda`."""

from pathlib import Path

__all__ = ["library_path"]


def library_path() -> str:
    """The library's path."""
    return str(Path(__file__).with_name("liboctavo_cuda.so"))
