"""Turn what a probe guessed into the figures of the audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from bidsharmony.evaluation.forest import Guesses
from bidsharmony.numerics.statistics import bootstrap_interval, mcnemar_p, sign_flip_p

RECOGNISED = 0.94
"""Accuracy before, below which a probe says nothing: that of the paper, .9443."""

LEARNED = 0.98
"""Accuracy on its own training slices, below which a retrained probe was stopped too early."""


@dataclass(frozen=True)
class Probe:
    """What one kind of probe said of a sample: learned before, kept after, learned again after.

    Attributes
    ----------
    model : str
    before, frozen, retrained : Guesses
        Of the slices before; of those after, by the same probe; of those after, by one that
        learned from slices after.
    features_before, features_after : (n, p) float
        Of each slice that was guessed, for the embedding.
    features : str
        What they are.
    """

    model: str
    before: Guesses
    frozen: Guesses
    retrained: Guesses
    features_before: np.ndarray
    features_after: np.ndarray
    features: str


def scores(guesses: Guesses, n_scanners: int, *, seed: int = 0) -> dict[str, Any]:
    """Compute how well scanners were guessed.

    Parameters
    ----------
    guesses : Guesses
    n_scanners : int
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict
        ``accuracy`` with its ``ci95`` by subject, ``balanced_accuracy``, ``precision``, ``recall``
        and ``f1`` (mean over scanners), ``training_accuracy``, ``n_slices``, ``n_subjects`` and
        ``confusion`` (rows truth, columns guessed).

    Examples
    --------
    >>> truth, guessed = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    >>> found = scores(Guesses(truth, guessed, np.array([0, 1, 0, 1]), 1.0), 2)
    >>> found['accuracy'], found['recall'], found['confusion'], found['ci95']
    (0.75, 0.75, [[1, 1], [0, 2]], [0.5, 1.0])
    """
    labels = np.arange(n_scanners)
    precision, recall, f1, _ = precision_recall_fscore_support(
        guesses.scanners, guesses.guessed, labels=labels, average='macro', zero_division=0.0
    )
    right, counts = _by_subject(guesses)
    interval = bootstrap_interval(
        lambda drawn: right[drawn].sum() / counts[drawn].sum(),
        len(counts),
        np.random.default_rng(seed),
    )
    return {
        'accuracy': float(np.mean(guesses.scanners == guesses.guessed)),
        'balanced_accuracy': guesses.accuracy,
        'precision': float(precision),
        'recall': float(recall),
        'f1': float(f1),
        'ci95': list(interval),
        'training_accuracy': guesses.training_accuracy,
        'n_slices': len(guesses.scanners),
        'n_subjects': len(counts),
        'confusion': confusion_matrix(guesses.scanners, guesses.guessed, labels=labels).tolist(),
    }


def compared(before: Guesses, after: Guesses, *, seed: int = 0) -> dict[str, float]:
    """Test whether a probe is right as often after as before, about the same slices.

    Parameters
    ----------
    before, after : Guesses
    seed : int

    Returns
    -------
    dict
        ``mcnemar_p``, exact and by slice, as in the paper; ``permutation_p``, by
        subject: slices of one head are alike.

    Raises
    ------
    ValueError
        If the guesses are about other slices.

    Examples
    --------
    >>> truth, subjects = np.zeros(4, int), np.array([0, 0, 1, 1])
    >>> before = Guesses(truth, truth, subjects, 1.0)
    >>> compared(before, Guesses(truth, truth + 1, subjects, 1.0))
    {'mcnemar_p': 0.125, 'permutation_p': 0.5}
    """
    same = np.array_equal(before.scanners, after.scanners)
    if not same or not np.array_equal(before.individuals, after.individuals):
        raise ValueError('the guesses before and after are about other slices')
    right_before, counts = _by_subject(before)
    right_after, _ = _by_subject(after)
    return {
        'mcnemar_p': mcnemar_p(before.guessed == before.scanners, after.guessed == after.scanners),
        'permutation_p': sign_flip_p((right_after - right_before) / counts, seed),
    }


def why_not_counted(before: Guesses, retrained: Guesses) -> str:
    """Say why a probe was not trained well enough to count; '' if it was.

    Examples
    --------
    >>> truth = np.zeros(100, int)
    >>> good = Guesses(truth, truth, truth, 1.0)
    >>> poor = Guesses(truth, np.arange(100) % 2, truth, 1.0)
    >>> why_not_counted(good, poor), why_not_counted(poor, good)
    ('', 'before harmonization it names the scanner of 50 % of the slices, below 94 %')
    """
    accuracy = float(np.mean(before.guessed == before.scanners))
    if accuracy < RECOGNISED:
        return (
            f'before harmonization it names the scanner of {accuracy:.0%} of the slices, '
            f'below {RECOGNISED:.0%}'
        ).replace('%', ' %')
    if retrained.training_accuracy < LEARNED:
        return (
            f'retrained, it names the scanner of {retrained.training_accuracy:.0%} of the slices '
            f'that it learned from, below {LEARNED:.0%}'
        ).replace('%', ' %')
    return ''


def probe_block(probe: Probe, n_scanners: int, *, seed: int = 0) -> dict[str, Mapping[str, Any]]:
    """Put the scores and tests of one probe together, as they stand in the JSON."""
    before = scores(probe.before, n_scanners, seed=seed)
    sides = {'frozen': probe.frozen, 'retrained': probe.retrained}
    tests = {kind: compared(probe.before, after, seed=seed) for kind, after in sides.items()}
    return {
        **{
            kind: {'before': before, 'after': scores(after, n_scanners, seed=seed)}
            for kind, after in sides.items()
        },
        **{
            name: {kind: found[name] for kind, found in tests.items()}
            for name in ('mcnemar_p', 'permutation_p')
        },
    }


def _by_subject(guesses: Guesses) -> tuple[np.ndarray, np.ndarray]:
    """Return how many slices of each subject were right, and how many there are."""
    _, which = np.unique(guesses.individuals, return_inverse=True)
    right = np.bincount(which, guesses.guessed == guesses.scanners)
    return right, np.bincount(which)
