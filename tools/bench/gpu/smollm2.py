"""SmolLM2 on a GPU against exact arithmetic on a processor: teacher-forced over 20 x 64 tokens, and free-running.

    python tools/bench/gpu/smollm2.py reference.npz --reference            # on any machine: float32 on the dequantised weights
    python tools/bench/gpu/smollm2.py reference.npz --model FILE.gguf      # on the GPU, in bf16, fp16 and fp32

Prints for each type: the share of positions whose most likely token is the reference's, for those that differ the gap between the
reference's two largest logits, the largest error over the largest logit, and how many of 20 greedy texts of 64 tokens are the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parents[1]))

from octavo._kernels import ThreadPool
from octavo._runtime import Batch
from octavo.checkpoint import open_checkpoint
from octavo.fetch.default_model import default_model_path
from octavo.models import model_config
from octavo.runner.executor import StepShape

PROMPT_LEN, NUM_PROMPTS, NUM_SCORED = 66, 20, 64
LENGTH = PROMPT_LEN + NUM_SCORED
SHAPE = StepShape(32, 4096, 4096, 256, 512, 16)
DTYPES = ("bf16", "fp16", "fp32")


def start(windows: list[list[int]]) -> tuple[Batch, list[int]]:
    batch = Batch(SHAPE.max_num_seqs, SHAPE.max_num_tokens, SHAPE.max_num_logits, SHAPE.max_model_len, SHAPE.block_size)
    for row, token_ids in enumerate(windows):
        batch.start_row(row, token_ids, len(token_ids))
    return batch, list(range(len(windows)))


def forced(executor: Any, windows: list[list[int]]) -> NDArray[np.float32]:
    """Logits [windows, NUM_SCORED, V] of the positions that predict the last tokens of each window."""
    found = []
    for token_ids in windows:
        batch, rows = start([token_ids])
        batch.prepare(rows, [LENGTH], [[list(range(-(-LENGTH // 16)))]], [LENGTH])
        found.append(executor.execute(batch)[PROMPT_LEN - 1 : LENGTH - 1].copy())
    return np.stack(found)


def free(executor: Any, windows: list[list[int]]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Greedy tokens [windows, NUM_SCORED] after the prompts, all side by side, and the gap between the two largest logits of each."""
    batch, rows = start([token_ids[:PROMPT_LEN] for token_ids in windows])
    counts, blocks = [PROMPT_LEN] * len(rows), [list(range(row * 16, row * 16 + -(-LENGTH // 16))) for row in rows]
    tokens, gaps = [], []
    for _ in range(NUM_SCORED):
        batch.prepare(rows, counts, [blocks], [1] * len(rows))
        logits = executor.execute(batch)
        tokens.append(logits.argmax(axis=1).astype(np.int32))
        gaps.append(gap_of(logits))
        batch.append_tokens(rows, tokens[-1].tolist())
        counts, blocks = [1] * len(rows), [[] for _ in rows]
    return np.stack(tokens, axis=1), np.stack(gaps, axis=1)


def gap_of(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """The largest logit less the second."""
    top = np.partition(logits, -2, axis=-1)[..., -2:]
    return top[..., 1] - top[..., 0]


def make_reference(path: Path, model: Path) -> None:
    from versus.texts import prompts_text
    from versus.texts import windows as windows_of

    from octavo.runner.step_program import StepProgramExecutor
    from octavo.text import open_tokenizer

    checkpoint = open_checkpoint(model)
    text = open_tokenizer(checkpoint).encode(prompts_text(NUM_PROMPTS))
    windows = windows_of(text, LENGTH, NUM_PROMPTS)
    executor = StepProgramExecutor(model_config(checkpoint), checkpoint, SHAPE, ThreadPool(2))
    logits = forced(executor, windows)
    tokens, gaps = free(executor, windows)
    np.savez_compressed(
        path, windows=windows, top=logits.argmax(-1), gap=gap_of(logits), largest=np.abs(logits).max(), tokens=tokens, gaps=gaps,
        some=logits[:, ::32].astype(np.float32),
    )  # fmt: skip


def check(path: Path, model: Path) -> None:
    from octavo.platforms._gpu import blas_paths, open_library
    from octavo.runner.cuda_executor import CudaExecutor, CudaSettings

    reference = np.load(path)
    windows = reference["windows"].tolist()
    checkpoint = open_checkpoint(model)
    for dtype in DTYPES:
        device = open_library().open(0, dtype, blas_paths())
        executor = CudaExecutor(
            device, model_config(checkpoint), checkpoint, SHAPE, ThreadPool(1), CudaSettings(dtype=dtype, kv_cache_bytes=1 << 30)
        )
        logits = forced(executor, windows)
        differs = logits.argmax(-1) != reference["top"]
        tokens, _ = free(executor, windows)
        first = [int(np.argmax(row)) if row.any() else None for row in tokens != reference["tokens"]]
        print(
            json.dumps(
                {
                    "dtype": dtype,
                    "top1": round(float(1 - differs.mean()), 5),
                    "gaps_where_it_differs": [round(float(gap), 4) for gap in sorted(reference["gap"][differs])],
                    "largest_error": float(np.abs(logits[:, ::32] - reference["some"]).max() / reference["largest"]),
                    "same_texts": first.count(None),
                    "gaps_where_texts_part": [
                        round(float(reference["gaps"][row, at]), 4) for row, at in enumerate(first) if at is not None
                    ],
                }
            ),
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--reference", action="store_true")
    args = parser.parse_args()
    model = args.model or Path(default_model_path(print))
    (make_reference if args.reference else check)(args.file, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
