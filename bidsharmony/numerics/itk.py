"""Meet ITK, as antspyx wraps it: on so many threads everywhere, images never through its files."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0, 1.0])[:, None]
"""ITK's x and y run to the left and to the back, NIfTI's to the right and to the front."""


THREADS_VARIABLE = 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'

THREADS = 2
"""Of N4 and of interpolation. Bits depend on how many threads share the work, not on how many
processors there are: so their number is the same everywhere. On two, N4 takes .6 of its time."""


def load_ants(threads: int = THREADS) -> Any:
    """Import antspyx with its number of threads, which the first call of a process settles.

    Where somebody else has used ITK before, in the process of a notebook for instance, that number
    stays, and the last digits of what N4 gives are those of another number of threads.
    """
    os.environ[THREADS_VARIABLE] = str(threads)
    import ants

    return ants


def as_ants(data: np.ndarray, affine: np.ndarray, ants: Any = None) -> Any:
    """Hand an array to ITK with its place.

    Parameters
    ----------
    data : (I, J, K) or (I, J, K, C)
        C components of a vector
    affine : (4, 4)
        voxel to RAS+ mm, without shear
    ants : module, optional
        where it was loaded with another number of threads

    Examples
    --------
    >>> image = as_ants(np.zeros((3, 4, 5)), np.diag([2.0, 2.0, 3.0, 1.0]))
    >>> image.shape, image.spacing, image.direction.diagonal().tolist()
    ((3, 4, 5), (2.0, 2.0, 3.0), [-1.0, -1.0, 1.0])
    """
    place = RAS_TO_LPS * affine
    spacing = np.linalg.norm(place[:3, :3], axis=0)
    return (ants or load_ants()).from_numpy(
        np.ascontiguousarray(data, dtype=np.float32),
        origin=place[:3, 3].tolist(),
        spacing=spacing.tolist(),
        direction=place[:3, :3] / spacing,
        has_components=data.ndim == 4,
    )
