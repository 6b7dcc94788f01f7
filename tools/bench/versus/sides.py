"""The two sides: how each runs one stream in a process of its own, and how each serves."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["LlamaCpp", "Octavo", "Side"]


class Side(Protocol):
    """An engine with a model. `threads` compute threads each."""

    @property
    def name(self) -> str: ...

    def decode(self, prompt_len: int, output_len: int) -> float:
        """Tokens/s of one stream after the first token."""
        ...

    def prefill(self, prompt_len: int) -> float:
        """Prompt tokens/s of one prompt that nothing was cached of."""
        ...

    def serve_command(self, port: int, num_slots: int, slot_len: int) -> list[str]:
        """Command of an HTTP server for `num_slots` requests at once of at most `slot_len` tokens each."""
        ...


@dataclass(frozen=True)
class Octavo:
    """The Octavo of this Python, or one built in place in another `checkout`; `flags` go to its engine."""

    model: Path
    threads: int
    flags: Sequence[str] = ()
    name: str = "octavo"
    checkout: Path | None = None

    def _program(self) -> list[str]:
        path = [] if self.checkout is None else ["env", f"PYTHONPATH={self.checkout / 'python'}"]
        return [*path, sys.executable, "-m", "octavo"]

    def decode(self, prompt_len: int, output_len: int) -> float:
        return 1e3 / self._latency(prompt_len, output_len, 1)["tpot_ms"]["p50"]

    def prefill(self, prompt_len: int) -> float:
        # Three prompts, the middle one counts: the peer's program warms up with a whole prompt too.
        results = self._latency(prompt_len, 1, 3, "--no-prefix-caching")
        return 1e3 * prompt_len / results["ttft_ms"]["p50"]

    def serve_command(self, port: int, num_slots: int, slot_len: int) -> list[str]:
        return [*self._program(), "serve", str(self.model), "--port", str(port), "--threads", str(self.threads), *self.flags]

    def _latency(self, prompt_len: int, output_len: int, num_prompts: int, *flags: str) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            results = Path(folder) / "results.json"
            sizes = [f"--input-len={prompt_len}", f"--output-len={output_len}", f"--num-prompts={num_prompts}", f"--json={results}"]
            command = [*self._program(), "bench", "latency", *sizes]
            _output([*command, f"--model={self.model}", f"--threads={self.threads}", *flags, *self.flags])
            return json.loads(results.read_text())["results"]


@dataclass(frozen=True)
class LlamaCpp:
    """llama.cpp's `programs` with one weight format."""

    programs: Path
    model: Path
    threads: int
    format_name: str

    @property
    def name(self) -> str:
        return f"llama.cpp {self.format_name}"

    def decode(self, prompt_len: int, output_len: int) -> float:
        # llama-bench counts from an empty context: a little in its favour, and how its figures are usually given.
        return self._bench(0, output_len)

    def prefill(self, prompt_len: int) -> float:
        return self._bench(prompt_len, 0)

    def serve_command(self, port: int, num_slots: int, slot_len: int) -> list[str]:
        slots = ["-np", str(num_slots), "--no-kv-unified", "-c", str(num_slots * slot_len)]
        return [str(self.programs / "llama-server"), "-m", str(self.model), "-t", str(self.threads), *slots, "--port", str(port)]

    def _bench(self, prompt_len: int, output_len: int) -> float:
        command = [self.programs / "llama-bench", "-m", self.model, "-t", self.threads, "-p", prompt_len, "-n", output_len]
        return json.loads(_output([*map(str, command), "-r", "1", "-o", "json"]))[0]["avg_ts"]


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-1000:]}{done.stderr[-2000:]}")
    return done.stdout
