"""Lay the world-axial planes of the audit through a brain, and cut images along them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bidsharmony.numerics.grids import slice_axis

AUDIT_SIZE = 160
"""Rows and columns of an audit slice."""

AUDIT_PIXEL = 1.25
"""Pixel of an audit slice (mm)."""

AUDIT_STEP = 5.0
"""Distance between audit slices (mm)."""

AUDIT_SPAN = 100.0
"""Height of the middle of the brain that audit slices cover (mm)."""

_EDGE = 1e-6  # voxels: a point on the very edge of the field of view is inside


def audit_grid(mask: np.ndarray, affine: np.ndarray) -> list[np.ndarray]:
    """Lay planes through a brain as `audit_planes` does, and give them alone."""
    return audit_planes(mask, affine)[0]


def audit_planes(mask: np.ndarray, affine: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Lay world-axial planes through the middle of a brain, and cut its mask along them.

    Planes are centred on the mask in x and y, `AUDIT_STEP` apart and spread evenly about the
    middle of the mask in z, over its height but at most `AUDIT_SPAN`. Planes that miss the mask
    are left out.

    Rows run from anterior to posterior, columns from the subject's right to the left: shown by
    ``imshow``, the subject's left is on the right of the picture (radiological convention).

    Parameters
    ----------
    mask : (I, J, K) bool
    affine : (4, 4)
        Voxel to RAS+ mm.

    Returns
    -------
    planes : list of (4, 4) float64
        (row, column, 0, 1) of each plane to mm, from inferior to superior.
    cuts : (n, 160, 160) bool

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> mask = np.ones((8, 8, 4), bool)
    >>> planes, cuts = audit_planes(mask, np.diag([2.0, 2.0, 5.0, 1.0]))
    >>> [float(plane[2, 3]) for plane in planes], cuts.shape
    ([0.0, 5.0, 10.0, 15.0], (4, 160, 160))
    """
    mask, affine = np.asarray(mask, bool), np.asarray(affine, np.float64)
    voxels = np.argwhere(mask)
    if not len(voxels):
        raise ValueError('the mask is empty')
    centres = voxels @ affine[:3, :3].T + affine[:3, 3]
    middle = (centres.min(axis=0) + centres.max(axis=0)) / 2
    # the mask reaches half a voxel beyond its outermost centres
    height = np.ptp(centres[:, 2]) + np.abs(affine[2, :3]).max()
    count = max(1, int(min(AUDIT_SPAN, height) / AUDIT_STEP + _EDGE))
    planes, share = [], mask.astype(np.float32)
    cuts = [np.zeros((0, AUDIT_SIZE, AUDIT_SIZE), bool)]
    beside = AUDIT_PIXEL * (AUDIT_SIZE - 1) / 2
    for z in middle[2] + AUDIT_STEP * (np.arange(count) - (count - 1) / 2):
        plane = np.array(
            [
                [0, -AUDIT_PIXEL, 0, middle[0] + beside],
                [-AUDIT_PIXEL, 0, 0, middle[1] + beside],
                [0, 0, 1, z],
                [0, 0, 0, 1],
            ]
        )
        cut = _sample(share, affine, plane) >= 0.5
        if cut.any():
            planes.append(plane)
            cuts.append(cut[None])
    return planes, np.concatenate(cuts)


