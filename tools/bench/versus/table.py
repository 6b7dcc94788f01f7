"""Medians over rounds, ratios within rounds, and the table of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

__all__ = ["METRICS", "Metric", "Rounds", "best_peer", "ratio", "render"]

# scenario -> side -> one dict of figures a round
Rounds = Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]


@dataclass(frozen=True)
class Metric:
    """A figure of a scenario: its title with unit, and whether more is better."""

    scenario: str
    key: str
    title: str
    more_is_better: bool = True


METRICS = (
    Metric("decode", "tokens_per_s", "decode, one stream (tok/s)"),
    Metric("prefill", "tokens_per_s", "prefill 512 (tok/s)"),
    Metric("concurrent8", "output_tokens_per_s", "8 concurrent (output tok/s)"),
    Metric("concurrent32", "output_tokens_per_s", "32 concurrent (output tok/s)"),
    Metric("concurrent32", "ttft_p50_ms", "32 concurrent, TTFT p50 (ms)", more_is_better=False),
    Metric("concurrent32", "itl_p50_ms", "32 concurrent, ITL p50 (ms)", more_is_better=False),
    Metric("concurrent32", "itl_p99_ms", "32 concurrent, ITL p99 (ms)", more_is_better=False),
    Metric("concurrent32", "peak_mib", "32 concurrent, peak memory (MiB)", more_is_better=False),
    Metric("prefix", "output_tokens_per_s", "32, shared prefix of 512 (output tok/s)"),
    Metric("prefix", "ttft_p50_ms", "32, shared prefix, TTFT p50 (ms)", more_is_better=False),
    Metric("startup", "first_token_s", "process start to first token (s)", more_is_better=False),
)


def best_peer(rounds: Rounds, metric: Metric, ours: str) -> str | None:
    """Return the peer with the best median of a metric; None where no peer was measured."""
    medians = {side: _median(rounds, metric, side) for side in rounds[metric.scenario] if side != ours}
    best = max if metric.more_is_better else min
    return best(medians, key=lambda side: medians[side]) if medians else None


def ratio(rounds: Rounds, metric: Metric, ours: str, peer: str) -> float:
    """Return the median over rounds of how many times better we are: above 1 we are ahead, whichever way the metric points."""
    sides = rounds[metric.scenario]
    pairs = [(mine[metric.key], theirs[metric.key]) for mine, theirs in zip(sides[ours], sides[peer], strict=True)]
    return median(mine / theirs if metric.more_is_better else theirs / mine for mine, theirs in pairs)


def render(rounds: Rounds, sides: Sequence[str], ours: str) -> str:
    """Return the table in Markdown: medians of each side, and our ratio to the best peer."""
    lines = [["", *sides, "ratio to the best peer"], ["---"] * (len(sides) + 2)]
    for metric in METRICS:
        if metric.scenario in rounds:
            measured = rounds[metric.scenario]
            cells = [_round(_median(rounds, metric, side)) if side in measured else "" for side in sides]
            peer = best_peer(rounds, metric, ours)
            times = f"{ratio(rounds, metric, ours, peer):.2f} x ({peer})" if peer and ours in measured else ""
            lines.append([metric.title, *cells, times])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _median(rounds: Rounds, metric: Metric, side: str) -> float:
    return median(figures[metric.key] for figures in rounds[metric.scenario][side])


def _round(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"
