"""Give runs of one session one level and, where they lie on one grid, one gain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def share_maps(
    gains: Sequence[np.ndarray],
    fields: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    *,
    same: Sequence[int],
    own: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Give the gain and the bias field of one run of a group.

    Runs that share their maps get the geometric means of them. A level is the median of the
    logarithm of gain over field where all brains are that share the maps; every run gets the mean
    of the group's levels. All members must be given in the same order to each run: then those that
    share their maps get the same bytes.

    Parameters
    ----------
    gains, fields : sequence of (I, J, K)
        Positive.
    masks : sequence of (I, J, K) bool
        Brains.
    same : sequence of int
        Runs with the same number share their maps.
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
    >>> gain, field = share_maps([box, 4 * box], [box, box], brain, same=[0, 1], own=0)
    >>> round(float(gain.mean()), 9), float(field.mean())
    (2.0, 1.0)
    """
    levels, maps = {}, {}
    for number in set(same):
        log_gain, log_field = (_mean_log(images, same, number) for images in (gains, fields))
        common = _common(masks, same, number)
        # a mean of logarithms has lost the mean of 1 that each field has in its brain
        log_field = log_field - np.log(np.exp(log_field[common]).mean())
        levels[number] = float(np.median((log_gain - log_field)[common]))
        maps[number] = log_gain, log_field
    log_gain, log_field = maps[same[own]]
    level = np.mean([levels[number] for number in same])
    return np.exp(log_gain + (level - levels[same[own]])), np.exp(log_field)


def _mean_log(images: Sequence[np.ndarray], same: Sequence[int], number: int) -> np.ndarray:
    """Average the logarithms of the maps of one number, float64.

    Raises
    ------
    ValueError
    """
    total, count = 0.0, 0
    for image, other in zip(images, same, strict=True):
        if not (np.isfinite(image) & (np.asarray(image) > 0)).all():
            raise ValueError(
                'a gain or bias field to be shared is not finite and positive everywhere'
            )
        if other == number:
            total, count = total + np.log(np.asarray(image, np.float64)), count + 1
    return total / count


def _common(masks: Sequence[np.ndarray], same: Sequence[int], number: int) -> np.ndarray:
    """Find where all brains of one number are; where any is, if they do not overlap."""
    some = [mask for mask, other in zip(masks, same, strict=True) if other == number]
    common = np.logical_and.reduce(some)
    return common if common.any() else np.logical_or.reduce(some)
