"""Time the network, the panels and the training on one core, against what the core can do."""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from skimage.feature import graycomatrix, graycoprops
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from bidsharmony.evaluation.features import audit_arrays, describe
from bidsharmony.network.loss import loss_of
from bidsharmony.network.model import N_CONDITIONS, Harmonizer
from bidsharmony.network.recipe import Recipe
from bidsharmony.network.training import TRAINING, load_individuals, twin_tensors
from bidsharmony.network.weights import load_weights
from bidsharmony.numerics.texture import (
    ANGLES,
    DISTANCES,
    FEATURES,
    _quantise,
    glcm_features,
)
from bidsharmony.physics.pairs import draw_twins

BLOCKS = 5
SLICE = 256
LEVELS = 32


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the processor time of one call, the median of `BLOCKS` blocks after a first."""
    blocks = []
    for _ in range(BLOCKS + 1):
        began = time.process_time()
        for _ in range(repeats):
            work()
        blocks.append(1e3 * (time.process_time() - began) / repeats)
    return statistics.median(blocks[1:])


def operations(work: Callable[[], object]) -> float:
    """Count the floating-point operations of convolutions and products (billions)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() / 1e9


def peak() -> float:
    """Measure the most that one core does of convolutions or products, 1e9 operations a second."""
    features = torch.randn(4, 64, 128, 128).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(64, 64, 3, 3).contiguous(memory_format=torch.channels_last)
    square = torch.randn(1024, 1024)
    works = (
        lambda: functional.conv2d(features, kernel, padding=1),
        lambda: functional.conv2d(features.contiguous(), kernel.contiguous(), padding=1),
        lambda: square @ square,
    )
    return max(1e3 * operations(work) / milliseconds(work, 5) for work in works)


class UNet(nn.Module):
    """A U-Net of the widths that HACA3 publishes.

    Zuo et al., Comput Med Imaging Graph 2023;109:102285, and the widths of their released code.
    At each level two convolutions of 3 x 3 to twice the width, with instance norm; on the way up
    one more behind each bilinear doubling. Weights are random: only its time counts.
    """

    def __init__(self, inputs: int, outputs: int, width: int, levels: int = 4) -> None:
        super().__init__()

        def pair(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(single(before, after), single(after, after))

        def single(before: int, after: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, padding=1), nn.InstanceNorm2d(after), nn.LeakyReLU(0.1)
            )

        widths = [width * 2**level for level in range(levels + 1)]
        self.enter = nn.Conv2d(inputs, width, 3, padding=1)
        self.down = nn.ModuleList(pair(w, 2 * w) for w in widths[:-1])
        self.lowest = pair(widths[-1], 2 * widths[-1])
        self.doubled = nn.ModuleList(single(4 * w, 2 * w) for w in widths[:-1])
        self.up = nn.ModuleList(pair(4 * w, 2 * w) for w in widths[:-1])
        self.leave = nn.Sequential(
            nn.Conv2d(2 * width, width, 3, padding=1), nn.Conv2d(width, outputs, 3, padding=1)
        )

    def forward(self, images: Tensor) -> Tensor:
        kept, x = [], self.enter(images)
        for down in self.down:
            kept.append(down(x))
            x = functional.max_pool2d(kept[-1], 2)
        x = self.lowest(x)
        for skip, doubled, up in zip(
            reversed(kept), reversed(self.doubled), reversed(self.up), strict=True
        ):
            larger = functional.interpolate(x, scale_factor=2, mode='bilinear')
            x = up(torch.cat([skip, doubled(larger)], dim=1))
        return self.leave(x)


