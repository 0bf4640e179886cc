"""Read files of the input to their end, so that damage is found before any work is planned."""

from __future__ import annotations

import hashlib
import math
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

import nibabel as nb
import numpy as np
from isal import isal_zlib

from bidsharmony.interfaces.voxels import VolumeRanges
from bidsharmony.numerics.gradients import GradientError, parse_bvals, parse_bvecs

MAX_SERIES_BYTES = 64 * 10**9
"""As ``settings.MAX_GB``, for whoever does not say it."""

MAX_VOLUMES = 100_000
"""More than any series has."""

MAX_TEXT_BYTES = 1024**2
"""A gradient file of 10,000 volumes has half of this."""

_CHUNK = 1024**2
_GZIP = 31  # zlib's window bits for a gzip member with its header and sums
_RESERVED = 0xE0  # flags of a gzip member that mean nothing yet (RFC 1952), which ISA-L overlooks
_HEAD = 4096
_UNREADABLE = (nb.filebasedimages.ImageFileError, nb.spatialimages.HeaderDataError)


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


class _NotInflatedError(InputError):
    """Say what is wrong with a gzip file, in the eyes of one library."""


def read_to_end(
    path: Path,
    name: str,
    *,
    ranges: VolumeRanges | None = None,
    max_bytes: int = MAX_SERIES_BYTES,
) -> str:
    """Read an image to its last byte, checking its gzip sums and its length, and give its sha256.

    nibabel stops reading at the last voxel and so never sees the checksum behind it; a damaged
    file loads without a word. ISA-L inflates; what it refuses is read again by zlib, which has the
    last word, and says what is wrong: ISA-L takes rubbish behind a member for a member cut short.

    Parameters
    ----------
    path : Path to ``.nii`` or ``.nii.gz``
    name : str
        how the file is called in messages
    ranges : VolumeRanges, optional
        is shown every voxel, so that the file is read once only
    max_bytes : int
        the most that an image may hold when it is decompressed

    Raises
    ------
    InputError
    """
    try:
        return _read_to_end(path, name, ranges, max_bytes, isal_zlib)
    except _NotInflatedError:
        return _read_to_end(path, name, ranges, max_bytes, zlib)


def _read_to_end(
    path: Path, name: str, ranges: VolumeRanges | None, max_bytes: int, library: ModuleType
) -> str:
    """Do so with one library."""
    digest = hashlib.sha256()
    try:
        with path.open('rb') as file:
            if not path.stat().st_size:
                raise InputError(name, 'is empty. Copy it again and re-run.')
            gzipped = path.name.endswith('.gz')
            chunks = _inflate(file, digest, name, library) if gzipped else _plain(file, digest)
            head = b''
            while len(head) < _HEAD and (chunk := next(chunks, b'')):
                head += chunk
            header, expected = _announced(head, name, max_bytes)
            if ranges is not None:
                ranges.begin(header)
                ranges.feed(head)
            total = len(head)
            for chunk in chunks:
                total += len(chunk)
                if total > expected + _CHUNK:
                    break
                if ranges is not None:
                    ranges.feed(chunk)
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


def _inflate(
    file: BinaryIO, digest: hashlib._Hash, name: str, library: ModuleType
) -> Iterator[bytes]:
    """Yield what a gzip file holds in pieces, each member's CRC and length checked."""
    member, begun = library.decompressobj(wbits=_GZIP), False
    for raw in _plain(file, digest):
        while raw:
            if member is None:
                # After a member, gzip allows padding with zeros, and further members.
                raw = raw.lstrip(b'\0')
                if not raw:
                    break
                member, begun = library.decompressobj(wbits=_GZIP), False
            try:
                if not begun and len(raw) > 3 and raw[3] & _RESERVED:
                    raise library.error('unknown header flags set')
                begun = True
                chunk = member.decompress(raw, _CHUNK)
            except library.error as error:
                cause = (
                    'gzip CRC does not match, the file is damaged'
                    if re.search(r'incorrect (data|length) check', str(error))
                    else 'is not valid gzip, the file is damaged'
                )
                raise _NotInflatedError(name, f'{cause}. Copy it again and re-run.') from error
            if chunk:
                yield chunk
            raw = member.unused_data if member.eof else member.unconsumed_tail
            member = None if member.eof else member
    if member is not None:
        raise _NotInflatedError(
            name, 'gzip data ends early, the file is cut. Copy it again and re-run.'
        )


