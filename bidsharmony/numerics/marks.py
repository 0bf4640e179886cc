"""What an image itself tells of the scanner that made it: noise and sharpness."""

from __future__ import annotations

import numpy as np

from bidsharmony.numerics.intensity import noise_sigma
from bidsharmony.numerics.spectrum import radial_psd

MARKS = ('MeasuredNoiseB0', 'MeasuredNoiseTrace', 'MeasuredSlopeB0', 'MeasuredSlopeTrace')
INSIDE = 0.3  # of the robust b=0 scale: the head, roughly
#: cycles/mm between which the slope is taken: brain below, nothing but noise above
SLOPE_BAND = (0.08, 0.35)
_LOWEST = 1e-5  # robust scales: what integer rounding leaves of no noise


def measured_marks(images: np.ndarray) -> dict[str, float]:
    """Measure the noise and the spectral slope of a slice's b=0 and trace.

    Sidecars lie or are empty; these cannot.

    Parameters
    ----------
    images : (2, H, W) float
        b=0 and trace at 1 mm, in units of the robust b=0 scale.

    Returns
    -------
    dict
        By `MARKS`: logarithm (base 10) of the noise that the finest detail of every second pixel
        shows (`noise_sigma`), and the slope of log power against log frequency over `SLOPE_BAND`.
        White noise has slope 0, a brain of 1.2 mm pixels about -3, of 3 mm about -11.
        Empty where the slice shows no head.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(1, 0.1, (2, 128, 128))
    >>> marks = measured_marks(noise)
    >>> round(marks['MeasuredNoiseB0'], 1), abs(round(marks['MeasuredSlopeB0'], 0))
    (-1.0, 0.0)
    >>> measured_marks(np.zeros((2, 16, 16)))
    {}
    """
    inside = images[0] > INSIDE
    if np.count_nonzero(inside) < 64:
        return {}
    frequencies = np.arange(min(images.shape[1:]) // 2 + 1) / min(images.shape[1:])
    band = (frequencies >= SLOPE_BAND[0]) & (frequencies <= SLOPE_BAND[1])
    logs = np.log10(frequencies[band])
    noises, slopes = [], []
    for image in images:
        sigma = noise_sigma(image[None], inside[None], 0, stride=2)
        noises.append(float(np.log10(max(sigma, _LOWEST))))
        power = radial_psd(image, hann=True)[band]
        slopes.append(float(np.polyfit(logs, np.log10(np.maximum(power, _LOWEST**2)), 1)[0]))
    return dict(zip(MARKS, noises + slopes, strict=True))
