"""Read a series as scanned and as written, and measure what may not change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bidsharmony.interfaces.volumes import iterate_volumes
from bidsharmony.numerics.grids import places_in_file
from bidsharmony.numerics.threads import in_threads

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
    threads: int = 1,
) -> tuple[dict[str, Any], int]:
    """Measure what became of S_b/S_0, diffusivity, anisotropy, directions and noise.

    Diffusivity is that of the volumes that the trace image is made of: all b=0, and the shell
    nearest b=1000. Each file is read a volume at a time, after its b=0 volumes.

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
    threads : int
        That share out the files; the result does not depend on it.

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
    from bidsharmony.numerics.gain import compare_diffusion
    from bidsharmony.numerics.gradients import trace_shell

    bvals, b0_ixs = np.asarray(bvals, float), list(b0_ixs)
    weighted = bvals.copy()
    weighted[b0_ixs] = 0
    shell = [int(ix) for ix in trace_shell(weighted, b0_threshold=0.0).ixs]
    gradients = bvals[shell] - bvals[b0_ixs].mean(), np.asarray(bvecs, float)[shell]
    sides = [_Side(path, mask, b0_ixs) for path, mask in zip((before, after), masks, strict=True)]
    old, new = witnesses = [
        _Witness(side, shell, *gradients, slice_axis, zero_filling) for side in sides
    ]
    ratios = {'max_ratio_change': None, 'n_voxels': 0, 'limit': RATIO_LIMIT}
    if native:
        ratios |= _ratios(sides, b0_ixs, witnesses, threads)
    else:
        new.noise = None
        for side, witness in zip(sides, witnesses, strict=True):
            for ix, (volume, signal) in enumerate(side):
                witness.see(ix, volume, signal)
    change = compare_diffusion(old.diffusion, new.diffusion, paired=native, threads=threads)
    noise = {name: [found, (new.noise or {}).get(name)] for name, found in old.noise.items()}
    return {**ratios, 'diffusion': {**asdict(change), 'noise': noise}}, new.not_finite


class _Surroundings(NamedTuple):
    """Hold the box of a mask, the mask in it, and how much of it lies around each voxel."""

    box: tuple[slice, ...]
    mask: np.ndarray
    weight: np.ndarray


class _Side:
    """Pass over a file, with the signals of a mask's voxels; their mean b=0 is known first."""

    def __init__(self, path: str | Path, mask: np.ndarray, b0_ixs: Sequence[int]) -> None:
        self.path, self.mask, self.first_b0 = path, mask, min(b0_ixs)
        self.places = places_in_file(mask)
        total = np.zeros(len(self.places))
        # where b=0 signals of both signs cancel, their mean is rounding and no S_0
        self.positive = np.ones(len(self.places), bool)
        for volume in iterate_volumes(path, b0_ixs, as_stored=True):
            signal = self._inside(volume)
            total += signal
            self.positive &= signal > 0
        self.s0 = total / len(b0_ixs)

    def _inside(self, volume: np.ndarray) -> np.ndarray:
        return volume.reshape(-1, order='F')[self.places].astype(np.float64)

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for volume in iterate_volumes(self.path, as_stored=True):
            yield volume, self._inside(volume)


class _Witness:
    """Measure diffusivity and noise of a series as its volumes pass."""

    def __init__(
        self,
        side: _Side,
        shell: Sequence[int],
        bvals: np.ndarray,
        bvecs: np.ndarray,
        slice_axis: int,
        zero_filling: int,
    ) -> None:
        from bidsharmony.numerics.gain import PassingDiffusion

        self.side, self.slice_axis, self.zero_filling = side, slice_axis, zero_filling
        self.shell = {ix: number for number, ix in enumerate(shell)}
        self.shown = {side.first_b0: 'b0', shell[len(shell) // 2]: 'weighted'}
        self.diffusion = PassingDiffusion(side.s0, bvals, bvecs)
        self.noise: dict[str, float | None] | None = dict.fromkeys(self.shown.values())
        self.not_finite = 0

    def see(self, ix: int, volume: np.ndarray, signal: np.ndarray) -> None:
        """Take what is wanted of one volume."""
        if volume.dtype.kind == 'f':
            self.not_finite += int(volume.size - np.count_nonzero(np.isfinite(volume)))
        if ix in self.shell:
            self.diffusion.see(self.shell[ix], signal)
        if self.noise is not None and ix in self.shown:
            found = _relative_noise(volume, self._around, self.slice_axis, self.zero_filling)
            self.noise[self.shown[ix]] = found

    @cached_property
    def _around(self) -> _Surroundings:
        return _surroundings(self.side.mask, self.zero_filling)


def _ratios(
    sides: Sequence[_Side],
    b0_ixs: Sequence[int],
    witnesses: Sequence[_Witness],
    threads: int,
) -> dict[str, float | int]:
    """Compare S_b/S_0 as the volumes of two files pass, which witnesses see too."""
    from bidsharmony.numerics.gain import PassingRatios

    old, new = sides
    ratios = PassingRatios(old.s0, new.s0, old.positive)
    for ix, passing in enumerate(zip(old, new, strict=True)):

        def see(witness: _Witness, seen: tuple, ix: int = ix) -> None:
            witness.see(ix, *seen)

        in_threads(threads, see, witnesses, passing)
        if list(b0_ixs) != [ix]:  # the volume that is S_0 itself
            ratios.see(*(signal for _, signal in passing))
    change = ratios.change
    return {'max_ratio_change': float(change.max_relative), 'n_voxels': change.n_voxels}


def _surroundings(mask: np.ndarray, zero_filling: int) -> _Surroundings:
    """Find what is around the voxels of a mask.

    What lies outside counts as 0, as what lies beyond a border does: the mask's box is enough. It
    begins at an acquired pixel.
    """
    from scipy import ndimage

    box: tuple[slice, ...] = (slice(0),) * 3
    if mask.any():
        box = tuple(
            slice(side.start - side.start % zero_filling, side.stop)
            for side in ndimage.find_objects(mask.astype(np.int8))[0]
        )
    weight = ndimage.gaussian_filter(mask[box].astype(float), AROUND, mode='constant')
    return _Surroundings(box, mask[box], weight)


def _relative_noise(
    volume: np.ndarray, surroundings: _Surroundings, axis: int, zero_filling: int
) -> float | None:
    """Measure the noise of a volume over the mean signal around it, which no smooth gain changes.

    None where the mask shows no signal.
    """
    from scipy import ndimage

    from bidsharmony.numerics.intensity import noise_sigma

    box, mask, weight_around = surroundings
    signal = np.nan_to_num(np.asarray(volume[box], np.float64), posinf=0.0, neginf=0.0)
    inside = np.where(mask, signal, 0.0)
    sum_around = ndimage.gaussian_filter(inside, AROUND, mode='constant')
    use = mask & (sum_around > 0)
    if not use.any():
        return None
    relative = np.where(use, inside * weight_around / np.where(use, sum_around, 1.0), 0.0)
    return float(noise_sigma(relative, use, axis, zero_filling))
