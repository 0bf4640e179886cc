"""Read a series as scanned and as written, and measure what may not change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bidsharmony.interfaces.volumes import HELD_MB, iterate_volumes
from bidsharmony.numerics.grids import places_in_file

RATIO_LIMIT = 1e-6
"""Largest relative change of S_b/S_0 that float32 rounding may cause."""

AROUND = 3.0
"""Standard deviation of the window that a volume's signal is averaged in, voxels."""


def measure_series(
    before: str | Path,
    after: str | Path,
    masks: tuple[np.ndarray, np.ndarray],
    *,
    b0_ixs: Sequence[int],
    bvals: np.ndarray,
    bvecs: np.ndarray,
    slice_axis: int,
    zero_filling: int = 1,
    native: bool = True,
) -> tuple[dict[str, Any], int]:
    """Measure what became of S_b/S_0, diffusivity, anisotropy, directions and noise.

    Diffusivity is that of the volumes that the trace image is made of: all b=0, and the shell
    nearest b=1000. Each file is read a volume at a time; of the shell, the voxels of the masks are
    held, and where these are more than `HELD_MB`, files are read again for those that are left.

    Parameters
    ----------
    before, after : path
        (I, J, K, N) as scanned, and (I', J', K', N) as written.
    masks : (I, J, K) bool, (I', J', K') bool
        Brains.
    b0_ixs : sequence of int
    bvals : (N,) s/mm2
    bvecs : (N, 3)
    slice_axis : int
    zero_filling : int
        Reconstructed pixels for each acquired one, in plane.
    native : bool
        Whether both files have one grid, so that voxels compare one by one.

    Returns
    -------
    guarantee : dict
        ``max_ratio_change`` (None on another grid), ``n_voxels``, ``limit``, and ``diffusion``:
        `numerics.gain.DiffusionChange` as a dict, and ``noise``: of the first b=0 volume and of
        the shell's middle one, before and after, the standard deviation of the noise over the
        mean signal around it; None after on another grid, where neighbours share their noise.
    not_finite : int
        Values of ``after`` that are not finite.
    """
    from bidsharmony.numerics.gain import compare_diffusion, diffusion_of
    from bidsharmony.numerics.gradients import trace_shell
    from bidsharmony.numerics.tensor import joined

    bvals, b0_ixs = np.asarray(bvals, float), list(b0_ixs)
    weighted = bvals.copy()
    weighted[b0_ixs] = 0
    shell = [int(ix) for ix in trace_shell(weighted, b0_threshold=0.0).ixs]
    columns = len({*b0_ixs, *shell})
    held = 4 * columns * sum(int(np.count_nonzero(mask)) for mask in masks)
    parts = max(1, math.ceil(held / (HELD_MB * 2**20)))
    old, new = (_Witness(mask, b0_ixs, shell, slice_axis, zero_filling, parts) for mask in masks)
    ratios = {'max_ratio_change': None, 'n_voxels': 0, 'limit': RATIO_LIMIT}
    if native:
        ratios |= measure_ratios(before, after, b0_ixs, masks[0], witnesses=(old, new))
    else:
        new.noise = None
        for path, witness in ((before, old), (after, new)):
            for ix, volume in enumerate(iterate_volumes(path)):
                witness.see(ix, volume)
    directions = np.asarray(bvecs, float)[shell]
    tensors = []
    for part in range(old.parts):
        if part:
            for path, witness in ((before, old), (after, new)):
                witness.turn_to(part)
                for ix, volume in enumerate(iterate_volumes(path)):
                    witness.take(ix, volume)
        tensors.append(
            diffusion_of(
                old.signal,
                new.signal,
                len(b0_ixs),
                bvals[shell] - bvals[b0_ixs].mean(),
                directions,
                paired=native,
            )
        )
    change = compare_diffusion(
        *(joined(side) for side in zip(*tensors, strict=True)), directions, paired=native
    )
    noise = {name: [found, (new.noise or {}).get(name)] for name, found in old.noise.items()}
    return {**ratios, 'diffusion': {**asdict(change), 'noise': noise}}, new.not_finite


