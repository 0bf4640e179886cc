"""Measure the scale and the noise of an image in a mask."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy import ndimage

from bidsharmony.numerics.gradients import B_CANONICAL

FLUID_ADC = 1.2e-3
"""Grey and white matter lie below, fluid and its mixtures above (mm2/s)."""

RESTRICTED_ADC = 0.5e-3
"""Grey and white matter lie above, but for fresh infarcts and signal that is noise (mm2/s)."""

SMALLEST_TISSUE_SHARE = 0.3
"""A brain mask has at least this share of its voxels between `RESTRICTED_ADC` and `FLUID_ADC`.

Between .74 and .93 in nine real series of six scanners, .78 in a clinical case of stroke, .13 in
a test object scanned at b=2000 (``tests/interfaces/test_qc.py``). The gap is left to brains of
wide ventricles and to slabs.
"""

SMALLEST_FLUID_SHARE = 0.02
"""A brain mask has at least this share of its voxels above `FLUID_ADC`: one substance has none.

Between .07 and .25 in the nine real series, .21 in the case of stroke; .73 in the test object,
which the other limit finds.
"""

MAD_TO_SIGMA = 0.6745
"""Median absolute deviation of a normal distribution of standard deviation 1."""

FLATTEST = 0.25
"""Share of the mask's pixels that noise is read from."""

_SECOND_DIFFERENCE = -2.0  # of the pixel between two neighbours, which have 1


def robust_scale(b0: np.ndarray, trace: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean b=0 signal of the brain's tissue, the unit of everything that follows.

    Tissue is where the trace at b=1000 tells an ADC below `FLUID_ADC`: how much fluid a brain
    holds, and how much of it a coarse voxel mixes in, must not move the scale. A twentieth at
    either end is left out, so that outliers do not either.

    Parameters
    ----------
    b0, trace : (I, J, K)
    mask : (I, J, K) bool
        If no voxel of it is tissue (a test object), all of it counts.

    Raises
    ------
    ValueError
        If the mask is empty or the mean is not a positive number.

    Examples
    --------
    >>> b0, trace = np.array([[[2.0, 2.0, 9.0]]]), np.array([[[0.9, 0.9, 0.4]]])
    >>> robust_scale(b0, trace, np.ones((1, 1, 3), bool))
    2.0
    """
    mask = np.asarray(mask, bool)
    if not mask.any():
        raise ValueError('the mask is empty')
    signal, weighted = (np.asarray(image, np.float64)[mask] for image in (b0, trace))
    scale = float(np.mean(signal, where=trimmed_tissue(signal, weighted)))
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f'the mean b=0 signal in the mask is {scale:g}, not positive')
    return scale


def trimmed_tissue(signal: np.ndarray, weighted: np.ndarray) -> np.ndarray:
    """Choose the tissue among b=0 values, less a twentieth at either end (`robust_scale`).

    Parameters
    ----------
    signal, weighted : (n,) float
        b=0 and trace at b=1000.

    Returns
    -------
    (n,) bool
    """
    tissue = (signal > 0) & (weighted > signal * np.exp(-B_CANONICAL * FLUID_ADC))
    if not tissue.any():
        tissue = np.ones(tissue.shape, bool)
    low, high = np.percentile(signal[tissue], (5, 95))
    return tissue & ~((signal < low) | (signal > high))


def adc_shares(adc: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return which shares of a mask diffuse like brain tissue, and like fluid and its mixtures.

    A brain has most of its voxels between `RESTRICTED_ADC` and `FLUID_ADC` and some above,
    whatever scanner, b-value and slices; water has none below, a polymer none above.

    Parameters
    ----------
    adc : (I, J, K) mm2/s
    mask : (I, J, K) bool

    Returns
    -------
    tissue, fluid : float
        nan where the mask is empty

    Examples
    --------
    >>> adc_shares(np.array([0.7e-3, 0.8e-3, 1.0e-3, 3.0e-3]), np.ones(4, bool))
    (0.75, 0.25)
    """
    inside = np.asarray(adc)[np.asarray(mask, bool)]
    if not inside.size:
        return np.nan, np.nan
    tissue = (inside >= RESTRICTED_ADC) & (inside <= FLUID_ADC)
    return float(tissue.mean()), float((inside > FLUID_ADC).mean())


def noise_sigma(image: np.ndarray, mask: np.ndarray, axis: int, stride: int = 1) -> float:
    """Estimate the standard deviation of white noise from the finest detail of flat places.

    Around each pixel of a slice, the second difference along both axes, (1, -2, 1) by (1, -2, 1)
    over 6 (Immerkaer, Comput Vis Image Underst 1996;64:300), holds noise and little tissue; sigma
    is the median of its absolute value over .6745 in the flattest quarter of the mask. Flat is
    where the 3 x 3 pixels vary little *apart* from that difference: for white noise the two are
    independent, so that this choice does not bias sigma, while at the 2 to 4 mm of diffusion
    imaging the brain as a whole would double or quadruple it.
    Zero-filled images hold little power there: `stride` looks at every so many pixels, which is
    about what was acquired. Vendor filters lower the noise, and so the estimate.

    Parameters
    ----------
    image : (I, J, K)
    mask : (I, J, K) bool
    axis : int
        The slice axis.
    stride : int
        Reconstructed pixels for each acquired one, in plane.

    Returns
    -------
    float
        Unit of the image; 0 where no 3 x 3 pixels lie in the mask.

    Examples
    --------
    >>> noise_sigma(np.indices((4, 4, 1)).sum(axis=0), np.ones((4, 4, 1), bool), 2)
    0.0
    """
    thinned = (slice(None), slice(None, None, stride), slice(None, None, stride))
    image = np.moveaxis(np.asarray(image, np.float64), axis, 0)[thinned]
    mask = np.moveaxis(np.asarray(mask, bool), axis, 0)[thinned] & np.isfinite(image)
    if not mask.any():
        return 0.0
    # pixels beside the mask count for nothing
    box = ndimage.find_objects(mask.astype(np.int8))[0]
    image, mask = image[box], mask[box]
    if min(image.shape[1:]) < 3:
        return 0.0
    # centred, so that squares keep their digits
    image = np.where(mask, image - image[mask].mean(), 0)
    inside = mask
    for ax in (1, 2):
        first, middle, last = _neighbours(inside, ax)
        inside = first & middle & last
    if not inside.any():
        return 0.0
    detail = _in_threes(image, _SECOND_DIFFERENCE)[inside] / 6
    total, squares = (_in_threes(values, 1.0)[inside] for values in (image, image**2))
    elsewhere = squares - total**2 / 9 - detail**2
    flat = elsewhere <= np.quantile(elsewhere, FLATTEST)
    return float(np.median(np.abs(detail[flat])) / MAD_TO_SIGMA)


def _in_threes(values: np.ndarray, middle_weight: float) -> np.ndarray:
    """Add up three neighbours along rows and columns of slices, the middle one by its weight."""
    for ax in (1, 2):
        first, middle, last = _neighbours(values, ax)
        values = first + last
        values += middle if middle_weight == 1 else middle_weight * middle
    return values


def _neighbours(values: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """Give each three neighbours along an axis, as three views."""
    moved, n = np.moveaxis(values, axis, -1), values.shape[axis] - 2
    return (np.moveaxis(moved[..., start : start + n], -1, axis) for start in range(3))
