"""llama-perplexity on the same windows of tokens: divergence from its float32 run, and perplexity."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["LlamaPerplexity", "base_tokens", "divergence_figures", "perplexity_figure"]

FLOAT32_CACHE = ("--cache-type-k", "f32", "--cache-type-v", "f32")


@dataclass(frozen=True)
class LlamaPerplexity:
    """The program, on one text cut into windows of `length` tokens, of which the first `count` are used."""

    program: Path
    text: Path
    length: int
    count: int
    threads: int

    def write_base(self, model: Path, base: Path) -> list[int]:
        """Run a float32 file with a float32 KV cache, keep its log-probabilities in `base`; return the tokens of the windows."""
        self._run(model, *FLOAT32_CACHE, "--kl-divergence-base", str(base))
        return base_tokens(base)

    def divergence(self, model: Path, base: Path) -> dict[str, float]:
        """Return `top1` (share) and `kl` (mean, nats) of a model against the base."""
        return divergence_figures(self._run(model, "--kl-divergence", "--kl-divergence-base", str(base)))

    def perplexity(self, model: Path) -> float:
        return perplexity_figure(self._run(model))

    def _run(self, model: Path, *flags: str) -> str:
        sizes = ["-c", str(self.length), "--chunks", str(self.count), "-t", str(self.threads)]
        command = [str(self.program), "-m", str(model), "-f", str(self.text), *sizes, *flags]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
        return done.stdout


def base_tokens(base: Path) -> list[int]:
    """Return the tokens that a base file says its log-probabilities belong to.

    Layout: "_logits_", then int32 window length, vocabulary, number of windows, then the tokens (llama.cpp, tools/perplexity).
    """
    with base.open("rb") as file:
        magic = file.read(8)
        if magic != b"_logits_":
            raise ValueError(f"{base} begins with {magic!r}, not with _logits_")
        length, _vocab_size, count = np.fromfile(file, np.int32, 3).tolist()
        return np.fromfile(file, np.int32, length * count).tolist()


def divergence_figures(output: str) -> dict[str, float]:
    return {"top1": _figure(r"Same top p:\s*([\d.]+)", output) / 100, "kl": _figure(r"Mean\s+KLD:\s*([-\d.]+)", output)}


def perplexity_figure(output: str) -> float:
    return _figure(r"Final estimate: PPL = ([\d.]+)", output)


def _figure(pattern: str, output: str) -> float:
    found = re.search(pattern, output)
    if found is None:
        raise SystemExit(f"llama-perplexity said nothing like {pattern!r}; its last words:\n{output[-1000:]}")
    return float(found[1])
