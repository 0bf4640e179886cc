"""Bring canonical images back to the scanner, and find the places where its own do not return.

What a network invents or loses has a place. There its output, degraded as the scanner would have
done it, leaves the scan by more than it does elsewhere. Nothing here needs a truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import ndimage

from bidsharmony.numerics.gradients import B_CANONICAL
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import MAD_TO_SIGMA
from bidsharmony.numerics.slices import FWHM_PER_SD
from bidsharmony.numerics.threads import in_threads

PATCH_FWHM = 5.0
"""Width of the Gaussian that residuals are averaged by (mm, in plane): what is looked for is a
patch, as large as the smallest lesion that is looked for elsewhere (25 to 30 mm2); noise, ringing
and an estimate of blur that is off by a little average out."""

LEAVES = 3.0
"""From this many sigma on, the output leaves the scan."""

LEFT = 6.0
"""From here on, the scan takes its place."""

LARGEST_SIGMA = 0.06
"""Share of the tissue's median signal that sigma is at most: where an output is wrong everywhere,
it must not pass for a scan that is degraded in ways that are not known."""

SMALLEST_SIGMA = 0.002
"""Share of that signal which is nobody's concern."""

PURE_FLUID_ADC = 1.8e-3
"""Fluid alone has a higher diffusivity (mm2/s): free water 3e-3, and less where a b-value of 2000
leaves noise. Oedema, whose tissue is still there, has a lower one: the simulator's has at most
1.9 times that of tissue (physics.lesions)."""

GAUSSIAN_REACH = 4.0
"""Standard deviations at which scipy cuts a Gaussian off."""

STEEPNESS = 8
"""Classes of the brain by the steepness of the image, each of which has a sigma of its own: a
degradation that is estimated misses most at borders."""


def blend_weight(
    output: np.ndarray,
    log_gain: np.ndarray,
    measured: np.ndarray,
    mask: np.ndarray,
    *,
    zooms: Sequence[float],
    fwhm: Sequence[float],
    threads: int = 1,
) -> np.ndarray:
    """Weigh the scan against the network's output: 0 where they agree, 1 where they do not.

    The output is blurred and sampled as the scanner does, and brought to each of its contrasts by
    the weighted sum, fitted over the whole brain, of the canonical images with and without the
    gain. The residual is averaged over patches (`PATCH_FWHM`). Its sigma is robust, and its
    own for places of the same steepness: it holds the noise, and what the estimated
    degradation misses everywhere. The weight rises from 0 at `LEAVES` to 1 at `LEFT` sigma of the
    image that disagrees more, and is the same for both: so the diffusivity that they make together
    becomes the scan's.

    Where scan and output both show fluid (`PURE_FLUID_ADC`) nothing came or went, and the output
    stays: how bright fluid is depends on flow, and its trace, from b-values at which a scan holds
    no more than noise there, is nothing to go back to.

    Parameters
    ----------
    output : (2, S, H', W') float
        Canonical b=0 and trace at b=1000.
    log_gain : (S, H', W') float
        Logarithm of the gain from the unit of `measured` to the canonical one.
    measured : (2, S, H, W) float
        b=0 and trace of the scan over the same field of view, seen through the same slice profile.
    mask : (S, H, W) bool
        Brain.
    zooms, fwhm : (2,) mm
        Pixel of the scan, and blur from the output's resolution to the scan's.
    threads : int
        That share out images; the result does not depend on it.

    Returns
    -------
    (S, H', W') float32
        0 to 1; 0 outside the brain.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> scan = 1 + ndimage.gaussian_filter(rng.normal(0, 3, (2, 2, 40, 40)), (0, 0, 2, 2))
    >>> there, flat = np.ones((2, 40, 40), bool), np.zeros((2, 40, 40))
    >>> invented = scan.copy()
    >>> invented[0, 1, 18:24, 18:24] += 1
    >>> given = {'zooms': (2, 2), 'fwhm': (0, 0)}
    >>> weight = blend_weight(invented, flat, scan, there, **given)
    >>> float(weight[1, 20, 20]), float(weight[0].max())
    (1.0, 0.0)
    """
    mask = np.asarray(mask, bool)
    shape = output.shape[1:]
    if not mask.any():
        return np.zeros(shape, np.float32)
    own = np.concatenate([output / np.exp(log_gain), output])
    degraded = degrade(own, measured.shape[2:], zooms, fwhm, threads=threads)

    # what lies beyond the brain counts as far as patches reach
    box = _around(mask, [_patch(zoom) for zoom in zooms])
    weight = np.zeros(mask.shape, np.float32)
    degraded, measured, inside = degraded[:, *box], np.asarray(measured)[:, *box], mask[box]

    def distance(weights: np.ndarray, scan: np.ndarray) -> np.ndarray:
        predicted = np.tensordot(weights, degraded, axes=1)
        return np.abs(_in_sigma(predicted - scan, predicted, inside, zooms))

    sums = contrast_weights(degraded, measured, inside)
    far = np.maximum.reduce(in_threads(threads, distance, sums, measured))
    fluid = _fluid(*degraded[len(output) :]) & _fluid(*measured)
    weight[box] = np.where(fluid, 0, np.clip((far - LEAVES) / (LEFT - LEAVES), 0, 1))
    fine = resample_to_shape(mask.astype(np.float32), shape) >= 0.5
    return np.where(fine, np.clip(resample_to_shape(weight, shape), 0, 1), 0).astype(np.float32)


def _patch(zoom: float) -> float:
    """Give the standard deviation of the Gaussian of patches, pixels of so many mm."""
    return PATCH_FWHM / FWHM_PER_SD / zoom


