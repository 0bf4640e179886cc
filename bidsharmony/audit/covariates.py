"""See whether what the participants' table says can be read from the images as well as before."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata
from scipy.stats.contingency import association
from sklearn.linear_model import RidgeClassifierCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bidsharmony.audit.sample import Sample
from bidsharmony.evaluation.forest import balanced_accuracy
from bidsharmony.numerics.statistics import bootstrap_interval

FEWEST_SUBJECTS = 10
FEWEST_OF_LEVEL = 5
FEWEST_NUMBERS = 6
"""Distinct values, below which numbers are taken for codes of categories."""

NUMERIC_SHARE = 0.9
"""Of the values that must be numbers."""

CONFOUNDED = 0.98
"""Share of a number's variance between scanners, or Cramer's V (1946) of a category and the
scanner, from which on the two cannot be told apart."""

MOST_COLUMNS = 20
MOST_FOLDS = 10
PENALTIES = np.logspace(0, 6, 13)


@dataclass(frozen=True)
class Covariate:
    """A column: its kind, and the value of each subject that has one."""

    name: str
    kind: str
    values: Mapping[str, Any]


def find_covariates(
    rows: Mapping[str, Mapping[str, str]], columns: Mapping[str, Any]
) -> list[Covariate]:
    """Take the columns of a participants' table for numbers or categories.

    Parameters
    ----------
    rows : mapping
        Subject to cells, ``''`` for no value.
    columns : mapping
        ``participants.json``: with ``Levels``, a column holds categories.

    Examples
    --------
    >>> rows = {f'{i}': {'participant_id': f'{i}', 'age': f'{20 + i}', 'sex': 'MF'[i % 2]}
    ...         for i in range(12)}
    >>> [(one.name, one.kind) for one in find_covariates(rows, {})]
    [('age', 'number'), ('sex', 'category')]
    """
    names = dict.fromkeys(name for row in rows.values() for name in row)
    found = []
    for name in names:
        if not name or name in ('participant_id', 'session_id'):
            continue
        cells = {subject: row[name] for subject, row in rows.items() if row.get(name)}
        numbers = {subject: _number(cell) for subject, cell in cells.items()}
        numbers = {s: value for s, value in numbers.items() if math.isfinite(value)}
        levels = columns[name].get('Levels') if name in columns else None
        is_number = (
            not levels
            and len(numbers) >= NUMERIC_SHARE * max(len(cells), 1)
            and len(set(numbers.values())) >= FEWEST_NUMBERS
        )
        found.append(
            Covariate(name, 'number', numbers) if is_number else Covariate(name, 'category', cells)
        )
    return found


def covariate(
    one: Covariate, sample: Sample, before: np.ndarray, after: np.ndarray, *, seed: int = 0
) -> dict[str, Any] | str:
    """Predict a covariate from the mean features of each subject's slices, before and after.

    Ridge regression (Hoerl and Kennard 1970) on standardised features, its penalty chosen within
    the training subjects; each subject is predicted from the others' folds.

    Parameters
    ----------
    one : Covariate
    sample : Sample
    before, after : (n, p) float
        Features of the sample's slices.
    seed : int
        Of the bootstrap.

    Returns
    -------
    dict or str
        As in the JSON; or why it cannot be done.
    """
    known = [i for i, label in enumerate(sample.subject_labels) if label in one.values]
    values = [one.values[sample.subject_labels[i]] for i in known]
    if one.kind == 'category':
        counts = Counter(values)
        large = {level for level, count in counts.items() if count >= FEWEST_OF_LEVEL}
        if len(large) < 2:
            return f'fewer than two levels with {FEWEST_OF_LEVEL} subjects'
        known = [i for i, value in zip(known, values, strict=True) if value in large]
        levels = sorted(large)
        truth = np.array([levels.index(one.values[sample.subject_labels[i]]) for i in known])
    else:
        truth = np.array(values, np.float64)
    if len(known) < FEWEST_SUBJECTS:
        return f'{len(known)} subjects with a value, at least {FEWEST_SUBJECTS} are needed'
    if len(np.unique(truth)) < 2:
        return 'all values are the same'
    if _is_confounded(one.kind, truth, np.array(known), sample):
        return 'fully confounded with the scanner: neither can be told from the other'
    folds = _folds(one.kind, truth)
    predicted = [
        _predict(one.kind, _by_subject(features, sample.subjects, known), truth, folds)
        for features in (before, after)
    ]
    measure: Callable = balanced_accuracy if one.kind == 'category' else spearman
    found: dict[str, Any] = {
        'name': one.name,
        'kind': one.kind,
        'measure': 'balanced accuracy' if one.kind == 'category' else 'spearman correlation',
    }
    for side, guess in zip(('before', 'after'), predicted, strict=True):
        found[side] = measure(truth, guess)
        found[f'{side}_ci95'] = _interval(
            lambda drawn, guess=guess: measure(truth[drawn], guess[drawn]), len(truth), seed
        )
    found['change'] = found['after'] - found['before']
    found['change_ci95'] = _interval(
        lambda drawn: (
            measure(truth[drawn], predicted[1][drawn]) - measure(truth[drawn], predicted[0][drawn])
        ),
        len(truth),
        seed,
    )
    return found | {'kept': found['change_ci95'][1] >= 0, 'n_subjects': len(truth)}


def unreadable(found: Mapping[str, Any], chance: float) -> bool:
    """See whether a covariate could not be told from the images before either."""
    return found['before_ci95'][0] <= chance


def chance_of(found: Mapping[str, Any], one: Covariate) -> float:
    """Return what guessing gives: 0 for a correlation, 1 / levels for balanced accuracy."""
    if found['kind'] == 'number':
        return 0.0
    counts = Counter(one.values.values())
    return 1 / max(sum(count >= FEWEST_OF_LEVEL for count in counts.values()), 1)


def spearman(truth: np.ndarray, guess: np.ndarray) -> float:
    """Compute the correlation of ranks (Spearman 1904); 0 where either is constant.

    Examples
    --------
    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0]))
    1.0
    """
    a, b = (rankdata(values) - (len(values) + 1) / 2 for values in (truth, guess))
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return round(float(a @ b) / scale, 12) if scale > 0 else 0.0


def _number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _by_subject(features: np.ndarray, subjects: np.ndarray, known: list[int]) -> np.ndarray:
    return np.array([features[subjects == one].mean(axis=0) for one in known])


def _is_confounded(kind: str, truth: np.ndarray, known: np.ndarray, sample: Sample) -> bool:
    """See whether the scanner tells the covariate, by pairs of subject and scanner."""
    pairs = np.unique(np.stack([sample.subjects, sample.scanners], axis=1), axis=0)
    pairs = pairs[np.isin(pairs[:, 0], known)]
    values, scanners = truth[np.searchsorted(known, pairs[:, 0])], pairs[:, 1]
    if len(np.unique(scanners)) < 2:
        return False
    if kind == 'number':
        total = ((values - values.mean()) ** 2).sum()
        within = sum(
            ((values[scanners == one] - values[scanners == one].mean()) ** 2).sum()
            for one in np.unique(scanners)
        )
        return bool(1 - within / total >= CONFOUNDED)
    _, columns = np.unique(scanners, return_inverse=True)
    counts = np.zeros((int(truth.max()) + 1, columns.max() + 1), int)
    np.add.at(counts, (values, columns), 1)
    counts = counts[counts.any(axis=1)]
    return len(counts) > 1 and float(association(counts, method='cramer')) >= CONFOUNDED


def _folds(kind: str, truth: np.ndarray) -> np.ndarray:
    """Deal subjects out so that each fold spans the values.

    A fold of one high value would leave a lower mean to predict it from: without any signal, left
    out subjects then correlate negatively with their predictions.
    """
    smallest = len(truth) // 2 if kind == 'number' else int(np.bincount(truth).min())
    count = min(MOST_FOLDS, smallest)
    folds = np.empty(len(truth), int)
    folds[np.argsort(truth, kind='stable')] = np.arange(len(truth)) % count
    return folds


def _predict(kind: str, features: np.ndarray, truth: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Predict each subject from the other folds."""
    predicted = np.empty(len(truth), truth.dtype)
    for fold in np.unique(folds):
        out = folds == fold
        ridge = (
            RidgeClassifierCV(PENALTIES, class_weight='balanced')
            if kind == 'category'
            else RidgeCV(PENALTIES)
        )
        model = make_pipeline(StandardScaler(), ridge).fit(features[~out], truth[~out])
        predicted[out] = model.predict(features[out])
    return predicted


def _interval(statistic: Callable[[np.ndarray], float], count: int, seed: int) -> list[float]:
    return list(bootstrap_interval(statistic, count, np.random.default_rng(seed)))