class _Witness:
    """Keep of a series, as its volumes pass, what diffusivity and noise are measured on."""

    def __init__(
        self,
        mask: np.ndarray,
        b0_ixs: Sequence[int],
        shell: Sequence[int],
        slice_axis: int,
        zero_filling: int,
        parts: int = 1,
    ) -> None:
        self.mask, self.slice_axis, self.zero_filling = mask, slice_axis, zero_filling
        self.parts, self.voxels = parts, places_in_file(mask)
        self.columns = {ix: number for number, ix in enumerate([*b0_ixs, *shell])}
        self.shown = {min(b0_ixs): 'b0', shell[len(shell) // 2]: 'weighted'}
        self.turn_to(0)
        self.noise: dict[str, float | None] | None = dict.fromkeys(self.shown.values())
        self.not_finite = 0

    def turn_to(self, part: int) -> None:
        """Make room for the signals of one part of the mask's voxels."""
        first, last = (len(self.voxels) * n // self.parts for n in (part, part + 1))
        self.wanted = self.voxels[first:last]
        self.signal = np.empty((len(self.wanted), len(self.columns)), np.float32)

    def take(self, ix: int, volume: np.ndarray) -> None:
        """Keep the signals of one volume, if it is of the shell or b=0."""
        if ix in self.columns:
            self.signal[:, self.columns[ix]] = volume.reshape(-1, order='F')[self.wanted]

    def see(self, ix: int, volume: np.ndarray) -> None:
        """Take what is wanted of one volume."""
        self.not_finite += int(volume.size - np.count_nonzero(np.isfinite(volume)))
        self.take(ix, volume)
        if self.noise is not None and ix in self.shown:
            found = _relative_noise(volume, self.mask, self.slice_axis, self.zero_filling)
            self.noise[self.shown[ix]] = found


def measure_ratios(
    before: str | Path,
    after: str | Path,
    b0_ixs: Sequence[int],
    mask: np.ndarray,
    *,
    witnesses: Sequence[_Witness] = (),
) -> dict[str, float | int]:
    """Compare S_b/S_0 of two files, holding one volume of each at a time.

    Parameters
    ----------
    before, after : path
        (I, J, K, N), as scanned and as written
    b0_ixs : sequence of int
    mask : (I, J, K) bool
    witnesses : sequence of two, optional
        who else sees the volumes as they pass, before and after

    Returns
    -------
    dict
        ``max_ratio_change``, ``n_voxels``
    """
    from bidsharmony.numerics.gain import ratio_change

    total = 0.0
    for volume in iterate_volumes(before, b0_ixs):
        total = total + volume
        # where b=0 signals of both signs cancel, their mean is rounding and no S_0
        mask = mask & (volume > 0)
    voxels = places_in_file(mask)

    def inside(volume: np.ndarray) -> np.ndarray:
        return volume.reshape(-1, order='F')[voxels]

    b0_before = inside(total / len(b0_ixs))
    b0_after = inside(sum(iterate_volumes(after, b0_ixs)) / len(b0_ixs))
    everywhere = np.ones((len(voxels), 1, 1), bool)
    largest, n_voxels = 0.0, 0
    passing = zip(iterate_volumes(before), iterate_volumes(after), strict=True)
    for ix, volumes in enumerate(passing):
        for witness, volume in zip(witnesses, volumes, strict=False):
            witness.see(ix, volume)
        if ix in b0_ixs and len(b0_ixs) == 1:
            continue
        pairs = zip((b0_before, b0_after), map(inside, volumes), strict=True)
        change = ratio_change(
            *(np.stack(pair, axis=-1)[:, None, None] for pair in pairs), [0], everywhere
        )
        largest = max(largest, change.max_relative)
        n_voxels = max(n_voxels, change.n_voxels)
    return {'max_ratio_change': float(largest), 'n_voxels': int(n_voxels)}


def _relative_noise(
    volume: np.ndarray, mask: np.ndarray, axis: int, zero_filling: int
) -> float | None:
    """Measure the noise of a volume over the mean signal around it, which no smooth gain changes.

    None where the mask shows no signal.
    """
    from scipy import ndimage

    from bidsharmony.numerics.intensity import noise_sigma

    weight = mask.astype(float)
    inside = np.where(mask, np.nan_to_num(volume, posinf=0.0, neginf=0.0), 0.0)
    sum_around, weight_around = (
        ndimage.gaussian_filter(image, AROUND, mode='constant') for image in (inside, weight)
    )
    use = mask & (sum_around > 0)
    if not use.any():
        return None
    relative = np.where(use, inside * weight_around / np.where(use, sum_around, 1.0), 0.0)
    return float(noise_sigma(relative, use, axis, zero_filling))
