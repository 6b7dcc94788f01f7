"""Sets of workload.json on a GPU: scheduler and executor in one thread, one step ahead; dummy weights, token-id prompts, greedy.

    python tools/bench/gpu/offline.py MODEL_FOLDER single_128_256 decode_b64 [--repeat 2] [--out results.json] [--trace]

Prints a JSON object per set: output tokens/s (prefill sets: input tokens/s too), seconds, steps, and where the host's time went. With
--trace each set runs once more and its kernels are listed.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import deque
from functools import partial
from pathlib import Path

import numpy as np

from kernels import trace
from octavo._kernels import ThreadPool
from octavo.cache import BlockGroup, BlockManager
from octavo.checkpoint import open_checkpoint
from octavo.models import model_config
from octavo.platforms._gpu import blas_paths, open_library
from octavo.runner.cuda_executor import CudaExecutor, CudaSettings
from octavo.runner.executor import StepShape
from octavo.scheduler import CoreRequest, Scheduler, SchedulerLimits
from octavo.step import RowSampling

WORKLOAD = Path(__file__).parents[1] / "workload.json"


def prompts(name: str, vocab_size: int) -> list[tuple[list[int], int]]:
    """Token ids and output length of each request of a set, as the set's rule says."""
    workload = json.loads(WORKLOAD.read_text())
    chosen = workload["sets"][name]
    made = []
    for index, (num_in, num_out) in enumerate(chosen["requests"]):
        ids = np.random.default_rng([chosen["seed"], index]).integers(1000, min(vocab_size, 30000), num_in)
        made.append((ids.tolist(), num_out))
    return made


def model_folder(model: str) -> Path:
    """A folder, or one made of the configuration that workload.json has under this name."""
    configs = json.loads(WORKLOAD.read_text())["models"]
    if model not in configs:
        return Path(model)
    folder = Path(tempfile.mkdtemp(prefix="octavo-"))
    (folder / "config.json").write_text(json.dumps(configs[model]))
    return folder


def run_set(executor: CudaExecutor, limits: SchedulerLimits, requests: list[tuple[list[int], int]]) -> dict[str, float]:
    """Serve all requests at once; every output is as long as asked for."""
    scheduler = Scheduler(limits, BlockManager([BlockGroup(executor.shape.num_blocks)], executor.shape.block_size, prefix_caching=False))
    for index, (ids, num_out) in enumerate(requests):
        scheduler.add(CoreRequest(f"{index}", ids, (RowSampling(seed=index),), num_out))
    spent = {"schedule": 0.0, "launch": 0.0, "collect": 0.0, "update": 0.0}
    under_way: deque[int] = deque()
    clock = time.perf_counter
    device_ms, steps, started = 0.0, 0, clock()
    while scheduler.has_work or under_way:
        t0 = clock()
        plan = scheduler.schedule()
        t1 = clock()
        spent["schedule"] += t1 - t0
        if plan is not None:
            executor.launch(plan)
            under_way.append(plan.step_id)
            steps += 1
        t2 = clock()
        spent["launch"] += t2 - t1
        if not under_way or (plan is not None and len(under_way) < executor.depth):
            continue
        result = executor.collect()
        under_way.popleft()
        device_ms += result.run_ms
        t3 = clock()
        spent["collect"] += t3 - t2
        scheduler.update(result)
        spent["update"] += clock() - t3
    seconds = clock() - started
    tokens_in, tokens_out = sum(len(ids) for ids, _ in requests), sum(num_out for _, num_out in requests)
    return {
        "output_tok_s": round(tokens_out / seconds, 1),
        "input_tok_s": round(tokens_in / seconds, 1),
        "seconds": round(seconds, 3),
        "steps": steps,
        "device_s": round(device_ms / 1e3, 3),
        **{f"{part}_ms_a_step": round(value / steps * 1e3, 3) for part, value in spent.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a folder with config.json, or a name in workload.json: llama3_8b, qwen25_05b, moe_mixtral_small")
    parser.add_argument("sets", nargs="+")
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--max-num-seqs", type=int, default=1024)
    parser.add_argument("--max-num-batched-tokens", type=int, default=8192)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--attention", default="auto")
    parser.add_argument("--dtype", default="bf16")
    parser.add_argument("--no-graphs", action="store_true")
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--trace", action="store_true", help="list the kernels of one more run of each set; needs torch")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    started = time.perf_counter()
    checkpoint = open_checkpoint(model_folder(args.model), "dummy")
    config = model_config(checkpoint)
    most_blocks = args.max_num_seqs * -(-args.max_model_len // 16)
    shape = StepShape(args.max_num_seqs, args.max_num_batched_tokens, args.max_num_seqs, args.max_model_len, most_blocks, 16)
    settings = CudaSettings(dtype=args.dtype, attention=args.attention, graphs=not args.no_graphs)
    device = open_library().open(0, args.dtype, blas_paths(), deterministic=args.deterministic)
    executor = CudaExecutor(device, config, checkpoint, shape, ThreadPool(1), settings)
    limits = SchedulerLimits(shape.max_num_seqs, shape.max_num_tokens, shape.max_num_logits, shape.max_model_len)
    run_set(executor, limits, [([1000, 1001], 1)])
    results = {"model": str(args.model), "start_to_first_token_s": round(time.perf_counter() - started, 2), "sets": {}}
    print(json.dumps({key: value for key, value in results.items() if key != "sets"}), flush=True)
    for name in args.sets:
        runs = []
        for _ in range(args.repeat):
            runs.append(run_set(executor, limits, prompts(name, config.vocab_size)))
            print(name, json.dumps(runs[-1]), flush=True)
        results["sets"][name] = runs
        if args.trace:
            results.setdefault("traces", {})[name] = traced = trace(partial(run_set, executor, limits, prompts(name, config.vocab_size)))
            print(name, *(json.dumps(row) for row in [traced["seconds"], traced["busy"], *traced["kernels"]]), sep="\n  ", flush=True)
        if args.out:
            args.out.write_text(json.dumps(results, indent=1))
    executor.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
