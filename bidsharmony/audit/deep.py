"""A ResNet-50 that guesses the scanner from a slice: the paper's probe, frozen and retrained.

The network, its input (windows of both images, with the power of frequency bands beside them) and
the recipe are the same before and after harmonization. Slices of some subjects teach it, those of
the others ask it. A training goes in cycles, in each of which the learning rate falls to 0; it
ends with the first cycle after which nearly all of the training slices are known, or with the
last. What is trained is saved after each epoch, so that an interrupted audit goes on where it was.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bidsharmony.audit.folds import FOLDS, split_subjects
from bidsharmony.audit.sample import Sample
from bidsharmony.audit.scores import LEARNED, Probe
from bidsharmony.audit.windows import (
    BANDS,
    bands_of,
    places,
    prepared,
    window_at,
    windows,
)
from bidsharmony.evaluation.forest import Guesses

if TYPE_CHECKING:
    import torch
    from torch import nn

BATCH = 16
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1e-2
CHANNELS = 2 * (1 + 2 * (len(BANDS) - 1))
"""Both images, and their bands along two axes."""
CYCLE = 8  # epochs
CYCLES = 6  # at most
MOVED_CYCLES = 2
"""Cycles with windows that move; what is not known after these is learned without."""
MODEL = 'ResNet-50'

VERSION = 2
"""Rises whenever the recipe changes: what was saved before is then of no use."""


@dataclass(frozen=True)
class Recipe:
    """How long a probe is trained; all else is fixed.

    Attributes
    ----------
    epochs : int
        Of one cycle.
    cycles : int
        At most.
    folds : int
        Parts of the subjects that are tested, one probe for each; up to `FOLDS`.
    threads : int
        The results depend on it in their last digits.
    device : str
        Where it is trained, as torch names it.
    seed : int
        Of what is drawn.
    """

    epochs: int = CYCLE
    cycles: int = CYCLES
    folds: int = 1
    threads: int = 1
    device: str = 'cpu'
    seed: int = 0


def deep_probe(
    sample: Sample,
    *,
    recipe: Recipe = Recipe(),
    keep: Path | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> Probe:
    """Train the probes of both sides, and ask them about subjects that they have not seen.

    Parameters
    ----------
    sample : Sample
    recipe : Recipe
    keep : Path, optional
        Folder where states and answers are saved; an audit of the same slices goes on from them.
    report : callable
        Takes a line on each epoch.

    Returns
    -------
    Probe
        Guesses and features of the slices that were asked about; those of a side's features come
        from the probe that was trained on it.

    Raises
    ------
    ValueError
        If the subjects of a scanner are too few to be both taught and asked about.
    OSError
        If `keep` cannot be written.
    """
    import torch

    torch.set_num_threads(recipe.threads)
    images = {
        'before': prepared(sample.before, sample.mask),
        'after': prepared(sample.after, sample.mask),
    }
    sides = {name: _Pictures(some, bands_of(some)) for name, some in images.items()}
    parts = split_subjects(sample.scanners, sample.subjects)[: recipe.folds]
    found: dict[str, list[np.ndarray]] = {}
    training: dict[str, list[float]] = {'before': [], 'after': []}
    for fold, tested in enumerate(parts):
        answers = {}
        for side, pictures in sides.items():
            where = f'{side}, part {fold + 1} of {len(parts)}'
            answers[side] = _answers(
                _Work(pictures, sample.scanners, ~tested, fold + FOLDS * recipe.seed, recipe),
                {name: other.of(tested) for name, other in sides.items()},
                keep,
                lambda line, where=where: report(f'{where}: {line}'),
            )
            training[side].append(float(answers[side]['training_accuracy']))
        for name, part in {
            'tested': np.flatnonzero(tested),
            'before': answers['before']['guessed_before'],
            'frozen': answers['before']['guessed_after'],
            'retrained': answers['after']['guessed_after'],
            'features_before': answers['before']['features_before'],
            'features_after': answers['after']['features_after'],
        }.items():
            found.setdefault(name, []).append(part)
    joined = {name: np.concatenate(part) for name, part in found.items()}
    tested = joined['tested']

    def guesses(name: str, side: str) -> Guesses:
        known = float(np.mean(training[side]))
        return Guesses(sample.scanners[tested], joined[name], sample.subjects[tested], known)

    return Probe(
        MODEL,
        guesses('before', 'before'),
        guesses('frozen', 'before'),
        guesses('retrained', 'after'),
        joined['features_before'],
        joined['features_after'],
        f'{MODEL}, penultimate layer',
    )


@dataclass(frozen=True)
class _Pictures:
    """Slices (n, 2, H, W) with their bands (n, K, H / 4, W / 4)."""

    images: np.ndarray
    bands: np.ndarray

    def of(self, chosen: np.ndarray) -> _Pictures:
        """Choose some slices."""
        return _Pictures(self.images[chosen], self.bands[chosen])


@dataclass(frozen=True)
class _Work:
    """One training: pictures, their scanners, which of them teach, seed and recipe."""

    pictures: _Pictures
    scanners: np.ndarray
    taught: np.ndarray
    seed: int
    recipe: Recipe

    def name(self, asked: dict[str, _Pictures]) -> str:
        """Name a training by all that it depends on; how long it may last only ends it."""
        import torch

        recipe = self.recipe
        made_by = (VERSION, torch.__version__, self.seed, recipe.epochs)
        if recipe.device != 'cpu':
            made_by = (*made_by, recipe.device)
        digest = hashlib.sha256(repr(made_by).encode())
        seen = [pictures.images for pictures in (self.pictures, *asked.values())]
        for array in (seen[0], self.scanners, self.taught, *seen[1:]):
            digest.update(np.ascontiguousarray(array).view(np.uint8))
        return digest.hexdigest()[:16]


def _answers(
    work: _Work,
    asked: dict[str, _Pictures],
    keep: Path | None,
    report: Callable[[str], None],
) -> dict[str, np.ndarray]:
    """Train one probe and ask it about both sides, unless that is on disk already."""
    name = work.name(asked)
    saved = keep / f'{name}-{work.recipe.cycles}.npz' if keep else None
    if saved and saved.is_file():
        with np.load(saved, allow_pickle=False) as archive:
            report('answers found, nothing to train')
            return {key: archive[key] for key in archive.files}
    state = keep / f'{name}.pt' if keep else None
    model, accuracy = _train(work, state, report)
    found: dict[str, np.ndarray] = {'training_accuracy': np.array(accuracy)}
    for side, pictures in asked.items():
        probabilities, features = _ask(model, pictures, places())
        # classes are positions among the scanners that teach
        found[f'guessed_{side}'] = _classes(work)[probabilities.argmax(axis=1)]
        found[f'features_{side}'] = features
    if saved and state:
        draft = saved.with_suffix(f'.{os.getpid()}.tmp')
        with draft.open('wb') as file:
            np.savez_compressed(file, **found)
        draft.replace(saved)
        state.unlink(missing_ok=True)
    return found


def _classes(work: _Work) -> np.ndarray:
    return np.unique(work.scanners[work.taught])


def build_probe(n_scanners: int) -> nn.Module:
    """Build a ResNet-50 for images and their bands, whose stem strides by 2; last layer ``head``.

    Returns
    -------
    torch.nn.Module
        (B, 34, H, W) to ((B, n_scanners) logits, (B, 2048) penultimate features).
    """
    from monai.networks.nets import resnet50
    from torch import nn

    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            # what the channels are measured by comes with the probe, also where it is frozen
            self.scale = nn.BatchNorm2d(CHANNELS, affine=False)
            self.body = resnet50(
                spatial_dims=2, n_input_channels=CHANNELS, conv1_t_stride=2, feed_forward=False
            )
            self.head = nn.Linear(2048, n_scanners)

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            features = self.body(self.scale(images))
            return self.head(features), features

    return Probe()


def _train(work: _Work, state: Path | None, report: Callable[[str], None]) -> tuple[Any, float]:
    """Train a probe to the end; return it with its accuracy on the slices that taught it."""
    import torch
    from torch.nn.functional import cross_entropy

    recipe = work.recipe
    pictures = work.pictures.of(work.taught)
    count = len(pictures.images)
    labels = torch.from_numpy(np.searchsorted(_classes(work), work.scanners[work.taught]))
    on_device = labels.to(recipe.device)
    torch.manual_seed(work.seed)
    model = build_probe(len(_classes(work))).to(recipe.device, memory_format=torch.channels_last)
    # one odd slice left over would have no variance to normalise by
    steps = max(count // BATCH, 1)
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    first, accuracy = _resumed(state, model, optimizer)
    if first:
        report(f'goes on after epoch {first}')
    began = time.monotonic()
    for epoch in range(first, recipe.cycles * recipe.epochs):
        in_cycle = epoch % recipe.epochs
        if in_cycle == 0 and epoch and accuracy >= LEARNED:
            break
        rng = np.random.default_rng([work.seed, epoch])
        moved = epoch < MOVED_CYCLES * recipe.epochs
        model.train()
        right = 0
        for step, chosen in enumerate(_batches(count, steps, rng)):
            share = (in_cycle * steps + step) / (recipe.epochs * steps)
            for group in optimizer.param_groups:
                group['lr'] = LEARNING_RATE * _rate(share)
            some = pictures.of(chosen)
            batch = windows(some.images, some.bands, rng if moved else None)
            batch = batch.to(recipe.device).contiguous(memory_format=torch.channels_last)
            logits, _ = model(batch)
            optimizer.zero_grad(set_to_none=True)
            cross_entropy(logits, on_device[chosen]).backward()
            optimizer.step()
            right += int((logits.argmax(dim=1) == on_device[chosen]).sum())
        if in_cycle == recipe.epochs - 1:
            # their middle, as they are: this is what the last cycles learn
            probabilities, _ = _ask(model, pictures, [places()[len(places()) // 2]])
            accuracy = float(np.mean(probabilities.argmax(axis=1) == labels.numpy()))
        _save(state, model, optimizer, epoch + 1, accuracy)
        each = (time.monotonic() - began) / (epoch + 1 - first)
        report(
            f'epoch {epoch + 1}, {right / (steps * min(BATCH, count)):.0%} right while '
            f'learning, {math.ceil(each * (recipe.epochs - 1 - in_cycle) / 60)} min left of this '
            f'cycle ({epoch // recipe.epochs + 1} of at most {recipe.cycles})'
        )
    return model, accuracy


def _rate(share: float) -> float:
    """Return the learning rate of a cycle, relative: up over a tenth of it, down by a cosine."""
    return share / 0.1 if share < 0.1 else 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))


def _batches(n: int, steps: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    order = rng.permutation(n)
    for step in range(steps):
        yield order[step * BATCH : (step + 1) * BATCH]


def _ask(
    model: Any, pictures: _Pictures, where: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """Average what a probe says of some windows of each image.

    Returns
    -------
    probabilities : (n, S) float32
    features : (n, 2048) float32
    """
    import torch

    model.eval()
    device = next(model.parameters()).device
    probabilities, features = [], []
    with torch.inference_mode():
        for start in range(0, len(pictures.images), 64):
            some = pictures.of(np.arange(start, min(start + 64, len(pictures.images))))
            said, seen = 0, 0
            for place in where:
                window = window_at(some.images, some.bands, place).to(device)
                logits, deep = model(window.contiguous(memory_format=torch.channels_last))
                said, seen = said + logits.softmax(dim=1), seen + deep
            probabilities.append((said / len(where)).cpu().numpy())
            features.append((seen / len(where)).cpu().numpy())
    return np.concatenate(probabilities), np.concatenate(features)


def _resumed(state: Path | None, model: Any, optimizer: Any) -> tuple[int, float]:
    """Load what an interrupted training left; epochs done and accuracy on its slices."""
    import torch

    if state is None or not state.is_file():
        return 0, 0.0
    try:
        found = torch.load(state, weights_only=True, map_location='cpu')
        model.load_state_dict(found['model'])
        optimizer.load_state_dict(found['optimizer'])
    except Exception:
        state.unlink(missing_ok=True)
        return 0, 0.0
    return int(found['epoch']), float(found['accuracy'])


def _save(state: Path | None, model: Any, optimizer: Any, epoch: int, accuracy: float) -> None:
    import torch

    if state is None:
        return
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_suffix(f'.{os.getpid()}.tmp')
    torch.save(
        {
            'model': model.state_dict(),
            'optimizer': optimizer.state_dict(),
            'epoch': epoch,
            'accuracy': accuracy,
        },
        draft,
    )
    draft.replace(state)
