"""Grids that share a field of view.

Every grid made here keeps the axes' directions (b-vectors stay valid) and the corners of the field
of view, so that its first voxel's centre moves by half the difference in voxel size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage, sparse

CLEARLY_THICKER = 1.1
"""How much larger than the others the voxel size along the slice axis is."""

PAIR_TOLERANCE = 0.1
"""Corners of two images of one grid are nearer than this: headers are rounded (mm)."""

_NEGLIGIBLE = 1e-9  # interpolation weights under this are left out


def slice_axis(zooms: Sequence[float], dim_info_slice: int | None = None) -> int:
    """Tell along which axis the slices are stacked.

    Parameters
    ----------
    zooms : (3,) mm
    dim_info_slice : int, optional
        The header's slice dimension, where it is set.

    Returns
    -------
    int
        ``dim_info_slice``, else the axis of the clearly (> 10 %) largest zoom, else 2.

    Examples
    --------
    >>> slice_axis((5, 1, 1)), slice_axis((2, 2, 2)), slice_axis((2, 2, 5), 0)
    (0, 2, 0)
    """
    if dim_info_slice is not None:
        return int(dim_info_slice)
    order = np.argsort(zooms[:3], kind='stable')
    if zooms[order[2]] > CLEARLY_THICKER * zooms[order[1]]:
        return int(order[2])
    return 2


def grid_distance(first: np.ndarray, second: np.ndarray, shape: Sequence[int]) -> float:
    """Return how far apart two affines put the corner voxels of a volume, at most (mm).

    Parameters
    ----------
    first, second : (4, 4) mm
    shape : (3,)

    Examples
    --------
    >>> grid_distance(np.eye(4), np.diag([1.0, 1.0, 1.5, 1.0]), (9, 9, 5))
    2.0
    """
    ends = np.meshgrid(*((0, size - 1) for size in shape[:3]), [1], indexing='ij')
    corners = np.stack(ends).reshape(4, -1)
    apart = (np.asarray(first) - np.asarray(second)) @ corners
    return float(np.linalg.norm(apart[:3], axis=0).max())


def places_in_file(mask: np.ndarray) -> np.ndarray:
    """Return where a mask's voxels stand in a volume as files have it, first axis fastest.

    Volumes that were read from a file are taken apart in that order in a third of the time.

    Parameters
    ----------
    mask : (I, J, K) bool

    Returns
    -------
    (V,) int
        Of ``volume.reshape(-1, order='F')``.

    Examples
    --------
    >>> mask = np.zeros((2, 3, 1), bool)
    >>> mask[1, 2] = mask[0, 1] = True
    >>> places_in_file(mask).tolist()
    [2, 5]
    """
    return np.ravel_multi_index(np.nonzero(mask), mask.shape, order='F')


def inplane_grid(
    shape: Sequence[int], affine: np.ndarray, axis: int, spacing: float
) -> tuple[tuple[int, int, int], np.ndarray]:
    """Give each slice the pixel nearest to a wanted one that divides its field of view.

    Parameters
    ----------
    shape : (3,) int
    affine : (4, 4)
        Voxel to mm.
    axis : int
        The slice axis, which stays as it is.
    spacing : float
        Wanted pixel, mm.

    Returns
    -------
    shape : (3,) int
    affine : (4, 4) float64

    Examples
    --------
    >>> shape, affine = inplane_grid((10, 10, 4), np.diag([2.0, 2.0, 5.0, 1.0]), 2, 1.0)
    >>> shape, affine[:3, 3].tolist()
    ((20, 20, 4), [-0.5, -0.5, 0.0])
    """
    affine = np.array(affine, np.float64)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    finer = tuple(
        int(n) if ax == axis else max(1, round(n * zooms[ax] / spacing))
        for ax, n in enumerate(shape[:3])
    )
    ratio = np.array(shape[:3]) / np.array(finer)
    affine[:3, 3] += affine[:3, :3] @ (0.5 * ratio - 0.5)
    affine[:3, :3] *= ratio
    return finer, affine


def resample_to_shape(data: np.ndarray, shape: Sequence[int], order: int = 1) -> np.ndarray:
    """Interpolate onto another number of samples over the same field of view, axis by axis.

    Sample i of n lies at (i + .5) m / n - .5 of the m samples given; beyond the outermost centres
    the edge value goes on. Nothing is smoothed before fewer samples are taken.

    Parameters
    ----------
    data : (...) float
    shape : as many int as data has axes
    order : int
        Of the spline, 0 to 5.

    Returns
    -------
    shape float32

    Raises
    ------
    ValueError
        If the number of axes differs.

    Examples
    --------
    >>> resample_to_shape(np.array([0.0, 1.0]), (4,)).tolist()
    [0.0, 0.25, 0.75, 1.0]
    """
    data = np.asarray(data, np.float64)
    if len(shape) != data.ndim:
        raise ValueError(f'a grid of {len(shape)} axes for data of {data.ndim} axes')
    for ax, n_out in enumerate(shape):
        n_in = data.shape[ax]
        if n_in == n_out:
            continue
        moved = np.moveaxis(data, ax, 0)
        flat = np.ascontiguousarray(moved).reshape(n_in, -1)
        # a sparse product, unlike a dense one, has the same bits at any number of threads
        flat = _interpolation(n_in, int(n_out), order) @ flat
        data = np.moveaxis(flat.reshape(n_out, *moved.shape[1:]), 0, ax)
    return np.ascontiguousarray(data, np.float32)


@lru_cache(maxsize=64)
def _interpolation(n_in: int, n_out: int, order: int) -> sparse.csr_array:
    """Return the interpolation from n_in to n_out samples as a matrix, (n_out, n_in)."""
    # along the other axis the zoom is 1: what its spline leaves there is negligible
    zoom = (n_out / n_in, 1.0)
    weights = ndimage.zoom(np.eye(n_in), zoom, order=order, mode='nearest', grid_mode=True)
    weights[np.abs(weights) < _NEGLIGIBLE] = 0
    return sparse.csr_array(weights / weights.sum(axis=1, keepdims=True))
