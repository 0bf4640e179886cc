"""Watch the voxels of a series go by as its file is read; find volumes that show nothing."""

from __future__ import annotations

from collections.abc import Sequence

import nibabel as nb
import numpy as np

LONGEST_LIST = 10
"""Volumes that are named in a warning."""


class VolumeRanges:
    """Keep the smallest and the largest finite number of every volume, as bytes are fed.

    Memory does not depend on what a header claims of its grid: no volume is held.

    Attributes
    ----------
    low, high : (N,) float64
        as stored, without slope and intercept; infinite, and low above high, without any number

    Examples
    --------
    >>> header = nb.Nifti1Header()
    >>> header.set_data_dtype(np.uint8)
    >>> header.set_data_shape((2, 1, 1, 2))
    >>> ranges = VolumeRanges()
    >>> ranges.begin(header)
    >>> ranges.feed(bytes(352) + bytes([3, 9, 4, 4]))
    >>> ranges.low.tolist(), ranges.high.tolist()
    ([3.0, 4.0], [9.0, 4.0])
    """

    def __init__(self) -> None:
        self.low = self.high = np.zeros(0)
        self._dtype = np.dtype(np.uint8)
        self._to_skip = self._size = self._seen = 0
        self._carried = b''

    def begin(self, header: nb.Nifti1Header) -> None:
        """Prepare for the file that begins with this header."""
        shape = header.get_data_shape()
        self._dtype = header.get_data_dtype()
        n_volumes = int(np.prod(shape[3:], dtype=np.int64)) if self._dtype.kind in 'iuf' else 0
        self.low, self.high = np.full(n_volumes, np.inf), np.full(n_volumes, -np.inf)
        # a header that states less means that voxels begin right behind it
        self._to_skip = max(int(header['vox_offset']), header.single_vox_offset)
        self._size = int(np.prod([int(n) for n in shape[:3]], dtype=object))
        self._seen, self._carried = 0, b''

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes of the file, header included."""
        skipped = min(self._to_skip, len(chunk))
        self._to_skip -= skipped
        content = self._carried + chunk[skipped:]
        whole = len(content) // self._dtype.itemsize * self._dtype.itemsize
        self._carried = content[whole:]
        voxels = np.frombuffer(content[:whole], self._dtype)
        while voxels.size and (ix := self._seen // self._size) < len(self.low):
            part = voxels[: self._size - self._seen % self._size]
            self._seen += part.size
            voxels = voxels[part.size :]
            finite = part[np.isfinite(part)] if self._dtype.kind == 'f' else part
            if finite.size:
                self.low[ix] = min(self.low[ix], float(finite.min()))
                self.high[ix] = max(self.high[ix], float(finite.max()))

    def blank(self) -> np.ndarray:
        """Tell of every volume whether it has one number everywhere, or none, (N,) bool."""
        return self.low >= self.high

    def positive(self, header: nb.Nifti1Header) -> np.ndarray:
        """Tell of every volume whether anything in it is above 0, as scaled, (N,) bool."""
        return (self.low <= self.high) & (self.scaled(header).max(axis=0) > 0)

    def scaled(self, header: nb.Nifti1Header) -> np.ndarray:
        """Return both ends of every volume with slope and intercept, (2, N)."""
        slope, inter = slope_inter(header)
        with np.errstate(over='ignore', invalid='ignore'):
            return slope * np.array([self.low, self.high]) + inter


def slope_inter(header: nb.Nifti1Header) -> tuple[float, float]:
    """Return slope and intercept; 1 and 0 where the header has none that NIfTI knows."""
    slope, inter = float(header['scl_slope']), float(header['scl_inter'])
    if not np.isfinite(slope) or slope == 0:
        return 1.0, 0.0
    return slope, inter if np.isfinite(inter) else 0.0


def why_unfit(
    ranges: VolumeRanges, header: nb.Nifti1Header, b0_ixs: Sequence[int], dwi_ixs: Sequence[int]
) -> str:
    """Say why no work can be done on the voxels of a series; '' if it can."""
    # what is stored may be a number, and what it stands for too large for one
    ends = np.abs(ranges.scaled(header)[np.isfinite([ranges.low, ranges.high])])
    if not ends.max(initial=0.0) <= float(np.finfo(np.float32).max):
        return f'it holds values up to {ends.max():g}, which no scanner makes'
    return why_blank(ranges, header, b0_ixs, dwi_ixs)


def why_blank(
    ranges: VolumeRanges, header: nb.Nifti1Header, b0_ixs: Sequence[int], dwi_ixs: Sequence[int]
) -> str:
    """Say which half of a series shows nothing; '' if both show something."""
    for ixs, what in ((b0_ixs, 'b=0'), (dwi_ixs, 'diffusion-weighted')):
        ixs = list(ixs)
        if ranges.blank()[ixs].all():
            return f'no {what} volume shows anything, each holds one value or none'
        if not ranges.positive(header)[ixs].any():
            return f'no {what} volume has a value above 0'
    return ''


def blank_volumes(ranges: VolumeRanges) -> tuple[str, ...]:
    """Warn of volumes that show nothing."""
    ixs = np.flatnonzero(ranges.blank())
    if not ixs.size:
        return ()
    listed = ', '.join(map(str, ixs[:LONGEST_LIST])) + (', ...' if ixs.size > LONGEST_LIST else '')
    which = f'Volume {listed} (from 0) holds' if ixs.size == 1 else f'Volumes {listed} hold'
    return (
        f'{which} one value everywhere, or none: what is computed with it is wrong. Remove it '
        'from the image and from its gradient files.',
    )
