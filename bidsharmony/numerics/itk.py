"""Meet ITK, as antspyx wraps it: always on one thread, and images never through its files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0, 1.0])[:, None]
"""ITK's x and y run to the left and to the back, NIfTI's to the right and to the front."""


def load_ants() -> Any:
    """Import antspyx on one thread: its bits depend on their number, which is read on import."""
    os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] = '1'
    import ants

    return ants


def as_ants(data: np.ndarray, affine: np.ndarray) -> Any:
    """Hand an array to ITK with its place.

    Parameters
    ----------
    data : (I, J, K) or (I, J, K, C)
        C components of a vector
    affine : (4, 4)
        voxel to RAS+ mm, without shear

    Examples
    --------
    >>> image = as_ants(np.zeros((3, 4, 5)), np.diag([2.0, 2.0, 3.0, 1.0]))
    >>> image.shape, image.spacing, image.direction.diagonal().tolist()
    ((3, 4, 5), (2.0, 2.0, 3.0), [-1.0, -1.0, 1.0])
    """
    place = RAS_TO_LPS * affine
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    return load_ants().from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=place[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=place[:3, :3] / spacing,
        has_components=data.ndim == 4,
    )
