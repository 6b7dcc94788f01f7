#!/usr/bin/env python3
"""How far engine settings are from exact float32 arithmetic on the same weight file, and llama.cpp from its own float32.

    python tools/bench/accuracy.py --settings arithmetic=int8 arithmetic=int8,kv_cache_dtype=int8 [--peer-dir DIR] [--json FILE]

Teacher-forced: top-1 agreement and mean KL divergence of the next 64 tokens after the first 66 of each of 20 prompts; perplexity of the
second halves of windows of 512 tokens, 41 of them (20,992 tokens). The text is Python's language reference (`pydoc_data.topics`).
llama.cpp reads the same windows; its base is the same file dequantised to float32, with a float32 KV cache.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from versus.divergence import kl_divergences, negative_log_likelihoods, same_top
from versus.llama_cpp import derive_model, make_peer
from versus.perplexity import LlamaPerplexity
from versus.quiet import locked
from versus.scoring import WindowScorer, engine_config, scored
from versus.texts import prompts_text, reference_text, windows

from octavo.checkpoint import open_checkpoint
from octavo.fetch.default_model import default_model_path
from octavo.text import open_tokenizer

__all__ = ["render"]

# llama-perplexity scores the predictions from the middle of a window to its last but one token: 64 of 130, 255 of 512.
PROMPT_LEN, NUM_PROMPTS = 130, 20
WINDOW_LEN, NUM_WINDOWS = 512, 41
WINDOWS_CHARS = 120_000


@dataclass(frozen=True)
class Texts:
    """What is read: as text for llama-perplexity, as windows of token ids for us."""

    prompts: str
    reference: str
    prompt_windows: list[list[int]]
    reference_windows: list[list[int]]


def read_texts(model: Path) -> Texts:
    tokenizer = open_tokenizer(open_checkpoint(model))
    prompts, reference = prompts_text(NUM_PROMPTS), reference_text(WINDOWS_CHARS)
    return Texts(
        prompts,
        reference,
        windows(tokenizer.encode(prompts), PROMPT_LEN, NUM_PROMPTS),
        windows(tokenizer.encode(reference), WINDOW_LEN, NUM_WINDOWS),
    )


def measure_octavo(texts: Texts, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of the reference setting, then of each setting against it."""

    def scorer(setting: str, length: int) -> WindowScorer:
        return WindowScorer(engine_config(options.model, setting, options.threads), length)

    with locked(options.lock):
        exact = list(scorer(options.reference, PROMPT_LEN).logits(texts.prompt_windows))
    figures = {}
    for setting in [options.reference, *options.settings]:
        with locked(options.lock):
            logits = list(scorer(setting, PROMPT_LEN).logits(texts.prompt_windows))
        with locked(options.lock):
            perplexity = octavo_perplexity(scorer(setting, WINDOW_LEN), texts.reference_windows)
        pairs = list(zip(exact, logits, strict=True))
        figures[f"octavo {setting or 'defaults'}"] = {
            "top1": float(np.mean([same_top(*pair) for pair in pairs])),
            "kl": float(np.mean([kl_divergences(*pair) for pair in pairs])),
            "perplexity": perplexity,
        }
    return figures


def octavo_perplexity(scorer: WindowScorer, token_windows: list[list[int]]) -> float:
    targets = [token_ids[1:][scored(len(token_ids))] for token_ids in token_windows]
    losses = [negative_log_likelihoods(*pair) for pair in zip(scorer.logits(token_windows), targets, strict=True)]
    return math.exp(np.mean(losses))


def measure_peer(texts: Texts, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Figures of llama.cpp: the float32 file, then each format against it."""
    programs = make_peer(options.peer_dir)
    models = {
        name: derive_model(programs, options.model, name, options.peer_dir / "models") for name in ("F32", *options.formats.split(","))
    }
    with tempfile.TemporaryDirectory(dir=options.peer_dir) as folder:
        return {f"llama.cpp {name}": each for name, each in _peer_figures(texts, models, programs, Path(folder), options).items()}


def _peer_figures(
    texts: Texts, models: dict[str, Path], programs: Path, folder: Path, options: argparse.Namespace
) -> dict[str, dict[str, float]]:
    prompts, reference, base = folder / "prompts.txt", folder / "reference.txt", folder / "base.dat"
    prompts.write_text(texts.prompts)
    reference.write_text(texts.reference)
    program = programs / "llama-perplexity"
    on_prompts = LlamaPerplexity(program, prompts, PROMPT_LEN, NUM_PROMPTS, options.threads)
    on_reference = LlamaPerplexity(program, reference, WINDOW_LEN, NUM_WINDOWS, options.threads)

    def under_lock(run: Callable, *arguments: Path):
        with locked(options.lock):
            return run(*arguments)

    if under_lock(on_prompts.write_base, models["F32"], base) != list(chain.from_iterable(texts.prompt_windows)):
        raise SystemExit("llama.cpp cuts the text into other tokens than Octavo: nothing could be compared")
    return {
        name: {**under_lock(on_prompts.divergence, model, base), "perplexity": under_lock(on_reference.perplexity, model)}
        for name, model in models.items()
    }


def render(figures: dict[str, dict[str, float]], exact: str) -> str:
    """Return the table in Markdown; perplexity is set against the row called `exact`."""
    lines = ["| | top-1 agreement | mean KL (nats) | perplexity | against float32 |", "| --- | --- | --- | --- | --- |"]
    for name, each in figures.items():
        change = each["perplexity"] / figures[exact]["perplexity"] - 1
        lines.append(f"| {name} | {each['top1']:.2%} | {each['kl']:.6f} | {each['perplexity']:.4f} | {change:+.3%} |")
    return "\n".join(lines)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--settings", nargs="*", default=[], metavar="FIELD=VALUE,...", help="engine settings that are measured")
    parser.add_argument("--reference", default="arithmetic=exact", metavar="FIELD=VALUE,...", help="the exact setting (arithmetic=exact)")
    parser.add_argument("--model", type=Path, metavar="FILE", help="GGUF file; default: Octavo's default model (Q4_1)")
    parser.add_argument("--threads", type=int, default=2, metavar="N")
    parser.add_argument("--peer-dir", type=Path, metavar="DIR", help="where tools/bench/peer.py makes llama.cpp; default: Octavo alone")
    parser.add_argument("--formats", default="Q4_1", metavar="NAMES", help="llama.cpp's, derived from the file (Q4_1)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="lock this file during each measurement")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args(arguments)


def main() -> None:
    options = parse()
    options.model = options.model or default_model_path(print)
    texts = read_texts(options.model)
    figures = measure_octavo(texts, options)
    if options.peer_dir:
        figures |= measure_peer(texts, options)
    print(render(figures, next(iter(figures))))
    if options.json:
        options.json.write_text(json.dumps({"command": sys.argv, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
