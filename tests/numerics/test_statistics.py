"""Intervals and p-values whose answer is known on paper."""

import numpy as np
import pytest
from scipy.stats import norm

from bidsharmony.numerics.statistics import bootstrap_interval, mcnemar_p, sign_flip_p


def test_interval_of_a_mean_covers_it(rng):
    """Of 200 samples of 30 individuals, about 95 % have the truth in their interval."""
    covered = 0
    for _ in range(200):
        sample = rng.standard_normal(30)
        low, high = bootstrap_interval(lambda i, s=sample: s[i].mean(), 30, rng, draws=200)
        covered += low <= 0 <= high
    assert 0.85 <= covered / 200 <= 0.99


@pytest.mark.parametrize(
    ('only_a', 'only_b', 'expected'),
    [
        (0, 0, 1.0),
        (1, 1, 1.0),
        (5, 0, 2 / 2**5),
        (0, 5, 2 / 2**5),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar_counts_what_one_alone_got_right(only_a, only_b, expected):
    """The binomial tails, twice; what both got right or wrong does not matter."""
    a = np.array([1] * only_a + [0] * only_b + [1] * 20 + [0] * 9, bool)
    b = np.array([0] * only_a + [1] * only_b + [1] * 20 + [0] * 9, bool)
    assert mcnemar_p(a, b) == pytest.approx(expected)


@pytest.mark.parametrize(
    ('differences', 'expected'),
    [
        ([0.0, 0.0, 0.0], 1.0),
        ([0.5], 1.0),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2 / 2**5),
        ([3.0, 2.0, 1.0, -0.5], 4 / 2**4),  # sums from 5.5 on: 6.5 and 5.5, and their negatives
        ([0.1, 0.2, 0.3, -0.6], 1.0),  # sum 0: any is as large
    ],
)
def test_sign_flips_are_enumerated(differences, expected):
    """Few individuals: each of 2**n flips is looked at."""
    assert sign_flip_p(np.array(differences)) == pytest.approx(expected)


def test_many_sign_flips_are_drawn(rng):
    """Drawn flips come near what a normal distribution says, and repeat."""
    differences = rng.standard_normal(60) + 0.3
    found = sign_flip_p(differences)
    assert found == sign_flip_p(differences)
    z = differences.sum() / np.sqrt((differences**2).sum())
    assert found == pytest.approx(2 * norm.sf(abs(z)), abs=0.01)


def test_p_values_are_uniform_where_nothing_changed(rng):
    """Of 200 tests without a difference, about one in ten is below .1."""
    low = sum(sign_flip_p(rng.standard_normal(8)) <= 0.1 for _ in range(200))
    assert 6 <= low <= 36
