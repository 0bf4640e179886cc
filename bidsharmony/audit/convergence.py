"""How soon an autoencoder learns the images: the fewer kinds of scanner, the sooner.

The same small network, from the same start and in the same order of slices, learns to pass the
slices of some subjects through a bottleneck, before and after harmonization; those of the others
tell how well it does. Each side's images have mean 0 and variance 1 in the brain, so that neither
scale nor contrast sets the loss. Counted are the iterations up to one loss, the same for both:
that at which nine tenths of what training gains on the images before are gained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bidsharmony.audit.folds import split_subjects
from bidsharmony.audit.sample import Sample
from bidsharmony.audit.windows import middle

if TYPE_CHECKING:
    import torch
    from torch import nn

CROP = 96  # pixels
SEEDS = 5
BATCH = 16
BUDGET = 400  # iterations
EVERY = 10  # iterations between two looks at the validation loss
LEARNING_RATE = 1e-3
WIDTH = 16  # channels of the first layer
BOTTLENECK = 16  # channels at an eighth of the resolution
GAINED = 0.9
"""Share of what training gains on the images before at which iterations are counted."""
VALIDATION = 96  # slices at most, evenly from those of the subjects left out
DRAWS = 1000


@dataclass(frozen=True)
class Convergence:
    """Validation losses while training.

    Attributes
    ----------
    iterations : (T,) int
    before, after : (seeds, T) float
        Mean squared error over the images' variance in the brain.
    """

    iterations: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def counts(self) -> dict[str, np.ndarray]:
        """Count the iterations up to the fixed loss; (seeds,) each, nan where it is not reached.

        Examples
        --------
        >>> slow, fast = [[1.0, 0.6, 0.0]], [[1.0, 0.0, 0.0]]
        >>> found = Convergence(np.array([0, 10, 20]), np.array(slow), np.array(fast)).counts()
        >>> found['before'].round(2).tolist(), found['after'].round(2).tolist()
        ([18.33], [9.0])
        """
        limits = self.limits()
        return {
            side: np.array(
                [
                    reached(self.iterations, losses, limit)
                    for losses, limit in zip(getattr(self, side), limits, strict=True)
                ]
            )
            for side in ('before', 'after')
        }

    def limits(self) -> np.ndarray:
        """Return the loss that each seed is held to, (seeds,)."""
        first, best = self.before[:, 0], self.before.min(axis=1)
        return best + (1 - GAINED) * (first - best)

    def summary(self) -> dict[str, Any]:
        """Summarise for ``group_batcheffects.json``.

        Returns
        -------
        dict
            ``iterations`` (medians ``before`` and ``after``), their ``ratio`` (median over seeds)
            with ``ratio_ci95``, ``seeds``, ``loss`` (median) and ``curves``. Where the loss is
            not reached, as ``not_reached`` tells, the budget counts: the ratio is at least that.
        """
        budget = float(self.iterations[-1])
        counts = self.counts()
        missing = {side: int(np.isnan(found).sum()) for side, found in counts.items()}
        filled = {side: np.nan_to_num(found, nan=budget) for side, found in counts.items()}
        ratios = filled['after'] / np.maximum(filled['before'], 1)
        rng = np.random.default_rng(0)
        drawn = np.median(ratios[rng.integers(len(ratios), size=(DRAWS, len(ratios)))], axis=1)
        return {
            'iterations': {side: float(np.median(found)) for side, found in filled.items()},
            'ratio': float(np.median(ratios)),
            'ratio_ci95': [float(value) for value in np.percentile(drawn, (2.5, 97.5))],
            'seeds': len(ratios),
            'not_reached': missing,
            'loss': float(np.median(self.limits())),
            'curves': {
                'iterations': self.iterations.tolist(),
                'before': self.before.tolist(),
                'after': self.after.tolist(),
            },
        }


def reached(iterations: Sequence[int], losses: Sequence[float], limit: float) -> float:
    """Return the first iteration whose loss is at most a limit, nan if there is none.

    Between two looks the loss is taken to fall in a straight line.

    Examples
    --------
    >>> reached([0, 10, 20], [1.0, 0.6, 0.2], 0.4)
    15.0
    >>> reached([0, 10], [1.0, 0.6], 0.4)
    nan
    """
    for k, loss in enumerate(losses):
        if loss <= limit:
            if k == 0:
                return float(iterations[0])
            share = (losses[k - 1] - limit) / (losses[k - 1] - loss)
            return float(iterations[k - 1] + share * (iterations[k] - iterations[k - 1]))
    return float('nan')


def convergence(
    sample: Sample,
    *,
    seeds: int = SEEDS,
    budget: int = BUDGET,
    threads: int = 1,
    device: str = 'cpu',
    first_seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Convergence:
    """Train the autoencoders of both sides.

    Parameters
    ----------
    sample : Sample
    seeds, budget, threads : int
    device : str
        Where they are trained, as torch names it.
    first_seed : int
        Of those that are used, which follow one another.
    report : callable
        Takes a line on each training.

    Returns
    -------
    Convergence

    Raises
    ------
    ValueError
        If the subjects are too few to be both taught and asked about.
    """
    import torch

    torch.set_num_threads(threads)
    parts = split_subjects(sample.scanners, sample.subjects)
    curves: dict[str, list[list[float]]] = {'before': [], 'after': []}
    sides = {
        'before': matched(sample.before, sample.mask),
        'after': matched(sample.after, sample.mask),
    }
    weight = middle(sample.mask.astype(np.float32)[:, None], CROP)
    for seed in range(seeds):
        tested = parts[seed % len(parts)]
        asked = np.flatnonzero(tested)
        asked = asked[np.linspace(0, len(asked) - 1, min(VALIDATION, len(asked))).astype(int)]
        taught = np.flatnonzero(~tested)
        for side, images in sides.items():
            losses = _losses(images, weight, taught, asked, first_seed + seed, budget, device)
            curves[side].append(losses)
            report(f'{side}, seed {seed + 1} of {seeds}: loss {losses[0]:.3f} to {losses[-1]:.3f}')
    iterations = np.arange(0, budget + 1, EVERY)
    return Convergence(iterations, np.array(curves['before']), np.array(curves['after']))


def matched(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Cut the middle of slices, with mean 0 and variance 1 in the brain and 0 outside.

    Parameters
    ----------
    images : (n, C, 160, 160)
    mask : (n, 160, 160) bool

    Returns
    -------
    (n, C, 96, 96) float32

    Examples
    --------
    >>> images = np.random.default_rng(0).normal(5, 3, (2, 1, 160, 160))
    >>> ready = matched(images, np.ones((2, 160, 160), bool))
    >>> ready.shape, round(float(ready.std()), 1)
    ((2, 1, 96, 96), 1.0)
    """
    mask = middle(np.asarray(mask, bool), CROP)
    out = middle(np.asarray(images), CROP).astype(np.float32)
    for channel in range(out.shape[1]):
        inside = out[:, channel][mask]
        out[:, channel] = (out[:, channel] - inside.mean()) / max(float(inside.std()), 1e-6)
    return out * mask[:, None]


