"""The sampler: masks and penalties exactly, distributions by chi-square, reports against float64 numpy, and independence of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from octavo import _kernels
from octavo.step import RowSampling

VOCAB = 5003  # not a multiple of any vector width


pytestmark = pytest.mark.usefixtures("isa")


def random_logits(num_rows: int, vocab_size: int = VOCAB, seed: int = 0, scale: float = 3.0) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((num_rows, vocab_size)) * scale).astype(np.float32)


def sample(sampler, logits, rows):
    """Row i of the logits is that of rows[i]."""
    return sampler.sample(logits, rows, range(len(rows)))


def sample_one(pool, logits, sampling: RowSampling, token_ids=(0,), num_prompt_tokens: int | None = None):
    sampler = _kernels.Sampler(1, len(logits), pool)
    sampler.start_row(0, list(token_ids), len(token_ids) if num_prompt_tokens is None else num_prompt_tokens, sampling)
    ids, reports = sample(sampler, np.asarray(logits, np.float32)[None], [0])
    return ids[0], reports[0]


def draws(pool, logits, count: int, **params) -> np.ndarray:
    """Independent draws from one row of logits: one row per seed."""
    sampler = _kernels.Sampler(count, len(logits), pool)
    for seed in range(count):
        sampler.start_row(seed, [0], 1, RowSampling(seed=seed, **params))
    ids, _ = sample(sampler, np.tile(np.asarray(logits, np.float32), (count, 1)), list(range(count)))
    return np.array(ids)


def test_rows_draw_from_the_logits_rows_that_are_named(pool):
    logits = random_logits(5)
    sampler = _kernels.Sampler(2, VOCAB, pool)
    for row in range(2):
        sampler.start_row(row, [0], 1, RowSampling())
    assert sampler.sample(logits, [1, 0], [4, 2])[0] == logits.argmax(1)[[4, 2]].tolist()


def kept_probabilities(logits, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, top_n_sigma=0.0) -> np.ndarray:
    """The distribution a draw must follow, float64."""
    scaled = np.asarray(logits, np.float64) / temperature
    probabilities = np.exp(scaled - scaled.max())
    probabilities /= probabilities.sum()
    order = np.lexsort((np.arange(len(logits)), -scaled))
    keep = np.zeros(len(logits), bool)
    keep[order[: top_k or None]] = True
    keep &= probabilities >= min_p * probabilities.max() * (1 - 1e-6)
    if top_n_sigma > 0:
        wide = np.asarray(logits, np.float64)
        keep &= wide >= wide.max() - top_n_sigma * wide[np.isfinite(wide)].std()
    left = np.where(keep, probabilities, 0.0)
    before = np.cumsum(left[order]) - left[order]
    keep[order[before >= top_p * left.sum()]] = False
    left = np.where(keep, probabilities, 0.0)
    return left / left.sum()


# ---- greedy ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vocab_size", [1, 7, 16, 1000, VOCAB])
def test_greedy_is_argmax(vocab_size, pool):
    logits = random_logits(3, vocab_size)
    sampler = _kernels.Sampler(3, vocab_size, pool)
    for row in range(3):
        sampler.start_row(row, [0], 1, RowSampling())
    assert sample(sampler, logits, [0, 1, 2])[0] == logits.argmax(1).tolist()


def test_greedy_ties_go_to_the_lowest_id(pool):
    logits = np.zeros(100, np.float32)
    logits[[37, 38, 99]] = 2.0
    assert sample_one(pool, logits, RowSampling())[0] == 37
    assert sample_one(pool, logits, RowSampling(temperature=1.0, top_k=1))[0] == 37


@pytest.mark.parametrize("sampling", [RowSampling(), RowSampling(temperature=1.0, top_p=0.5), RowSampling(logit_bias=((1, 1.0),))])
@pytest.mark.parametrize("bad", ["nan", "all -inf", "inf"])
def test_rows_that_are_not_finite_draw_nothing(sampling, bad, pool):
    logits = random_logits(1)[0]
    if bad == "all -inf":
        logits[:] = -np.inf
    else:
        logits[4321] = float(bad)
    assert sample_one(pool, logits, sampling) == (None, None)


def test_a_bad_row_leaves_its_neighbours_alone(pool):
    logits = random_logits(3)
    logits[1, 7] = np.nan
    sampler = _kernels.Sampler(3, VOCAB, pool)
    for row in range(3):
        sampler.start_row(row, [0], 1, RowSampling())
    ids, _ = sample(sampler, logits, [2, 1, 0])
    assert ids == [logits[0].argmax(), None, logits[2].argmax()]


# ---- masks and penalties --------------------------------------------------------------------------------------------------------

FLAT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, -1.0])


@pytest.mark.parametrize(
    ("sampling", "token_ids", "num_prompt_tokens", "expected"),
    [
        (RowSampling(allowed_token_ids=(1, 3)), [0], 1, 3),
        (RowSampling(logit_bias=((0, 4.5), (4, -0.4))), [0], 1, 0),
        (RowSampling(allowed_token_ids=(1, 3), logit_bias=((4, 100.0),)), [0], 1, 3),
        (RowSampling(bad_words=((4,),)), [0], 1, 3),
        (RowSampling(bad_words=((2, 4),)), [0, 2], 2, 3),
        (RowSampling(bad_words=((2, 4),)), [2, 0], 2, 4),
        (RowSampling(bad_words=((1, 2, 4), (2, 3))), [1, 2], 2, 2),
        (RowSampling(bad_words=((1, 1, 4),)), [1], 1, 4),
        (RowSampling(min_tokens=2, blocked_until_min=(4, 3)), [0, 1], 1, 2),
        (RowSampling(min_tokens=2, blocked_until_min=(4, 3)), [0, 1, 1], 1, 4),
        (RowSampling(repetition_penalty=2.0), [4], 1, 3),  # in the prompt: 5 / 2
        (RowSampling(presence_penalty=1.5), [4], 1, 4),  # in the prompt: does not count
        (RowSampling(presence_penalty=1.5), [0, 4], 1, 3),
        (RowSampling(presence_penalty=0.5), [0, 4, 4, 4], 1, 4),
        (RowSampling(frequency_penalty=0.5), [0, 4, 4, 4], 1, 3),
        (RowSampling(frequency_penalty=-2.0), [0, 2, 2], 1, 2),
        (RowSampling(repetition_penalty=2.0, presence_penalty=1.0, allowed_token_ids=(3, 4)), [0, 4], 1, 3),
        (RowSampling(repetition_penalty=4.0, logit_bias=((5, 7.0), (4, -3.5))), [4, 3], 2, 5),
    ],
)
def test_masks_and_penalties(sampling, token_ids, num_prompt_tokens, expected, pool):
    assert sample_one(pool, FLAT, sampling, token_ids, num_prompt_tokens)[0] == expected


def test_repetition_penalty_of_negative_logits_multiplies(pool):
    assert sample_one(pool, [-1.0, -1.5], RowSampling(repetition_penalty=2.0), [0])[0] == 1


def test_the_sampler_remembers_what_it_drew(pool):
    sampler = _kernels.Sampler(2, 6, pool)
    sampler.start_row(1, [0], 1, RowSampling(presence_penalty=2.0, bad_words=((3, 2),)))
    drawn = [sample(sampler, FLAT[None].astype(np.float32), [1])[0][0] for _ in range(4)]
    assert drawn == [4, 3, 4, 2]  # 5 | 4 > 5 - 2 | 3, for id 2 ties but is barred after id 3 | now it is not
    sampler.end_row(1)
    sampler.start_row(1, [0], 1, RowSampling())
    assert sample(sampler, FLAT[None].astype(np.float32), [1])[0] == [4]


def test_masks_that_leave_nothing_draw_nothing(pool):
    assert sample_one(pool, FLAT, RowSampling(allowed_token_ids=(2,), bad_words=((2,),))) == (None, None)


def test_logits_are_not_modified(pool):
    logits = random_logits(1)
    before = logits.copy()
    sampler = _kernels.Sampler(1, VOCAB, pool)
    sampler.start_row(
        0, [1, 2, 3], 1, RowSampling(repetition_penalty=1.3, temperature=0.7, top_k=9, top_p=0.8, min_tokens=9, blocked_until_min=(5,))
    )
    sample(sampler, logits, [0])
    assert (logits == before).all()


# ---- draws ----------------------------------------------------------------------------------------------------------------------

FILTERS = [
    {},
    {"temperature": 0.5},
    {"temperature": 2.0},
    {"top_k": 3},
    {"top_p": 0.7},
    {"min_p": 0.2},
    {"temperature": 2.0, "top_n_sigma": 1.0},
    {"top_n_sigma": 0.5, "top_k": 3, "min_p": 0.01},
    {"temperature": 1.3, "top_k": 6, "top_p": 0.85, "min_p": 0.05},
    {"top_k": 5, "top_p": 0.5},
]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_draws_follow_the_distribution(filters, pool):
    logits = np.array([0.3, 2.0, -1.0, 1.1, 2.0, 0.0, -3.0, 1.7, 0.9, 2.2, -0.5], np.float32)
    probabilities = kept_probabilities(logits, **filters)
    count = 4000
    seen = np.bincount(draws(pool, logits, count, **({"temperature": 1.0} | filters)), minlength=len(logits))
    assert not seen[probabilities == 0].any()
    kept = probabilities > 0
    chi_square = ((seen[kept] - count * probabilities[kept]) ** 2 / (count * probabilities[kept])).sum()
    freedom = kept.sum() - 1
    assert chi_square < freedom + 4.5 * math.sqrt(2 * max(freedom, 1)) + 4  # far beyond the 99.99 % quantile


@pytest.mark.parametrize("scale", [0.01, 1.0, 4.0])
@pytest.mark.parametrize(
    "filters",
    [{"top_k": 40}, {"top_p": 0.9}, {"min_p": 0.1}, {"top_n_sigma": 2.0}, {"top_k": 2000, "top_p": 0.95}, {"top_k": VOCAB + 5}],
    ids=str,
)
def test_draws_from_large_vocabularies_stay_among_the_kept(filters, scale, pool):
    logits = random_logits(1, seed=5, scale=scale)[0]
    logits[100:200] = logits[50]  # ties
    probabilities = kept_probabilities(logits, **filters)
    seen = draws(pool, logits, 300, temperature=1.0, **filters)
    allowed = probabilities > 0
    if "top_p" in filters:  # float32 weights may move the cut by a token
        allowed |= logits >= logits[allowed].min() - 1e-4
    assert allowed[seen].all()
    assert len(set(seen)) > min(allowed.sum(), 300) * 0.05


@pytest.mark.parametrize("temperature", [0.5, 1.0, 50.0])
def test_top_n_sigma_keeps_the_same_tokens_at_every_temperature(temperature, pool):
    """Barred tokens (-inf) have no part in the deviation; a token at exactly n deviations stays."""
    logits = [5.0, 4.0, 3.0, 1.0, 2.0, 9.0]  # of the first five: deviation sqrt(2), so that 5 - 1.5 * 1.414 = 2.88
    params = {"temperature": temperature, "allowed_token_ids": (0, 1, 2, 3, 4)}
    assert set(draws(pool, logits, 300, top_n_sigma=1.5, **params)) <= {0, 1, 2}
    assert set(draws(pool, [3.0, 1.0, 9.0, 1.0, 3.0], 300, temperature=temperature, top_n_sigma=2.0, allowed_token_ids=(0, 1))) <= {0, 1}
    assert set(draws(pool, [0.0, 0.0], 60, temperature=temperature, top_n_sigma=1e-30)) == {0, 1}  # no deviation: all are greatest


def test_plain_draws_invert_the_cumulative_distribution(pool):
    """Large vocabulary, no filter: the empirical quantiles match, so no block of ids is favoured."""
    seen = draws(pool, random_logits(1, scale=0.5)[0], 4000, temperature=1.0)
    cumulative = np.cumsum(kept_probabilities(random_logits(1, scale=0.5)[0]))
    uniform = np.sort(cumulative[seen])
    distance = np.abs(uniform - (np.arange(4000) + 0.5) / 4000).max()
    assert distance < 1.95 / math.sqrt(4000)  # Kolmogorov-Smirnov, 0.1 %


def test_tiny_temperatures_are_greedy_and_huge_ones_flat(pool):
    logits = random_logits(1)[0]
    assert set(draws(pool, logits, 50, temperature=1e-30)) == {logits.argmax()}
    assert len(set(draws(pool, logits, 200, temperature=100.0))) > 180


def test_draws_are_keyed_by_seed_choice_and_position(pool):
    logits = random_logits(1, scale=0.1)[0]
    base = sample_one(pool, logits, RowSampling(temperature=1.0, seed=2**64 - 1), [1, 2, 3])[0]
    assert base == sample_one(pool, logits, RowSampling(temperature=1.0, seed=2**64 - 1), [9, 9, 9], 1)[0]
    others = [
        sample_one(pool, logits, RowSampling(temperature=1.0, seed=2**64 - 2), [1, 2, 3])[0],
        sample_one(pool, logits, RowSampling(temperature=1.0, seed=2**64 - 1, choice=1), [1, 2, 3])[0],
        sample_one(pool, logits, RowSampling(temperature=1.0, seed=2**64 - 1), [1, 2, 3, 4])[0],
    ]
    assert len({base, *others}) == 4


def test_tokens_do_not_depend_on_batch_or_threads():
    filters = [{"top_k": 20}, {"top_p": 0.9}, {"top_k": 50, "top_p": 0.5}, {}]
    params = [RowSampling(seed=i, temperature=0.5 + i % 3, repetition_penalty=1.1, **filters[i % 4]) for i in range(12)]
    steps = [random_logits(12, seed=s) for s in range(3)]
    crowd = _kernels.Sampler(12, VOCAB, _kernels.ThreadPool(3))
    for row, sampling in enumerate(params):
        crowd.start_row(row, [row], 1, sampling)
    together = [sample(crowd, logits, list(range(12)))[0] for logits in steps]
    for row, sampling in enumerate(params):
        alone = _kernels.Sampler(1, VOCAB, _kernels.ThreadPool(1))
        alone.start_row(0, [row], 1, sampling)
        assert [sample(alone, logits[row : row + 1], [0])[0][0] for logits in steps] == [ids[row] for ids in together]


def test_a_restarted_row_goes_on_as_if_it_had_never_stopped(pool):
    sampling = RowSampling(seed=3, temperature=1.0, presence_penalty=0.5, bad_words=((1, 2),), min_tokens=4, blocked_until_min=(7,))
    steps = [random_logits(1, seed=s) for s in range(6)]
    first = _kernels.Sampler(1, VOCAB, pool)
    first.start_row(0, [5, 6], 2, sampling)
    drawn = [sample(first, logits, [0])[0][0] for logits in steps]
    again = _kernels.Sampler(1, VOCAB, pool)
    again.start_row(0, [5, 6, *drawn[:3]], 2, sampling)
    assert [sample(again, logits, [0])[0][0] for logits in steps[3:]] == drawn[3:]


# ---- reports --------------------------------------------------------------------------------------------------------------------


def log_softmax(logits: np.ndarray) -> np.ndarray:
    wide = logits.astype(np.float64)
    return wide - wide.max() - np.log(np.exp(wide - wide.max()).sum())


def assert_report(report, logits: np.ndarray, token_id: int, num_top: int) -> None:
    logprob, rank, top_ids, top_logprobs = report
    expected = log_softmax(logits)
    assert logprob == pytest.approx(expected[token_id], abs=1e-5)
    assert rank == 1 + (logits > logits[token_id]).sum()
    assert list(top_ids) == np.lexsort((np.arange(len(logits)), -logits))[:num_top].tolist()
    np.testing.assert_allclose(top_logprobs, expected[list(top_ids)], atol=1e-5)


@pytest.mark.parametrize("num_logprobs", [0, 1, 5, 64])
def test_reports_speak_of_raw_logits(num_logprobs, pool):
    logits = random_logits(1)[0]
    logits[[10, 20, 30]] = logits.max() + 1  # ties at the top
    sampling = RowSampling(temperature=2.0, seed=1, logit_bias=((77, 50.0),), num_logprobs=num_logprobs)
    token_id, report = sample_one(pool, logits, sampling)
    assert token_id == 77
    assert_report(report, logits, 77, num_logprobs)


def test_reports_only_where_asked_for(pool):
    sampler = _kernels.Sampler(2, VOCAB, pool)
    sampler.start_row(0, [0], 1, RowSampling())
    sampler.start_row(1, [0], 1, RowSampling(num_logprobs=2))
    reports = sample(sampler, random_logits(2), [0, 1])[1]
    assert reports[0] is None and len(reports[1][2]) == 2


def test_score(pool):
    logits = random_logits(4)
    reports = _kernels.Sampler(1, VOCAB, pool).score(logits, [0, 17, VOCAB - 1, 17], 3)
    for row, token_id in enumerate([0, 17, VOCAB - 1, 17]):
        assert_report(reports[row], logits[row], token_id, 3)


def test_score_of_fewer_tokens_than_alternatives(pool):
    (report,) = _kernels.Sampler(1, 3, pool).score(np.array([[1.0, 3.0, 2.0]], np.float32), [0], 9)
    assert list(report[2]) == [1, 2, 0]


# ---- mistakes -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"min_p": math.nan}, "min_p is"),
        ({"top_n_sigma": math.nan}, "top_n_sigma is"),
        ({"top_n_sigma": 101.0}, "top_n_sigma is 101"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0"),
        ({"logit_bias": ((6, 1.0),)}, "logit_bias: token id 6 is not within 0..5"),
        ({"allowed_token_ids": (-1,)}, "allowed_token_ids: token id -1"),
        ({"bad_words": ((),)}, "bad_words"),
        ({"blocked_until_min": (9,)}, "blocked_until_min"),
    ],
)
def test_bad_parameters_are_named(params, message, pool):
    with pytest.raises(ValueError, match=message):
        _kernels.Sampler(1, 6, pool).start_row(0, [0], 1, RowSampling(**params))


def test_rows_must_be_started_once_and_named_once(pool):
    sampler = _kernels.Sampler(2, 6, pool)
    with pytest.raises(ValueError, match="row 0 is not started"):
        sample(sampler, np.zeros((1, 6), np.float32), [0])
    sampler.start_row(0, [1], 1, RowSampling())
    with pytest.raises(ValueError, match="row 0 is in use"):
        sampler.start_row(0, [1], 1, RowSampling())
    with pytest.raises(ValueError, match="named twice"):
        sample(sampler, np.zeros((2, 6), np.float32), [0, 0])
    with pytest.raises(ValueError, match="row 2 of 2"):
        sampler.start_row(2, [1], 1, RowSampling())
    with pytest.raises(ValueError, match=r"logits \[1, 5\]"):
        sample(sampler, np.zeros((1, 5), np.float32), [0])
    with pytest.raises(ValueError, match=r"logits_rows\[0\] is 1 of 1"):
        sampler.sample(np.zeros((1, 6), np.float32), [0], [1])
    assert sample(sampler, np.eye(1, 6, 2, dtype=np.float32), [0])[0] == [2]
