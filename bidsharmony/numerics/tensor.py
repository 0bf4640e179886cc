"""Fit diffusion tensors to voxels, and compare those of two series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from dipy.core.gradients import GradientTable, gradient_table
from dipy.reconst.dti import (
    TensorModel,
    design_matrix,
    eig_from_lo_tri,
    fractional_anisotropy,
    mean_diffusivity,
    ols_fit_tensor,
    wls_fit_tensor,
)

SIGNALS_AT_ONCE = 2_000_000
"""Signals whose tensors are fitted together: memory grows neither with voxels nor volumes."""

HAS_DIRECTION = 0.2
"""Fractional anisotropy from which on the first eigenvector is a direction of tissue, and no
matter of chance: the usual threshold of tractography (Mori & van Zijl, NMR Biomed 2002;15:468)."""


_LEAST_EXPONENT = 1e-6
"""What dipy takes for the least b times D; smaller eigenvalues are raised to it."""


@dataclass(frozen=True)
class Tensors:
    """What the tensors of V voxels say.

    Attributes
    ----------
    md : (V,) float64
        Mean diffusivity, mm2/s.
    fa : (V,) float64
        Fractional anisotropy, 0 to 1.
    v1 : (V, 3) float64
        First eigenvector, a unit vector without sign.
    """

    md: np.ndarray
    fa: np.ndarray
    v1: np.ndarray


def fit_tensors(signal: np.ndarray, bvals: np.ndarray, directions: np.ndarray) -> Tensors:
    """Fit a tensor to each voxel by weighted least squares of the logarithm (dipy).

    Parameters
    ----------
    signal : (V, n) float
        S_i / S_0, positive.
    bvals : (n,) s/mm2
    directions : (n, 3)
        Unit vectors, which must determine a tensor.

    Returns
    -------
    Tensors

    Examples
    --------
    >>> axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    >>> signal = np.exp(-1000 * unit**2 @ [2e-3, 0.5e-3, 0.5e-3])[None]
    >>> found = fit_tensors(signal, np.full(6, 1000.0), unit)
    >>> [round(float(v), 6) for v in (found.md[0], found.fa[0], abs(found.v1[0, 0]))]
    [0.001, 0.707107, 1.0]
    """
    # dipy's own floor, 1e-4, would be the higher one from b=1842 on
    lowest = float(np.finfo(np.float64).tiny)
    model = TensorModel(_table(bvals, directions), fit_method=_weighted, min_signal=lowest)
    count = len(signal)
    md, fa, v1 = np.empty(count), np.empty(count), np.empty((count, 3))
    for part in chunks(count, len(bvals)):
        some = np.asarray(signal[part], np.float64)
        fit = model.fit(np.concatenate([np.ones((len(some), 1)), some], axis=1))
        md[part], fa[part], v1[part] = fit.md, fit.fa, fit.evecs[..., 0]
    return Tensors(md, np.nan_to_num(fa), v1)


def chunks(voxels: int, numbers: int) -> Iterator[slice]:
    """Part voxels so that no more than `SIGNALS_AT_ONCE` numbers are held of them.

    Examples
    --------
    >>> [(part.start, part.stop) for part in chunks(5, 1_000_000)]
    [(0, 2), (2, 4), (4, 6)]
    """
    step = max(1, SIGNALS_AT_ONCE // numbers)
    for start in range(0, voxels, step):
        yield slice(start, start + step)


def _table(bvals: np.ndarray, directions: np.ndarray) -> GradientTable:
    """Put a b=0 before the volumes of a shell, as dipy wants it."""
    return gradient_table(
        np.concatenate([[0.0], bvals]),
        bvecs=np.concatenate([np.zeros((1, 3)), directions]),
        b0_threshold=0,
    )


def _weighted(design: np.ndarray, data: np.ndarray, **_options: bool) -> tuple[np.ndarray, None]:
    """Fit as dipy's ``wls_fit_tensor`` does, by normal equations.

    dipy inverts one matrix of n + 1 rows for each voxel by its singular values. Weights are the
    squares of the signals that an unweighted fit predicts (Chung et al., NeuroImage 2006;33:531),
    so that both products of a voxel's equations are rows of products of whole matrices, and what
    is left is a system of seven unknowns. Diffusivities agree to 1e-8 or better (5e-14 with 99
    directions at b=1000), in an eighth of the time.
    """
    log_signal = np.log(data)
    size = np.abs(design).max(axis=0)  # unknowns of one magnitude, for the sake of digits
    scaled = design / size
    start, _ = ols_fit_tensor(scaled, data, return_lower_triangular=True)
    weights = np.exp(2 * (start @ scaled.T))
    products = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), -1)
    unknowns = scaled.shape[1]
    left = (weights @ products).reshape(-1, unknowns, unknowns)
    right = (weights * log_signal) @ scaled
    try:
        solved = np.linalg.solve(left, right[..., None])[..., 0] / size
    except np.linalg.LinAlgError:
        return wls_fit_tensor(design, data)
    return eig_from_lo_tri(solved, min_diffusivity=_LEAST_EXPONENT / -design.min()), None


class PassingFit:
    """Fit a tensor, unweighted, to each of V voxels whose signals come one volume at a time.

    The estimate is the pseudo-inverse of dipy's design times the logarithms of the signals, which
    is a sum over volumes: none of them is held.

    Parameters
    ----------
    voxels : int
    bvals : (n,) s/mm2
    directions : (n, 3)
        Unit vectors, which must determine a tensor.

    Examples
    --------
    >>> axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    >>> fit = PassingFit(1, np.full(6, 1000.0), unit)
    >>> for number, exponent in enumerate(-1000 * unit**2 @ [2e-3, 0.5e-3, 0.5e-3]):
    ...     fit.add(number, np.array([exponent]))
    >>> round(float(fit.tensors(np.array([True])).md[0]), 9)
    0.001
    """

    AT_ONCE = 8
    """Volumes whose logarithms wait for one product of matrices."""

    def __init__(self, voxels: int, bvals: np.ndarray, directions: np.ndarray) -> None:
        design = design_matrix(_table(bvals, directions))
        # the signal at b=0 is 1 and its logarithm 0: its column adds nothing
        self._columns = np.linalg.pinv(design)[:, 1:]
        self._least = _LEAST_EXPONENT / -design.min()
        self._sums = np.zeros((voxels, len(self._columns)))
        self._waiting = np.empty((self.AT_ONCE, voxels))
        self._numbers: list[int] = []

    def add(self, number: int, log_ratio: np.ndarray) -> None:
        """Take ln(S_i / S_0), (V,), of one volume."""
        self._waiting[len(self._numbers)] = log_ratio
        self._numbers.append(number)
        if len(self._numbers) == self.AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        logs = self._waiting[: len(self._numbers)]
        self._sums += logs.T @ self._columns[:, self._numbers].T
        self._numbers.clear()

    def tensors(self, which: np.ndarray) -> Tensors:
        """Give the tensors of some voxels, (V,) bool, after all volumes."""
        self._flush()
        voxels = np.flatnonzero(which)
        md, fa, v1 = np.empty(len(voxels)), np.empty(len(voxels)), np.empty((len(voxels), 3))
        for part in chunks(len(voxels), 12):
            found = eig_from_lo_tri(self._sums[voxels[part]], min_diffusivity=self._least)
            values = found[:, :3]
            md[part], fa[part] = mean_diffusivity(values), fractional_anisotropy(values)
            v1[part] = found[:, 3:].reshape(-1, 3, 3)[..., 0]
        return Tensors(md, np.nan_to_num(fa), v1)


def v1_angles(before: Tensors, after: Tensors) -> np.ndarray:
    """Measure how far first eigenvectors turned where both have one (`HAS_DIRECTION`).

    Returns
    -------
    (W,) float64
        Degrees, 0 to 90, of the W <= V voxels that have a direction before.
    """
    directed = before.fa >= HAS_DIRECTION
    old, new = before.v1[directed], after.v1[directed]
    # a sine, since cosines of small angles round to 1
    sine = np.linalg.norm(np.cross(old, new), axis=1)
    cosine = np.abs(np.einsum('ij,ij->i', old, new))
    return np.degrees(np.arctan2(sine, cosine))
