"""Training on simulated pairs: the one door from the network to the simulator."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from bidsharmony.evaluation.fidelity import affine_fit, psnr, ssim
from bidsharmony.network.model import WIDTHS, Harmonizer, encode_metadata
from bidsharmony.network.weights import save_weights
from bidsharmony.physics.heads import Head, load_head
from bidsharmony.physics.pairs import CANONICAL_FWHM, GRID_SPACING, Pair, draw_pair, to_grid

LOGGER = logging.getLogger(__name__)

TRAINING = tuple(range(1, 11))  # individuals, by the number in the label map's name
VALIDATION = (11, 12)
TESTING = (13, 14, 15, 16, 17)
METHODS = ('identity', 'bicubic', 'network')


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; written into its weights.

    Attributes
    ----------
    steps, batch, patch : int
        Optimiser steps, slices a step, pixels a side.
    learning_rate : float
        At its height; it rises over the first 3 % and falls along a cosine.
    seed : int
    missing : float
        Chance that a scanner fact is hidden from the network in training.
    average : float
        Decay of the running average of weights that is kept.
    validation_pairs : int
        Slices of each validation individual.
    """

    steps: int = 2400
    batch: int = 8
    patch: int = 128
    learning_rate: float = 1.5e-3
    seed: int = 20261123
    missing: float = 0.2
    average: float = 0.995
    validation_pairs: int = 16


def load_individuals(anatomy: Path, numbers: tuple[int, ...]) -> list[Head]:
    """Load the label maps of some individuals.

    Parameters
    ----------
    anatomy : Path
        Folder that holds ``synthseg_labelmaps/training_seg_NN.nii.gz``, or the maps themselves.
    numbers : tuple of int

    Raises
    ------
    FileNotFoundError
        If a map is missing.
    """
    heads = []
    for number in numbers:
        name = f'training_seg_{number:02d}.nii.gz'
        candidates = [anatomy / name, anatomy / 'synthseg_labelmaps' / name]
        found = next((file for file in candidates if file.is_file()), None)
        if found is None:
            raise FileNotFoundError(
                f'{anatomy}: no label map {name}. Name the folder with the maps by --anatomy.'
            )
        heads.append(load_head(found))
    return heads


class PairStream(IterableDataset):
    """An endless, seeded stream of training patches."""

    def __init__(self, heads: list[Head], recipe: Recipe) -> None:
        self.heads, self.recipe = heads, recipe

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.recipe.seed, 0 if worker is None else worker.id])
        while True:
            yield patch_tensors(draw_pair(self.heads, rng), self.recipe, rng)


