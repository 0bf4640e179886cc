"""Compare the volumes of two series that are held whole."""

from collections.abc import Sequence

import numpy as np

from bidsharmony.numerics.gain import PassingRatios, RatioChange


def ratio_change(
    before: np.ndarray, after: np.ndarray, b0_ixs: Sequence[int] | np.ndarray, mask: np.ndarray
) -> RatioChange:
    """Compare S_b / S_0 of two series in a mask, where both signals of the first are positive.

    S_0 is the mean of the b=0 volumes, each of which must be positive.

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
    passing = PassingRatios(old_s0, new_s0, sound)
    for ix in range(before.shape[3]):
        if b0_ixs != [ix]:  # the volume that is S_0 itself
            passing.see(*(_in_mask(series, [ix], mask)[:, 0] for series in (before, after)))
    return passing.change


def _in_mask(series: np.ndarray, ixs: list[int], mask: np.ndarray) -> np.ndarray:
    """Take volumes of a series in a mask, (voxels, len(ixs)) float64."""
    return np.stack([np.asarray(series[..., ix])[mask] for ix in ixs], axis=1).astype(np.float64)
