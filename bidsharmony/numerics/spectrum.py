"""Measure at which spatial frequencies an image holds power."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage

POWER_FLOOR = 1e-10
"""Power, as a share of a spectrum's mean, under which decibels say nothing."""


def radial_psd(image: np.ndarray, *, hann: bool = False) -> np.ndarray:
    """Average the power spectrum of an image over rings of equal frequency.

    Parameters
    ----------
    image : (H, W)
    hann : bool
        Remove the mean and apply a Hann window along both axes first, for an image whose opposite
        edges do not meet.

    Returns
    -------
    (min(H, W) // 2 + 1,) float64
        Mean power of ring k, which holds the frequencies of k cycles over the shorter side,
        rounded; per pixel, so that white noise of variance 1 has power 1 in each ring.

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * 4 * np.arange(32) / 32)[:, None] * np.ones(32)
    >>> int(radial_psd(wave).argmax())
    4
    """
    image = np.asarray(image, np.float64)
    if not hann:
        return _ring_means(np.abs(np.fft.fft2(image)) ** 2 / image.size)
    # without the zero at both ends, which would waste a row of pixels
    rows, columns = (np.hanning(side + 2)[1:-1] for side in image.shape)
    return _windowed_psd(image, rows[:, None] * columns)


def run_psd(slices: np.ndarray, masks: np.ndarray, pixel: float) -> tuple[np.ndarray, np.ndarray]:
    """Measure the radial power spectrum of a run's slices in the brain.

    Each slice is centred in its mask and weighted by a Hann taper that falls from the deepest
    point of the mask to its edge, so that neither skull nor cut edge adds power. Powers add up
    over slices, each weighing as its mask's window does; the result has unit area, so that scale
    does not matter. The mean (frequency 0) is left out.

    Parameters
    ----------
    slices : (n, H, W)
    masks : (n, H, W) bool
    pixel : float
        mm.

    Returns
    -------
    freqs : (F,) 1/mm
        Ring k of `radial_psd`, k from 1 up to half the shorter side.
    psd : (F,) mm
        Its sum times the step of freqs is 1; all 0 where the slices are constant or masks empty.

    Examples
    --------
    >>> wave = np.cos(2 * np.pi * 8 * np.arange(64) / 64)[None, :, None] * np.ones((1, 64, 64))
    >>> freqs, psd = run_psd(wave, np.ones((1, 64, 64), bool), pixel=2.0)
    >>> float(freqs[psd.argmax()])  # 8 cycles in 128 mm
    0.0625
    """
    height, width = slices.shape[-2:]
    side = min(height, width)
    step = 1 / (side * pixel)
    total = np.zeros(side // 2 + 1)
    for image, mask in zip(slices, np.asarray(masks, bool), strict=True):
        window = kept_taper(mask)
        total += _windowed_psd(np.asarray(image, np.float64), window) * (window**2).sum()
    freqs, power = step * np.arange(1, len(total)), total[1:]
    area = power.sum() * step
    return freqs, power / area if area > 0 else power


def log_spectral_distance(psd_a: np.ndarray, psd_b: np.ndarray) -> float:
    """Compute the root mean square difference of two spectra in decibels.

    Parameters
    ----------
    psd_a, psd_b : (F,)
        At the same frequencies.

    Returns
    -------
    float
        dB.

    Raises
    ------
    ValueError
        If the spectra differ in length.

    Examples
    --------
    >>> log_spectral_distance(np.full(5, 10.0), np.ones(5))
    10.0
    """
    psd_a, psd_b = np.asarray(psd_a, np.float64), np.asarray(psd_b, np.float64)
    if psd_a.shape != psd_b.shape:
        raise ValueError(f'spectra of {psd_a.size} and {psd_b.size} frequencies')
    floor = POWER_FLOOR * max(psd_a.mean(), psd_b.mean())
    if not floor > 0:
        return 0.0
    decibels = 10 * np.log10(np.maximum(psd_a, floor) / np.maximum(psd_b, floor))
    return float(np.sqrt(np.mean(decibels**2)))


def _ring_means(power: np.ndarray) -> np.ndarray:
    """Average a 2-D power spectrum, zero frequency first, over rings."""
    rings, members = _rings(power.shape)
    count = len(members)
    return np.bincount(rings, power.ravel(), minlength=count)[:count] / members


@lru_cache(maxsize=16)
def _rings(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the ring of each frequency, (H W,), and how many lie in each up to the shorter side's
    end."""
    rows, columns = np.fft.fftfreq(shape[0])[:, None], np.fft.fftfreq(shape[1])
    rings = np.rint(np.hypot(rows, columns) * min(shape)).astype(np.int32).ravel()
    return rings, np.bincount(rings)[: min(shape) // 2 + 1]


def _windowed_psd(image: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Return the rings' power of an image less its weighted mean, times a window."""
    weight = window.sum()
    if not weight > 0:
        return np.zeros(min(image.shape) // 2 + 1)
    image = np.where(window > 0, np.nan_to_num(image, posinf=0.0, neginf=0.0), 0.0)
    centred = (image - (image * window).sum() / weight) * window
    return _ring_means(np.abs(np.fft.fft2(centred)) ** 2 / (window**2).sum())


def taper(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> np.ndarray:
    """Return a Hann window that rises from the edge of a mask to its deepest point.

    Parameters
    ----------
    mask : (H, W) bool
    pixel : (2,) float
        Rows' and columns' distance, in any unit.

    Returns
    -------
    (H, W) float64
        0 outside of the mask, 1 at its deepest point.
    """
    # the border of the picture is an edge too
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=pixel)[1:-1, 1:-1]
    deepest = depth.max()
    return np.sin(0.5 * np.pi * depth / deepest) ** 2 if deepest > 0 else depth


def kept_taper(mask: np.ndarray) -> np.ndarray:
    """Return `taper` of a mask, from memory if it was among the last: channels share a mask.

    Parameters
    ----------
    mask : (H, W) bool

    Returns
    -------
    (H, W) float64
        Not to be written to.
    """
    mask = np.asarray(mask, bool)
    return _kept_taper(mask.tobytes(), mask.shape)


@lru_cache(maxsize=32)
def _kept_taper(content: bytes, shape: tuple[int, int]) -> np.ndarray:
    window = taper(np.frombuffer(content, bool).reshape(shape))
    window.setflags(write=False)
    return window