def patch_tensors(pair: Pair, recipe: Recipe, rng: np.random.Generator) -> dict[str, Tensor]:
    """Cut one random patch that holds brain, with facts hidden at random, as tensors."""
    size = recipe.patch
    rows, columns = np.nonzero(pair.brain > 0.5)
    limit = pair.brain.shape[0] - size
    pick = rng.integers(len(rows)) if len(rows) else 0
    centre = (rows[pick], columns[pick]) if len(rows) else (limit // 2, limit // 2)
    top, left = (
        int(np.clip(c - size // 2 + rng.integers(-size // 4, size // 4), 0, limit)) for c in centre
    )
    window = (..., slice(top, top + size), slice(left, left + size))
    if rng.random() < 0.1:  # MASiVar-like sidecars that say nothing of the scanner
        known = {}
    else:
        known = {k: v for k, v in pair.metadata.items() if rng.random() > recipe.missing}
    return {
        'source': torch.from_numpy(np.ascontiguousarray(pair.source[window])),
        'target': torch.from_numpy(np.ascontiguousarray(pair.target[window])),
        'log_gain': torch.from_numpy(np.ascontiguousarray(pair.log_gain[window])[None]),
        'brain': torch.from_numpy(np.ascontiguousarray(pair.brain[window])[None]),
        'head': torch.from_numpy(np.ascontiguousarray(pair.head[window])[None]),
        'condition': encode_metadata(known),
    }


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def loss_of(model: Harmonizer, batch: dict[str, Tensor]) -> Tensor:
    """Return the training loss: absolute error, edges, ADC, gain, and the error's own estimate."""
    output = model(batch['source'], batch['condition'])
    # (B, 2, H, W); the trace is darker than b=0 by this factor and shall count as much
    weight = (0.1 + 0.9 * batch['brain']) * torch.tensor([1.0, 2.5])[:, None, None]
    error = (output.images - batch['target']).abs()
    loss = (weight * error).mean()
    for ours, truth in zip(_gradient(output.images), _gradient(batch['target']), strict=True):
        w = weight[..., : ours.shape[-2], : ours.shape[-1]]
        loss = loss + (w * (ours - truth).abs()).mean()
    floor = 0.05  # canonical units: below it a logarithm only amplifies what noise is left
    ours, truth = output.images.clamp_min(floor).log(), batch['target'].clamp_min(floor).log()
    ratio = (ours[:, :1] - ours[:, 1:]) - (truth[:, :1] - truth[:, 1:])
    loss = loss + 0.2 * (batch['brain'] * ratio.abs()).mean()
    inside = (batch['head'] > 0.5) * (0.1 + 0.9 * batch['brain'])
    loss = loss + 0.5 * (inside * (output.log_gain - batch['log_gain']).abs()).mean()
    # Laplace likelihood: the network says how far off it expects to be
    expected = error.detach() * torch.exp(-output.log_error) + output.log_error
    return loss + 0.02 * (weight * expected).mean()


def _pad(images: np.ndarray) -> Tensor:
    """Return one slice as a batch of one."""
    return torch.from_numpy(images[None])


@torch.inference_mode()
def evaluate(model: Harmonizer, pairs: list[Pair]) -> dict[str, dict[str, float]]:
    """Measure identity, bicubic and network against the truth on whole slices.

    Identity is the robustly scaled image brought to the grid by linear, bicubic by cubic
    interpolation; every method gets one affine intensity fit per image over all pairs.

    Parameters
    ----------
    model : Harmonizer
    pairs : list of Pair

    Returns
    -------
    dict
        ``{method: {'psnr_b0': dB, 'psnr_trace': dB, 'ssim_b0': ., 'ssim_trace': .}}``, means over
        slices.
    """
    outputs: dict[str, list[np.ndarray]] = {name: [] for name in METHODS}
    for pair in pairs:
        size = pair.source.shape[-1]
        outputs['identity'].append(to_grid(pair.reconstructed, size, order=1))
        outputs['bicubic'].append(pair.source)
        condition = encode_metadata(pair.metadata)[None]
        outputs['network'].append(model(_pad(pair.source), condition).images[0].numpy())
    masks = [pair.brain > 0.5 for pair in pairs]
    results: dict[str, dict[str, float]] = {}
    for name, images in outputs.items():
        results[name] = {}
        for channel, label in enumerate(('b0', 'trace')):
            slope, intercept = affine_fit(
                [image[channel][mask] for image, mask in zip(images, masks, strict=True)],
                [pair.target[channel][mask] for pair, mask in zip(pairs, masks, strict=True)],
            )
            scores = [
                (psnr(fitted, truth, mask), ssim(fitted, truth, mask))
                for image, pair, mask in zip(images, pairs, masks, strict=True)
                for fitted, truth in [(slope * image[channel] + intercept, pair.target[channel])]
            ]
            results[name][f'psnr_{label}'] = float(np.mean([s[0] for s in scores]))
            results[name][f'ssim_{label}'] = float(np.mean([s[1] for s in scores]))
    return results


def draw_pairs(heads: list[Head], per_head: int, seed: int) -> list[Pair]:
    """Draw a fixed, seeded set of pairs, the same number from every head."""
    return [
        draw_pair([head], np.random.default_rng([seed, i, j]), canonical_chance=0.0)
        for i, head in enumerate(heads)
        for j in range(per_head)
    ]


def _rate(step: int, recipe: Recipe) -> float:
    warm = max(int(0.03 * recipe.steps), 1)
    if step < warm:
        return (step + 1) / warm
    progress = (step - warm) / max(recipe.steps - warm, 1)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))


def train(
    anatomy: Path,
    out: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    every: int = 200,
    provenance: dict[str, str] | None = None,
) -> dict:
    """Train a network and keep the best checkpoint.

    Parameters
    ----------
    anatomy : Path
        Label maps, see `load_individuals`.
    out : Path
        Weights (.safetensors); the curve is written beside them as .json. A state file of the
        same name ending in .state lets an interrupted training go on where it stopped.
    recipe : Recipe
    workers : int
        Processes that simulate.
    every : int
        Steps between validations.
    provenance : dict, optional
        Written into the weights (command, commit).

    Returns
    -------
    dict
        The curve: a row for each validation.
    """
    torch.manual_seed(recipe.seed)
    heads = load_individuals(anatomy, TRAINING)
    validation = draw_pairs(
        load_individuals(anatomy, VALIDATION), recipe.validation_pairs, recipe.seed + 1
    )
    model = Harmonizer()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)
    )
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, recipe))
    curve: list[dict] = []
    start, best = 0, -math.inf
    state_file = out.with_suffix('.state')
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        for part, name in ((model, 'model'), (average, 'average'), (optimiser, 'optimiser')):
            part.load_state_dict(state[name])
        schedule.load_state_dict(state['schedule'])
        start, best, curve = state['step'], state['best'], json.loads(state['curve'])
        LOGGER.info('going on from step %d', start)
    stream = PairStream(heads, Recipe(**{**asdict(recipe), 'seed': recipe.seed + 1000 * start}))
    loader = iter(
        DataLoader(
            stream, recipe.batch, num_workers=workers, prefetch_factor=4 if workers else None
        )
    )
    losses: list[float] = []
    began = time.monotonic()
    for step in range(start, recipe.steps):
        loss = loss_of(model, next(loader))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        losses.append(loss.item())
        if (step + 1) % every and step + 1 != recipe.steps:
            continue
        figures = evaluate(average.module.eval(), validation)
        row = {'step': step + 1, 'loss': float(np.mean(losses[-every:])), **figures['network']}
        curve.append(row)
        LOGGER.info(
            'step %d of %d, loss %.4f, PSNR %.2f / %.2f dB, SSIM %.3f / %.3f, %.2f s a step',
            step + 1,
            recipe.steps,
            row['loss'],
            row['psnr_b0'],
            row['psnr_trace'],
            row['ssim_b0'],
            row['ssim_trace'],
            (time.monotonic() - began) / (step + 1 - start),
        )
        score = row['psnr_b0'] + row['psnr_trace']
        if score > best:
            best = score
            notes = {
                **asdict(recipe),
                'widths': list(WIDTHS),
                'fwhm_mm': CANONICAL_FWHM,
                'spacing_mm': GRID_SPACING,
                'best_step': step + 1,
                **(provenance or {}),
            }
            save_weights(average.module, out, notes)
        document = {'recipe': asdict(recipe), 'validation': figures, 'curve': curve}
        out.with_suffix('.json').write_text(json.dumps(document, indent=1) + '\n')
        torch.save(
            {
                'model': model.state_dict(),
                'average': average.state_dict(),
                'optimiser': optimiser.state_dict(),
                'schedule': schedule.state_dict(),
                'step': step + 1,
                'best': best,
                'curve': json.dumps(curve),
            },
            state_file,
        )
    return {'recipe': asdict(recipe), 'curve': curve}
