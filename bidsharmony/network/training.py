"""Training on simulated pairs: the one door from the network to the simulator."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from tqdm import tqdm

from bidsharmony.evaluation.fidelity import affine_fit, psnr, ssim
from bidsharmony.evaluation.forest import eight_bits, gray_window, guess_scanners, probe_features
from bidsharmony.network.loss import loss_of
from bidsharmony.network.model import FACTS, WIDTHS, Harmonizer, encode_metadata
from bidsharmony.network.recipe import Recipe
from bidsharmony.network.weights import load_weights, save_weights
from bidsharmony.numerics.marks import measured_marks
from bidsharmony.physics.heads import Head, brain_positions, draw_slab, load_head
from bidsharmony.physics.pairs import (
    CANONICAL_FWHM,
    CANONICAL_METADATA,
    CANONICAL_THICKNESS,
    CANONICAL_TISSUE_MEAN,
    GRID_SPACING,
    Pair,
    draw_twins,
    scan,
    to_grid,
)
from bidsharmony.physics.protocol import Protocol, draw_protocol
from bidsharmony.physics.signal import varied_table
from bidsharmony.physics.t2w import t2w_head

LOGGER = logging.getLogger(__name__)

TRAINING = tuple(range(1, 11))  # individuals, by the number in the label map's name
VALIDATION = (11, 12)
TESTING = (13, 14, 15, 16, 17)
METHODS = ('identity', 'bicubic', 'network')
WARM_UP = 0.03  # of the training, over which the learning rate rises
DB_PER_PROBE = 4.0  # what a checkpoint may lose for a probe that falls from 1 to 0
ALL_MARKS_HIDDEN = 0.03  # chance
VALIDATION_SCANNERS = 7
BAR = '{l_bar}{bar}| {elapsed}<{remaining}{postfix}'


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
    """An endless, seeded stream of training patches, each on two scanners."""

    def __init__(self, heads: list[Head], recipe: Recipe) -> None:
        self.heads, self.recipe = heads, recipe

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        worker = get_worker_info()
        rng = np.random.default_rng([self.recipe.seed, 0 if worker is None else worker.id])
        while True:
            yield twin_tensors(draw_twins(self.heads, rng), self.recipe, rng)


def twin_tensors(
    twins: tuple[Pair, Pair], recipe: Recipe, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Cut one random patch that holds brain from both scans, as tensors of two.

    Facts are hidden at random, marks less often.
    """
    brain = twins[0].brain
    size = recipe.patch
    rows, columns = np.nonzero(brain > 0.5)
    limit = brain.shape[0] - size
    pick = rng.integers(len(rows)) if len(rows) else 0
    centre = (rows[pick], columns[pick]) if len(rows) else (limit // 2, limit // 2)
    top, left = (
        int(np.clip(c - size // 2 + rng.integers(-size // 4, size // 4), 0, limit)) for c in centre
    )
    window = (..., slice(top, top + size), slice(left, left + size))
    conditions = []
    for pair in twins:
        # MASiVar-like sidecars say nothing of the scanner
        chance = 1.0 if rng.random() < 0.1 else recipe.missing
        unmarked = 1.0 if rng.random() < ALL_MARKS_HIDDEN else 0.05
        chances = {key: chance if key in FACTS else unmarked for key in pair.metadata}
        known = {k: v for k, v in pair.metadata.items() if rng.random() >= chances[k]}
        conditions.append(encode_metadata(known))

    def both(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(pair, name)[window] for pair in twins]))

    return {
        'source': both('source'),
        'target': both('target'),
        'log_gain': both('log_gain')[:, None],
        'brain': both('brain')[:, None],
        'head': both('head')[:, None],
        'lesion': both('lesion')[:, None],
        'condition': torch.stack(conditions),
    }


@torch.no_grad()
def with_repetition(
    model: Harmonizer, batch: dict[str, Tensor], recipe: Recipe
) -> dict[str, Tensor]:
    """Replace a batch's last scan by the network's own output, which shall come back unchanged."""
    with torch.autocast('cpu', torch.bfloat16, enabled=recipe.bfloat16):
        output = model(batch['source'][-1:], batch['condition'][-1:]).images.float().clamp_min(0)
    source = output / CANONICAL_TISSUE_MEAN
    told = {**CANONICAL_METADATA, **measured_marks(source[0].numpy())}
    replacement = {
        'source': source,
        'target': output,
        'log_gain': torch.full_like(batch['log_gain'][-1:], math.log(CANONICAL_TISSUE_MEAN)),
        'condition': encode_metadata(told)[None],
    }
    return {
        name: torch.cat([tensor[:-1], replacement.get(name, tensor[-1:])])
        for name, tensor in batch.items()
    }


def _pad(images: np.ndarray) -> Tensor:
    """Return one slice as a batch of one."""
    return torch.from_numpy(images[None])


@torch.inference_mode()
def evaluate(
    model: Harmonizer, pairs: list[Pair]
) -> tuple[dict[str, dict[str, float]], dict[str, list[np.ndarray]]]:
    """Measure identity, bicubic and network against the truth on whole slices.

    Identity is the robustly scaled image brought to the grid by linear, bicubic by cubic
    interpolation; every method gets one affine intensity fit per image over all pairs.

    Parameters
    ----------
    model : Harmonizer
    pairs : list of Pair

    Returns
    -------
    results : dict
        ``{method: {'psnr_b0': dB, 'psnr_trace': dB, 'ssim_b0': ., 'ssim_trace': .}}``, means over
        slices.
    outputs : dict
        Of each method, the (2, F, F) images of every pair.
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
    return results, outputs


def drawn_scanners(count: int, *seed: int) -> list[Protocol]:
    """Draw scanners from the ranges of training."""
    return [draw_protocol(np.random.default_rng([*seed, k])) for k in range(count)]


def travelling_pairs(
    heads: list[Head], protocols: list[Protocol], per_head: int, seed: int
) -> list[list[Pair]]:
    """Scan slices of every head on every scanner; one list for each scanner, in the same order."""
    runs: list[list[Pair]] = [[] for _ in protocols]
    for i, head in enumerate(heads):
        table = varied_table(np.random.default_rng([seed, i]))
        # evenly spread, away from the ends
        positions = np.quantile(brain_positions(head), np.linspace(0.2, 0.9, per_head))
        for j, position in enumerate(positions):
            rng = np.random.default_rng([seed, i, j])
            slab = draw_slab(head, 208, rng, position=int(position))
            for k, protocol in enumerate(protocols):
                noise = np.random.default_rng([seed, i, j, k])
                runs[k].append(scan(head, slab, table, protocol, noise))
    return runs


def training_heads(anatomy: Path, name: str) -> list[Head]:
    """Load the heads that a recipe trains on."""
    if name == 'individuals':
        return load_individuals(anatomy, TRAINING)
    found = sorted(anatomy.rglob('*_T2w.nii.gz'))
    if not found:
        raise FileNotFoundError(
            f'{anatomy}: no *_T2w.nii.gz. Name the folder that holds it by --anatomy.'
        )
    return [t2w_head(found[0], part='inferior')]


def _rate(progress: float) -> float:
    """Return the learning rate's factor at a progress of 0 to 1."""
    if progress < WARM_UP:
        return (progress + 1e-3) / (WARM_UP + 1e-3)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


@dataclass
class _Progress:
    """Where a training is: steps made, seconds spent, best score, curve."""

    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    curve: list[dict] = field(default_factory=list)

    def fraction(self, recipe: Recipe) -> float:
        if recipe.hours:
            return min(self.seconds / (3600 * recipe.hours), 1.0)
        return self.step / recipe.steps


def train(
    anatomy: Path,
    out: Path,
    recipe: Recipe,
    *,
    workers: int = 1,
    every: int = 500,
    start_from: Path | None = None,
    provenance: dict[str, str] | None = None,
) -> dict:
    """Train a network and keep the best checkpoint.

    Best is what validates with the highest PSNR, summed over both images, less `DB_PER_PROBE`
    times the probe's accuracy.

    Parameters
    ----------
    anatomy : Path
        Label maps and the T2-weighted volume, see `load_individuals` and `training_heads`.
    out : Path
        Weights (.safetensors); the curve is written beside them as .json. A state file of the
        same name ending in .state lets an interrupted training go on where it stopped.
    recipe : Recipe
    workers : int
        Processes that simulate.
    every : int
        Steps between validations.
    start_from : Path, optional
        Weights to begin with instead of random ones.
    provenance : dict, optional
        Written into the weights (command, commit).

    Returns
    -------
    dict
        The curve: a row for each validation.
    """
    torch.manual_seed(recipe.seed)
    heads = training_heads(anatomy, recipe.name)
    scanners = drawn_scanners(VALIDATION_SCANNERS, recipe.seed, 2)
    validation = travelling_pairs(
        load_individuals(anatomy, VALIDATION), scanners, recipe.validation_slices, recipe.seed + 1
    )
    model = load_weights(start_from, widen=True).model.train() if start_from else Harmonizer()
    model = model.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)
    )
    optimiser = torch.optim.AdamW(model.parameters(), recipe.learning_rate, weight_decay=1e-4)
    now = _Progress()
    state_file = out.with_suffix('.state')
    parts = {'model': model, 'average': average, 'optimiser': optimiser}
    if state_file.is_file():
        state = torch.load(state_file, weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        now = _Progress(state['step'], state['seconds'], state['best'], json.loads(state['curve']))
        LOGGER.info('going on from step %d', now.step)
    # another part of the stream than before an interruption
    stream = PairStream(heads, replace(recipe, seed=recipe.seed + 1000 * now.step))
    loader = iter(
        DataLoader(
            stream, recipe.batch // 2, num_workers=workers, prefetch_factor=4 if workers else None
        )
    )
    losses: list[float] = []
    bar = tqdm(total=100, unit='%', disable=None, bar_format=BAR)
    while now.fraction(recipe) < 1:
        began = time.monotonic()
        for group in optimiser.param_groups:
            group['lr'] = recipe.learning_rate * _rate(now.fraction(recipe))
        batch = {name: tensor.flatten(0, 1) for name, tensor in next(loader).items()}
        if recipe.repeat:
            batch = with_repetition(model, batch, recipe)
        loss = loss_of(model, batch, recipe)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        losses.append(loss.item())
        now.step += 1
        now.seconds += time.monotonic() - began
        bar.update(100 * now.fraction(recipe) - bar.n)
        if now.step % every and now.fraction(recipe) < 1:
            continue
        began = time.monotonic()
        figures = validate(average.module.eval(), validation, recipe.validation_slices)
        row = {
            'step': now.step,
            'hours': round(now.seconds / 3600, 3),
            'loss': float(np.mean(losses)),
            **figures['network'],
        }
        losses.clear()
        now.curve.append(row)
        said = (
            f'PSNR {row["psnr_b0"]:.2f} / {row["psnr_trace"]:.2f} dB, '
            f'SSIM {row["ssim_b0"]:.3f} / {row["ssim_trace"]:.3f}, probe {row["probe"]:.2f}'
        )
        bar.set_postfix_str(said)
        LOGGER.info(
            'step %d, %.2f h, %.0f %%, loss %.4f, %s',
            now.step,
            now.seconds / 3600,
            100 * now.fraction(recipe),
            row['loss'],
            said,
        )
        score = row['psnr_b0'] + row['psnr_trace'] - DB_PER_PROBE * row['probe']
        if score > now.best:
            now.best = score
            notes = {
                **asdict(recipe),
                'widths': list(WIDTHS),
                'fwhm_mm': CANONICAL_FWHM,
                'thickness_mm': CANONICAL_THICKNESS,
                'spacing_mm': GRID_SPACING,
                'tissue_mean': CANONICAL_TISSUE_MEAN,
                'best_step': now.step,
                **(provenance or {}),
            }
            save_weights(average.module, out, notes)
        document = {'recipe': asdict(recipe), 'validation': figures, 'curve': now.curve}
        out.with_suffix('.json').write_text(json.dumps(document, indent=1) + '\n')
        state = {name: part.state_dict() for name, part in parts.items()}
        state.update(
            step=now.step, seconds=now.seconds, best=now.best, curve=json.dumps(now.curve)
        )
        torch.save(state, state_file)
        # validations count towards the hours that were asked for
        now.seconds += time.monotonic() - began
    bar.close()
    return {'recipe': asdict(recipe), 'curve': now.curve}


def validate(model: Harmonizer, runs: list[list[Pair]], per_head: int) -> dict[str, dict]:
    """Measure fidelity (`evaluate`) and how well a forest names the scanner of the outputs.

    Parameters
    ----------
    model : Harmonizer
    runs : list of list of Pair
        From `travelling_pairs`.
    per_head : int
        Slices of each head, in order.

    Returns
    -------
    dict
        As `evaluate`, with ``probe``, the balanced accuracy of a forest that never saw the head
        it judges.
    """
    pairs = [pair for run in runs for pair in run]
    results, outputs = evaluate(model, pairs)
    scanner = np.repeat(np.arange(len(runs)), len(runs[0]))
    head = np.tile(np.arange(len(runs[0])) // per_head, len(runs))
    masks = np.stack([pair.brain > 0.5 for pair in pairs])
    for name, images in outputs.items():
        windows = [gray_window(np.stack(images)[:, c], masks) for c in (0, 1)]
        features = np.stack(
            [
                probe_features(
                    np.stack([eight_bits(i, *w) for i, w in zip(image, windows, strict=True)]),
                    mask,
                    GRID_SPACING,
                )
                for image, mask in zip(images, masks, strict=True)
            ]
        )
        results[name]['probe'] = guess_scanners(features, scanner, head, trees=100).accuracy
    return results
