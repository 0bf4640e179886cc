"""Bring the power spectrum of a run's slices to one that is known, by one bounded filter.

What a scanner cannot resolve a network does not bring back whole, and least along phase encoding:
its output is a little too smooth, or too rough, in the directions and at the frequencies that are
the scanner's own. By these a classifier still names it. The filter evens them out. It is real,
has no phase and one shape for all slices of a run; it never changes an amplitude by more than
`MOST`, and leaves alone what is coarser than `LEFT_ALONE`: contrast, shading and large lesions.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage

from bidsharmony.numerics.threads import in_threads

CELL = 0.02  # cycles/mm, along either axis: about what a window as wide as a brain tells apart
CELLS = 25  # along either axis, up to .5 cycles/mm
LEFT_ALONE, FREE = 0.06, 0.12  # cycles/mm between which the filter sets in
LEVEL = 0.02, 0.10  # cycles/mm that a slice's level is read from: contrast counts for nothing
MOST = 0.3  # natural logarithm of the largest change of an amplitude, up or down
ROUNDS = 5  # the smoothing of the gain takes some of it away: measured and mended again
SMOOTHING = 1.0  # cells: noise of the measurement does not enter the filter
FLOOR = 1e-7  # squared canonical units times mm2: about what 16 bits leave
MEASURED = 16  # slices, evenly spread, that a spectrum is taken from
FEWEST = 4  # slices: fewer tell more of a head than of its scanner
SOFT_EDGE = 3.0  # mm over which the rim of the mask fades
_PAD = 24  # pixels beyond the edges, mirrored


def cell_spectrum(
    slices: np.ndarray, masks: np.ndarray, pixels: Sequence[float] = (1.0, 1.0)
) -> np.ndarray:
    """Measure the logarithm of power in cells of frequency along rows' and columns' axes.

    Each slice is centred and faded at the rim of its mask; its level, that of the frequencies of
    `LEVEL`, is taken off, so that contrast does not count. The mean of logarithms over slices is
    hardly moved by a bright lesion in some of them.

    Parameters
    ----------
    slices : (S, H, W) float
        Canonical units.
    masks : (S, H, W) bool
        The brain; slices without any do not count.
    pixels : two float
        mm, along H and W.

    Returns
    -------
    (K, K) float64
        Natural logarithm of power relative to the level.

    Examples
    --------
    >>> wave = 1 + np.cos(2 * np.pi * 0.21 * np.arange(100))[:, None] * np.ones(100)
    >>> cells = cell_spectrum(wave[None], np.ones((1, 100, 100), bool))
    >>> [int(index) for index in np.unravel_index(cells.argmax(), cells.shape)]
    [10, 0]
    """
    return _windowed_spectrum(slices, [_faded(mask, pixels) for mask in masks], pixels)


def _windowed_spectrum(
    slices: np.ndarray, windows: Sequence[np.ndarray], pixels: Sequence[float]
) -> np.ndarray:
    """Measure what `cell_spectrum` does behind windows that are known."""
    total, count = np.zeros((CELLS, CELLS)), 0
    for image, window in zip(slices, windows, strict=True):
        weight = window.sum()
        if not weight > 0:
            continue
        centred = (image - np.sum(image * window) / weight) * window
        power = np.abs(fft.rfft2(centred.astype(np.float32))) ** 2
        power *= np.prod(pixels) / np.sum(window**2)
        cells, members = _cells(image.shape, tuple(pixels))
        sums = np.bincount(cells, power.ravel(), minlength=len(members))[:-1]
        logs = np.log(sums / np.maximum(members[:-1], 1) + FLOOR).reshape(CELLS, CELLS)
        total += logs - logs[_level()].mean()
        count += 1
    return total / max(count, 1)


def equalised(
    images: np.ndarray,
    masks: np.ndarray,
    reference: np.ndarray,
    pixels: Sequence[float] = (1.0, 1.0),
    *,
    threads: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Filter a run's slices so that their spectrum becomes the reference's.

    Parameters
    ----------
    images : (C, S, H, W) float32
        Canonical units, nowhere negative.
    masks : (S, H, W) bool
        The brain.
    reference : (C, K, K) float
        Of each channel, as `cell_spectrum` gives it.
    pixels : two float
        mm, along H and W.
    threads : int
        That share out channels; the result does not depend on it.

    Returns
    -------
    images : (C, S, H, W) float32
        Nowhere negative.
    gain : (C, K, K) float64
        Natural logarithm of what amplitudes were multiplied by.
    """
    shown = np.flatnonzero(masks.any(axis=(1, 2)))
    spread = np.linspace(0, len(shown) - 1, min(MEASURED, len(shown)))
    shown = shown[np.rint(spread).astype(int)]
    windows = [_faded(mask, pixels) for mask in masks[shown]]

    def one(channel: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        gain = smooth = np.zeros_like(wanted)
        measured = channel[shown]
        for _ in range(ROUNDS):
            missing = wanted - _windowed_spectrum(measured, windows, pixels)
            # of power: half of it is that of amplitudes
            gain = np.clip(gain + 0.5 * missing, -MOST, MOST)
            smooth = ndimage.gaussian_filter(gain, SMOOTHING, mode='nearest')
            measured = _filtered(channel[shown], smooth, pixels)
        return _filtered(channel, smooth, pixels), smooth

    out, gains = zip(*in_threads(threads, one, images, reference), strict=True)
    return np.stack(out), np.stack(gains)


def _filtered(slices: np.ndarray, gain: np.ndarray, pixels: Sequence[float]) -> np.ndarray:
    """Multiply the spectrum of each slice by the exponential of a gain; (S, H, W) float32."""
    height, width = slices.shape[-2:]
    sides = [fft.next_fast_len(n + 2 * _PAD, real=True) for n in (height, width)]
    after = [side - n - _PAD for side, n in zip(sides, (height, width), strict=True)]
    factor = _factor(gain, sides, pixels)
    out = np.empty(slices.shape, np.float32)
    for n, image in enumerate(slices):
        padded = np.pad(image, ((_PAD, after[0]), (_PAD, after[1])), mode='symmetric')
        whole = fft.irfft2(fft.rfft2(padded.astype(np.float32)) * factor, s=sides)
        out[n] = np.maximum(whole[_PAD : _PAD + height, _PAD : _PAD + width], 0)
    return out


def _factor(gain: np.ndarray, sides: Sequence[int], pixels: Sequence[float]) -> np.ndarray:
    """Interpolate a gain to the frequencies of a real transform, and spare the low ones."""
    rows, columns = _frequencies(sides, pixels)
    places = [np.clip(f / CELL - 0.5, 0, CELLS - 1) for f in (rows, columns)]
    grid = np.meshgrid(*places, indexing='ij')
    fine = ndimage.map_coordinates(gain, grid, order=1, mode='nearest')
    radius = np.hypot(rows[:, None], columns)
    setting_in = np.clip((radius - LEFT_ALONE) / (FREE - LEFT_ALONE), 0, 1)
    return np.exp(setting_in * fine).astype(np.float32)


def _frequencies(sides: Sequence[int], pixels: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the magnitudes of the frequencies of a real transform, cycles/mm."""
    return np.abs(fft.fftfreq(sides[0], pixels[0])), fft.rfftfreq(sides[1], pixels[1])


def _faded(mask: np.ndarray, pixels: Sequence[float]) -> np.ndarray:
    """Return a mask whose rim falls to 0 within it: a cut edge would add power."""
    widths = [SOFT_EDGE / pixel for pixel in pixels]
    return np.clip(2 * ndimage.gaussian_filter(mask.astype(np.float32), widths) - 1, 0, 1)


@lru_cache(maxsize=1)
def _level() -> np.ndarray:
    """Return the cells that a slice's level is read from, (K, K) bool."""
    middle = (np.arange(CELLS) + 0.5) * CELL
    radius = np.hypot(middle[:, None], middle)
    return (radius >= LEVEL[0]) & (radius <= LEVEL[1])


@lru_cache(maxsize=8)
def _cells(shape: tuple[int, int], pixels: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the cell of each frequency of a real transform, (H (W // 2 + 1),), and the counts.

    What lies beyond the last cell has one of its own at the end.
    """
    rows, columns = ((f / CELL).astype(int) for f in _frequencies(shape, pixels))
    beyond = (rows[:, None] >= CELLS) | (columns >= CELLS)
    cells = np.where(beyond, CELLS**2, rows[:, None] * CELLS + columns).ravel()
    return cells, np.bincount(cells, minlength=CELLS**2 + 1)
