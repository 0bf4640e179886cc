"""Measure what spectrum a trained network leaves, on average over simulated scanners."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from bidsharmony.network.model import encode_metadata
from bidsharmony.network.recipe import Recipe
from bidsharmony.network.training import BAR, drawn_scanners, training_heads, travelling_pairs
from bidsharmony.network.weights import load_weights, set_spectrum
from bidsharmony.numerics.equalise import cell_spectrum

SCANNERS = 7  # drawn for each head from the ranges of training
SLICES = 8  # of each head


@torch.inference_mode()
def calibrate(path: Path, anatomy: Path) -> np.ndarray:
    """Measure the spectrum behind a network and write it into its weights file.

    The heads are those that it was trained on, the scanners are drawn anew from the ranges of
    training, by the seed of its recipe.

    Parameters
    ----------
    path : Path
        Weights; their recipe names the heads.
    anatomy : Path
        As for `training.train`.

    Returns
    -------
    (2, K, K) float64
        See `Weights.spectrum`.
    """
    weights = load_weights(path)
    seed = int(weights.recipe.get('seed', Recipe.seed))
    heads = training_heads(anatomy, weights.recipe.get('name', Recipe.name))
    found = []
    for number, head in enumerate(tqdm(heads, disable=None, desc='spectrum', bar_format=BAR)):
        scanners = drawn_scanners(SCANNERS, seed, 3, number)
        for run in travelling_pairs([head], scanners, SLICES, seed + 2 + number):
            masks = np.stack([pair.brain > 0.5 for pair in run])
            images = np.stack(
                [
                    weights.model(
                        torch.from_numpy(pair.source[None]), encode_metadata(pair.metadata)[None]
                    )
                    .images[0]
                    .clamp_min(0)
                    .numpy()
                    for pair in run
                ],
                axis=1,
            )
            pixels = (weights.spacing_mm, weights.spacing_mm)
            found.append([cell_spectrum(image, masks, pixels) for image in images])
    spectrum = np.mean(found, axis=0)
    set_spectrum(path, spectrum)
    return spectrum
