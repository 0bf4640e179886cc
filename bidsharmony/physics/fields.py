"""Random smooth fields: coils, textures, warps."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage


def smooth_field(
    shape: tuple[int, ...], scale: float, rng: np.random.Generator, order: int = 1
) -> np.ndarray:
    """Draw a random field of unit standard deviation that varies over about `scale` pixels.

    Parameters
    ----------
    shape : tuple of int
    scale : float
        Distance between the field's independent nodes, pixels.
    rng : numpy.random.Generator
    order : int
        Spline order between nodes.

    Returns
    -------
    float32 array of `shape`
    """
    nodes = [max(int(np.ceil(n / scale)) + 1, 2) for n in shape]
    values = rng.standard_normal(nodes).astype(np.float32)
    for axis, n in enumerate(shape):
        basis = _spline_basis(nodes[axis], n, order)
        values = np.moveaxis(np.tensordot(values, basis, axes=(axis, 0)), -1, axis)
    # interpolation between nodes loses variance
    return values / max(float(values.std()), 1e-6)


@lru_cache(maxsize=1024)
def _spline_basis(nodes: int, n: int, order: int) -> np.ndarray:
    """Return the splines of unit nodes sampled at `n` points, (nodes, n) float32."""
    position = np.linspace(0, nodes - 1, n)
    return np.stack(
        [
            ndimage.map_coordinates(unit, [position], order=order, mode='nearest')
            for unit in np.eye(nodes)
        ]
    ).astype(np.float32)
