"""Intervals and tests for values that come several from each individual."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import stats

DRAWS = 1000
"""Bootstrap samples of an interval."""

SIGN_DRAWS = 9999
"""Sign flips that are drawn where there are more individuals than can be enumerated."""


def bootstrap_interval(
    statistic: Callable[[np.ndarray], float],
    individuals: int,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> tuple[float, float]:
    """Compute the 95 % interval of a statistic by drawing individuals with replacement.

    Parameters
    ----------
    statistic : callable
        Takes positions of individuals, (individuals,) int, and returns a number; nan where the
        drawn ones have nothing to measure, which is left out.
    individuals : int
    rng : numpy.random.Generator
    draws : int

    Returns
    -------
    low, high : float
        2.5th and 97.5th percentile.

    Examples
    --------
    >>> bootstrap_interval(lambda drawn: 1.0, 5, np.random.default_rng(0), draws=10)
    (1.0, 1.0)
    """
    samples = [statistic(rng.integers(individuals, size=individuals)) for _ in range(draws)]
    low, high = np.nanpercentile(samples, (2.5, 97.5))
    return float(low), float(high)


def mcnemar_p(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """Compute the exact p-value of McNemar's test (McNemar 1947): do two answer equally well?

    Parameters
    ----------
    right_a, right_b : (n,) bool
        Whether each was right about the same n questions.

    Returns
    -------
    float
        Two-sided, from the binomial distribution of the questions that one alone got right; 1
        without any. It takes the questions for independent, which slices of one head are not.

    Examples
    --------
    >>> mcnemar_p(np.ones(6, bool), np.zeros(6, bool))  # 2 / 2**6
    0.03125
    """
    right_a, right_b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if not only_a + only_b:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def sign_flip_p(differences: np.ndarray, seed: int = 0) -> float:
    """Compute the p-value of a permutation test of paired differences, one of each individual.

    If nothing changed, each difference could as well have had the other sign (Fisher 1935).

    Parameters
    ----------
    differences : (n,) float
    seed : int
        For more individuals than can be enumerated (13).

    Returns
    -------
    float
        Two-sided; never below 2 / 2**n. 1 without any difference.

    Examples
    --------
    >>> sign_flip_p(np.array([0.1, 0.2, 0.3, 0.4]))  # 2 / 2**4
    0.125
    """
    differences = np.asarray(differences, np.float64)
    if not differences.any():
        return 1.0
    if len(differences) == 1:
        return 1.0  # either sign is as large
    found = stats.permutation_test(
        (differences,),
        lambda values, axis: np.round(values.mean(axis=axis), 12),  # equal sums count as equal
        permutation_type='samples',
        vectorized=True,
        n_resamples=SIGN_DRAWS,
        batch=1000,
        random_state=np.random.default_rng(seed),
    )
    return float(found.pvalue)
