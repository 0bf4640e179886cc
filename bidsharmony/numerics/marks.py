"""What an image itself tells of the scanner that made it: noise, and sharpness by direction."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from bidsharmony.numerics.intensity import noise_sigma
from bidsharmony.numerics.spectrum import radial_psd

IMAGES = ('B0', 'Trace')
INSIDE = 0.3  # of the robust b=0 scale: the head, roughly
#: cycles/mm between which the slope is taken: brain below, nothing but noise above
SLOPE_BAND = (0.08, 0.35)
#: cycles/mm: the first band holds what every scanner shows, the others are set against it
BANDS = (0.03, 0.08, 0.13, 0.18, 0.23, 0.29, 0.36, 0.45)
ACROSS = 0.05  # cycles/mm across the direction whose sharpness is told
AXES = ('Rows', 'Columns')
SMALLEST = 48  # pixels: smaller pictures have too few frequencies for the bands
#: ``MeasuredPowerB0Rows18``: b=0, along the rows, the band from .18 cycles/mm on
POWER_MARKS = tuple(
    f'MeasuredPower{image}{axis}{100 * low:02.0f}'
    for image in IMAGES
    for axis in AXES
    for low in BANDS[1:-1]
)
MARKS = (
    *(f'MeasuredNoise{image}' for image in IMAGES),
    *(f'MeasuredSlope{image}' for image in IMAGES),
    *POWER_MARKS,
)
_LOWEST = 1e-5  # robust scales: what integer rounding leaves of no noise


def measured_marks(images: np.ndarray) -> dict[str, float]:
    """Measure the noise, the spectral slope and the sharpness by direction of a slice.

    Sidecars lie or are empty, and none tells of k-space filters or of the blur of an EPI; these
    cannot lie.

    Parameters
    ----------
    images : (2, H, W) float
        b=0 and trace at 1 mm, in units of the robust b=0 scale; rows along phase encoding, as far
        as that is the habit.

    Returns
    -------
    dict
        By `MARKS`: logarithm (base 10) of the noise that the finest detail of every second pixel
        shows (`noise_sigma`); the slope of log power against log frequency over `SLOPE_BAND`
        (white noise has slope 0, a brain of 1.2 mm pixels about -3, of 3 mm about -11); and
        logarithms (base 10) of the power in `BANDS` along either axis over that of the first.
        Without the last on a picture under `SMALLEST`; empty where the slice shows no head.

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
    noises, slopes, powers = [], [], []
    for image in images:
        sigma = noise_sigma(image[None], inside[None], 0, stride=2)
        noises.append(float(np.log10(max(sigma, _LOWEST))))
        power = radial_psd(image, hann=True)[band]
        slopes.append(float(np.polyfit(logs, np.log10(np.maximum(power, _LOWEST**2)), 1)[0]))
        if min(image.shape) >= SMALLEST:
            powers += [power for axis in range(len(AXES)) for power in band_powers(image, axis)]
    found = noises + slopes + powers
    return dict(zip(MARKS, found, strict=False))


def band_powers(image: np.ndarray, axis: int) -> list[float]:
    """Measure how the power of an image falls along one axis.

    Parameters
    ----------
    image : (H, W) float
        At 1 mm, at least `SMALLEST` a side.
    axis : int
        0 for frequencies along the rows' direction, down the image; 1 for those across it.

    Returns
    -------
    list of float
        Logarithm (base 10) of the mean power in each of `BANDS` but the first, over the first's;
        frequencies across are below `ACROSS`.

    Examples
    --------
    >>> mm = np.arange(80)
    >>> stripes = np.cos(2 * np.pi * 0.05 * mm) + 0.1 * np.cos(2 * np.pi * 0.2 * mm)
    >>> round(band_powers(stripes[:, None] * np.ones(80), axis=0)[2])  # a hundredth of the power
    -2
    """
    along = np.asarray(image, np.float32)
    if axis == 1:
        along = along.T
    n, across = along.shape
    window, tones = np.hanning(n + 2)[1:-1, None], _tones(across)
    centred = along - along.mean()
    power = np.abs(np.fft.rfft(window * (centred @ tones), axis=0)) ** 2
    profile = power.sum(axis=1)
    frequencies = np.arange(len(profile)) / n
    means = [
        profile[(frequencies >= low) & (frequencies < high)].mean()
        for low, high in pairwise(BANDS)
    ]
    floor = max(means[0], 1e-30) * 1e-9
    return [float(np.log10(max(mean, floor) / max(means[0], 1e-30))) for mean in means[1:]]


@lru_cache(maxsize=64)
def _tones(n: int) -> np.ndarray:
    """Return a Hann window times the waves under `ACROSS`, cosines and sines, (n, k) float32."""
    count = int(ACROSS * n) + 1
    phase = 2 * np.pi * np.outer(np.arange(n), np.arange(count)) / n
    waves = np.concatenate([np.cos(phase), np.sin(phase[:, 1:])], axis=1)
    return (np.hanning(n + 2)[1:-1, None] * waves).astype(np.float32)