@torch.inference_mode()
def network(machine: float) -> dict[str, float]:
    """Time one slice of 256 x 256 through the network, and through networks of HACA3's size.

    HACA3 encodes each contrast (width 8) and decodes each image that is asked for (width 16), for
    slices of three orientations, and fuses the three volumes. Two contrasts and two images are
    counted, without the fusion, for one orientation and for all three.

    Parameters
    ----------
    machine : float
        See `peak`.
    """
    model = load_weights().model
    images, told = torch.rand(4, 2, SLICE, SLICE), torch.zeros(4, N_CONDITIONS)
    ours = milliseconds(lambda: model(images, told), 3) / 4
    rate = 1e3 * operations(lambda: model(images, told)) / 4 / ours
    encoder, decoder = UNet(1, 5, 8).eval(), UNet(3, 1, 16).eval()
    one, three = torch.rand(1, 1, SLICE, SLICE), torch.rand(1, 3, SLICE, SLICE)
    theirs = 2 * (milliseconds(lambda: encoder(one), 2) + milliseconds(lambda: decoder(three), 2))
    return {'ms': ours, 'of_peak': rate / machine, 'times_haca3': theirs / ours, 'orientations': 3}


def panels(slices: int = 30) -> dict[str, float]:
    """Time spectra and textures of one run, and textures by others.

    Returns
    -------
    dict
        ``ms`` of all, ``slices``; ``times_looped``, how many times as long textures alone take by
        scikit-image slice by slice; ``times_mirp``, how many times as long as ours they take by
        mirp, where it is installed (extra ``crosscheck``).
    """
    rng = np.random.default_rng(0)
    shape = (160, 190, slices)
    x, y = np.indices(shape[:2])
    inside = np.hypot((x - 80) / 68, (y - 95) / 85) < 1
    mask = np.repeat(inside[..., None], slices, axis=2)
    image = mask * (1 + 0.1 * rng.standard_normal(shape))
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    audit = audit_arrays(image, image, affine, mask, image, image, affine)
    ours = milliseconds(lambda: describe(audit), 1)

    def looped() -> None:
        for side in ('before', 'after'):
            for channel in (0, 1):
                for plane, brain in zip(audit[side][:, channel], audit['mask'], strict=True):
                    values = plane.astype(np.float32)
                    low, high = np.percentile(values[brain], (1, 99))
                    levels = np.clip((values - low) / (high - low), 0, 1) * (LEVELS - 1)
                    cut = np.where(brain, 1 + levels, 0).astype(np.uint8)
                    counts = graycomatrix(cut, DISTANCES, ANGLES, levels=LEVELS + 1)[1:, 1:]
                    for name in FEATURES:
                        graycoprops(counts, name)

    found = {
        'ms': ours,
        'slices': len(audit['mask']),
        'times_looped': milliseconds(looped, 1) / ours,
    }
    if importlib.util.find_spec('mirp'):
        slices_, masks = audit['before'][:, 0].astype(np.float32), audit['mask']
        levels = _quantise(slices_, masks, LEVELS).astype(float)
        theirs = milliseconds(lambda: by_mirp(levels, masks), 1)
        found['times_mirp'] = theirs / milliseconds(lambda: glcm_features(slices_, masks), 5)
    return found


def by_mirp(levels: np.ndarray, masks: np.ndarray) -> None:
    """Compute the same textures of one channel by mirp, whose levels are given."""
    import logging

    import mirp

    logging.disable()
    for distance in DISTANCES:
        mirp.extract_features(
            image=levels,
            mask=masks.astype(int),
            by_slice=True,
            base_discretisation_method='none',
            base_feature_families='glcm',
            glcm_distance=[float(distance)],
            glcm_spatial_method='2.5d_direction_merge',
        )
    logging.disable(logging.NOTSET)


def training(anatomy: Path, machine: float) -> dict[str, float]:
    """Time a simulated pair, and one step of the network: forward, loss and backward."""
    heads = load_individuals(anatomy, TRAINING[:3])
    rng, recipe = np.random.default_rng(0), Recipe()
    pair = milliseconds(lambda: draw_twins(heads, rng), repeats=20) / 2
    model = Harmonizer().to(memory_format=torch.channels_last)
    twins = [twin_tensors(draw_twins(heads, rng), recipe, rng) for _ in range(recipe.batch // 2)]
    batch = {name: torch.cat([part[name] for part in twins]) for name in twins[0]}

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss_of(model, batch, recipe).backward()

    took = milliseconds(step, 3)
    return {'pair_ms': pair, 'step_ms': took, 'of_peak': 1e3 * operations(step) / took / machine}
