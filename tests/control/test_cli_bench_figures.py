"""What benchmarks send and what they make of the times."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path

import numpy as np
import pytest

from octavo.cli.bench.load import send_all
from octavo.cli.bench.plot import plot
from octavo.cli.bench.summary import distribution, summarize
from octavo.cli.bench.timeline import Timeline
from octavo.cli.bench.workload import BenchRequest, add_workload_options, load_workload
from octavo.cli.parser import UsageError


def workload(*arguments: str, vocab_size: int = 50_000):
    parser = argparse.ArgumentParser()
    add_workload_options(parser, num_prompts=4)
    return load_workload(parser.parse_args(arguments), vocab_size)


def timeline(sent: float, *times: float, error: str | None = None) -> Timeline:
    return Timeline(sent, 10, 4, [(at, 1) for at in times], times[-1] if times else sent + 1, error)


def test_a_set_follows_the_token_rule(tmp_path: Path):
    file = tmp_path / "w.json"
    file.write_text(json.dumps({"sets": {"a": {"seed": 7, "requests": [[5, 3], [2, 9]]}}}))
    requests = workload("--workload", str(file), "--set", "a").requests
    assert [request.output_len for request in requests] == [3, 9]
    assert requests[1].prompt_token_ids == np.random.default_rng([7, 1]).integers(1000, 30000, 2).tolist()
    assert len(workload("--workload", str(file), "--set", "a", "--num-prompts", "1").requests) == 1
    with pytest.raises(UsageError, match="--set b is not in"):
        workload("--workload", str(file), "--set", "b")
    with pytest.raises(UsageError, match="cannot be read"):
        workload("--workload", str(tmp_path / "none.json"), "--set", "a")


def test_prompts_share_the_prefix_and_nothing_else():
    requests = workload("--prefix-len", "6", "--input-len", "3", "--num-prompts", "3").requests
    assert {tuple(request.prompt_token_ids[:6]) for request in requests} == {tuple(requests[0].prompt_token_ids[:6])}
    assert len({tuple(request.prompt_token_ids[6:]) for request in requests}) == 3
    assert {len(request.prompt_token_ids) for request in requests} == {9}


def test_token_ids_fit_a_small_vocabulary():
    ids = [token for request in workload("--input-len", "200", vocab_size=259).requests for token in request.prompt_token_ids]
    assert min(ids) >= 0
    assert max(ids) < 259


def test_the_figures_of_a_run():
    results = summarize([timeline(0.0, 1.0, 1.5, 2.0), timeline(1.0, 2.0, 3.0)], expected_output_tokens=6)
    assert (results["completed"], results["failed"], results["duration_s"]) == (2, 0, 3.0)
    assert (results["output_tokens"], results["expected_output_tokens"]) == (5, 6)
    assert results["output_tokens_per_s"] == pytest.approx(5 / 3)
    assert (results["prompt_tokens"], results["cached_prompt_tokens"]) == (20, 8)
    assert results["ttft_ms"]["p50"] == pytest.approx(1000)
    assert results["itl_ms"]["mean"] == pytest.approx(2000 / 3)
    assert results["tpot_ms"]["max"] == pytest.approx(1000)


def test_failures_are_counted_and_bring_no_tokens():
    results = summarize([timeline(0.0, 1.0, 2.0), timeline(0.0, 1.0, error="HTTP 503"), timeline(0.0, error="HTTP 503")], 6)
    assert (results["completed"], results["failed"], results["errors"]) == (1, 2, {"HTTP 503": 2})
    assert results["output_tokens"] == 2
    assert distribution([]) is None


def test_tokens_that_come_together_are_counted_and_spread_over_tpot():
    merged = Timeline(0.0, 1, None, [(1.0, 1), (2.0, 4)], 2.0)
    assert merged.num_output_tokens == 5
    assert merged.itl_s == [1.0]
    assert merged.tpot_s == 0.25
    assert Timeline(0.0, 1, None, [(1.0, 1)], 1.0).tpot_s is None


async def test_concurrency_is_a_bound_and_order_is_kept():
    running = peak = 0

    async def send(request: BenchRequest) -> Timeline:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(0.001 * request.output_len)
        running -= 1
        return Timeline(0.0, request.output_len)

    requests = [BenchRequest([1], length) for length in (9, 1, 5, 3, 7)]
    timelines = await send_all(send, requests, concurrency=2, request_rate=None)
    assert peak == 2
    assert [each.num_prompt_tokens for each in timelines] == [9, 1, 5, 3, 7]


async def test_a_request_rate_spreads_the_sendings():
    async def send(request: BenchRequest) -> Timeline:
        return Timeline(time.perf_counter(), 1)

    timelines = await send_all(send, [BenchRequest([1], 1)] * 20, concurrency=None, request_rate=200.0)
    sent = [each.sent for each in timelines]
    assert sent == sorted(sent)
    assert sent[-1] - sent[0] > 0.03
    with pytest.raises(UsageError, match="--request-rate"):
        await send_all(send, [BenchRequest([1], 1)], concurrency=None, request_rate=0.0)


def test_a_plot_is_drawn_also_where_every_request_failed(tmp_path: Path):
    pytest.importorskip("matplotlib")
    plot([timeline(0.0, 1.0, 1.5), timeline(0.2, 1.1, 2.0)], tmp_path / "run.png", "run")
    plot([timeline(0.0, error="refused")], tmp_path / "failed.png", "failed")
    assert (tmp_path / "run.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "failed.png").stat().st_size > 0
