"""Lesions before and after: one threshold rule for every image, overlap, contrast, inventions."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

RULES = ('adc_dark', 'trace_bright')
ADC_DARK = 0.78
"""Share of the tissue's own median ADC below which a pixel counts as restricted: ischaemia lowers
diffusivity to .4-.8 of the tissue's (method, section 4). This threshold and the next are a
compromise, made on the truth of the training individuals alone: agreement with the simulator's
masks against patches on lesion-free slices (3 and none on 40)."""

TRACE_BRIGHT = 1.35
"""Multiple of the tissue's own median trace signal above which a pixel counts as bright."""

FLUID_LOG_RATIO = 1.2
"""log(b=0 / trace at b=1000) above which a pixel is fluid, not tissue (`intensity.FLUID_ADC`)."""

SMALLEST = 30.0
"""mm2; a smaller patch is not called a lesion."""

CLEAR = 60.0
"""mm2; what a rule shows on the truth is looked for from this size on: between both sizes a pixel
more or less would decide between 1 and 0."""

REACH = (2.0, 15.0)
"""Surroundings lie this far from a lesion (mm): not on its blurred edge, and not elsewhere."""

_FLOOR = 0.02  # of the tissue's median: no logarithm of nothing
_FLAT = 1e-6  # of the mean: less deviation is rounding
_NEIGHBOURS = np.ones((3, 3), bool)


def segment(
    b0: np.ndarray, trace: np.ndarray, mask: np.ndarray, rule: str, *, pixel: float = 1.0
) -> np.ndarray:
    """Segment lesions on slices by one threshold that is relative to the run's own tissue.

    The 3 x 3 median of ``log(b0 / trace)``, or of the trace, is compared with `ADC_DARK` or
    `TRACE_BRIGHT` times its median over the tissue of all slices; patches under `SMALLEST` are
    dropped. No knowledge of scanner or method enters.

    Parameters
    ----------
    b0, trace : (n, H, W) float
        Trace at b=1000 s/mm2.
    mask : (n, H, W) bool
        Where lesions may lie.
    rule : {'adc_dark', 'trace_bright'}
    pixel : float
        mm.

    Returns
    -------
    (n, H, W) bool

    Raises
    ------
    ValueError
        If the rule is another.

    Examples
    --------
    >>> b0, trace = np.ones((1, 20, 20)), np.full((1, 20, 20), 0.5)
    >>> trace[0, 5:12, 5:12] = 0.7
    >>> int(segment(b0, trace, np.ones((1, 20, 20), bool), 'adc_dark').sum())  # corners go
    45
    """
    if rule not in RULES:
        raise ValueError(f'unknown rule {rule!r}; choose one of {", ".join(RULES)}')
    mask = np.asarray(mask, bool)
    b0, trace = np.asarray(b0, np.float64), np.asarray(trace, np.float64)
    if not mask.any():
        return np.zeros(mask.shape, bool)
    unit = max(float(np.median(trace[mask])), 1e-12)
    log_ratio = np.log(np.maximum(b0, _FLOOR * unit) / np.maximum(trace, _FLOOR * unit))
    tissue = mask & (log_ratio < FLUID_LOG_RATIO)
    tissue = tissue if tissue.any() else mask
    if rule == 'adc_dark':
        smooth = ndimage.median_filter(log_ratio, (1, 3, 3))
        # without this, whatever is black in both images would be called restricted
        signal = ndimage.median_filter(b0, (1, 3, 3)) > 0.3 * np.median(b0[tissue])
        found = (smooth < ADC_DARK * np.median(log_ratio[tissue])) & signal
    else:
        found = ndimage.median_filter(trace, (1, 3, 3)) > TRACE_BRIGHT * np.median(trace[tissue])
    return without_specks(found & mask, pixel)


def without_specks(
    found: np.ndarray, pixel: float = 1.0, smallest: float = SMALLEST
) -> np.ndarray:
    """Drop the patches of each slice that are smaller than so many mm2; (n, H, W) bool."""
    kept = np.zeros(found.shape, bool)
    for index, plane in enumerate(found):
        labels, count = ndimage.label(plane, _NEIGHBOURS)
        if count:
            sizes = np.bincount(labels.ravel()) * pixel**2
            sizes[0] = 0
            kept[index] = (sizes >= smallest)[labels]
    return kept


def dice(ours: np.ndarray, truth: np.ndarray) -> float:
    """Compute twice the overlap over the sum of both areas (Dice 1945); nan if both are empty.

    Examples
    --------
    >>> dice(np.array([1, 1, 0, 0], bool), np.array([0, 1, 1, 0], bool))
    0.5
    """
    both = int(ours.sum()) + int(truth.sum())
    return float(2 * np.logical_and(ours, truth).sum() / both) if both else float('nan')


def invented(found: np.ndarray, truth: np.ndarray) -> int:
    """Count the patches on a slice that touch nothing of what the truth shows.

    Parameters
    ----------
    found, truth : (H, W) bool

    Examples
    --------
    >>> found, truth = np.zeros((2, 9, 9), bool)
    >>> found[1, 1] = found[7, 7] = truth[0, 0] = True
    >>> invented(found, truth)
    1
    """
    labels, count = ndimage.label(found, _NEIGHBOURS)
    near = ndimage.binary_dilation(truth, _NEIGHBOURS) if truth.any() else truth
    return count - len(set(np.unique(labels[near])) - {0})


def contrast_to_noise(image: np.ndarray, lesion: np.ndarray, around: np.ndarray) -> float:
    """Compute the difference of means of lesion and surroundings over the latter's deviation.

    Parameters
    ----------
    image : (H, W) float
    lesion, around : (H, W) bool

    Returns
    -------
    float
        Negative for a lesion darker than its surroundings; nan if either is empty or flat.

    Examples
    --------
    >>> image = np.array([[5.0, 5.0, 1.0, 3.0]])
    >>> contrast_to_noise(image, image == 5, image < 5)
    3.0
    """
    if not lesion.any() or not around.any():
        return float('nan')
    spread, level = float(image[around].std()), float(image[around].mean())
    difference = float(image[lesion].mean()) - level
    return difference / spread if spread > _FLAT * abs(level) else float('nan')


def relative_contrast(image: np.ndarray, lesion: np.ndarray, around: np.ndarray) -> float:
    """Compute the difference of means of lesion and surroundings over the latter's mean.

    Parameters
    ----------
    image : (H, W) float
    lesion, around : (H, W) bool

    Returns
    -------
    float
        Negative for a lesion darker than its surroundings; nan if either is empty, or these black.

    Examples
    --------
    >>> image = np.array([[5.0, 5.0, 1.0, 3.0]])
    >>> relative_contrast(image, image == 5, image < 5)
    1.5
    """
    if not lesion.any() or not around.any():
        return float('nan')
    level = float(image[around].mean())
    return float(image[lesion].mean()) / level - 1 if level > 0 else float('nan')


def surroundings(
    lesion: np.ndarray,
    tissue: np.ndarray,
    reach: tuple[float, float] = REACH,
    pixel: float | tuple[float, float] = 1.0,
) -> np.ndarray:
    """Return the tissue that lies between two distances (mm) from a lesion; (H, W) bool.

    Parameters
    ----------
    lesion, tissue : (H, W) bool
    reach : (2,) mm
    pixel : mm
        One number, or one for each axis.
    """
    distance = ndimage.distance_transform_edt(~lesion, sampling=pixel)
    return tissue & (distance > reach[0]) & (distance <= reach[1])
