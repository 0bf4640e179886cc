"""What training lowers: errors, and what tells two scanners of one slab apart."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from bidsharmony.network.model import Harmonizer
from bidsharmony.network.recipe import Recipe

#: squared canonical units, b=0 and trace: about what rounding to 256 grey levels leaves, where a
#: window holds all but the brightest fluid
POWER_FLOORS = (8e-6, 8e-7)
WINDOW = 7  # pixels of structural similarity
PEAKS = (3.8, 0.85)  # canonical units: about the 99.5th percentiles of brains, b=0 and trace
FIRST_CYCLE = 3  # over a patch: slower waves are contrast and shading
LOW_ACROSS = 0.05  # cycles/mm across the direction that is looked along


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def loss_of(model: Harmonizer, batch: dict[str, Tensor], recipe: Recipe) -> Tensor:
    """Return the training loss.

    Absolute and squared error, edges, ADC, gain, agreement of twins, structural similarity,
    spectrum, and the error's own estimate.

    Parameters
    ----------
    model : Harmonizer
    batch : dict
        ``source``, ``target`` (B, 2, H, W), ``log_gain``, ``brain``, ``head``, ``lesion``
        (B, 1, H, W) and ``condition``; twins follow one another.
    recipe : Recipe
    """
    images = batch['source'].contiguous(memory_format=torch.channels_last)
    with torch.autocast('cpu', torch.bfloat16, enabled=recipe.bfloat16):
        output = model(images, batch['condition'])
    out, log_gain, log_error = (part.float() for part in output)
    # (B, 2, H, W); the trace is darker than b=0 by this factor and shall count as much
    channels = torch.tensor([1.0, 2.5])[:, None, None]
    lesion = 1 + recipe.lesion * batch['lesion']
    weight = (0.1 + 0.9 * batch['brain']) * lesion * channels
    difference = out - batch['target']
    error = difference.abs()
    # clamped: a scan gone wrong must not outweigh all others
    squares = error.clamp_max(1.0) ** 2
    loss = (weight * error).mean() + recipe.squared * (weight * channels * squares).mean()
    for edges in _gradient(difference):
        w = weight[..., : edges.shape[-2], : edges.shape[-1]]
        loss = loss + (w * edges.abs()).mean()
    floor = 0.05  # canonical units: below it a logarithm only amplifies what noise is left
    ours, truth = out.clamp_min(floor).log(), batch['target'].clamp_min(floor).log()
    ratio = (ours[:, :1] - ours[:, 1:]) - (truth[:, :1] - truth[:, 1:])
    loss = loss + recipe.ratio * (lesion * batch['brain'] * ratio.abs()).mean()
    inside = (batch['head'] > 0.5) * (0.1 + 0.9 * batch['brain'])
    loss = loss + 0.5 * (inside * (log_gain - batch['log_gain']).abs()).mean()
    if recipe.consistency:
        first, second = out[0::2], out[1::2]
        apart = weight[0::2] * (first - second).abs()
        if recipe.repeat:  # the last scan is no twin any more
            apart = apart[:-1]
        loss = loss + recipe.consistency * apart.sum() / first.numel()
    if recipe.similarity:
        inside = functional.avg_pool2d(batch['brain'], WINDOW, 1)
        unlike = 1 - similarity(out, batch['target'])
        loss = loss + recipe.similarity * (inside * unlike).mean()
    if recipe.spectrum:
        window = batch['brain'] * hann_window(out.shape[-1])
        apart = log_spectrum(out, window) - log_spectrum(batch['target'], window)
        # a patch of little brain has no spectrum to speak of
        share = window.mean(dim=(1, 2, 3)) / window.mean().clamp_min(1e-6)
        loss = loss + recipe.spectrum * (share[:, None, None] * apart.abs()).mean()
    # Laplace likelihood: the network says how far off it expects to be
    expected = error.detach() * torch.exp(-log_error) + log_error
    return loss + 0.02 * (weight * expected).mean()


def similarity(images: Tensor, truth: Tensor) -> Tensor:
    """Compute the structural similarity at every place where a whole window lies in the patch.

    Wang et al., IEEE Trans Image Process 2004;13:600, with scikit-image's defaults: a flat window
    of 7 pixels and covariances of samples, the data range being `PEAKS`. It asks for faint detail
    in even tissue, which absolute errors let go.

    Parameters
    ----------
    images, truth : (B, 2, H, W)

    Returns
    -------
    (B, 2, H - 6, W - 6)
    """

    def mean(values: Tensor) -> Tensor:
        return functional.avg_pool2d(values, WINDOW, 1)

    of_samples = WINDOW**2 / (WINDOW**2 - 1)
    mean_x, mean_y = mean(images), mean(truth)
    variance_x = of_samples * (mean(images * images) - mean_x * mean_x)
    variance_y = of_samples * (mean(truth * truth) - mean_y * mean_y)
    covariance = of_samples * (mean(images * truth) - mean_x * mean_y)
    peaks = torch.tensor(PEAKS)[:, None, None]
    low, high = (0.01 * peaks) ** 2, (0.03 * peaks) ** 2
    alike = (2 * mean_x * mean_y + low) * (2 * covariance + high)
    return alike / ((mean_x**2 + mean_y**2 + low) * (variance_x + variance_y + high))


@lru_cache(maxsize=4)
def hann_window(size: int) -> Tensor:
    """Return a two-dimensional Hann window that is nowhere zero, (size, size)."""
    line = torch.hann_window(size + 2, periodic=False)[1:-1]
    return torch.outer(line, line)


@lru_cache(maxsize=4)
def _bins(size: int) -> tuple[Tensor, Tensor]:
    """Return which bin each frequency of a real transform falls into, three times, and the counts.

    Rings, then frequencies along the rows' direction (low ones across), then along the columns';
    each two cycles wide. The last bin takes what none wants.

    Returns
    -------
    bins : (3, size (size // 2 + 1)) int
    counts : (K + 1,) int
    """
    rows = torch.fft.fftfreq(size)[:, None].abs() * size + torch.zeros(size // 2 + 1)
    columns = torch.fft.rfftfreq(size)[None] * size + torch.zeros(size, 1)
    last = size // 2
    low = LOW_ACROSS * size
    per_set = (last - FIRST_CYCLE) // 2 + 1
    found = []
    for along, wanted in (
        (torch.hypot(rows, columns), torch.ones(rows.shape, dtype=torch.bool)),
        (rows, columns <= low),
        (columns, rows <= low),
    ):
        index = torch.div(torch.round(along) - FIRST_CYCLE, 2, rounding_mode='floor').long()
        index = index + per_set * len(found)
        outside = ~wanted | (torch.round(along) < FIRST_CYCLE) | (torch.round(along) > last)
        found.append(index.masked_fill(outside, 3 * per_set).flatten())
    bins = torch.stack(found)
    return bins, torch.bincount(bins.flatten(), minlength=3 * per_set + 1)


def log_spectrum(images: Tensor, window: Tensor) -> Tensor:
    """Return the logarithm of windowed images' power: in rings, and along either axis.

    A mean over all that could be under a blurred scan is smoother than any of it, and along phase
    encoding more so. What the spectrum of the output misses against the truth's is how a scanner
    of low resolution still shows through.

    Parameters
    ----------
    images : (B, 2, N, N)
    window : (B, 1, N, N)

    Returns
    -------
    (B, 2, K)
        Rings from `FIRST_CYCLE` over the image on, then the same along rows, then along columns.
    """
    weight = window.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    mean = (images * window).sum(dim=(2, 3), keepdim=True) / weight
    power = torch.fft.rfft2((images - mean) * window).abs().square().flatten(2)
    bins, counts = _bins(images.shape[-1])
    sums = torch.zeros(*power.shape[:2], len(counts))
    for index in bins:
        sums = sums.index_add(2, index, power)
    # relative to what lies in the window; a floor keeps empty patches and far tails quiet
    density = sums / counts.clamp_min(1) / (window.square().sum(dim=(2, 3)) + 1e-6)[..., None]
    return (density[..., :-1] + torch.tensor(POWER_FLOORS)[:, None]).log()
