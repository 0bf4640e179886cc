"""Check a run's files before any work is planned: damaged, inconsistent or impossible ones."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import nibabel as nb
import numpy as np

from bidsharmony.bids import DwiRun
from bidsharmony.interfaces.volumes import load_mask
from bidsharmony.numerics.gradients import (
    GradientError,
    check_gradients,
    parse_bvals,
    parse_bvecs,
    shells,
)
from bidsharmony.numerics.grids import slice_axis

MAX_SERIES_BYTES = 64 * 1024**3
"""More than any scanner makes in one series; a header that claims it is wrong or hostile."""

MAX_TEXT_BYTES = 4 * 1024**2
"""A gradient file of 10,000 volumes has a tenth of this."""

ZOOM_TOLERANCE = 0.01
"""Relative difference of header zooms and affine that rounding explains."""

GRID_TOLERANCE = 1e-3
"""Difference of two affines (mm) that rounding explains."""

_CHUNK = 1024**2
_GZIP = 31  # zlib's window bits for a gzip member with its header and sums
_HEAD = 4096


class InputError(ValueError):
    """Say which file cannot be used, why, and what to do: ``file: cause. Remedy.``

    Examples
    --------
    >>> error = InputError('sub-01/dwi/sub-01_dwi.nii.gz', 'is empty. Copy it again and re-run.')
    >>> str(error)
    'sub-01/dwi/sub-01_dwi.nii.gz: is empty. Copy it again and re-run.'
    """

    def __init__(self, file: str, reason: str) -> None:
        self.file = file
        self.reason = f'{reason.rstrip(".")}.'
        super().__init__(f'{file}: {self.reason}')


@dataclass(frozen=True)
class CheckedRun:
    """Hold a run whose files were read to their end and agree with each other.

    ``zooms`` are in mm, ``orientation`` is written ``'RAS'``, ``shells`` holds the mean b-value
    (s/mm2) and the number of volumes of each shell, and ``inputs`` maps every file the run depends
    on (relative to the dataset) to its sha256. ``brain_mask`` came with the run and fits it.
    """

    run: DwiRun
    shape: tuple[int, int, int, int]
    zooms: tuple[float, float, float]
    orientation: str
    slice_axis: int
    b0_ixs: tuple[int, ...]
    shells: tuple[tuple[float, int], ...]
    inputs: dict[str, str] = field(hash=False)
    notes: tuple[str, ...] = ()
    brain_mask: Path | None = None

    @property
    def sources(self) -> tuple[Path, ...]:
        """List the files that the outputs are made from."""
        files = (self.run.image, self.run.bval, self.run.bvec, self.brain_mask)
        return tuple(path for path in files if path is not None)


def check_run(run: DwiRun, b0_threshold: float) -> CheckedRun:
    """Read every file of a run to its end and see that they fit together.

    Parameters
    ----------
    run : DwiRun
    b0_threshold : s/mm2

    Raises
    ------
    InputError
        with the file, the cause and the remedy in one line
    """
    if run.bval is None or run.bvec is None:
        missing = '.bval' if run.bval is None else '.bvec'
        raise InputError(
            run.relative, f'no {missing} file belongs to it. Add {run.stem}_dwi{missing}.'
        )
    inputs = {run.relative: read_to_end(run.image, run.relative)}
    try:
        header = nb.load(run.image).header
    except (nb.filebasedimages.ImageFileError, nb.spatialimages.HeaderDataError) as error:
        raise _broken_header(run.relative, error) from error
    notes = list(check_header(header, run.relative))
    bval_name, bvec_name = run.locate(run.bval), run.locate(run.bvec)
    try:
        bvals = parse_bvals(_read_text(run.bval, bval_name))
    except GradientError as error:
        raise InputError(bval_name, str(error)) from error
    try:
        bvecs = parse_bvecs(_read_text(run.bvec, bvec_name))
    except GradientError as error:
        raise InputError(bvec_name, str(error)) from error
    shape = tuple(int(size) for size in header.get_data_shape())
    try:
        table = check_gradients(bvals, bvecs, shape[3], b0_threshold=b0_threshold)
    except GradientError as error:
        raise InputError(run.relative, str(error)) from error
    tables = [run.mrtrix_table] if run.mrtrix_table else []
    for path in (run.bval, run.bvec, *tables, *run.sidecar_files):
        inputs[run.locate(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    brain_mask = None
    if run.brain_mask is not None:
        try:
            inputs[run.locate(run.brain_mask)] = _check_mask(run, header)
            brain_mask = run.brain_mask
        except InputError as error:
            notes.append(f'{error} A brain mask was computed instead.')
    zooms = tuple(float(zoom) for zoom in header.get_zooms()[:3])
    return CheckedRun(
        run=run,
        shape=shape,
        zooms=zooms,
        orientation=''.join(nb.aff2axcodes(header.get_best_affine())),
        slice_axis=slice_axis(zooms, header.get_dim_info()[2]),
        b0_ixs=tuple(int(ix) for ix in table.b0_ixs),
        shells=tuple(
            (float(shell.b), len(shell.ixs)) for shell in shells(bvals, b0_threshold=b0_threshold)
        ),
        inputs=inputs,
        notes=(*run.notes, *notes, *table.notes),
        brain_mask=brain_mask,
    )


def _check_mask(run: DwiRun, header: nb.Nifti1Header) -> str:
    """Read the brain mask that came with a run, see that it fits it, and give its sha256.

    Raises
    ------
    InputError
    """
    name = run.locate(run.brain_mask)
    digest = read_to_end(run.brain_mask, name)
    try:
        mask = nb.load(run.brain_mask)
    except (nb.filebasedimages.ImageFileError, nb.spatialimages.HeaderDataError) as error:
        raise _broken_header(name, error) from error
    affine = header.get_best_affine()
    if mask.shape != tuple(header.get_data_shape()[:3]) or not np.allclose(
        mask.affine, affine, atol=GRID_TOLERANCE
    ):
        raise InputError(name, 'is on another grid than the series')
    if not load_mask(run.brain_mask).any():
        raise InputError(name, 'is empty')
    return digest


def check_header(header: nb.Nifti1Header, name: str) -> list[str]:
    """Refuse a header that cannot be a diffusion series; give notes on what was assumed.

    Raises
    ------
    InputError
    """
    shape = header.get_data_shape()
    if len(shape) != 4:
        raise InputError(
            name,
            f'has {len(shape)} dimensions {tuple(map(int, shape))}, a series has 4. '
            'Export the whole series as one 4-D file.',
        )
    kind = header.get_data_dtype().kind
    if kind not in 'iuf':
        raise InputError(
            name,
            f'holds {header.get_data_dtype().name} voxels, not real numbers. '
            'Export magnitude images.',
        )
    zooms = np.asarray(header.get_zooms()[:3], dtype=float)
    affine = header.get_best_affine()
    if not np.isfinite(zooms).all() or (zooms <= 0).any() or not np.isfinite(affine).all():
        raise InputError(
            name, f'has voxel sizes {zooms.tolist()} mm. Convert it again from DICOM.'
        )
    if np.abs(nb.affines.voxel_sizes(affine) / zooms - 1).max() > ZOOM_TOLERANCE:
        sizes = np.round(nb.affines.voxel_sizes(affine), 3).tolist()
        raise InputError(
            name,
            f'says {np.round(zooms, 3).tolist()} mm in pixdim but {sizes} mm in its affine. '
            'Correct the header.',
        )
    if abs(np.linalg.det(affine[:3, :3])) < 0.5 * np.prod(zooms):
        raise InputError(name, 'has an affine whose axes collapse. Correct the header.')
    notes = []
    if not int(header['qform_code']) and not int(header['sform_code']):
        notes.append('The header gives no orientation (qform and sform codes are 0).')
    return notes


def read_to_end(path: Path, name: str) -> str:
    """Read an image to its last byte, checking its gzip sums and its length, and give its sha256.

    nibabel stops reading at the last voxel and so never sees the checksum behind it; a damaged
    file loads without a word.

    Parameters
    ----------
    path : Path to ``.nii`` or ``.nii.gz``
    name : str
        how the file is called in messages

    Raises
    ------
    InputError
    """
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            if not path.stat().st_size:
                raise InputError(name, 'is empty. Copy it again and re-run.')
            gzipped = path.name.endswith('.gz')
            chunks = _inflate(file, digest, name) if gzipped else _plain(file, digest)
            head = b''
            while len(head) < _HEAD and (chunk := next(chunks, b'')):
                head += chunk
            expected = _announced_bytes(head, name)
            total = len(head)
            for chunk in chunks:
                total += len(chunk)
                if total > expected + _CHUNK:
                    break
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise InputError(name, f'{cause}. Check that the file can be read.') from error
    if total < expected:
        raise InputError(
            name,
            f'holds {total} bytes where its header announces {expected}, the file is cut short. '
            'Copy it again and re-run.',
        )
    if total > expected + _CHUNK:
        raise InputError(
            name,
            f'holds more than the {expected} bytes its header announces. '
            'Convert it again from DICOM.',
        )
    return digest.hexdigest()


def _plain(file: BinaryIO, digest: hashlib._Hash) -> Iterator[bytes]:
    """Yield a file in pieces, feeding its sha256."""
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
        yield chunk


def _inflate(file: BinaryIO, digest: hashlib._Hash, name: str) -> Iterator[bytes]:
    """Yield what a gzip file holds in pieces, each member's CRC and length checked."""
    member = zlib.decompressobj(wbits=_GZIP)
    for raw in _plain(file, digest):
        while raw:
            if member is None:
                # After a member, gzip allows padding with zeros, and further members.
                raw = raw.lstrip(b'\0')
                if not raw:
                    break
                member = zlib.decompressobj(wbits=_GZIP)
            try:
                chunk = member.decompress(raw, _CHUNK)
            except zlib.error as error:
                cause = (
                    'gzip CRC does not match, the file is damaged'
                    if re.search(r'incorrect (data|length) check', str(error))
                    else 'is not valid gzip, the file is damaged'
                )
                raise InputError(name, f'{cause}. Copy it again and re-run.') from error
            if chunk:
                yield chunk
            raw = member.unused_data if member.eof else member.unconsumed_tail
            member = None if member.eof else member
    if member is not None:
        raise InputError(name, 'gzip data ends early, the file is cut. Copy it again and re-run.')


