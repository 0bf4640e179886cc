"""Give runs of one session one level, one bias field and, where tissue lies alike, one gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def share_maps(
    gains: Sequence[np.ndarray],
    fields: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    same_gain: Sequence[int],
    same_field: Sequence[int],
    own: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the gain and the bias field of one run of a group.

    Runs that share a map get the geometric mean of theirs. A level is the median of the
    logarithm of gain over field where all brains are that share both maps; every run gets the
    mean of the group's levels. All members must be given in the same order to each run: then those
    that share both maps get the same bytes.

    Parameters
    ----------
    gains, fields : sequence of (I, J, K)
        Positive.
    masks : sequence of (I, J, K) bool
        Brains.
    same_gain, same_field : sequence of int
        Runs with the same number share the map.
    own : int
        Whose maps are wanted.

    Returns
    -------
    gain, field : (I, J, K) float64

    Raises
    ------
    ValueError
        If a map is not finite and positive everywhere.

    Examples
    --------
    >>> box, brain = np.ones((2, 2, 2)), [np.ones((2, 2, 2), bool)] * 2
    >>> gain, field = share_maps(
    ...     [box, 4 * box], [box, box], brain, same_gain=[0, 1], same_field=[0, 0], own=0
    ... )
    >>> round(float(gain.mean()), 9), float(field.mean())
    (2.0, 1.0)
    """
    logs = [[_log(image) for image in images] for images in (gains, fields)]
    shared = [
        [_mean_log(images, numbers, number) for number in numbers]
        for images, numbers in zip(logs, (same_gain, same_field), strict=True)
    ]
    log_fields = []
    for log_field, number in zip(shared[1], same_field, strict=True):
        common = _common(masks, same_field, number)
        # a mean of logarithms has lost the mean of 1 that each field has in its brain
        log_fields.append(log_field - np.log(np.exp(log_field[common]).mean()))
    levels = [
        float(np.median((log_gain - log_field)[_common(masks, same_gain, number)]))
        for log_gain, log_field, number in zip(shared[0], log_fields, same_gain, strict=True)
    ]
    gain = np.exp(shared[0][own] + (np.mean(levels) - levels[own]))
    return gain, np.exp(log_fields[own])


def _log(image: np.ndarray) -> np.ndarray:
    """Take the logarithm of a map, float64.

    Raises
    ------
    ValueError
    """
    image = np.asarray(image, np.float64)
    if not (np.isfinite(image) & (image > 0)).all():
        raise ValueError('a gain or bias field to be shared is not finite and positive everywhere')
    return np.log(image)


def _mean_log(logs: Sequence[np.ndarray], numbers: Sequence[int], number: int) -> np.ndarray:
    """Average the maps of one number."""
    some = [log for log, other in zip(logs, numbers, strict=True) if other == number]
    return some[0] if len(some) == 1 else np.mean(some, axis=0)


def _common(masks: Sequence[np.ndarray], numbers: Sequence[int], number: int) -> np.ndarray:
    """Find where all brains of one number are; where any is, if they do not overlap."""
    some = [mask for mask, other in zip(masks, numbers, strict=True) if other == number]
    common = np.logical_and.reduce(some)
    return common if common.any() else np.logical_or.reduce(some)
