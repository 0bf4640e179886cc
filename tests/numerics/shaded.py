"""Draw a ball that a receive coil shades."""

from __future__ import annotations

import numpy as np

from tests.tiny_dataset import SHAPE


def shaded_ball(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give a uniform ball under a smooth field, its mask and the field (mean 1 in the mask)."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing='ij'), axis=-1)
    mask = np.linalg.norm(grid, axis=-1) < 0.9
    field = np.exp(0.5 * grid[..., 0] - 0.3 * grid[..., 1])
    field /= field[mask].mean()
    image = np.where(mask, 400 * field + rng.normal(0, 4, SHAPE), 1).astype(np.float32)
    return image, mask, field
