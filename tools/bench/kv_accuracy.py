#!/usr/bin/env python3
"""What rounding the KV cache costs: next-token distributions of every cache type against float32, on the same tokens.

Each prompt is continued greedily with the float32 cache; then every type reads prompt and continuation, decoding token by token as a
server does, and its distributions over the continuation are compared: python tools/bench/kv_accuracy.py [--model M] [--num-tokens 64]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import Checkpoint, open_checkpoint
from octavo.fetch.default_model import default_model_path
from octavo.models import model_config
from octavo.platforms._processor import num_cores
from octavo.runner.executor import StepShape
from octavo.runner.step_program import StepProgramExecutor
from octavo.text import open_tokenizer

DTYPES = ("bf16", "fp16", "int8")
SUBJECTS = ("the history of bread", "how a suspension bridge carries its load", "why the sky is blue", "a lighthouse keeper's last night")
BEGINNINGS = (
    "Here is a short essay about {}. It begins with",
    "Q: Could you tell me about {}?\nA:",
    "# notes.py\n# A small program that prints what is known about {}\n\ndef main():\n",
    "Dear editor, I read your article on {} and I must say that",
    "Lesson 3: {}. By the end of this lesson, students will be able to",
)


class Scorer:
    """One executor with one sequence."""

    def __init__(self, checkpoint: Checkpoint, dtype: str, max_model_len: int) -> None:
        config = model_config(checkpoint)
        self._blocks = list(range(-(-max_model_len // 16)))
        self._sizes = (1, max_model_len, 1, max_model_len, 16)
        shape = StepShape(*self._sizes[:4], len(self._blocks), 16, dtype)
        self._executor = StepProgramExecutor(config, checkpoint, shape, ThreadPool(num_cores()))

    def logits(self, prompt: list[int], num_tokens: int, forced: list[int] | None = None) -> tuple[list[int], NDArray[np.float64]]:
        """Decode num_tokens after the prompt, greedily or as `forced` says; returns (tokens, logits [num_tokens, V])."""
        batch = Batch(*self._sizes)
        batch.start_row(0, prompt, len(prompt))
        tokens: list[int] = []
        rows = []
        for index in range(num_tokens):
            batch.prepare([0], [1 if index else len(prompt)], [[[] if index else self._blocks]], [1])
            rows.append(self._executor.execute(batch)[0].astype(np.float64))
            tokens.append(forced[index] if forced else int(rows[-1].argmax()))
            batch.append_tokens([0], [tokens[-1]])
        return tokens, np.stack(rows)


def log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--num-tokens", type=int, default=64)
    options = parser.parse_args()
    checkpoint = open_checkpoint(options.model or default_model_path(print))
    tokenizer = open_tokenizer(checkpoint)
    prompts = [tokenizer.encode(beginning.format(subject)) for beginning in BEGINNINGS for subject in SUBJECTS]
    max_model_len = max(map(len, prompts)) + options.num_tokens
    exact = Scorer(checkpoint, "fp32", max_model_len)
    expected = [exact.logits(prompt, options.num_tokens) for prompt in prompts]
    print(f"{len(prompts)} prompts, {options.num_tokens} tokens each")
    for dtype in DTYPES:
        scorer = Scorer(checkpoint, dtype, max_model_len)
        divergences, agreements = [], []
        for prompt, (tokens, reference) in zip(prompts, expected, strict=True):
            _, logits = scorer.logits(prompt, options.num_tokens, tokens)
            p, q = log_softmax(reference), log_softmax(logits)
            divergences.append((np.exp(p) * (p - q)).sum(-1))
            agreements.append(reference.argmax(-1) == logits.argmax(-1))
        kl, top1 = np.concatenate(divergences), np.concatenate(agreements)
        print(f"{dtype}: mean KL {kl.mean():.2e}, largest {kl.max():.2e} nats; top-1 agreement {top1.mean():.2%}")


if __name__ == "__main__":
    main()
