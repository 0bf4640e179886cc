"""Tell in two numbers whether volumes of one contrast show the head in one place."""

from __future__ import annotations

import numpy as np

HEAD_LEVEL = 0.5
"""Share of the brain's median signal from which on a voxel counts as head, not as background."""


def head_centre(volume: np.ndarray, mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Find the centre of mass of the head's signal, in the whole volume.

    Parameters
    ----------
    volume : (I, J, K)
    mask : (I, J, K) bool
        The brain, roughly: it gives the level above which signal counts.
    affine : (4, 4) mm

    Returns
    -------
    (3,) mm

    Examples
    --------
    >>> volume = np.zeros((5, 5, 5))
    >>> volume[1, 2, 3] = 8
    >>> head_centre(volume, volume > 0, np.diag([2, 2, 3, 1])).tolist()
    [2.0, 4.0, 9.0]
    """
    signal = np.nan_to_num(volume, nan=0.0, posinf=0.0, neginf=0.0)
    head = (signal > 0) & (signal >= HEAD_LEVEL * np.median(signal[mask]))
    if not head.any():
        return np.full(3, np.nan)
    centre = np.average(np.argwhere(head), axis=0, weights=signal[head])
    return affine[:3, :3] @ centre + affine[:3, 3]


def median_difference(first: np.ndarray, other: np.ndarray, mask: np.ndarray) -> float:
    """Return the median of \\|other - first\\| / first in a mask, where the first is positive.

    Noise alone gives about 0.95 over the SNR.

    Examples
    --------
    >>> first = np.array([[[10.0, 20.0, 0.0]]])
    >>> median_difference(first, 1.1 * first, first >= 0).__round__(6)
    0.1
    """
    use = mask & (first > 0) & np.isfinite(first) & np.isfinite(other)
    if not use.any():
        return float('nan')
    return float(np.median(np.abs(other[use] - first[use]) / first[use]))
