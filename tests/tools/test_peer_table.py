"""Octavo beside llama.cpp: turns, medians, ratios, what is sent."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from peer import choose_sides, measure, parse
from versus.quiet import undisturbed
from versus.scenarios import workload
from versus.table import METRICS, Metric, best_peer, ratio, render

FAST = Metric("decode", "tokens_per_s", "decode")
SHORT = Metric("startup", "first_token_s", "startup", more_is_better=False)
ROUNDS = {
    "decode": {
        "octavo": [{"tokens_per_s": rate} for rate in (200.0, 100.0, 210.0)],
        "llama.cpp A": [{"tokens_per_s": rate} for rate in (100.0, 40.0, 100.0)],
        "llama.cpp B": [{"tokens_per_s": rate} for rate in (50.0, 60.0, 70.0)],
    },
    "startup": {
        "octavo": [{"first_token_s": seconds} for seconds in (1.0, 2.0, 1.0)],
        "llama.cpp A": [{"first_token_s": seconds} for seconds in (2.0, 2.0, 2.0)],
        "llama.cpp B": [{"first_token_s": seconds} for seconds in (0.5, 3.0, 0.5)],
    },
}


def test_the_best_peer_is_the_one_with_the_best_median():
    assert best_peer(ROUNDS, FAST, "octavo") == "llama.cpp A"
    assert best_peer(ROUNDS, SHORT, "octavo") == "llama.cpp B"
    assert best_peer({"decode": {"octavo": []}}, FAST, "octavo") is None


def test_ratios_are_taken_within_rounds_and_above_one_is_ahead():
    assert ratio(ROUNDS, FAST, "octavo", "llama.cpp A") == pytest.approx(2.1)
    assert ratio(ROUNDS, SHORT, "octavo", "llama.cpp A") == pytest.approx(2.0)
    assert ratio(ROUNDS, SHORT, "octavo", "llama.cpp B") == pytest.approx(0.5)


def test_the_table_has_a_line_for_each_figure_measured():
    lines = render(ROUNDS, ["octavo", "llama.cpp A", "llama.cpp B"], "octavo").splitlines()
    assert lines[0] == "|  | octavo | llama.cpp A | llama.cpp B | ratio to the best peer |"
    assert lines[2] == "| decode, one stream (tok/s) | 200 | 100 | 60 | 2.10 x (llama.cpp A) |"
    assert lines[3] == "| process start to first token (s) | 1.00 | 2.00 | 0.50 | 0.50 x (llama.cpp B) |"
    assert len(lines) == 4
    alone = {scenario: {"octavo": sides["octavo"]} for scenario, sides in ROUNDS.items()}
    assert render(alone, ["octavo"], "octavo").splitlines()[2] == "| decode, one stream (tok/s) | 200 |  |"


def test_each_round_begins_with_another_side(capsys):
    calls = []

    def run(scenario, side):
        calls.append(side.name)
        return {"tokens_per_s": float(len(calls))}

    rounds = measure(["decode"], [SimpleNamespace(name=name) for name in "ab"], 2, run)
    assert calls == ["a", "b", "b", "a"]
    assert rounds == {"decode": {"a": [{"tokens_per_s": 1.0}, {"tokens_per_s": 4.0}], "b": [{"tokens_per_s": 2.0}, {"tokens_per_s": 3.0}]}}


def test_a_disturbed_measurement_is_repeated(monkeypatch, capsys):
    shares = iter([0.5, 0.2, 0.4, 0.3, 0.6])
    clock = iter(range(0, 100, 1))
    busy = 0.0

    def run():
        nonlocal busy
        busy += next(shares)
        return {}

    monkeypatch.setattr("versus.quiet.time.perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr("versus.quiet.os.cpu_count", lambda: 1)
    monkeypatch.setattr("versus.quiet._busy_s", lambda: busy)
    monkeypatch.setattr("versus.quiet._own_s", lambda: 0.0)
    assert undisturbed(run, 0.25) == {"others": pytest.approx(0.2)}
    assert undisturbed(run, 1.0) == {"others": pytest.approx(0.4)}


def test_the_scenarios_send_what_their_titles_say():
    requests = workload(32, prefix_len=512)
    assert {(len(request.prompt_token_ids), request.output_len) for request in requests} == {(640, 128)}
    assert len({tuple(request.prompt_token_ids[:512]) for request in requests}) == 1
    with pytest.raises(SystemExit):
        parse(["--only", "decode,nothing"])
    assert {metric.scenario for metric in METRICS} <= set(parse([]).only)


def test_another_checkout_is_a_side_with_its_own_packages(tmp_path: Path):
    sides = choose_sides(parse(["--before", str(tmp_path), "--model", "m.gguf", "--octavo-args", "--arithmetic exact"]))
    assert [side.name for side in sides] == ["octavo", "before"]
    ours, theirs = (side.serve_command(8000, 1, 256) for side in sides)
    assert theirs == ["env", f"PYTHONPATH={tmp_path / 'python'}", *ours] and ours[-2:] == ["--arithmetic", "exact"]
