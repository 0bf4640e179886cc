"""Measure the scale and the noise of an image in a mask."""

from __future__ import annotations

import numpy as np

MAD_TO_SIGMA = 0.6745
"""Median absolute deviation of a normal distribution of standard deviation 1."""


def robust_scale(b0: np.ndarray, mask: np.ndarray) -> float:
    """Return the median b=0 signal of the brain, the unit of everything that follows.

    Parameters
    ----------
    b0 : (I, J, K)
    mask : (I, J, K) bool

    Raises
    ------
    ValueError
        If the mask is empty or the median is not a positive number.

    Examples
    --------
    >>> robust_scale(np.array([[[1.0, 2.0, 9.0]]]), np.ones((1, 1, 3), bool))
    2.0
    """
    inside = np.asarray(b0)[np.asarray(mask, bool)]
    if not inside.size:
        raise ValueError('the mask is empty')
    scale = float(np.median(inside.astype(np.float64)))
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f'the median b=0 signal in the mask is {scale:g}, not positive')
    return scale


def noise_sigma(image: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Estimate the standard deviation of white noise from the finest diagonal detail.

    Each square of 2 x 2 pixels of a slice that lies in the mask gives the diagonal Haar detail
    (a - b - c + d) / 2, which smooth tissue and straight edges along an axis leave at zero; sigma
    is the median of its absolute value over .6745 (Donoho and Johnstone, Biometrika 1994;81:425).
    Zero-filled images hold little power there: their noise is underestimated.

    Parameters
    ----------
    image : (I, J, K)
    mask : (I, J, K) bool
    axis : int
        The slice axis.

    Returns
    -------
    float
        Unit of the image; 0 where no square lies in the mask.

    Examples
    --------
    >>> noise_sigma(np.indices((4, 4, 1)).sum(axis=0), np.ones((4, 4, 1), bool), 2)
    0.0
    """
    image = np.moveaxis(np.asarray(image, np.float64), axis, 0)
    mask = np.moveaxis(np.asarray(mask, bool), axis, 0) & np.isfinite(image)
    image = np.where(mask, image, 0)
    rows, columns = (slice(None, -1), slice(1, None)), (slice(None, -1), slice(1, None))
    corners = [(slice(None), row, column) for row in rows for column in columns]
    a, b, c, d = (image[corner] for corner in corners)
    inside = np.logical_and.reduce([mask[corner] for corner in corners])
    detail = ((a - b - c + d) / 2)[inside]
    return float(np.median(np.abs(detail)) / MAD_TO_SIGMA) if detail.size else 0.0
