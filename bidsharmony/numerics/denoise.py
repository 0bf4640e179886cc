"""Take noise out of a series, and out of its magnitudes the bias that noise leaves there."""

from __future__ import annotations

import warnings

import numpy as np
from dipy.denoise.localpca import mppca
from scipy import ndimage

FEWEST_VOLUMES = 10
"""Diffusion in a patch takes up to seven components (S0 and a tensor); noise needs some more."""

PATCH_RADIUS = 2
"""That of dipy; patches of 5 x 5 x 5 voxels hold more of them than most series hold volumes."""


def patch_radius(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Choose the patch of MP-PCA: cubic, with more voxels than the series has volumes.

    An axis too short for it gives what it has.

    Parameters
    ----------
    shape : (I, J, K, N)

    Examples
    --------
    >>> patch_radius((96, 96, 60, 65)), patch_radius((96, 96, 60, 200))
    ((2, 2, 2), (3, 3, 3))
    >>> patch_radius((96, 96, 3, 33))
    (2, 2, 1)
    """
    longest = [(size - 1) // 2 for size in shape[:3]]
    radius = PATCH_RADIUS
    while _voxels(chosen := [min(radius, most) for most in longest]) <= shape[3]:
        if chosen == longest:
            break
        radius += 1
    return tuple(chosen)


def why_not_mppca(shape: tuple[int, ...]) -> str:
    """Say why MP-PCA cannot tell noise from signal in a series of this shape; '' if it can.

    Parameters
    ----------
    shape : (I, J, K, N)

    Examples
    --------
    >>> why_not_mppca((96, 96, 60, 7))
    'it has 7 volumes, and 10 are needed'
    >>> why_not_mppca((96, 96, 60, 33))
    ''
    """
    if shape[3] < FEWEST_VOLUMES:
        return f'it has {shape[3]} volumes, and {FEWEST_VOLUMES} are needed'
    voxels = _voxels(patch_radius(shape))
    if voxels <= shape[3]:
        return f'its largest patch has {voxels} voxels for {shape[3]} volumes'
    return ''


def denoise_mppca(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Denoise a series by MP-PCA, and measure its noise on the way.

    In each patch, the principal components that random matrices have too are left out (Veraart
    et al., NeuroImage 2016;142:394, in dipy). Noise must be independent between voxels, as it is
    before any interpolation. Several copies of the series are held in memory, as float32.

    Parameters
    ----------
    series : (I, J, K, N)
        Finite, large enough (`why_not_mppca`).

    Returns
    -------
    denoised : (I, J, K, N) float32
        Not negative.
    sigma : (I, J, K) float32
        Standard deviation of the noise that one volume had.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0, 2, (6, 6, 6, 12))
    >>> denoised, sigma = denoise_mppca(100 + noise)
    >>> bool(denoised.std() < 0.5), round(float(np.median(sigma)))
    (True, 2)
    """
    series = np.asarray(series, np.float32)
    radius = np.array(patch_radius(series.shape))
    with warnings.catch_warnings():
        # patches of mostly zeros leave no component that could be noise; see `_mended`
        warnings.filterwarnings('ignore', 'Mean of empty slice', RuntimeWarning)
        warnings.filterwarnings('ignore', 'invalid value encountered', RuntimeWarning)
        denoised, sigma = mppca(
            series, patch_radius=radius, return_sigma=True, suppress_warning=True
        )
    return denoised, _mended(sigma, series, radius)


def _mended(sigma: np.ndarray, series: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Take sigma from the nearest patches full of signal where a masked background spoils it.

    Exact zeros lower the variance of patches that hold some, and leave too few samples in others,
    whose sigma is no number; each voxel's sigma is a mean over all patches that hold it.
    """
    signal = (series != 0).any(axis=3)
    reach = tuple(2 * int(r) + 1 for r in 2 * radius)
    clean = ndimage.minimum_filter(signal, size=reach, mode='nearest') & np.isfinite(sigma)
    if not clean.any():
        clean = np.isfinite(sigma)
    if not clean.any():
        return np.zeros(sigma.shape, np.float32)
    nearest = ndimage.distance_transform_edt(~clean, return_distances=False, return_indices=True)
    return np.where(signal, sigma[tuple(nearest)], 0.0).astype(np.float32)


def remove_rician_bias(signal: np.ndarray, sigma: np.ndarray) -> np.ndarray:
    """Lower magnitudes M by what noise has raised them: sqrt(M^2 - sigma^2), 0 where M < sigma.

    After Gudbjartsson and Patz (Magn Reson Med 1995;34:910). From an SNR of 2 on, a sixth of the
    bias of the mean is left at most, in noisy voxels as in denoised ones; the second moment, M^2
    less twice the variance, would turn the bias of the mean round and not remove it.

    Parameters
    ----------
    signal : (I, J, K)
        One volume; what is not finite stays so.
    sigma : (I, J, K)
        Standard deviation of the noise in each of the two channels, unit of the signal.

    Returns
    -------
    (I, J, K) float64

    Examples
    --------
    >>> remove_rician_bias(np.array([5.0, 2.0]), np.array([3.0, 3.0])).round(6).tolist()
    [4.0, 0.0]
    """
    signal, sigma = np.asarray(signal, np.float64), np.asarray(sigma, np.float64)
    # in factors, because squares of large numbers overflow
    return np.sqrt(np.maximum(signal - sigma, 0)) * np.sqrt(np.maximum(signal + sigma, 0))


def _voxels(radius: tuple[int, ...] | list[int]) -> int:
    """Count the voxels of a patch."""
    return int(np.prod([2 * one + 1 for one in radius]))
