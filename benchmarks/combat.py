"""ComBat on maps of all runs (neuroHarmonize): on every pixel, or on means of regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def combat(maps: np.ndarray) -> np.ndarray:
    """Harmonize maps, (H, S, V), by ComBat with empirical Bayes (neuroHarmonize), no covariate."""
    import pandas as pd
    from neuroHarmonize import harmonizationLearn

    heads, scanners, voxels = maps.shape
    sites = pd.DataFrame({'SITE': np.tile([f'scanner-{s}' for s in range(scanners)], heads)})
    _, made = harmonizationLearn(maps.reshape(-1, voxels), sites)
    return np.asarray(made, np.float64).reshape(maps.shape)


def combat_by_region(maps: np.ndarray, white: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Harmonize means of regions by ComBat, and move all voxels of a region as their mean moves.

    Parameters
    ----------
    maps : (H, S, V) float
    white : (H, V) bool
        Where means are taken.
    regions : (V,) int
        From 0.

    Returns
    -------
    (H, S, V) float64
    """
    count = int(regions.max()) + 1
    members = [
        [white[h] & (regions == region) for region in range(count)] for h in range(len(maps))
    ]
    # a region that one head does not have is no feature of all runs
    kept = [r for r in range(count) if all(row[r].any() for row in members)]
    means = np.stack(
        [
            np.stack([maps[h][:, members[h][r]].mean(axis=1) for r in kept], axis=1)
            for h in range(len(maps))
        ]
    )
    moved = combat(means) / means
    out = np.array(maps, np.float64)
    for h, row in enumerate(members):
        for position, region in enumerate(kept):
            out[h][:, row[region]] *= moved[h, :, position, None]
    return out


def quarters(shape: Sequence[int]) -> np.ndarray:
    """Number the quarters of every slice of (I, J, K), from 0.

    Examples
    --------
    >>> quarters((2, 4, 1))[..., 0].tolist()
    [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    rows, columns, slices = np.indices(shape)
    return slices * 4 + (rows * 2 // shape[0]) * 2 + columns * 2 // shape[1]
