"""Describe the texture of the brain by gray-level co-occurrence matrices (GLCM)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from skimage.feature import graycomatrix, graycoprops

FEATURES = (
    'contrast',
    'dissimilarity',
    'homogeneity',
    'ASM',
    'energy',
    'correlation',
    'entropy',
)
"""Haralick's features, by scikit-image's names; entropy is in bits."""

DISTANCES = (1, 2, 4)
"""Pixels between the two that are compared."""

ANGLES = (0.0, np.pi / 4, np.pi / 2, 3 * np.pi / 4)
"""Directions of the second pixel from the first (rad)."""

PERCENTILES = (1, 99)
"""Gray values of the brain that the first and the last level begin and end at."""


def glcm_features(
    slices: np.ndarray,
    masks: np.ndarray,
    *,
    levels: int = 32,
    distances: Sequence[int] = DISTANCES,
) -> dict[str, float]:
    """Compute texture features of a run's slices in the brain.

    Gray values are cut into levels between the 1st and the 99th percentile of all slices' masks,
    so that neither scale nor offset matters. Pairs of pixels that both lie in the mask are counted
    over all slices, for each distance and each of four angles; features are averaged over angles.

    Parameters
    ----------
    slices : (n, H, W)
    masks : (n, H, W) bool
    levels : int
        At most 254.
    distances : (D,) int
        Pixels.

    Returns
    -------
    dict of float
        ``f'{feature}_d{distance}'`` for each of `FEATURES` and distance.

    Examples
    --------
    >>> board = np.indices((1, 8, 8)).sum(axis=0) % 2
    >>> found = glcm_features(board, np.ones((1, 8, 8), bool), levels=2, distances=[2])
    >>> found['contrast_d2'], found['correlation_d2']
    (0.0, 1.0)
    """
    counts = _count_pairs(_quantise(slices, masks, levels), levels, distances)
    by_feature = {name: graycoprops(counts, name) for name in FEATURES if name != 'entropy'}
    by_feature['entropy'] = _entropy(counts)
    return {
        f'{name}_d{distance}': float(by_feature[name][index].mean())
        for index, distance in enumerate(distances)
        for name in FEATURES
    }


def _quantise(slices: np.ndarray, masks: np.ndarray, levels: int) -> np.ndarray:
    """Cut gray values into levels 1 to `levels`, and 0 outside the mask, (n, H, W) uint8."""
    slices = np.asarray(slices, np.float64)
    masks = np.asarray(masks, bool) & np.isfinite(slices)
    quantised = np.zeros(slices.shape, np.uint8)
    inside = slices[masks]
    if not inside.size:
        return quantised
    low, high = np.percentile(inside, PERCENTILES)
    if high > low:
        inside = np.clip((inside - low) / (high - low), 0, 1) * levels
    else:
        inside = np.zeros(inside.shape)
    quantised[masks] = 1 + np.minimum(inside.astype(int), levels - 1)
    return quantised


def _count_pairs(quantised: np.ndarray, levels: int, distances: Sequence[int]) -> np.ndarray:
    """Count pairs of levels over slices, (levels, levels, distances, angles)."""
    counts = np.zeros((levels, levels, len(distances), len(ANGLES)))
    for image in quantised:
        if image.any():
            rows, columns = (np.flatnonzero(image.any(axis=axis)) for axis in (1, 0))
            inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            found = graycomatrix(inside, distances, ANGLES, levels=levels + 1, symmetric=True)
            counts += found[1:, 1:]  # level 0 is the outside
    return counts


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Return the entropy of each matrix, (distances, angles) bits."""
    shares = counts / np.maximum(counts.sum(axis=(0, 1)), 1)
    logs = np.log2(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.abs((shares * logs).sum(axis=(0, 1)))  # abs: no minus before 0