def _announced(head: bytes, name: str, max_bytes: float) -> tuple[nb.Nifti1Header, int]:
    """Read from the first bytes of an image its header, and how long the whole must be."""
    for kind in (nb.Nifti1Header, nb.Nifti2Header):
        size = kind.sizeof_hdr
        if len(head) < size or head[:4] not in (size.to_bytes(4, 'little'), size.to_bytes(4)):
            continue
        try:
            header = kind(head[:size], check=False)
            shape = tuple(int(n) for n in header.get_data_shape())
            voxel = header.get_data_dtype().itemsize
            offset = int(header['vox_offset'])
        except (*_UNREADABLE, KeyError, ValueError, OverflowError) as error:
            raise _broken_header(name, error) from error
        if not voxel:
            raise _broken_header(name, ValueError('voxels of no type'))
        total = max(offset, size) + voxel * math.prod(shape)
        if not shape or min(shape) < 1 or max(shape[3:], default=1) > MAX_VOLUMES:
            raise InputError(name, f'claims a shape of {shape}. Convert it again from DICOM.')
        if total > max_bytes:
            raise InputError(
                name,
                f'claims a shape of {shape}, {total / 1e9:.3g} GB with its header. Convert it '
                'again from DICOM, or raise --max-gb if that is true.',
            )
        return header, total
    raise InputError(name, 'is not a NIfTI file. Convert it again from DICOM.')


def _broken_header(name: str, error: Exception) -> InputError:
    """Say what nibabel disliked, in its first line."""
    cause = ' '.join(str(error).split())[:120]
    return InputError(name, f'has a broken NIfTI header ({cause}). Convert it again from DICOM.')


def read_header(path: Path, name: str) -> nb.Nifti1Header:
    """Read an image's header.

    Raises
    ------
    InputError
    """
    try:
        nb.load(path)
        # as it stands in the file: nibabel corrects codes, sizes and slopes without a word
        with nb.openers.ImageOpener(path) as file:
            # how much it may hold was decided when it was read to its end
            header, _ = _announced(file.read(_HEAD), name, math.inf)
        # quaternion, matrix, codes and units are only parsed when they are asked for
        with np.errstate(all='ignore'):
            header.get_best_affine(), header.get_qform(coded=True), header.get_xyzt_units()
    except InputError:
        raise
    except nb.filebasedimages.ImageFileError as error:
        # its message names the folders of this machine
        raise _broken_header(name, ValueError('no magic word, or another format')) from error
    except (*_UNREADABLE, OSError, EOFError, KeyError, ValueError, OverflowError) as error:
        raise _broken_header(name, error) from error
    if header['magic'] in (b'ni1', b'ni2'):
        raise _broken_header(name, ValueError('the voxels are said to be in a second file'))
    return header


def read_bvals(path: Path, name: str) -> np.ndarray:
    """Read b-values, (N,) s/mm2.

    Raises
    ------
    InputError
    """
    return _read_table(path, name, parse_bvals)


def read_bvecs(path: Path, name: str) -> np.ndarray:
    """Read b-vectors, (N, 3).

    Raises
    ------
    InputError
    """
    return _read_table(path, name, parse_bvecs)


def read_gradients(bval_file: str | Path, bvec_file: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the b-values, (N,) s/mm2, and b-vectors, (N, 3), of a run that was checked."""
    paths = Path(bval_file), Path(bvec_file)
    return read_bvals(paths[0], paths[0].name), read_bvecs(paths[1], paths[1].name)


def _read_table(path: Path, name: str, parse: Callable[[str], np.ndarray]) -> np.ndarray:
    """Read a gradient file and say which one is wrong."""
    try:
        return parse(_read_text(path, name))
    except GradientError as error:
        raise InputError(name, str(error)) from error


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
