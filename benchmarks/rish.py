"""RISH: make diffusion series of scanners alike in rotation-invariant features.

Re-implemented small, on dipy, after Mirzaalian et al., NeuroImage 2016;135:311: the signal over
b=0 is written in spherical harmonics, the energy of each degree is scaled, by a map in the space
of a template, to that of a reference scanner, and directions stay.
"""

from __future__ import annotations

import numpy as np
from dipy.core.geometry import cart2sphere
from dipy.reconst.shm import real_sh_descoteaux

ORDER = 4


def harmonics(directions: np.ndarray, order: int = ORDER) -> tuple[np.ndarray, np.ndarray]:
    """Return real, even spherical harmonics at directions, (n, B), and their degrees, (B,)."""
    _, theta, phi = cart2sphere(*np.asarray(directions, np.float64).T)
    basis, _, degrees = real_sh_descoteaux(order, theta, phi, legacy=False)
    return basis, degrees


def coefficients(signal: np.ndarray, directions: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Fit spherical harmonics to (V, n) signals over b=0 by least squares; (V, B)."""
    basis, _ = harmonics(directions, order)
    return np.asarray(signal, np.float64) @ np.linalg.pinv(basis).T


def energies(coefs: np.ndarray, order: int = ORDER) -> np.ndarray:
    """Return the energy of each even degree, which no rotation changes; (V, order / 2 + 1).

    Examples
    --------
    >>> energies(np.array([[3.0, 1, 1, 1, 1, 0]]), order=2).tolist()
    [[9.0, 4.0]]
    """
    degrees = np.repeat(np.arange(0, order + 1, 2), 2 * np.arange(0, order + 1, 2) + 1)
    squares = np.asarray(coefs, np.float64) ** 2
    return np.stack(
        [squares[:, degrees == degree].sum(axis=1) for degree in range(0, order + 1, 2)], axis=1
    )


def rescaled(
    signal: np.ndarray, directions: np.ndarray, scales: np.ndarray, order: int = ORDER
) -> np.ndarray:
    """Scale each degree of the signals, and sample them at the same directions.

    Parameters
    ----------
    signal : (V, n) float
        S_b / S_0.
    directions : (n, 3)
        Unit vectors.
    scales : (V, order / 2 + 1) float
        Of each voxel's coefficients: the root of the reference's energy over the scanner's own.
    order : int

    Returns
    -------
    (V, n) float64
        Between 0 and 1, as attenuation is.
    """
    basis, degrees = harmonics(directions, order)
    scaled = coefficients(signal, directions, order) * scales[:, degrees // 2]
    return np.clip(scaled @ basis.T, 0, 1)
