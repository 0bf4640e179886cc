"""Read volumes through nibabel and write NIfTI files whose bytes depend on their content alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from isal import igzip

GZIP_LEVEL = 1
"""Of ISA-L, which has 0 to 3: a quarter of the time of zlib's level 1, for the same size
(``benchmarks/speed.py --only gzip``)."""

_GEOMETRY = (
    'dim_info',
    'slice_start',
    'slice_end',
    'slice_code',
    'slice_duration',
    'toffset',
    'xyzt_units',
    'qform_code',
    'sform_code',
    'quatern_b',
    'quatern_c',
    'quatern_d',
    'qoffset_x',
    'qoffset_y',
    'qoffset_z',
    'srow_x',
    'srow_y',
    'srow_z',
)


def load_volume(path: str | Path, dtype: type = np.float32) -> np.ndarray:
    """Read a 3-D image as an array of ``dtype``, (I, J, K)."""
    with _opened(path) as image:
        return np.asarray(image.dataobj, dtype=dtype)


def load_mask(path: str | Path) -> np.ndarray:
    """Read a mask as booleans, (I, J, K)."""
    with _opened(path) as image:
        return np.asarray(image.dataobj) > 0


def iterate_volumes(
    path: str | Path, ixs: Iterable[int] | None = None, *, as_stored: bool = False
) -> Iterator[np.ndarray]:
    """Read a series one volume at a time, in the order of the file.

    The next volume is read by a thread while the last one is worked at.

    Parameters
    ----------
    path : path
        4-D series, (I, J, K, N); a 3-D image is one volume
    ixs : iterable of int, optional
        increasing positions along the fourth axis; all of them by default
    as_stored : bool
        leave numbers of up to four bytes, which have no scaling, as they are: for whoever makes
        float64 of a few of them

    Yields
    ------
    volume : (I, J, K)
        in the scanner's units, header scaling applied; float64 unless they may stay `as_stored`
    """
    return _ahead(_volumes(path, ixs, as_stored))


def _volumes(path: str | Path, ixs: Iterable[int] | None, as_stored: bool) -> Iterator[np.ndarray]:
    """Read volumes when they are asked for."""
    with _opened(path) as image:
        n_volumes = 1 if image.ndim == 3 else image.shape[3]
        for ix in range(n_volumes) if ixs is None else ixs:
            volume = np.asanyarray(image.dataobj[..., ix] if image.ndim > 3 else image.dataobj)
            stays = as_stored and volume.dtype.kind in 'iuf' and volume.dtype.itemsize <= 4
            yield volume if stays else np.asarray(volume, np.float64)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[nb.Nifti1Image]:
    """Open an image; a gzip file is inflated by ISA-L and, kept open, only ever read forwards."""
    image = nb.load(path)
    if not str(path).endswith('.gz'):
        yield image
        return
    with igzip.open(path) as stream:
        yield type(image).from_file_map(image.make_file_map({'image': stream}))


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """Have a thread make the next item while the last one is used.

    Examples
    --------
    >>> list(_ahead(letter for letter in 'abc'))
    ['a', 'b', 'c']
    """
    end, here = object(), copy_context()  # what numpy is to say of numbers is the caller's
    with contextlib.closing(items), ThreadPoolExecutor(1) as pool:
        coming = pool.submit(here.run, next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(here.run, next, items, end)
            yield item


def load_finite(path: str | Path, ixs: Iterable[int]) -> np.ndarray:
    """Read some volumes of a series as float32, (I, J, K, n); what is not finite becomes 0."""
    picked = list(ixs)
    series = np.empty((*nb.load(path).shape[:3], len(picked)), dtype=np.float32)
    for position, volume in enumerate(iterate_volumes(path, picked)):
        series[..., position] = np.nan_to_num(volume, nan=0.0, posinf=0.0, neginf=0.0)
    return series


def geometry_header(
    like: nb.Nifti1Header, shape: tuple[int, ...], dtype: type = np.float32
) -> nb.Nifti1Header:
    """Make a header with the geometry of ``like``, and nothing else of it.

    Free text (``descrip``, ``aux_file``, ``db_name``) and extensions are left behind: converters
    write times and names there.

    Parameters
    ----------
    like : Nifti1Header
        qform, sform, zooms, units and slice timing come from here
    shape : tuple of int
        (I, J, K) or (I, J, K, N)

    Examples
    --------
    >>> like = nb.Nifti1Header()
    >>> like['descrip'] = b'Time=134651'
    >>> like.set_data_shape((4, 4, 2, 3))
    >>> like.set_zooms((2, 2, 5, 8))
    >>> header = geometry_header(like, (4, 4, 2))
    >>> header['descrip'].item(), header.get_zooms() == (2, 2, 5)
    (b'', True)
    """
    header = nb.Nifti1Header()
    for key in _GEOMETRY:
        header[key] = like[key]
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    header['pixdim'][: len(shape) + 1] = like['pixdim'][: len(shape) + 1]
    header['pixdim'][4:] = _times(header['pixdim'][4:])
    header.set_slope_inter(1, 0)
    return header


def grid_header(
    like: nb.Nifti1Header,
    shape: tuple[int, ...],
    affine: np.ndarray,
    dtype: type = np.float32,
) -> nb.Nifti1Header:
    """Make the header of an image on another grid of the same scan.

    Parameters
    ----------
    like : Nifti1Header
        the codes that say what space the coordinates are in come from here
    shape : (I, J, K) or (I, J, K, N)
    affine : (4, 4) mm
    """
    header = nb.Nifti1Header()
    header.set_data_dtype(dtype)
    header.set_data_shape(shape)
    times = _times(np.array(like.get_zooms()[3 : len(shape)]))
    header.set_zooms((*nb.affines.voxel_sizes(affine), *times))
    code = int(like['sform_code']) or int(like['qform_code'])
    header.set_sform(affine, code=code)
    header.set_qform(affine, code=int(like['qform_code']) or code)
    header.set_xyzt_units('mm', like.get_xyzt_units()[1] if len(shape) > 3 else None)
    header['dim_info'] = like['dim_info']
    header.set_slope_inter(1, 0)
    return header


def _times(steps: np.ndarray) -> np.ndarray:
    """Write 0, which is unknown, for a time from volume to volume that cannot be one."""
    return np.where(np.isfinite(steps) & (steps > 0), steps, 0)


def write_volumes(path: str | Path, header: nb.Nifti1Header, volumes: Iterable[np.ndarray]) -> str:
    """Write volumes one after the other as ``.nii.gz``; a thread deflates one of them at a time.

    Parameters
    ----------
    path : path ending in ``.nii.gz``
    header : Nifti1Header
        shape, type and geometry of the whole
    volumes : iterable of (I, J, K)
        as many as the header says; one that was given must stay as it is

    Raises
    ------
    ValueError
        if the volumes are not those the header announces
    """
    shape, dtype = header.get_data_shape(), header.get_data_dtype()
    expected = int(np.prod(shape[3:], dtype=np.int64))
    header = header.copy()
    header['magic'] = b'n+1'
    header.set_data_offset(header.single_vox_offset)
    written = 0
    with (
        Path(path).open('wb') as raw,
        igzip.IGzipFile('', 'wb', GZIP_LEVEL, raw, mtime=0) as file,
        ThreadPoolExecutor(1) as pool,
    ):
        header.write_to(file)
        file.write(bytes(header.single_vox_offset - file.tell()))
        last = None
        for volume in volumes:
            if volume.shape != shape[:3]:
                raise ValueError(f'a volume of {volume.shape} in a series of {shape}')
            # as the file has it: no copy where the volume is stored so
            content = memoryview(np.asarray(volume, dtype=dtype).ravel(order='F')).cast('B')
            if last is not None:
                last.result()
            last = pool.submit(file.write, content)
            written += 1
        if last is not None:
            last.result()
    if written != expected:
        raise ValueError(f'{written} volumes written where the header has {expected}')
    return str(path)


def save_volume(path: str | Path, data: np.ndarray, header: nb.Nifti1Header) -> str:
    """Write one 3-D image as ``.nii.gz`` (float32, or uint8 for booleans) and give its path."""
    header = header.copy()
    header.set_data_dtype(np.uint8 if data.dtype == bool else np.float32)
    return write_volumes(path, header, [data])