def _around(mask: np.ndarray, widths: Sequence[float]) -> tuple[slice, ...]:
    """Return the box of a mask, (S, H, W), as far as Gaussians and a gradient reach in plane."""
    slices, *sides = ndimage.find_objects(mask.astype(np.int8))[0]
    margins = [int(GAUSSIAN_REACH * width + 0.5) + 1 for width in widths]
    return slices, *(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(sides, margins, strict=True)
    )


def _in_sigma(
    residual: np.ndarray, image: np.ndarray, mask: np.ndarray, zooms: Sequence[float]
) -> np.ndarray:
    """Average a residual over patches, and divide it by what is usual where the image is as steep.

    Parameters
    ----------
    residual, image : (S, H, W)
    mask : (S, H, W) bool
    zooms : (2,) mm
    """
    width = (0, *map(_patch, zooms))
    share = ndimage.gaussian_filter(mask.astype(np.float64), width)
    # by the root, since the fewer pixels of the brain a patch holds, the more noise its mean has
    values = (ndimage.gaussian_filter(residual * mask, width) / np.sqrt(share + 1e-6))[mask]
    smooth = ndimage.gaussian_filter(image, width)
    steepness = np.hypot(*np.gradient(smooth, *zooms, axis=(1, 2)))[mask]
    limits = np.quantile(steepness, np.linspace(0, 1, STEEPNESS + 1)[1:-1])
    classes = np.searchsorted(limits, steepness, side='right')
    unit = float(np.median(np.abs(image[mask])))
    sigma = np.zeros(STEEPNESS)
    for index in np.unique(classes):
        sigma[index] = np.median(np.abs(values[classes == index])) / MAD_TO_SIGMA
    sigma = np.clip(sigma, SMALLEST_SIGMA * unit, LARGEST_SIGMA * unit)[classes]
    out = np.zeros(mask.shape)
    out[mask] = values / np.where(sigma > 0, sigma, 1)
    return out


def _fluid(b0: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Tell the voxels that b=0 and trace at b=1000 show as fluid."""
    return trace < b0 * np.exp(-B_CANONICAL * PURE_FLUID_ADC)


def degrade(
    images: np.ndarray,
    shape: Sequence[int],
    zooms: Sequence[float],
    fwhm: Sequence[float],
    *,
    threads: int = 1,
) -> np.ndarray:
    """Blur images by a Gaussian and sample them as a scanner does, no finer than its k-space.

    Parameters
    ----------
    images : (C, S, H', W')
    shape : (2,) int
        Rows and columns of the scanner's grid, over the same field of view.
    zooms, fwhm : (2,) mm
        Pixel of the scanner's grid, and width along both axes.
    threads : int
        That share out channels; the result does not depend on it.

    Returns
    -------
    (C, S, H, W) float32

    Examples
    --------
    >>> degrade(np.ones((1, 1, 12, 12)), (4, 4), (3, 3), (4, 4)).round(6).ravel()[:3].tolist()
    [1.0, 1.0, 1.0]
    """
    rows, columns = (
        sampling(images.shape[2 + i], int(shape[i]), float(shape[i] * zooms[i]), float(fwhm[i]))
        for i in range(2)
    )
    images = np.asarray(images, np.float32)
    return np.stack(in_threads(threads, lambda channel: rows @ channel @ columns.T, images))


@lru_cache(maxsize=256)
def sampling(
    n_in: int, n_out: int, length: float, fwhm: float, band: int | None = None
) -> np.ndarray:
    """Return blur and sampling along one axis as a matrix, (n_out, n_in) float32.

    Row i is what a scanner with `band` (by default n_out) k-space samples over `length` mm sees at
    the centre of its pixel i.
    """
    band = min(n_in, n_out if band is None else band)
    waves = np.arange(band // 2 + 1)
    weights = np.where(waves == 0, 1.0, 2.0)
    if band % 2 == 0:
        weights[-1] = 1.0  # the highest frequency of an even number of samples is there once
    sigma = fwhm / FWHM_PER_SD / length
    weights *= np.exp(-2 * (np.pi * sigma * waves) ** 2)
    # the cosine of a difference is a sum of products: two products of matrices for all pairs
    theirs, ours = (2 * np.pi * ((np.arange(n) + 0.5) / n)[:, None] * waves for n in (n_out, n_in))
    matrix = (np.cos(theirs) * weights) @ np.cos(ours).T / n_in
    matrix += (np.sin(theirs) * weights) @ np.sin(ours).T / n_in
    return np.ascontiguousarray(matrix, np.float32)


def contrast_weights(degraded: np.ndarray, given: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Fit each given image as a sum of degraded ones, by least squares in the mask.

    The gain is smooth and shared by all channels, so that at a border of fluid and tissue it suits
    neither, even if the output is the truth. But signals of mixed voxels add up: where there are
    two kinds of tissue, each of the scanner's images is one and the same weighted sum of the
    canonical ones everywhere, borders included. These weights are too few to hide anything that
    has a place.

    Parameters
    ----------
    degraded : (D, S, H, W)
    given : (C, S, H, W)
    mask : (S, H, W) bool

    Returns
    -------
    (C, D) float64
    """
    columns = degraded[:, mask].astype(np.float64)
    sizes = np.sqrt(np.mean(columns**2, axis=1))
    scaled = columns / np.where(sizes > 0, sizes, 1)[:, None]
    # the normal equations, whose rank falls where the gain is the same everywhere
    square = scaled @ scaled.T / scaled.shape[1]
    target = given[:, mask].astype(np.float64) @ scaled.T / scaled.shape[1]
    weights = target @ np.linalg.pinv(square, rcond=1e-9, hermitian=True)
    return weights / np.where(sizes > 0, sizes, 1)
