"""Hold what the network makes to the scan that it was made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from bidsharmony.network.weights import Weights
from bidsharmony.numerics.forward import blend_weight
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import noise_sigma
from bidsharmony.numerics.resolution import effective_fwhm
from bidsharmony.numerics.slices import FWHM_PER_SD

GAIN_FWHM = 4.0  # mm: of the contrast that the gain was trained on (physics.pairs)


def smooth_gain(log_gain: np.ndarray, axis: int, network: Weights) -> np.ndarray:
    """Blur the logarithm of the gain in plane to the width it was trained at: no noise passes."""
    sigma = [GAIN_FWHM / FWHM_PER_SD / network.spacing_mm] * 3
    sigma[axis] = 0
    return ndimage.gaussian_filter(log_gain, sigma, mode='nearest')


def hold_to_scan(
    out: np.ndarray,
    log_gain: np.ndarray,
    smoothed: np.ndarray,
    fine: np.ndarray,
    scan: Sequence[np.ndarray],
    mask: np.ndarray,
    *,
    axis: int,
    affine: np.ndarray,
    network: Weights,
    zero_filling: int,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray, list[float | None]]:
    """Bring the output back to the scan, and blend it towards the scan where that does not return.

    Parameters
    ----------
    out, log_gain : (2, I', J', K'), (I', J', K') float32
        What the network makes of the scan, in the canonical unit.
    smoothed : (I', J', K') float32
        The logarithm of the gain as the series gets it, `smooth_gain`.
    fine : (2, I', J', K') float32
        The scan on the same grid.
    scan : two (I, J, K) float32
        On its own, in the unit that the gain starts from, seen through the canonical slice
        profile: b=0 and trace.
    mask : (I, J, K) bool
        The brain.
    axis : int
        The slice axis.
    affine : (4, 4) float
        Of the scan.
    network : Weights
    zero_filling : int
        Reconstructed pixels for each acquired one, in plane.
    threads : int
        The result does not depend on it.

    Returns
    -------
    images : (2, I', J', K') float32
    blend : (I', J', K') float32
        Weight of `fine` times the gain in them.
    resolution : list of three float or None
        What the scan resolves in plane (mm); None along the slice axis and where noise hides it.
    """
    inplane = [ix for ix in range(3) if ix != axis]
    zooms = [float(np.linalg.norm(affine[:3, ix])) for ix in inplane]
    reference = out[0] / np.exp(log_gain)
    resolution = _resolution(scan[0], reference, mask, axis, zooms, network, zero_filling, threads)
    widths = [
        resolution[ix] or zero_filling * zoom for ix, zoom in zip(inplane, zooms, strict=True)
    ]
    weight = blend_weight(
        *(np.moveaxis(images, axis - 3, -3) for images in (out, smoothed, np.stack(scan), mask)),
        zooms=zooms,
        fwhm=[float(np.sqrt(max(width**2 - network.fwhm_mm**2, 0))) for width in widths],
        threads=threads,
    )
    blend = np.ascontiguousarray(np.moveaxis(weight, 0, axis))
    return out + blend * (fine * np.exp(smoothed) - out), blend, resolution


def _resolution(
    b0: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    axis: int,
    zooms: Sequence[float],
    network: Weights,
    zero_filling: int,
    threads: int,
) -> list[float | None]:
    """Measure what a scan resolves in plane, mm by axis; None along the slice axis.

    The canonical b=0 over the gain is the same brain in the scanner's contrast, at a resolution
    that is known.
    """
    inplane = [ix for ix in range(3) if ix != axis]
    fine = resample_to_shape(mask.astype(np.float32), reference.shape) >= 0.5
    # zero-filling squeezes the noise into the acquired band
    sigma = zero_filling * noise_sigma(b0, mask, axis, zero_filling)
    measured = effective_fwhm(
        *(np.moveaxis(i, axis, 0) for i in (b0, reference, mask, fine)),
        lengths_mm=[b0.shape[ix] * zoom for ix, zoom in zip(inplane, zooms, strict=True)],
        reference_fwhm_mm=network.fwhm_mm,
        sigma=sigma,
        threads=threads,
    )
    found: list[float | None] = [None] * 3
    for ix, zoom, width in zip(inplane, zooms, measured, strict=True):
        # within a k-space that is cut off and not filtered, spectra do not fall at all
        found[ix] = None if width is None else max(width, zero_filling * zoom)
    return found
