"""Random smooth fields: coils, textures, warps."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class SlabField:
    """A random smooth field through a slab, seen under any slice profile.

    Only its nodes are kept: what a profile averages is linear in them, so that they are weighted
    first and the splines between them are laid once, in plane.

    Attributes
    ----------
    nodes : (n, rows, columns) float32
        Values, a plane of them at each height.
    heights : (n,) float
        mm from the slab's centre, evenly spaced.
    size : int
        Pixels a side of what is seen.
    """

    nodes: np.ndarray
    heights: np.ndarray
    size: int

    def under(self, profile: np.ndarray) -> np.ndarray:
        """Average over a slice profile of sub-slices 1 mm apart; (size, size) float32.

        Of unit standard deviation where the profile is one sub-slice; averaging lowers it.
        """
        offsets = np.arange(len(profile)) - len(profile) // 2
        step = self.heights[1] - self.heights[0]
        near = np.clip(1 - np.abs(offsets - self.heights[:, None]) / step, 0, 1)  # linear splines
        weights = (near @ profile).astype(np.float32)
        plane = np.tensordot(weights, self.nodes, axes=(0, 0))
        rows, columns = (_spline_basis(n, self.size, 1) for n in plane.shape)
        # between nodes each axis keeps so much of their variance
        kept = np.mean((near**2).sum(axis=0)) * np.prod(
            [(basis**2).sum(axis=0).mean() for basis in (rows, columns)]
        )
        return (rows.T @ plane @ columns) / np.float32(np.sqrt(kept))


def slab_field(size: int, reach: int, scale: float, rng: np.random.Generator) -> SlabField:
    """Draw a field that varies over about `scale` mm in all three directions.

    Parameters
    ----------
    size : int
        Pixels (mm) a side.
    reach : int
        mm on either side of the slab's centre.
    scale : float
        Distance between the field's independent nodes, mm.
    rng : numpy.random.Generator
    """
    planes = int(np.ceil(2 * reach / scale)) + 2
    first = -reach - scale * rng.random()  # the slab lies anywhere between nodes
    side = max(int(np.ceil(size / scale)) + 1, 2)
    nodes = rng.standard_normal((planes, side, side), dtype=np.float32)
    return SlabField(nodes, first + scale * np.arange(planes), size)


@dataclass(frozen=True)
class Texture:
    """How a property varies within tissue: finely and coarsely, in three dimensions.

    Attributes
    ----------
    amplitude : float
        Relative standard deviation of either part.
    fine, coarse : SlabField
    """

    amplitude: float
    fine: SlabField
    coarse: SlabField

    def under(self, profile: np.ndarray) -> np.ndarray:
        """Return the relative variation that a slice profile shows, (F, F) float32."""
        both = self.fine.under(profile) + self.coarse.under(profile)
        return np.clip(np.float32(self.amplitude) * both, -0.3, 0.3)


def draw_textures(
    size: int, reach: int, rng: np.random.Generator
) -> tuple[Texture, Texture, Texture]:
    """Draw the textures of proton density, relaxation and diffusivity of a slab.

    Parameters
    ----------
    size, reach : int
        See `slab_field`.
    rng : numpy.random.Generator
    """

    def texture(amplitude: float) -> Texture:
        fine, coarse = (
            slab_field(size, reach, rng.uniform(*scale), rng) for scale in ((2, 5), (12, 40))
        )
        return Texture(amplitude, fine, coarse)

    return (
        texture(rng.uniform(0, 0.02)),
        texture(rng.uniform(0, 0.04)),
        texture(rng.uniform(0, 0.06)),
    )
