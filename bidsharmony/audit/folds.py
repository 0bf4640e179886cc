"""Split subjects into those that teach a network and those that it is asked about."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

FOLDS = 3
"""Parts that the subjects are split into; one is tested, or each in turn."""

ATTEMPTS = 20
"""Ways to split the subjects that are tried until each part has slices of every scanner."""


def split_subjects(scanners: np.ndarray, subjects: np.ndarray) -> list[np.ndarray]:
    """Split subjects into parts that hold slices of each scanner.

    Parameters
    ----------
    scanners, subjects : (n,) int

    Returns
    -------
    list of (n,) bool
        The slices of each part; no subject is in two.

    Raises
    ------
    ValueError
        If a scanner is missing in a part, however they are split.

    Examples
    --------
    >>> scanners, subjects = np.tile([0, 1], 6), np.repeat([0, 1, 2], 4)
    >>> [np.unique(subjects[part]).tolist() for part in split_subjects(scanners, subjects)]
    [[0], [1], [2]]
    """
    for attempt in range(ATTEMPTS):
        parts = _split(scanners, subjects, attempt)
        if parts:
            return sorted(parts, key=lambda part: int(subjects[part].min()))
    raise ValueError(
        f'the subjects cannot be split into {FOLDS} parts that each hold slices of every scanner'
    )


def _split(scanners: np.ndarray, subjects: np.ndarray, seed: int) -> list[np.ndarray]:
    """Try one way to split subjects; an empty list if a scanner is missing in a part."""
    if len(np.unique(subjects)) < FOLDS:
        return []
    splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    parts = []
    for _, positions in splitter.split(scanners, scanners, subjects):
        part = np.zeros(len(scanners), bool)
        part[positions] = True
        if set(scanners[part]) != set(scanners):
            return []
        parts.append(part)
    return parts
