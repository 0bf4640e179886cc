"""Windows of slices as networks are fed them: one gray window for all, and no rim of the mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from bidsharmony.evaluation.forest import gray_window

if TYPE_CHECKING:
    import torch

CROP = 96  # pixels
SHIFT = 16  # pixels that a crop may lie off the middle

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
    (n, C, 128, 128) float32
        0 outside of the brain, 0 to 1 inside up to what is brighter than nearly all.

    Examples
    --------
    >>> images, mask = np.ones((1, 1, 160, 160)), np.zeros((1, 160, 160), bool)
    >>> images[..., 80:], mask[:, 40:120, 40:120] = 3.0, True
    >>> ready = prepared(images, mask)
    >>> ready.shape, float(ready[0, 0, 64, 70]), float(ready[0, 0, 0, 0])
    ((1, 1, 128, 128), 1.0, 0.0)
    """
    mask = np.asarray(mask, bool)
    fade = np.stack([ndimage.gaussian_filter(m.astype(np.float32), SOFT_EDGE) for m in mask])
    fade = middle(np.clip(2 * fade - 1, 0, 1), CROP + 2 * SHIFT)
    out = np.empty((*images.shape[:2], *fade.shape[1:]), np.float32)
    for channel in range(images.shape[1]):
        low, high = gray_window(images[:, channel].astype(np.float32), mask)
        cut = middle(images[:, channel], CROP + 2 * SHIFT).astype(np.float32)
        out[:, channel] = np.clip((cut - low) / max(high - low, 1e-6), -0.5, 1.5) * fade
    return out


def middle(images: np.ndarray, size: int) -> np.ndarray:
    """Cut the middle out of square images, (..., size, size)."""
    first = (images.shape[-1] - size) // 2
    return images[..., first : first + size, first : first + size]


def crops(images: torch.Tensor, rng: np.random.Generator | None) -> torch.Tensor:
    """Cut a window out of each image near its middle, and mirror half of them; (B, C, 96, 96).

    Without a generator it is the middle of each, as it is.
    """
    import torch

    if rng is None:
        return middle(images, CROP)
    places = rng.integers(0, images.shape[-1] - CROP + 1, size=(len(images), 2))
    mirrored = rng.random(len(images)) < 0.5
    out = []
    for image, (row, column), flip in zip(images, places, mirrored, strict=True):
        cut = image[:, row : row + CROP, column : column + CROP]
        out.append(cut.flip(-1) if flip else cut)
    return torch.stack(out)
