"""How near an image is to the truth: PSNR and SSIM in the brain (method, section 5)."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity


def peak(truth: np.ndarray, mask: np.ndarray) -> float:
    """Return the 99.5th percentile of the truth in the mask, the peak of both metrics."""
    return float(np.percentile(truth[mask], 99.5))


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Compute the peak signal-to-noise ratio in a mask.

    Parameters
    ----------
    image, truth : (...) float
    mask : (...) bool

    Returns
    -------
    float
        dB.

    Examples
    --------
    >>> truth = np.ones((4, 4))
    >>> round(psnr(truth + 0.1, truth, truth > 0), 6)
    20.0
    """
    error = np.mean((image[mask].astype(np.float64) - truth[mask]) ** 2)
    return float(10 * np.log10(peak(truth, mask) ** 2 / max(error, 1e-20)))


def ssim(image: np.ndarray, truth: np.ndarray, mask: np.ndarray) -> float:
    """Compute the structural similarity (scikit-image's defaults), averaged in a mask.

    Parameters
    ----------
    image, truth : (H, W) float
    mask : (H, W) bool

    Examples
    --------
    >>> truth = np.arange(81.0).reshape(9, 9)
    >>> round(ssim(truth, truth, truth > 10), 6)
    1.0
    """
    _, similarity = structural_similarity(
        truth.astype(np.float64),
        image.astype(np.float64),
        data_range=peak(truth, mask),
        full=True,
    )
    return float(similarity[mask].mean())


def affine_fit(images: list[np.ndarray], truths: list[np.ndarray]) -> tuple[float, float]:
    """Fit one slope and intercept that bring a method's values to the truth, over all its images.

    A method that only scales differently shall not be called worse.

    Parameters
    ----------
    images, truths : lists of (n,) float
        Values in mask.

    Returns
    -------
    slope, intercept : float

    Examples
    --------
    >>> slope, intercept = affine_fit([np.array([0.0, 1.0])], [np.array([1.0, 3.0])])
    >>> round(slope, 6), round(intercept, 6)
    (2.0, 1.0)
    """
    # sums over millions of values need more digits than single precision has
    values, wanted = (np.concatenate(part).astype(np.float64) for part in (images, truths))
    slope, intercept = np.polyfit(values, wanted, 1)
    return float(slope), float(intercept)
