"""Read what a caller gives, arrays or images, and refuse in one line what cannot be used."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import ArrayLike

from bidsharmony.bids import BIDSError
from bidsharmony.bids.sidecar import read_json
from bidsharmony.numerics.affines import axes_fault, place_fault, size_fault
from bidsharmony.numerics.gradients import B0_THRESHOLD, B_LARGEST_MAXIMUM
from bidsharmony.numerics.grids import PAIR_TOLERANCE, grid_distance, slice_axis

ImageLike = ArrayLike | nb.spatialimages.SpatialImage | str | os.PathLike
"""An array, a nibabel image, or the path of a file that nibabel reads."""

UNKNOWN_ORIENTATION = (
    'Only the voxel size was given: the axes are taken to run to the right, to the front and up.'
)


@dataclass(frozen=True)
class Grid:
    """Say where the voxels of a scan lie.

    Attributes
    ----------
    shape : (3,) int
    affine : (4, 4) mm
    zooms : (3,) float32 mm
        As an image header holds them.
    axis : int
        The slice axis.
    space : int
        NIfTI's code of what the affine leads to; 1 is the scanner, 2 another image.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    zooms: np.ndarray
    axis: int
    space: int = 1


def as_image(name: str, value: Any) -> nb.spatialimages.SpatialImage | None:
    """Return the image that an argument is, or whose path it is; None for an array.

    Raises
    ------
    ValueError
        if there is no such file, or it is no image
    """
    if isinstance(value, nb.spatialimages.SpatialImage):
        return value
    if not isinstance(value, (str, os.PathLike)):
        return None
    try:
        image = nb.load(value)
    except (OSError, ImageFileError, nb.spatialimages.HeaderDataError) as error:
        cause = str(error).splitlines()[0]
        raise ValueError(f'{name}: {value} cannot be read ({cause}). Check it.') from None
    if not isinstance(image, nb.spatialimages.SpatialImage):
        raise ValueError(f'{name}: {value} holds no volume. Give an image of voxels.')
    return image


def read_volume(name: str, value: ImageLike) -> tuple[np.ndarray, Any]:
    """Read one volume of finite real numbers.

    Parameters
    ----------
    name : str
        Of the argument, for messages.
    value : ImageLike
        (I, J, K), or (I, J, K, 1).

    Returns
    -------
    data : (I, J, K) float32
    image : SpatialImage or None
        None where an array was given.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> read_volume('b0', np.ones((4, 4, 2, 7)))
    Traceback (most recent call last):
        ...
    ValueError: b0 has 4 dimensions (4, 4, 2, 7), a volume has 3. Average or choose volumes first.
    """
    image = as_image(name, value)
    data = np.asarray(value if image is None else image.dataobj)
    if data.dtype.kind not in 'iuf':
        raise ValueError(f'{name} holds {data.dtype.name} values. Give real magnitudes.')
    if data.ndim == 4 and data.shape[3] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ValueError(
            f'{name} has {data.ndim} dimensions {data.shape}, a volume has 3. '
            'Average or choose volumes first.'
        )
    if not data.size:
        raise ValueError(f'{name} is empty, its shape is {data.shape}. Give a volume of a head.')
    with np.errstate(over='ignore', invalid='ignore'):
        data = data.astype(np.float32)
    if count := int(data.size - np.count_nonzero(np.isfinite(data))):
        raise ValueError(
            f'{name} holds {count} values that are not finite as float32. Replace them, for '
            'instance by 0 with numpy.nan_to_num.'
        )
    return data, image


