"""Sentences per second of an embedding model on this processor: Octavo, sentence-transformers and ONNX Runtime, by turns in one run.

    python tools/bench/embeddings.py FOLDER [--peer-python PYTHON] [--rounds 3] [--sentences 512]

Each side is a process of its own with the same texts, all threads, and its own defaults (sentence-transformers sorts by length and pads
batches of 32; ONNX Runtime gets the same batches of a model exported by torch, and unsorted ones, in the order in which texts come).
PYTHON has sentence_transformers, onnxruntime and onnx. Beside the clock stands the time of cores, which says more on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

WORDS = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you were all her"
)
SIDES = ("octavo", "sentence-transformers", "onnxruntime", "onnxruntime-unsorted")
BATCH = 32
Embed = Callable[[list[str]], object]


def texts_of(count: int, least: int, most: int) -> list[str]:
    """Texts of least .. most tokens, special ones included, in equal shares: each word here is a token of BERT's vocabulary."""
    chance, words = random.Random(7), WORDS.split()
    return [" ".join(chance.choices(words, k=chance.randint(least, most) - 2)) for _ in range(count)]


def octavo_side(folder: str, threads: int, settings: dict[str, object]) -> Embed:
    from octavo import LLM

    llm = LLM(folder, threads=threads, log_stats_s=0, **settings)
    return lambda texts: [output.outputs.embedding for output in llm.embed(texts, progress=False)]


def sentence_transformers_side(folder: str, threads: int, settings: dict[str, object]) -> Embed:
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(threads)
    model = SentenceTransformer(folder, device="cpu")
    return lambda texts: model.encode(texts, batch_size=BATCH, show_progress_bar=False)


def onnxruntime_side(folder: str, threads: int, settings: dict[str, object], *, by_length: bool = True) -> Embed:
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    path = exported(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
    tokenizer.enable_padding()
    tokenizer.enable_truncation(256)

    def embed(texts: list[str]) -> object:
        rows: list[object] = [None] * len(texts)
        order = sorted(range(len(texts)), key=lambda index: -len(texts[index]) if by_length else index)
        for first in range(0, len(order), BATCH):
            batch = order[first : first + BATCH]
            encodings = tokenizer.encode_batch([texts[index] for index in batch])
            ids, mask = (np.array([getattr(each, name) for each in encodings], np.int64) for name in ("ids", "attention_mask"))
            hidden = session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})[0]
            means = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
            means /= np.linalg.norm(means, axis=1, keepdims=True)
            for index, row in zip(batch, means, strict=True):
                rows[index] = row
        return rows

    return embed


def exported(folder: str) -> Path:
    """The model as ONNX, exported once."""
    import torch
    from transformers import AutoModel

    path = (
        Path(os.environ.get("TMPDIR", "/tmp"))
        / f"octavo-bench-{Path(folder).resolve().name}-{abs(hash(Path(folder).resolve())) % 10**8}.onnx"
    )
    if path.exists():
        return path
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval().requires_grad_(False)
    names = ["input_ids", "attention_mask", "token_type_ids"]

    class Hidden(torch.nn.Module):
        def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
            return model(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    inputs = (torch.ones(2, 8, dtype=torch.long), torch.ones(2, 8, dtype=torch.long), torch.zeros(2, 8, dtype=torch.long))
    axes = {name: {0: "batch", 1: "tokens"} for name in (*names, "hidden")}
    torch.onnx.export(
        Hidden(), inputs, str(path), input_names=names, output_names=["hidden"], dynamic_axes=axes, opset_version=17, dynamo=False
    )
    return path


def run_side(
    side: str, folder: str, count: int, lengths: tuple[int, int], threads: int, settings: dict[str, object]
) -> tuple[float, float]:
    """Sentences per second, and per second of a core, of one side, in this process."""
    make = {
        "octavo": octavo_side,
        "sentence-transformers": sentence_transformers_side,
        "onnxruntime": onnxruntime_side,
        "onnxruntime-unsorted": partial(onnxruntime_side, by_length=False),
    }[side]
    embed, texts = make(folder, threads, settings), texts_of(count, *lengths)
    embed(texts[:64])
    started, cpu_started = time.perf_counter(), time.process_time()
    embed(texts)
    return count / (time.perf_counter() - started), count / (time.process_time() - cpu_started)


def measure(args: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """The figures of each side, a round after the other."""
    rates: dict[str, list[tuple[float, float]]] = {side: [] for side in args.sides}
    for _ in range(args.rounds):
        for side in args.sides:
            python = sys.executable if side == "octavo" else args.peer_python
            command = [python, __file__, args.folder, "--side", side, "--sentences", str(args.sentences), "--threads", str(args.threads)]
            command += ["--least", str(args.least), "--most", str(args.most), "--settings", args.settings]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            by_clock, by_core = map(float, output.split()[-2:])
            rates[side].append((by_clock, by_core))
    return rates


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--least", type=int, default=5, help="tokens of the shortest text")
    parser.add_argument("--most", type=int, default=128, help="tokens of the longest text")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--settings", default="{}", help="settings of Octavo's engine, as JSON")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        lengths = (args.least, args.most)
        print(*run_side(args.side, args.folder, args.sentences, lengths, args.threads, json.loads(args.settings)))
        return
    rates = measure(args)
    middle = {side: [median(figures) for figures in zip(*rounds, strict=True)] for side, rounds in rates.items()}
    for side, rounds in rates.items():
        shown = ", ".join(f"{by_clock:.1f}" for by_clock, _ in rounds)
        print(f"{side:24s} {middle[side][0]:8.1f} sentences/s, {middle[side][1]:8.1f} per second of a core; rounds: {shown}")
    for side in set(middle) - {"octavo"} if "octavo" in middle else ():
        ratios = [own / other for own, other in zip(middle["octavo"], middle[side], strict=True)]
        print(f"octavo / {side}: {ratios[0]:.2f} by the clock, {ratios[1]:.2f} by time of cores")


if __name__ == "__main__":
    main()
