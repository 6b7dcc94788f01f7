"""tools/bench/compare.py on outputs of the shape that Google Benchmark writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from compare import main

CONTEXT = {"octavo_isa": "avx2", "threads": "2", "num_cpus": 2, "host_name": "box", "ceiling memory read GB/s": "24.0"}


def iteration(name: str, time: float, unit: str = "us") -> dict[str, Any]:
    return {"name": name, "run_name": name, "run_type": "iteration", "real_time": time, "cpu_time": 0.0, "time_unit": unit}


def write(path: Path, benchmarks: list[dict[str, Any]], **context: Any) -> str:
    path.write_text(json.dumps({"context": {**CONTEXT, **context}, "benchmarks": benchmarks}))
    return str(path)


def rows(printed: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in printed.splitlines()[1:]}


def test_medians_of_repetitions_are_compared_whatever_their_unit(tmp_path, capsys):
    before = write(tmp_path / "a", [iteration("norm", time) for time in (10.0, 11.0, 90.0)])
    after = write(tmp_path / "b", [iteration("norm", time, "ns") for time in (5400.0, 5500.0, 5600.0)])
    assert main([before, after]) == 0
    captured = capsys.readouterr()
    assert rows(captured.out)["norm"] == ["11", "us", "5.5", "us", "0.50"]
    assert captured.err == ""


def test_a_file_of_aggregates_alone_has_its_median_read(tmp_path, capsys):
    aggregates = [
        {**iteration("norm", time), "run_type": "aggregate", "aggregate_name": kind} for kind, time in (("mean", 50), ("median", 10))
    ]
    assert main([write(tmp_path / "a", aggregates), write(tmp_path / "b", [iteration("norm", 10.0)])]) == 0
    assert rows(capsys.readouterr().out)["norm"][-1] == "1.00"


@pytest.mark.parametrize(("threshold", "code"), [("10", 1), ("30", 0)])
def test_an_op_slower_by_more_than_the_threshold_fails(tmp_path, capsys, threshold: str, code: int):
    before = write(tmp_path / "a", [iteration("norm", 10.0), iteration("rope", 10.0)])
    after = write(tmp_path / "b", [iteration("norm", 12.5), iteration("rope", 9.0)])
    assert main([before, after, "--threshold", threshold]) == code
    printed = capsys.readouterr().out
    assert ("slower" in rows(printed)["norm"]) == bool(code)
    assert "slower" not in rows(printed)["rope"]


def test_ops_of_one_file_only_and_failed_ones_are_not_compared(tmp_path, capsys):
    failed = {**iteration("gone", 0.0), "error_occurred": True}
    before = write(tmp_path / "a", [iteration("norm", 10.0), iteration("gone", 1.0)])
    after = write(tmp_path / "b", [iteration("norm", 10.0), failed, iteration("new", 3.0)])
    assert main([before, after]) == 0
    assert rows(capsys.readouterr().out) == {"norm": ["10", "us", "10", "us", "1.00"], "gone": ["1", "us", "-"], "new": ["-", "3", "us"]}


def test_other_machines_and_other_ceilings_are_warned_of(tmp_path, capsys):
    before = write(tmp_path / "a", [iteration("norm", 10.0)])
    after = write(
        tmp_path / "b", [iteration("norm", 10.0)], threads="4", **{"ceiling memory read GB/s": "12.0", "ceiling L2 read GB/s": "1"}
    )
    main([before, after])
    assert capsys.readouterr().err.splitlines() == [
        "warning: threads was 2, is 4",
        "warning: ceiling L2 read GB/s was measured in one run only",
        "warning: ceiling memory read GB/s was 24.0, is 12.0",
    ]


@pytest.mark.parametrize("content", ["", "[]", '{"context": {}}'])
def test_what_is_no_output_is_named(tmp_path, capsys, content: str):
    good = write(tmp_path / "a", [iteration("norm", 10.0)])
    (tmp_path / "b").write_text(content)
    assert main([good, str(tmp_path / "b")]) == 2
    assert str(tmp_path / "b") in capsys.readouterr().err