def read_grid(
    shape: tuple[int, ...],
    image: nb.spatialimages.SpatialImage | None,
    *,
    affine: ArrayLike | None,
    voxel_mm: Sequence[float] | None,
    axis: int | None,
) -> Grid:
    """Find where the voxels of b0 lie, from its header or from what was given with an array.

    Raises
    ------
    ValueError
        unless exactly one of header, `affine` and `voxel_mm` says it, or if it cannot be true
    """
    given = [
        word
        for word, value in (('affine', affine), ('voxel_mm', voxel_mm), ('the image b0', image))
        if value is not None
    ]
    if not given:
        raise ValueError('b0 is an array, and neither affine nor voxel_mm is given. Give one.')
    if len(given) > 1:
        raise ValueError(f'{" and ".join(given)} both say where voxels lie. Give one of them.')
    space, dim_info, zooms = 1, None, None
    if image is not None:
        matrix = np.asarray(image.affine, np.float64)
        zooms = np.asarray(image.header.get_zooms()[:3], np.float32)
        if isinstance(image.header, nb.Nifti1Header):
            space = int(image.header['sform_code']) or int(image.header['qform_code'])
            dim_info = image.header.get_dim_info()[2]
    elif affine is not None:
        matrix = np.array(affine, np.float64)
        if matrix.shape != (4, 4):
            raise ValueError(f'affine has shape {matrix.shape}. Give the (4, 4) of voxel to mm.')
    else:
        sizes = np.array(voxel_mm, np.float64)
        if sizes.shape != (3,):
            raise ValueError(f'voxel_mm has shape {sizes.shape}. Give three sizes in mm.')
        matrix = np.diag([*sizes, 1.0])
    if not (reason := place_fault(matrix)):
        if zooms is None:
            zooms = nb.affines.voxel_sizes(matrix).astype(np.float32)
        reason = size_fault(zooms.astype(np.float64)) or axes_fault(matrix)
    if reason:
        raise ValueError(f'b0 {reason}')
    if axis is not None and axis not in (0, 1, 2):
        raise ValueError(f'slice_axis is {axis!r}. Give 0, 1 or 2.')
    found = slice_axis(zooms, dim_info) if axis is None else int(axis)
    return Grid(tuple(int(n) for n in shape), matrix, zooms, found, space)


def check_grid(name: str, shape: tuple[int, ...], image: Any, grid: Grid) -> None:
    """See that a volume, or each of a series, lies where b0 lies.

    Raises
    ------
    ValueError
    """
    if tuple(shape[:3]) != grid.shape:
        raise ValueError(
            f'{name} has {tuple(shape[:3])} voxels, b0 has {grid.shape}. Resample it to b0.'
        )
    apart = 0.0 if image is None else grid_distance(image.affine, grid.affine, grid.shape)
    if not apart <= PAIR_TOLERANCE:
        raise ValueError(f'{name} lies up to {apart:.1f} mm away from b0. Resample it to b0.')


def read_mask(value: ImageLike, grid: Grid) -> np.ndarray:
    """Read a brain mask on the grid of b0, (I, J, K) bool; what is above 0 is brain.

    Raises
    ------
    ValueError
    """
    if as_image('mask', value) is None:
        value = np.asarray(value)
        value = value.astype(np.uint8) if value.dtype == bool else value
    data, image = read_volume('mask', value)
    check_grid('mask', data.shape, image, grid)
    if not (data > 0).any():
        raise ValueError('mask is empty. Leave it out, and the brain is looked for in b0.')
    return data > 0


def read_metadata(value: Mapping[str, Any] | str | os.PathLike) -> Mapping[str, Any]:
    """Take what a sidecar says, from a mapping or from a JSON file.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> read_metadata(['EchoTime', 0.08])
    Traceback (most recent call last):
        ...
    ValueError: metadata is a list. Give a mapping of BIDS keys, {} if nothing is known, or a path.
    """
    if isinstance(value, Mapping):
        return value
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError(
            f'metadata is a {type(value).__name__}. Give a mapping of BIDS keys, {{}} if nothing '
            'is known, or a path.'
        )
    try:
        return read_json(Path(value))
    except BIDSError as error:
        raise ValueError(f'metadata: {value} {error}.') from None


def check_b_value(value: float) -> float:
    """Refuse a b-value that no trace image has.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_b_value(1)
    Traceback (most recent call last):
        ...
    ValueError: b_value is 1, not above 50 and up to 100000. Give it in s/mm2.
    """
    if not B0_THRESHOLD < value <= B_LARGEST_MAXIMUM:
        raise ValueError(
            f'b_value is {value:g}, not above {B0_THRESHOLD:g} and up to {B_LARGEST_MAXIMUM:.0f}. '
            'Give it in s/mm2.'
        )
    return float(value)
