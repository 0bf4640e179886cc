"""Windows of slices as networks are fed them: one gray window for all, and no rim of the mask."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bidsharmony.evaluation.forest import gray_window

if TYPE_CHECKING:
    import torch

FIELD = 144
"""Pixels in the middle of a slice that windows are cut from: all of a brain."""

WINDOW = 64
"""Pixels of a window. Few, so that a head shows itself less than its scanner does."""

BANDS = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
"""Ends of frequency bands (cycles per pixel)."""

NEARBY = 13
"""Pixels along rows and columns that the power of a band is averaged over."""

STEP = 4
"""Pixels between two places where it is known; windows lie at multiples of it."""

LEVELS = 255
"""Steps of gray between 0 and 1: 8 bits, as pictures have that people are shown."""

LEAST = 1 / LEVELS
"""Added to the amplitude of a band: what is less than a step of gray is nothing."""

SOFT_EDGE = 3.0
"""Pixels over which the rim of the brain fades: a mask's steps would give the matrix away."""


def prepared(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Bring slices to what the probe is fed: one gray window for all, the rim faded, the middle.

    Parameters
    ----------
    images : (n, C, 160, 160)
    mask : (n, 160, 160) bool

    Returns
    -------
    (n, C, 144, 144) float32
        0 outside of the brain, 0 to 1 inside up to what is brighter than nearly all.

    Examples
    --------
    >>> images, mask = np.ones((1, 1, 160, 160)), np.zeros((1, 160, 160), bool)
    >>> images[..., 80:], mask[:, 40:120, 40:120] = 3.0, True
    >>> ready = prepared(images, mask)
    >>> ready.shape, float(ready[0, 0, 72, 78]), float(ready[0, 0, 0, 0])
    ((1, 1, 144, 144), 1.0, 0.0)
    """
    mask = np.asarray(mask, bool)
    fade = np.stack([ndimage.gaussian_filter(m.astype(np.float32), SOFT_EDGE) for m in mask])
    fade = middle(np.clip(2 * fade - 1, 0, 1), FIELD)
    out = np.empty((*images.shape[:2], *fade.shape[1:]), np.float32)
    for channel in range(images.shape[1]):
        low, high = gray_window(images[:, channel].astype(np.float32), mask)
        cut = middle(images[:, channel], FIELD).astype(np.float32)
        out[:, channel] = np.clip((cut - low) / max(high - low, 1e-6), -0.5, 1.5) * fade
    return out


def middle(images: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle out of square images, (..., size, size)."""
    first = (images.shape[-1] - size) // 2
    return images[..., first : first + size, first : first + size]


def bands_of(images: np.ndarray) -> np.ndarray:
    """Measure how much of each frequency images hold nearby, along columns and along rows.

    A scanner shows in noise and sharpness along its axes, a head in its shape. A network from
    random weights that has a few heads to learn from finds the heads first where it is given
    images alone.

    Parameters
    ----------
    images : (n, C, 144, 144)
        From 0 to 1; gray levels of 8 bits are looked at.

    Returns
    -------
    (n, 16 C, 36, 36) float16
        Logarithms of the amplitudes of 8 bands along columns, then along rows, each for the C
        images, at every fourth pixel.

    Examples
    --------
    >>> wave = 0.5 + 0.5 * np.sin(2 * np.pi * 0.22 * np.arange(144))
    >>> along_rows = bands_of(np.broadcast_to(wave, (1, 1, 144, 144)))[0, 8:, 18, 18]
    >>> int(along_rows.argmax()), BANDS[3], BANDS[4]
    (3, 0.2, 0.25)
    """
    import torch
    from torch.nn.functional import avg_pool2d

    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 16):
            gray = torch.from_numpy(np.asarray(images[start : start + 16], np.float32))
            gray = torch.round(gray.clamp(0, 1) * LEVELS) / LEVELS
            parts = []
            for axis in (-2, -1):
                # the power, whichever axis it is taken along, is averaged over both
                lines = gray.transpose(axis, -1)
                spectrum = torch.fft.rfft(lines)
                frequencies = torch.fft.rfftfreq(lines.shape[-1])
                for low, high in pairwise(BANDS):
                    inside = (frequencies >= low) & (frequencies < high)
                    power = torch.fft.irfft(spectrum * inside, n=lines.shape[-1]) ** 2
                    near = avg_pool2d(
                        power, NEARBY, STEP, NEARBY // 2, count_include_pad=False
                    ).transpose(axis, -1)
                    parts.append(torch.log(near.sqrt() + LEAST))
            found.append(torch.cat(parts, dim=1).half().numpy())
    return np.concatenate(found)


def windows(
    images: np.ndarray, bands: np.ndarray, rng: np.random.Generator | None
) -> torch.Tensor:
    """Cut a window out of each image and its bands, and mirror both at random.

    Parameters
    ----------
    images : (B, C, 144, 144) float32
    bands : (B, K, 36, 36)
    rng : numpy.random.Generator or None
        None takes the middle of each, as it is.

    Returns
    -------
    (B, C + K, 64, 64) float32
    """
    import torch

    last = (FIELD - WINDOW) // STEP
    places, flips = np.full((len(images), 2), last // 2), np.zeros((len(images), 2), bool)
    if rng is not None:
        places = rng.integers(0, last + 1, size=places.shape)
        flips = rng.random(places.shape) < 0.5
    out = []
    for image, band, place, mirrored in zip(images, bands, places, flips, strict=True):
        cut = window_at(image[None], band[None], tuple(place))[0]
        out.append(cut.flip([axis - 2 for axis in np.flatnonzero(mirrored)]))
    return torch.stack(out)


def window_at(images: np.ndarray, bands: np.ndarray, place: tuple[int, int]) -> torch.Tensor:
    """Cut the window of a place, counted in steps of four pixels, out of images and bands."""
    import torch

    row, column = place
    part = bands[..., row : row + WINDOW // STEP, column : column + WINDOW // STEP]
    part = part.astype(np.float32).repeat(STEP, axis=-2).repeat(STEP, axis=-1)
    row, column = row * STEP, column * STEP
    cut = images[..., row : row + WINDOW, column : column + WINDOW]
    return torch.from_numpy(np.concatenate([cut, part], axis=1))


def places() -> list[tuple[int, int]]:
    """List places of windows that cover an image, in steps of four pixels."""
    starts = np.linspace(0, (FIELD - WINDOW) // STEP, 3).astype(int).tolist()
    return [(row, column) for row in starts for column in starts]
