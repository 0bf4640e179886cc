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
    wls_fit_tensor,
)

SIGNALS_AT_ONCE = 500_000
"""Signals whose tensors are fitted together: memory grows neither with voxels nor volumes."""

HAS_DIRECTION = 0.2
"""Fractional anisotropy from which on the first eigenvector is a direction of tissue, and no
matter of chance: the usual threshold of tractography (Mori & van Zijl, NMR Biomed 2002;15:468)."""


_LEAST_EXPONENT = 1e-6
"""What dipy takes for the least b times D; smaller eigenvalues are raised to it."""


_TINY = float(np.finfo(np.float64).tiny)


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
    model = TensorModel(_table(bvals, directions), fit_method=_weighted, min_signal=_TINY)
    count = len(signal)
    md, fa, v1 = np.empty(count), np.empty(count), np.empty((count, 3))
    for part in chunks(count, len(bvals)):
        some = np.asarray(signal[part], np.float64)
        fit = model.fit(np.concatenate([np.ones((len(some), 1)), some], axis=1))
        md[part], fa[part], v1[part] = fit.md, fit.fa, fit.evecs[..., 0]
    return Tensors(md, np.nan_to_num(fa), v1)


def fit_mean_diffusivities(
    signal: np.ndarray, bvals: np.ndarray, directions: np.ndarray
) -> np.ndarray:
    """Fit tensors as `fit_tensors` does, for their mean diffusivities alone, (V,) float64 mm2/s.

    Examples
    --------
    >>> axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> unit = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    >>> signal = np.exp(-1000 * unit**2 @ [2e-3, 0.5e-3, 0.5e-3])[None]
    >>> fit_mean_diffusivities(signal, np.full(6, 1000.0), unit).round(9).tolist()
    [0.001]
    """
    design = design_matrix(_table(bvals, directions))
    least = _LEAST_EXPONENT / -design.min()
    md = np.empty(len(signal))
    for part in chunks(len(signal), len(bvals)):
        data = np.ones((len(design), len(signal[part]))).T  # one volume after the other
        np.maximum(signal[part], _TINY, out=data[:, 1:])
        found = _solve(design, data)
        if found is None:
            md[part] = mean_diffusivity(wls_fit_tensor(design, data)[0][:, :3])
            continue
        md[part], _ = _scalars(found, least)
    return md


def _scalars(tensors: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Take mean diffusivity and fractional anisotropy of tensors, (V, 6 or more) as dipy has them.

    Both are invariants, sums of the elements and of their squares (Basser & Pierpaoli, J Magn
    Reson B 1996;111:209). Eigenvalues are only looked for where they are not all positive: dipy
    raises them to a least one.
    """
    xx, xy, yy, xz, yz, zz = tensors[:, :6].T
    md = (xx + yy + zz) / 3
    aside = 2 * (xy * xy + xz * xz + yz * yz)
    anisotropic = (xx - md) ** 2 + (yy - md) ** 2 + (zz - md) ** 2 + aside
    fa = np.sqrt(1.5 * anisotropic / np.maximum(xx * xx + yy * yy + zz * zz + aside, _TINY))
    raised = ~_exceed(tensors, least)
    values = eig_from_lo_tri(tensors[raised], min_diffusivity=least)[:, :3]
    md[raised], fa[raised] = mean_diffusivity(values), fractional_anisotropy(values)
    return md, np.nan_to_num(fa)


def _exceed(tensors: np.ndarray, least: float) -> np.ndarray:
    """Tell whether all eigenvalues of tensors exceed a number (Sylvester's criterion)."""
    xx, xy, yy, xz, yz, zz = tensors[:, :6].T
    xx, yy, zz = xx - least, yy - least, zz - least
    minor = xx * yy - xy * xy
    determinant = zz * minor - xx * yz * yz - yy * xz * xz + 2 * xy * xz * yz
    return (xx > 0) & (minor > 0) & (determinant > 0)


def chunks(voxels: int, numbers: int) -> Iterator[slice]:
    """Part voxels so that no more than `SIGNALS_AT_ONCE` numbers are held of them.

    Examples
    --------
    >>> [(part.start, part.stop) for part in chunks(5, 250_000)]
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
    """Fit as dipy's ``wls_fit_tensor`` does, by normal equations."""
    found = _solve(design, data)
    if found is None:
        return wls_fit_tensor(design, data)
    return eig_from_lo_tri(found, min_diffusivity=_LEAST_EXPONENT / -design.min()), None


def _solve(design: np.ndarray, data: np.ndarray) -> np.ndarray | None:
    """Solve the normal equations of weighted least squares, (V, 7) as dipy orders the unknowns.

    dipy inverts one matrix of n + 1 rows for each voxel by its singular values. Weights are the
    squares of the signals that an unweighted fit predicts (Chung et al., NeuroImage 2006;33:531),
    so that both products of a voxel's equations are rows of products of whole matrices, and what
    is left is a system of seven unknowns, in an eighth of the time. Diffusivities agree to 1e-8 or
    better up to b=3000 (5e-14 with 99 directions at b=1000), to some 1e-3 at b=6000 where lost
    signals weigh next to nothing. None where a system has no solution.
    """
    log_signal = np.log(data.T)
    size = np.abs(design).max(axis=0)  # unknowns of one magnitude, for the sake of digits
    scaled = design / size
    weights = np.exp(2 * (scaled @ (np.linalg.pinv(scaled) @ log_signal)))
    products = (scaled[:, :, None] * scaled[:, None, :]).reshape(len(scaled), -1)
    unknowns = scaled.shape[1]
    left = np.ascontiguousarray((products.T @ weights).T).reshape(-1, unknowns, unknowns)
    right = (scaled.T @ (weights * log_signal)).T
    try:
        return np.linalg.solve(left, right[..., None])[..., 0] / size
    except np.linalg.LinAlgError:
        return None


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
    >>> [round(float(found[0]), 9) for found in fit.scalars(np.array([0]))]
    [0.001, 0.707106781]
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

    def scalars(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give mean diffusivity and fractional anisotropy of some voxels after all volumes.

        Parameters
        ----------
        which : (W,) int

        Returns
        -------
        md, fa : (W,) float64
        """
        self._flush()
        md, fa = np.empty(len(which)), np.empty(len(which))
        for part in chunks(len(which), 12):
            md[part], fa[part] = _scalars(self._sums[which[part]], self._least)
        return md, fa

    def first_eigenvectors(self, which: np.ndarray) -> np.ndarray:
        """Give the first eigenvectors of some voxels, (W,) int, after all volumes, (W, 3)."""
        self._flush()
        v1 = np.empty((len(which), 3))
        for part in chunks(len(which), 12):
            found = eig_from_lo_tri(self._sums[which[part]], min_diffusivity=self._least)
            v1[part] = found[:, 3:].reshape(-1, 3, 3)[..., 0]
        return v1


def v1_angles(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Measure how far first eigenvectors, (W, 3), turned, (W,) float64: 0 to 90 degrees."""
    # a sine, since cosines of small angles round to 1
    sine = np.linalg.norm(np.cross(before, after), axis=1)
    cosine = np.abs(np.einsum('ij,ij->i', before, after))
    return np.degrees(np.arctan2(sine, cosine))
