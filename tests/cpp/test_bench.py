"""octavo-bench runs every op and says how near it comes to a ceiling. tools/test builds it and names it in OCTAVO_CPP_BENCH."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

PROGRAM = os.environ.get("OCTAVO_CPP_BENCH")
LONG = "T:(4|8|512)|context:(1024|8192)|R:8"  # larger sizes of ops that run at smaller ones too


@pytest.mark.skipif(PROGRAM is None, reason="OCTAVO_CPP_BENCH names no program; tools/test builds one where Google Benchmark is installed")
@pytest.mark.slow
def test_every_op_runs_and_is_compared_with_a_ceiling(tmp_path: Path):
    report = tmp_path / "ops.json"
    options = ["--threads", "2", "--benchmark_min_time=0.0001", f"--benchmark_filter=-({LONG})/", f"--benchmark_out={report}"]
    done = subprocess.run([str(PROGRAM), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    ops = json.loads(report.read_text())["benchmarks"]
    assert {op["name"].split("/")[0] for op in ops} >= {"linear", "model_step", "decode", "prefill", "moe", "sample_batch"}
    assert not [op["name"] for op in ops if op.get("error_occurred")]
    without_rate = {op["name"].split("/")[0] for op in ops if not any(name.startswith("% of ") for name in op)}
    assert without_rate == {"block_pool", "block_table", "prefix_index", "thread_pool"}
