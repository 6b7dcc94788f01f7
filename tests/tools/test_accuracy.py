"""Accuracy of settings: divergences against a direct sum, windows, what llama-perplexity writes."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
import pytest
from accuracy import render
from versus.divergence import kl_divergences, negative_log_likelihoods, same_top
from versus.perplexity import base_tokens, divergence_figures, perplexity_figure
from versus.scoring import engine_config, scored
from versus.texts import prompts_text, reference_text, windows

from octavo.cli.parser import UsageError


def test_divergence_is_the_sum_by_the_book():
    p, q = [0.7, 0.2, 0.1], [0.5, 0.25, 0.25]
    exact, other = (np.log(np.array([row], np.float32)) + shift for row, shift in ((p, 100), (q, -100)))
    expected = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert kl_divergences(exact, other) == pytest.approx([expected], rel=1e-4)
    assert kl_divergences(exact, exact) == pytest.approx([0.0], abs=1e-12)
    assert negative_log_likelihoods(other, [2]) == pytest.approx([math.log(4)], rel=1e-4)


def test_same_top_is_counted_by_rows():
    rows = np.array([[1, 2, 3], [3, 2, 1]], np.float32)
    assert same_top(rows, rows[::-1]).tolist() == [False, False]
    assert same_top(rows, rows * 2).tolist() == [True, True]


def test_windows_follow_each_other_and_their_second_halves_are_scored():
    assert windows(list(range(10)), 4, 2) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(ValueError, match="need 12, the text has 10"):
        windows(list(range(10)), 4, 3)
    assert list(range(8))[scored(8)] == [4, 5, 6]
    assert len(range(130)[scored(130)]) == 64


def test_texts_are_the_same_every_time():
    assert prompts_text(20) == prompts_text(20)
    assert len(prompts_text(20)) > 20 * 800
    assert reference_text(120_000).startswith(reference_text(1000))


def test_settings_are_fields_of_the_engines_configuration():
    config = engine_config(Path("m.gguf"), "block_size=16,max_model_len=99", threads=2)
    assert (config.model, config.placement.threads, config.cache.block_size, config.max_model_len) == ("m.gguf", 2, 16, 99)
    with pytest.raises((UsageError, SystemExit)):
        engine_config(Path("m.gguf"), "no_such_field=1", threads=2)


def test_what_llama_perplexity_writes_is_read(tmp_path: Path):
    base = tmp_path / "base.dat"
    base.write_bytes(b"_logits_" + struct.pack("<iii4i", 2, 100, 2, 5, 6, 7, 8) + b"log-probabilities")
    assert base_tokens(base) == [5, 6, 7, 8]
    output = "Mean PPL(Q)  :  9.1\nMean    KLD:   0.012345 ±   0.000321\nSame top p: 96.875 ±  0.487 %\n"
    assert divergence_figures(output) == {"top1": 0.96875, "kl": 0.012345}
    assert perplexity_figure("x\nFinal estimate: PPL = 13.8371 +/- 0.37\n") == 13.8371
    with pytest.raises(SystemExit, match="said nothing like"):
        perplexity_figure("out of memory")


def test_the_table_sets_perplexities_against_the_exact_one():
    figures = {"exact": {"top1": 1.0, "kl": 0.0, "perplexity": 10.0}, "int8": {"top1": 0.98, "kl": 0.001, "perplexity": 10.02}}
    assert render(figures, "exact").splitlines()[-1] == "| int8 | 98.00% | 0.001000 | 10.0200 | +0.200% |"
