"""Look for a scanner where there is none: two halves of one scanner must not separate."""

from __future__ import annotations

from typing import Any

import numpy as np

from bidsharmony.audit.sample import Sample
from bidsharmony.evaluation.forest import cross_guesses
from bidsharmony.numerics.statistics import bootstrap_interval

FEWEST_SUBJECTS = 6
"""On the scanner: three in each half."""

SPLITS = 20
"""Ways to halve the subjects: in one alone, one half could happen to be older."""

MOST_FOLDS = 5

TREES = 50

CHANCE = 0.5


def negative_control(
    sample: Sample, features: np.ndarray, *, jobs: int = 1, seed: int = 0
) -> dict[str, Any] | str:
    """Let a forest tell two halves of one scanner's subjects apart, on slices before.

    The scanner is that with most subjects. A fold holds as many subjects of either half, which the
    forest never saw. A probe that finds something here would find it between scanners too.

    Parameters
    ----------
    sample : Sample
    features : (n, p) float
        Of its slices before.
    jobs, seed : int

    Returns
    -------
    dict or str
        ``scanner``, ``accuracy`` with its ``ci95`` by subject and way to
        halve them, ``chance``, ``limit`` (which the
        lower end of the interval may not exceed), ``passes`` and ``n_slices``; or why it cannot
        be done.
    """
    counts = [
        len(np.unique(sample.subjects[sample.scanners == position]))
        for position in range(len(sample.scanner_labels))
    ]
    if not counts or max(counts) < FEWEST_SUBJECTS:
        return f'no scanner has {FEWEST_SUBJECTS} subjects, three for each half'
    position = int(np.argmax(counts))
    here = sample.scanners == position
    subjects, features = sample.subjects[here], features[here]
    names = np.unique(subjects)
    rng = np.random.default_rng(seed)
    right = np.zeros((SPLITS, len(names)))
    for split in range(SPLITS):
        place = rng.permutation(len(names))[np.searchsorted(names, subjects)]
        (guesses,) = cross_guesses(
            features,
            [features],
            place % 2,
            subjects,
            place // 2 % MOST_FOLDS,
            trees=TREES,
            seed=seed,
            jobs=jobs,
        )
        hit = guesses.guessed == guesses.scanners
        right[split] = [hit[subjects == name].mean() for name in names]
    low, high = bootstrap_interval(
        lambda drawn: right[rng.integers(SPLITS, size=SPLITS)][:, drawn].mean(), len(names), rng
    )
    return {
        'scanner': sample.scanner_labels[position],
        'accuracy': float(right.mean()),
        'ci95': [low, high],
        'chance': CHANCE,
        'limit': CHANCE,
        'passes': low <= CHANCE,
        'n_slices': int(here.sum()),
    }
