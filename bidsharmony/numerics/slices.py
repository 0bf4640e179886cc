"""Bring thin slices to the slice profile that every scanner can reach."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.optimize import nnls

_EDGE_PLACES = 2000


@lru_cache(maxsize=4096)
def throughplane_kernel(thickness: float, spacing: float, canonical: float) -> np.ndarray:
    """Weigh neighbouring slices so that a thin slice profile becomes like a thick one.

    A box seen through slices is judged at an edge that crosses the slices squarely: the weights
    are the non-negative, symmetric ones by which the thin slices show the edge as the thick slice
    would, by least squares over every position of the edge.

    Parameters
    ----------
    thickness : float
        Of the slices as acquired, mm.
    spacing : float
        From the centre of one slice to that of the next, mm.
    canonical : float
        Thickness of the slice that is wanted, mm.

    Returns
    -------
    kernel : (2r + 1,) float64, read-only
        Non-negative, symmetric, sum 1; ``[1.0]`` where the slices are as thick already.

    Raises
    ------
    ValueError
        If a length is not a positive number.

    Examples
    --------
    >>> throughplane_kernel(1.0, 1.0, 3.0).round(6).tolist()  # three of 1 mm are one of 3 mm
    [0.333333, 0.333333, 0.333333]
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
    kernel = np.ones(1)
    if thickness < canonical:
        reach = int(np.ceil(canonical / spacing))
        # an edge is antisymmetric: half of it tells all
        place = np.linspace(0, canonical / 2 + (reach + 1) * spacing, _EDGE_PLACES)

        def edge(width: float, shift: float = 0.0) -> np.ndarray:
            return np.clip((place - shift) / width + 0.5, 0, 1)

        alone = edge(thickness)
        pairs = [
            edge(thickness, k * spacing) + edge(thickness, -k * spacing) - 2 * alone
            for k in range(1, reach + 1)
        ]
        side, _ = nnls(np.stack(pairs, axis=1), edge(canonical) - alone)
        side = np.trim_zeros(np.where(side > 1e-9, side, 0.0), 'b')  # rounding is no weight
        side /= max(1.0, 2 * side.sum())  # the middle is not negative either
        kernel = np.concatenate([side[::-1], [1 - 2 * side.sum()], side])
    kernel.flags.writeable = False
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
