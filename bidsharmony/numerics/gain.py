"""Multiply a series by one field, and see that no ratio of volumes has changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RatioChange:
    """How far S_b / S_0 moved.

    Attributes
    ----------
    max_relative : float
        Largest relative change; inf where a positive signal was lost.
    n_voxels : int
        Voxels that were compared.
    """

    max_relative: float
    n_voxels: int


def apply_gain(series: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Multiply every volume by the same positive field.

    The product is taken in double precision and rounded once, so that S_b / S_0 changes by no more
    than two roundings of float32 (1.2e-7).

    Parameters
    ----------
    series : (I, J, K) or (I, J, K, N)
    field : (I, J, K)

    Returns
    -------
    like series, float32

    Raises
    ------
    ValueError
        If the shapes differ, or the field is not finite and positive everywhere.

    Examples
    --------
    >>> apply_gain(np.full((1, 1, 1, 2), 3), np.full((1, 1, 1), 0.5)).ravel().tolist()
    [1.5, 1.5]
    """
    series, field = np.asarray(series), np.asarray(field, np.float64)
    if series.shape[:3] != field.shape:
        raise ValueError(f'a field of shape {field.shape} for a series of shape {series.shape}')
    bad = ~(np.isfinite(field) & (field > 0))
    if bad.any():
        raise ValueError(
            f'the field is not finite and positive in {int(bad.sum())} voxels, '
            f'the first is {field[bad][0]:g}'
        )
    # what the series holds that is not finite stays so and is counted by the caller
    with np.errstate(over='ignore', invalid='ignore'):
        if series.ndim == 3:
            return (series * field).astype(np.float32)
        gained = np.empty(series.shape, np.float32)
        for ix in range(series.shape[3]):  # one volume in double precision at a time
            gained[..., ix] = series[..., ix] * field
    return gained


def ratio_change(
    before: np.ndarray, after: np.ndarray, b0_ixs: Sequence[int] | np.ndarray, mask: np.ndarray
) -> RatioChange:
    """Compare S_b / S_0 of two series in a mask, where both signals of the first are positive.

    S_0 is the mean of the b=0 volumes, each of which must be positive. A series that is too large
    is compared a volume at a time: stack the mean b=0 and one volume, with ``b0_ixs=[0]``.

    Parameters
    ----------
    before, after : (I, J, K, N)
    b0_ixs : (n,) int
    mask : (I, J, K) bool

    Returns
    -------
    RatioChange

    Examples
    --------
    >>> before = np.array([2.0, 1.0, 1.0]).reshape(1, 1, 1, 3)
    >>> ratio_change(before, 7 * before, [0], np.ones((1, 1, 1), bool))
    RatioChange(max_relative=0.0, n_voxels=1)
    """
    mask, b0_ixs = np.asarray(mask, bool), [int(ix) for ix in b0_ixs]
    old_s0, new_s0 = (_in_mask(series, b0_ixs, mask).mean(axis=1) for series in (before, after))
    # where b=0 signals of both signs cancel, their mean is rounding and no S_0
    sound = (_in_mask(before, b0_ixs, mask) > 0).all(axis=1)
    largest, compared = 0.0, np.zeros(len(old_s0), bool)
    for ix in range(before.shape[3]):
        if b0_ixs == [ix]:  # the volume that is S_0 itself
            continue
        old, new = (_in_mask(series, [ix], mask)[:, 0] for series in (before, after))
        use = sound & np.isfinite(old) & np.isfinite(old_s0) & (old > 0)
        if not use.any():
            continue
        compared |= use
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            change = np.abs((new[use] / new_s0[use]) / (old[use] / old_s0[use]) - 1)
        largest = max(largest, float(np.nan_to_num(change, nan=np.inf, posinf=np.inf).max()))
    return RatioChange(max_relative=largest, n_voxels=int(compared.sum()))


def _in_mask(series: np.ndarray, ixs: list[int], mask: np.ndarray) -> np.ndarray:
    """Take volumes of a series in a mask, (voxels, len(ixs)) float64."""
    return np.stack([np.asarray(series[..., ix])[mask] for ix in ixs], axis=1).astype(np.float64)
