"""Even out what a network leaves of a scanner, by the spectrum that it leaves on average."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bidsharmony.network.model import PASSED
from bidsharmony.network.weights import Weights
from bidsharmony.numerics.equalise import CELL, FEWEST, FREE, equalised
from bidsharmony.numerics.slices import telling


def even_out(
    network: Weights,
    images: np.ndarray,
    masks: np.ndarray,
    pixels: Sequence[float],
    *,
    threads: int = 1,
) -> tuple[np.ndarray, tuple[tuple[float, float], ...] | None]:
    """Give a run's axial slices the spectrum that the network leaves on average over scanners.

    Parameters
    ----------
    network : Weights
    images : (2, S, H, W) float32
        Canonical b=0 and trace as the network gives them; rows run along y.
    masks : (S, H, W) bool
        The brain.
    pixels : two float
        mm, along H and W.
    threads : int
        The result does not depend on it.

    Returns
    -------
    images : (2, S, H, W) float32
    extremes : two pairs of float, or None
        Least and largest factor of amplitudes of b=0 and of trace, at frequencies that are fully
        evened out and that the network passes. None, and the images as they came, where the
        weights know no spectrum or the slices are too few.
    """
    shown = telling(masks)
    if network.spectrum is None or len(shown) < FEWEST:
        return images, None
    told = np.zeros_like(masks)
    told[shown] = masks[shown]
    out, gain = equalised(images, told, network.spectrum, pixels, threads=threads)
    middle = (np.arange(gain.shape[-1]) + 0.5) * CELL
    radius = np.hypot(middle[:, None], middle)
    inside = (radius >= FREE) & (radius <= PASSED / network.spacing_mm)
    factors = np.exp(gain[:, inside])
    return out, tuple(
        (float(low), float(high)) for low, high in zip(factors.min(1), factors.max(1), strict=True)
    )
