"""Bring thin slices to the slice profile that every scanner can reach."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def throughplane_kernel(thickness: float, spacing: float, canonical: float) -> np.ndarray:
    """Weigh neighbouring slices so that a thin slice profile becomes as wide as a thick one.

    Variances of convolved profiles add, and a box of thickness t has variance t^2 / 12. The
    kernel supplies the difference exactly: a three-tap kernel, convolved with itself as often as
    its response needs to stay non-negative at every frequency, so that no structure is inverted.

    Parameters
    ----------
    thickness : float
        Of the slices as acquired, mm.
    spacing : float
        From the centre of one slice to that of the next, mm.
    canonical : float
        Thickness of the box whose variance is wanted, mm.

    Returns
    -------
    kernel : (2r + 1,) float64
        Non-negative, symmetric, sum 1; ``[1.0]`` where the slices are as thick already.

    Raises
    ------
    ValueError
        If a length is not a positive number.

    Examples
    --------
    >>> throughplane_kernel(1.0, 2.0, 5.0)  # (25 - 1) / 12 mm2 are half of 2 mm squared
    array([0.25, 0.5 , 0.25])
    >>> throughplane_kernel(6.0, 6.0, 5.0)
    array([1.])
    """
    for name, length in (
        ('thickness', thickness),
        ('spacing', spacing),
        ('canonical thickness', canonical),
    ):
        if not (np.isfinite(length) and length > 0):
            raise ValueError(f'{name} {length!r}: not a positive number of mm.')
    if thickness >= canonical:
        return np.ones(1)
    variance = (canonical**2 - thickness**2) / 12 / spacing**2
    n_times = int(np.ceil(2 * variance))
    side = variance / n_times / 2
    taps, kernel = np.array([side, 1 - 2 * side, side]), np.ones(1)
    for _ in range(n_times):
        kernel = np.convolve(kernel, taps)
    return kernel


def through_plane(volume: np.ndarray, axis: int, kernel: np.ndarray) -> np.ndarray:
    """Convolve along the slice axis; beyond the outermost slices they are repeated.

    Parameters
    ----------
    volume : (..., K, ...) float
    axis : int
        The slice axis.
    kernel : (2r + 1,) float
        Symmetric, sum 1.

    Returns
    -------
    (..., K, ...) float32, or float64 if that came in

    Examples
    --------
    >>> through_plane(np.array([[0.0, 0, 4, 0, 0]]), 1, np.array([0.25, 0.5, 0.25]))
    array([[0., 1., 2., 1., 0.]])
    """
    data = np.asarray(volume)
    data = data.astype(np.result_type(data.dtype, np.float32), copy=True)
    if len(kernel) == 1:
        return data
    return ndimage.correlate1d(data, kernel, axis=axis, mode='nearest')