def build_autoencoder() -> nn.Module:
    """Build the network; (B, 2, 96, 96) to (B, 2, 96, 96) through (B, 16, 12, 12)."""
    from torch import nn

    def down(channels: int, to: int) -> list[nn.Module]:
        return [nn.Conv2d(channels, to, 3, stride=2, padding=1), nn.ReLU()]

    def up(channels: int, to: int) -> nn.Module:
        return nn.ConvTranspose2d(channels, to, 4, stride=2, padding=1)

    return nn.Sequential(
        *down(2, WIDTH),
        *down(WIDTH, 2 * WIDTH),
        *down(2 * WIDTH, 4 * WIDTH),
        nn.Conv2d(4 * WIDTH, BOTTLENECK, 1),
        up(BOTTLENECK, 4 * WIDTH),
        nn.ReLU(),
        up(4 * WIDTH, 2 * WIDTH),
        nn.ReLU(),
        up(2 * WIDTH, 2),
    )


def _losses(
    images: np.ndarray,
    weight: np.ndarray,
    taught: np.ndarray,
    asked: np.ndarray,
    seed: int,
    budget: int,
    device: str,
) -> list[float]:
    """Train one autoencoder; the validation loss at the start and after every `EVERY` steps."""
    import torch

    torch.manual_seed(seed)
    model = build_autoencoder().to(device)
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)
    rng = np.random.default_rng([seed, 1])
    seen, brain = (torch.from_numpy(part[asked]).to(device) for part in (images, weight))

    def asks() -> float:
        with torch.inference_mode():
            return float(_error(model(seen), seen, brain))

    losses = [asks()]
    for step in range(1, budget + 1):
        chosen = rng.choice(taught, min(BATCH, len(taught)), replace=False)
        batch, inside = (torch.from_numpy(part[chosen]).to(device) for part in (images, weight))
        loss = _error(model(batch), batch, inside)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % EVERY == 0:
            losses.append(asks())
    return losses


def _error(made: torch.Tensor, images: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Mean squared error in the brain, per channel."""
    return ((made - images) ** 2 * weight).sum() / (weight.sum() * images.shape[1]).clamp_min(1)
