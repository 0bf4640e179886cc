"""What training lowers: errors, and what tells two scanners of one slab apart."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from bidsharmony.network.model import Harmonizer
from bidsharmony.network.recipe import Recipe

SHARPEST = 0.4  # cycles/mm: beyond it the canonical resolution leaves a tenth of the amplitude
POWER_FLOOR = 1e-5  # squared canonical units: an amplitude of .003


def _gradient(images: Tensor) -> tuple[Tensor, Tensor]:
    return images[..., 1:, :] - images[..., :-1, :], images[..., 1:] - images[..., :-1]


def loss_of(model: Harmonizer, batch: dict[str, Tensor], recipe: Recipe) -> Tensor:
    """Return the training loss.

    Absolute and squared error, edges, ADC, gain, agreement of twins, spectrum, and the error's own
    estimate.

    Parameters
    ----------
    model : Harmonizer
    batch : dict
        ``source``, ``target`` (B, 2, H, W), ``log_gain``, ``brain``, ``head`` (B, 1, H, W) and
        ``condition``; twins follow one another.
    recipe : Recipe
    """
    images = batch['source'].contiguous(memory_format=torch.channels_last)
    with torch.autocast('cpu', torch.bfloat16, enabled=recipe.bfloat16):
        output = model(images, batch['condition'])
    out, log_gain, log_error = (part.float() for part in output)
    # (B, 2, H, W); the trace is darker than b=0 by this factor and shall count as much
    channels = torch.tensor([1.0, 2.5])[:, None, None]
    weight = (0.1 + 0.9 * batch['brain']) * channels
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
    loss = loss + 0.2 * (batch['brain'] * ratio.abs()).mean()
    inside = (batch['head'] > 0.5) * (0.1 + 0.9 * batch['brain'])
    loss = loss + 0.5 * (inside * (log_gain - batch['log_gain']).abs()).mean()
    if recipe.consistency:
        first, second = out[0::2], out[1::2]
        apart = weight[0::2] * (first - second).abs()
        if recipe.repeat:  # the last scan is no twin any more
            apart = apart[:-1]
        loss = loss + recipe.consistency * apart.sum() / first.numel()
    if recipe.spectrum:
        window = batch['brain'] * hann_window(out.shape[-1])
        apart = log_spectrum(out, window) - log_spectrum(batch['target'], window)
        loss = loss + recipe.spectrum * apart.abs().mean()
    # Laplace likelihood: the network says how far off it expects to be
    expected = error.detach() * torch.exp(-log_error) + log_error
    return loss + 0.02 * (weight * expected).mean()


@lru_cache(maxsize=4)
def hann_window(size: int) -> Tensor:
    """Return a two-dimensional Hann window that is nowhere zero, (size, size)."""
    line = torch.hann_window(size + 2, periodic=False)[1:-1]
    return torch.outer(line, line)


@lru_cache(maxsize=4)
def _rings(size: int) -> tuple[Tensor, Tensor]:
    """Return the ring of each frequency of a real transform, and each ring's size."""
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None]
    ring = torch.round(torch.hypot(rows, columns) * size).long().flatten()
    counts = torch.bincount(ring)
    return ring, counts


def log_spectrum(images: Tensor, window: Tensor) -> Tensor:
    """Return the logarithm of windowed images' radial power spectra, at frequencies above 0.

    A mean over all that could be under a blurred scan is smoother than any of it. What the
    spectrum of the output misses against the truth's is how a scanner of low resolution still
    shows through.

    Parameters
    ----------
    images : (B, C, N, N)
    window : (B, 1, N, N)

    Returns
    -------
    (B, C, K)
        Ring k holds k cycles over the image, up to `SHARPEST` cycles a pixel.
    """
    size = images.shape[-1]
    weight = window.sum(dim=(2, 3), keepdim=True).clamp_min(1e-6)
    mean = (images * window).sum(dim=(2, 3), keepdim=True) / weight
    power = torch.fft.rfft2((images - mean) * window).abs().square().flatten(2)
    ring, counts = _rings(size)
    sums = torch.zeros(*power.shape[:2], len(counts)).index_add(2, ring, power)
    # relative to what lies in the window; a floor keeps empty patches and far tails quiet
    density = sums / counts / (window.square().sum(dim=(2, 3)) + 1e-6)[..., None]
    return (density[..., 1 : int(SHARPEST * size) + 1] + POWER_FLOOR).log()
