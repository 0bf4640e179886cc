"""Small heads for tests: a ball of white matter in cortex in fluid, in RAS."""

import numpy as np

from bidsharmony.physics.heads import Head
from bidsharmony.physics.tissue import TISSUE_NAMES


def ball(size: int = 120, radius: int = 46) -> Head:
    """Return a head of concentric shells."""
    place = np.indices((size,) * 3) - (size - 1) / 2
    distance = np.sqrt((place**2).sum(axis=0))
    codes = np.zeros((size,) * 3, np.uint8)
    for reach, tissue in (
        (radius + 8, 'soft tissue'),
        (radius + 4, 'bone'),
        (radius, 'cerebrospinal fluid'),
        (radius - 4, 'cortex'),
        (radius - 12, 'white matter'),
    ):
        codes[distance <= reach] = TISSUE_NAMES.index(tissue)
    return Head('ball', codes)