def planes_of_most(
    data: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray,
    count: int,
    *,
    apart: float = AUDIT_STEP,
) -> list[np.ndarray]:
    """Choose the world-axial planes on which most of something lies.

    Planes are those of `audit_grid` but for their heights: centres of voxels that hold something
    where the slices are axial, else every millimetre.

    Parameters
    ----------
    data : (I, J, K) float
        For instance a lesion; not negative.
    affine : (4, 4)
        Voxel to RAS+ mm.
    mask : (I, J, K) bool
        The brain.
    count : int
        Planes at most.
    apart : float
        Distance between planes at least (mm).

    Returns
    -------
    list of (4, 4) float64
        From inferior to superior.

    Examples
    --------
    >>> data = np.zeros((8, 8, 6))
    >>> data[2:5, 2:5, 4] = data[3, 3, 2] = 1
    >>> planes = planes_of_most(data, np.diag([2.0, 2.0, 4.0, 1.0]), data >= 0, 2)
    >>> [float(plane[2, 3]) for plane in planes]
    [8.0, 16.0]
    """
    data, affine = np.asarray(data, np.float32), np.asarray(affine, np.float64)
    heights = np.unique(np.round(np.argwhere(data > 0) @ affine[2, :3] + affine[2, 3], 2))
    if len(heights) > data.shape[slice_axis(np.linalg.norm(affine[:3, :3], axis=0))]:
        heights = np.arange(heights[0], heights[-1] + 1, 1.0)
    planes = []
    for template in audit_grid(mask, affine)[:1]:
        for z in heights:
            plane = template.copy()
            plane[2, 3] = z
            planes.append((float(_sample(data, affine, plane).sum()), plane))
    chosen: list[np.ndarray] = []
    for amount, plane in sorted(planes, key=lambda pair: -pair[0]):
        if len(chosen) == count or not amount:
            break
        if all(abs(plane[2, 3] - other[2, 3]) >= apart for other in chosen):
            chosen.append(plane)
    return sorted(chosen, key=lambda plane: plane[2, 3])


def axial_slices(
    data: np.ndarray,
    affine: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    grid: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Interpolate a volume linearly on world-axial planes, ready for display.

    Rows run from anterior to posterior, columns from the subject's right to the left: shown by
    ``imshow``, the subject's left is on the right of the picture (radiological convention).

    Parameters
    ----------
    data : (I, J, K) float
    affine : (4, 4)
        Voxel to RAS+ mm.
    mask : (I, J, K) bool, optional
        The brain on the grid of `data`, for `audit_grid`; not needed with `grid`.
    grid : list of (4, 4), optional
        Planes of `audit_grid`, so that images on several grids are cut alike.

    Returns
    -------
    (n, 160, 160) float32
        0 outside the volume.

    Raises
    ------
    ValueError
        If neither mask nor grid is given, or the mask is empty.

    Examples
    --------
    >>> data = np.arange(8.0)[:, None, None] * np.ones((8, 8, 4))  # grows to the subject's right
    >>> plane = axial_slices(data, np.diag([2.0, 2.0, 5.0, 1.0]), data >= 0)[0]
    >>> bool(plane[80, 78] > plane[80, 81] > 0), float(plane[0, 0])
    (True, 0.0)
    """
    if grid is None:
        if mask is None:
            raise ValueError('axial planes need a mask or a grid')
        grid = audit_grid(mask, affine)
    data = np.asarray(data, np.float32)
    slices = [_sample(data, affine, plane) for plane in grid]
    return np.stack(slices) if slices else np.zeros((0, AUDIT_SIZE, AUDIT_SIZE), np.float32)


def _sample(data: np.ndarray, affine: np.ndarray, plane: np.ndarray) -> np.ndarray:
    """Interpolate a volume linearly on one plane, (160, 160) float32, 0 outside the volume."""
    to_voxel = np.linalg.inv(affine) @ plane
    row, column = np.indices((AUDIT_SIZE, AUDIT_SIZE))
    points = np.stack([row, column]).reshape(2, -1)
    # products of sums, not a matrix product: bits must not depend on threads
    voxels = np.stack(
        [line[0] * points[0] + line[1] * points[1] + line[3] for line in to_voxel[:3]]
    )
    limits = np.array(data.shape)[:, None] - 0.5 + _EDGE
    inside = ((voxels >= -0.5 - _EDGE) & (voxels <= limits)).all(axis=0)
    values = np.zeros(points.shape[1], np.float32)
    values[inside] = ndimage.map_coordinates(data, voxels[:, inside], order=1, mode='nearest')
    return values.reshape(AUDIT_SIZE, AUDIT_SIZE)