def _announced_bytes(head: bytes, name: str) -> int:
    """Read from the first bytes of an image how long the whole must be."""
    for kind in (nb.Nifti1Header, nb.Nifti2Header):
        size = kind.sizeof_hdr
        if len(head) < size or head[:4] not in (size.to_bytes(4, 'little'), size.to_bytes(4)):
            continue
        try:
            header = kind(head[:size], check=False)
            shape = header.get_data_shape()
            voxel = header.get_data_dtype().itemsize
            offset = int(header['vox_offset'])
        except (nb.spatialimages.HeaderDataError, ValueError, OverflowError) as error:
            raise _broken_header(name, error) from error
        total = max(offset, size) + voxel * int(np.prod([int(n) for n in shape], dtype=object))
        if not shape or min(shape) < 1 or total > MAX_SERIES_BYTES:
            raise InputError(
                name,
                f'claims a shape of {tuple(int(n) for n in shape)}. Convert it again from DICOM.',
            )
        return total
    raise InputError(name, 'is not a NIfTI file. Convert it again from DICOM.')


def _broken_header(name: str, error: Exception) -> InputError:
    """Say what nibabel disliked, in its first line."""
    cause = ' '.join(str(error).split())[:120]
    return InputError(name, f'has a broken NIfTI header ({cause}). Convert it again from DICOM.')


def _read_text(path: Path, name: str) -> str:
    """Read a small text file.

    Raises
    ------
    InputError
        if it cannot be read, is not text, or is far too long
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise InputError(name, 'is no gradient file, it is too large. Export it again.')
        return path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(name, 'is not a text file. Export it again.') from error
    except OSError as error:
        cause = (error.strerror or str(error)).lower()
        raise InputError(name, f'{cause}. Check that the file can be read.') from error
