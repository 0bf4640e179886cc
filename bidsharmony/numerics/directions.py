"""Bring b-vectors from the image's axes to the subject's, and see how evenly they lie."""

from __future__ import annotations

import numpy as np

from bidsharmony.numerics.gradients import NO_DIRECTION

_PROBES = 20_000  # directions that are asked for their nearest gradient


def world_directions(bvecs: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Turn b-vectors along an image's axes into directions in the subject (RAS+).

    FSL, and BIDS with it, writes them along the axes of the voxels, the first one reversed where
    these axes are right-handed (a positive determinant).

    Parameters
    ----------
    bvecs : (N, 3)
        As in the ``.bvec`` file of the image.
    affine : (4, 4)
        Voxel to RAS+ mm.

    Returns
    -------
    (N, 3) float64
        Unit vectors; 0 where there is no direction.

    Examples
    --------
    >>> world_directions([[1, 0, 0]], np.diag([-2.0, 2.0, 2.0, 1.0])).tolist()  # LAS
    [[-1.0, 0.0, 0.0]]
    >>> world_directions([[1, 0, 0]], np.diag([2.0, 2.0, 2.0, 1.0])).tolist()  # RAS
    [[-1.0, 0.0, 0.0]]
    """
    axes = np.asarray(affine, np.float64)[:3, :3]
    axes = axes / np.linalg.norm(axes, axis=0)
    signs = np.array([-1.0 if np.linalg.det(axes) > 0 else 1.0, 1.0, 1.0])
    turned = np.nan_to_num(np.asarray(bvecs, np.float64).reshape(-1, 3)) * signs @ axes.T
    lengths = np.linalg.norm(turned, axis=1, keepdims=True)
    known = lengths > NO_DIRECTION
    return np.where(known, turned / np.where(known, lengths, 1.0), 0.0) + 0.0


def largest_gap(directions: np.ndarray) -> float:
    """Measure how far from every gradient one can be, a gradient and its opposite being the same.

    Parameters
    ----------
    directions : (N, 3)
        Unit vectors.

    Returns
    -------
    float
        Degrees, at most one too small; 90 without any direction.

    Examples
    --------
    >>> 54 < largest_gap(np.eye(3)) <= 54.74  # a cube's diagonal is 54.7 degrees from its edges
    True
    """
    directions = np.asarray(directions, np.float64).reshape(-1, 3)
    if not len(directions):
        return 90.0
    # a Fibonacci spiral over one half of the sphere
    steps = np.arange(_PROBES) + 0.5
    height, turn = 1 - steps / _PROBES, np.pi * (1 + 5**0.5) * steps
    radius = np.sqrt(1 - height**2)
    probes = np.stack([radius * np.cos(turn), radius * np.sin(turn), height], axis=1)
    nearest = np.abs(probes @ directions.T).max(axis=1)
    return float(np.degrees(np.arccos(np.clip(nearest.min(), 0, 1))))
