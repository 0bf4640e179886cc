"""How much of the scanner is left when the same heads were scanned on every scanner.

Arrays begin with (H, S): one value, feature vector or spectrum for each head on each scanner.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from bidsharmony.numerics.spectrum import log_spectral_distance


def between_scanner_cv(values: np.ndarray) -> np.ndarray:
    """Compute each head's coefficient of variation over scanners.

    Parameters
    ----------
    values : (H, S, ...) float
        Positive measures, such as a tissue's mean signal.

    Returns
    -------
    (H, ...) float64
        Standard deviation over scanners (of a sample) over the mean.

    Examples
    --------
    >>> between_scanner_cv(np.array([[9.0, 10.0, 11.0], [5.0, 5.0, 5.0]])).tolist()
    [0.1, 0.0]
    """
    values = np.asarray(values, np.float64)
    return values.std(axis=1, ddof=1) / values.mean(axis=1)


def scanner_eta_squared(values: np.ndarray, *, within_heads: bool = False) -> np.ndarray:
    """Compute the share of variance that lies between scanners (eta squared, Fisher 1925).

    Every head was on every scanner, so that heads add nothing to what lies between scanners; they
    add to the whole unless their means are removed. What chance gives for n runs of S scanners
    and H heads is (S - 1) / (n - 1), and (S - 1) / (n - H) within heads.

    Parameters
    ----------
    values : (H, S, ...) float
    within_heads : bool
        Whether each head's mean is removed first. The answer is then about direction alone: a
        thousandth of the scanner's mark, if nothing else is left, still scores 1.

    Returns
    -------
    (...) float64
        0 where nothing varies.

    Examples
    --------
    >>> heads, scanners = np.array([[-1.0], [1.0]]), np.array([[-1.0, 1.0]])
    >>> both = (heads + scanners)[..., None]
    >>> scanner_eta_squared(both).tolist(), scanner_eta_squared(both, within_heads=True).tolist()
    ([0.5], [1.0])
    """
    values = np.asarray(values, np.float64)
    centre = values.mean(axis=1, keepdims=True) if within_heads else values.mean(axis=(0, 1))
    values = values - centre
    total = (values**2).sum(axis=(0, 1))
    between = len(values) * (values.mean(axis=0) ** 2).sum(axis=0)
    floor = 1e-20 * np.maximum(np.abs(centre).max() ** 2, 1e-20)  # rounding is no variance
    return np.where(total > floor, between / np.maximum(total, floor), 0.0)


def scanner_spectral_distance(spectra: np.ndarray) -> np.ndarray:
    """Compute each head's mean log-spectral distance between two scanners.

    Parameters
    ----------
    spectra : (H, S, F) float
        Power, of unit area if scale shall not matter.

    Returns
    -------
    (H,) float64
        dB, mean over pairs of scanners.

    Examples
    --------
    >>> scanner_spectral_distance(np.array([[[1.0, 1.0], [10.0, 10.0]]])).tolist()
    [10.0]
    """
    return np.array(
        [
            np.mean([log_spectral_distance(a, b) for a, b in combinations(head, 2)])
            for head in spectra
        ]
    )
