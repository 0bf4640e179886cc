"""Read a series as scanned and as written, and measure what may not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bidsharmony.interfaces.volumes import iterate_volumes

RATIO_LIMIT = 1e-6
"""Largest relative change of S_b/S_0 that float32 rounding may cause."""

AROUND = 3.0
"""Standard deviation of the window that a volume's signal is averaged in, voxels."""


def measure_ratios(
    before: str | Path, after: str | Path, b0_ixs: Sequence[int], mask: np.ndarray
) -> tuple[dict[str, float | int], int]:
    """Compare S_b/S_0 of two files, holding one volume of each at a time.

    Parameters
    ----------
    before, after : path
        (I, J, K, N), as scanned and as written
    b0_ixs : sequence of int
    mask : (I, J, K) bool

    Returns
    -------
    ratios : dict
        ``max_ratio_change``, ``n_voxels``, ``limit``
    not_finite : int
        values of ``after`` that are not finite
    """
    from bidsharmony.numerics.gain import ratio_change

    b0_before, b0_after = (
        sum(iterate_volumes(path, b0_ixs)) / len(b0_ixs) for path in (before, after)
    )
    for volume in iterate_volumes(before, b0_ixs):
        # where b=0 signals of both signs cancel, their mean is rounding and no S_0
        mask = mask & (volume > 0)
    largest, n_voxels, not_finite = 0.0, 0, 0
    pairs = zip(iterate_volumes(before), iterate_volumes(after), strict=True)
    for ix, (old, new) in enumerate(pairs):
        not_finite += int(new.size - np.isfinite(new).sum())
        if ix in b0_ixs and len(b0_ixs) == 1:
            continue
        change = ratio_change(
            np.stack([b0_before, old], axis=-1), np.stack([b0_after, new], axis=-1), [0], mask
        )
        largest = max(largest, change.max_relative)
        n_voxels = max(n_voxels, change.n_voxels)
    ratios = {
        'max_ratio_change': float(largest),
        'n_voxels': int(n_voxels),
        'limit': RATIO_LIMIT,
    }
    return ratios, not_finite


def measure_diffusion(
    before: str | Path,
    after: str | Path,
    masks: tuple[np.ndarray, np.ndarray],
    *,
    b0_ixs: Sequence[int],
    bvals: np.ndarray,
    bvecs: np.ndarray,
    slice_axis: int,
    zero_filling: int = 1,
) -> dict[str, Any]:
    """Compare mean diffusivity, anisotropy, first eigenvectors and noise of two files.

    The volumes are those that the trace image is made of: all b=0, and the shell nearest b=1000.
    Only the voxels of the masks are held.

    Parameters
    ----------
    before, after : path
        (I, J, K, N), and (I', J', K', N) on the same grid or another one
    masks : (I, J, K) bool, (I', J', K') bool
        Brains; voxels are compared one by one if the two are equal.
    b0_ixs : sequence of int
    bvals : (N,) s/mm2
    bvecs : (N, 3)
    slice_axis : int
    zero_filling : int
        Reconstructed pixels for each acquired one before, in plane; on another grid it is 1.

    Returns
    -------
    dict
        `numerics.gain.DiffusionChange` as a dict, and ``noise``: of the first b=0 volume and of
        the shell's middle one, before and after, the standard deviation of the noise over the
        mean signal around it.
    """
    from bidsharmony.numerics.gain import diffusion_change
    from bidsharmony.numerics.gradients import trace_shell

    weighted = np.array(bvals, float)
    weighted[list(b0_ixs)] = 0
    shell = [int(ix) for ix in trace_shell(weighted, b0_threshold=0.0).ixs]
    same = masks[0].shape == masks[1].shape and bool((masks[0] == masks[1]).all())
    shown = {'b0': min(b0_ixs), 'weighted': shell[len(shell) // 2]}
    signals, noise = [], {name: [] for name in shown}
    for path, mask, stride in zip((before, after), masks, (zero_filling, 1), strict=True):
        stride = zero_filling if same else stride
        wanted = sorted({*b0_ixs, *shell})
        column = {ix: number for number, ix in enumerate([*b0_ixs, *shell])}
        signal = np.empty((int(np.count_nonzero(mask)), len(column)), np.float32)
        for ix, volume in zip(wanted, iterate_volumes(path, wanted), strict=True):
            signal[:, column[ix]] = volume[mask]
            for name, place in shown.items():
                if ix == place:
                    noise[name].append(_relative_noise(volume, mask, slice_axis, stride))
        signals.append(signal)
    change = diffusion_change(
        *signals,
        len(b0_ixs),
        np.asarray(bvals, float)[shell] - float(np.mean(np.asarray(bvals, float)[list(b0_ixs)])),
        np.asarray(bvecs, float)[shell],
        paired=same,
    )
    return {**asdict(change), 'noise': noise}


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
