"""Restore a T2-weighted volume that simulated scanners have coarsened.

    python benchmarks/restoration.py --t2w FILE [--weights FILE] [--out restoration.json]

Slices of the volume are sampled as scanners sample that training left out, restored by the network
and by interpolation, and set against the volume at the canonical resolution: PSNR and SSIM in the
brain. Scans are simulated. See docs/restoration.rst for what each row means.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import ndimage

from bidsharmony.evaluation.fidelity import affine_fit, psnr, ssim
from bidsharmony.network.model import encode_metadata
from bidsharmony.network.weights import Weights, load_weights
from bidsharmony.physics.heads import Head, brain_positions, draw_slab
from bidsharmony.physics.pairs import (
    CANONICAL_FWHM,
    CANONICAL_THICKNESS,
    GRID_SPACING,
    Pair,
    scan,
    to_grid,
)
from bidsharmony.physics.protocol import Protocol, held_out_scanners
from bidsharmony.physics.scanner import blur
from bidsharmony.physics.signal import CANONICAL_B_VALUE, CANONICAL_CONTRAST, nominal_table
from bidsharmony.physics.t2w import t2w_head
from bidsharmony.viz.canvas import GAP, ZOOM, brain_box, shared_window, tile
from bidsharmony.viz.figure import (
    AFTER_ON_BLACK,
    BEFORE_ON_BLACK,
    DPI,
    new_figure,
    save_png,
    styled,
)

CHANNELS = ('b0', 'trace')
METHODS = ('linear', 'bicubic', 'lanczos', 'network')
FIGURES = ('psnr_b0', 'ssim_b0', 'psnr_trace', 'ssim_trace')
FOV = 224  # mm; the volume's length is 183, and a pose adds to it
BIAS_SD, SCALE_JITTER = 0.03, 0.02  # what bias correction and robust scale leave, logarithmic
RIM = 2.5  # mm of fluid that `t2w_head` grows around the extracted brain
THINNEST = 1.5  # mm: of the slices that training draws
NOISELESS = 1e6  # signal-to-noise ratio
PARTS = ('all', 'superior')
ONE_INDIVIDUAL = 'one-individual'  # the recipe that trains on the inferior part of such a volume


def sampled_only(protocol: Protocol) -> Protocol:
    """Return a protocol of canonical contrast and b-value, its sampling and noise kept."""
    return replace(protocol, contrast=CANONICAL_CONTRAST, b_value=CANONICAL_B_VALUE)


def coarser(factor: float) -> Protocol:
    """Return a protocol that only crops k-space: pixels of `factor` mm, no noise, no filter."""
    return Protocol(
        CANONICAL_CONTRAST,
        b_value=CANONICAL_B_VALUE,
        pixel=factor,
        # thin slices without a gap add up to the canonical profile: nothing is lost through plane
        thickness=THINNEST,
        spacing=THINNEST,
        readout_decay=0.0,
        snr=NOISELESS,
    )


#: Each row: its scanners for a generator, and whether coil and scale are left imperfect.
DEGRADATIONS: dict[str, tuple[Callable[[np.random.Generator], list[Protocol]], bool]] = {
    'scanners, canonical contrast': (
        lambda rng: [sampled_only(protocol) for protocol in held_out_scanners(rng)],
        False,
    ),
    'scanners, own contrast': (held_out_scanners, True),
    '2x coarser, no noise': (lambda rng: [coarser(2.0)], False),
    '3x coarser, no noise': (lambda rng: [coarser(3.0)], False),
}


def degraded(head: Head, degradation: str, slices: int, seed: int) -> list[Pair]:
    """Scan the same slices of a head on every scanner of a degradation.

    Parameters
    ----------
    head : Head
    degradation : str
        One of `DEGRADATIONS`.
    slices : int
        Evenly through the brain, away from its ends.
    seed : int
        Of the scanners, poses, noise and coils.
    """
    draw, imperfect = DEGRADATIONS[degradation]
    protocols = draw(np.random.default_rng([seed, 21]))
    positions = brain_positions(head)
    places = np.rint(np.linspace(0.12, 0.88, slices) * (len(positions) - 1)).astype(int)
    pairs = []
    for n, position in enumerate(positions[places]):
        # the texture is the volume's own: none is drawn on top of it
        slab = draw_slab(
            head,
            FOV,
            np.random.default_rng([seed, 22, n]),
            lesion_chance=0,
            position=int(position),
        )
        slab = replace(slab, textures=None)
        for s, protocol in enumerate(protocols):
            pairs.append(
                scan(
                    head,
                    slab,
                    nominal_table(),
                    protocol,
                    np.random.default_rng([seed, 23, n, s]),
                    bias_sd=BIAS_SD * imperfect,
                    scale_jitter=SCALE_JITTER * imperfect,
                )
            )
    return pairs


def lanczos(images: np.ndarray, size: int) -> np.ndarray:
    """Interpolate (C, R, R) images to (C, size, size) by Pillow's Lanczos filter (three lobes).

    Examples
    --------
    >>> lanczos(np.ones((1, 4, 4)), 8).round(5).min()
    np.float32(1.0)
    """
    return np.stack(
        [
            np.asarray(
                Image.fromarray(np.ascontiguousarray(image, np.float32)).resize(
                    (size, size), Image.Resampling.LANCZOS
                )
            )
            for image in images
        ]
    )


@torch.inference_mode()
def restored(weights: Weights, pair: Pair) -> dict[str, np.ndarray]:
    """Return what each method makes of a scan; (2, F, F) by method."""
    size = pair.source.shape[-1]
    condition = encode_metadata(pair.metadata)[None]
    output = weights.model(torch.from_numpy(pair.source[None]), condition)
    return {
        'linear': to_grid(pair.reconstructed, size, order=1),
        'bicubic': pair.source,
        'lanczos': np.maximum(lanczos(pair.reconstructed, size), 0),
        'network': output.images[0].clamp_min(0).numpy(),
    }


def own_brain(pair: Pair) -> np.ndarray:
    """Return where a scan shows the volume's own brain, without the fluid grown around it."""
    inside = np.pad(pair.brain > 0.5, 1)
    return (ndimage.distance_transform_edt(inside) > RIM)[1:-1, 1:-1]


def truth_of(pair: Pair, fwhm: float) -> np.ndarray:
    """Return the truth at the resolution of the network's output; (2, F, F)."""
    more = float(np.sqrt(max(fwhm**2 - CANONICAL_FWHM**2, 0))) / GRID_SPACING
    return blur(pair.target, more) if more > 0 else pair.target


def scores(
    images: Sequence[dict[str, np.ndarray]],
    truths: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
) -> dict[str, dict[str, float]]:
    """Compute PSNR and SSIM of every method, after one affine fit for each method and channel.

    Parameters
    ----------
    images : sequence of dict
        Of each slice, by method, (2, F, F).
    truths : sequence of (2, F, F)
    masks : sequence of (F, F) bool

    Returns
    -------
    dict
        ``{method: {'psnr_b0': dB, ...}}``, means over slices.
    """
    table: dict[str, dict[str, float]] = {}
    for method in images[0]:
        table[method] = {}
        for channel, label in enumerate(CHANNELS):
            seen = [image[method][channel] for image in images]
            true = [truth[channel] for truth in truths]
            slope, intercept = affine_fit(
                [image[mask] for image, mask in zip(seen, masks, strict=True)],
                [truth[mask] for truth, mask in zip(true, masks, strict=True)],
            )
            fitted = [slope * image + intercept for image in seen]
            for name, measure in (('psnr', psnr), ('ssim', ssim)):
                values = [measure(*row) for row in zip(fitted, true, masks, strict=True)]
                table[method][f'{name}_{label}'] = float(np.mean(values))
    return table


def measured(
    weights: Weights, head: Head, degradation: str, slices: int, seeds: int
) -> dict[str, dict[str, Any]]:
    """Score every method on a degradation; values of each seed, their mean and deviation."""
    runs = []
    for seed in range(1, seeds + 1):
        pairs = degraded(head, degradation, slices, seed)
        runs.append(
            scores(
                [restored(weights, pair) for pair in pairs],
                [truth_of(pair, weights.fwhm_mm) for pair in pairs],
                [own_brain(pair) for pair in pairs],
            )
        )
    return {
        method: {
            name: {
                'mean': float(np.mean([run[method][name] for run in runs])),
                'sd': float(np.std([run[method][name] for run in runs], ddof=seeds > 1)),
                'seeds': [run[method][name] for run in runs],
            }
            for name in FIGURES
        }
        for method in METHODS
    }


def label_of(part: str, recipe: str) -> str:
    """Say how a part of the volume stands to what the network was trained on.

    Examples
    --------
    >>> label_of('superior', 'one-individual'), label_of('all', 'individuals')
    ('same individual, part not trained on', 'individual never trained on')
    """
    if recipe != ONE_INDIVIDUAL:
        return 'individual never trained on'
    if part == 'superior':
        return 'same individual, part not trained on'
    return 'same individual, two thirds trained on'


def table_of(part: str, label: str, rows: dict[str, dict[str, Any]]) -> str:
    """Write one part's rows as a table."""
    lines = [f'{part} ({label})', f'{"":44}' + ''.join(f'{name:>18}' for name in FIGURES)]
    for degradation, methods in rows.items():
        for method, figures in methods.items():
            cells = ''.join(
                f'{figures[name]["mean"]:10.3f} ({figures[name]["sd"]:.3f})'.rjust(18)
                for name in FIGURES
            )
            lines.append(f'{degradation:32}{method:12}{cells}')
    return '\n'.join(lines) + '\n'


@styled
def mosaic_of(weights: Weights, pairs: Sequence[Pair]):
    """Draw b=0 of some scans: bicubic, network and truth under one another, at one window.

    Parameters
    ----------
    weights : Weights
    pairs : sequence of Pair

    Returns
    -------
    matplotlib.figure.Figure
    """
    images = [restored(weights, pair) for pair in pairs]
    masks = np.stack([own_brain(pair) for pair in pairs])
    truth = np.stack([truth_of(pair, weights.fwhm_mm)[0] for pair in pairs])
    rows = [('truth', 'white', truth)]
    for name, method, colour in (
        ('after: network', 'network', AFTER_ON_BLACK),
        ('before: bicubic', 'bicubic', BEFORE_ON_BLACK),
    ):
        stack = np.stack([image[method][0] for image in images])
        slope, intercept = affine_fit([stack[masks]], [truth[masks]])
        rows.insert(0, (name, colour, slope * stack + intercept))
    high = shared_window(truth, mask=masks, percentile=98)
    box = brain_box(masks)
    # rows of a slab run from posterior to anterior
    shown = [box.crop(stack)[:, ::-1] for _, _, stack in rows]
    canvas = tile(np.concatenate(shown), len(pairs))
    strip = 40  # screen pixels
    height, width = canvas.shape[0] * ZOOM, canvas.shape[1] * ZOOM + strip
    figure = new_figure(width / DPI, height / DPI, facecolor='black')
    figure.pixel_exact = True
    axes = figure.add_axes((strip / width, 0, 1 - strip / width, 1))
    axes.set_axis_off()
    axes.imshow(canvas, cmap='gray', vmin=0, vmax=high, interpolation='nearest', aspect='auto')
    one = shown[0].shape[1]
    for row, (name, colour, _) in enumerate(rows):
        middle = 1 - (row * (one + GAP) + one / 2) / canvas.shape[0]
        figure.text(
            strip / 2 / width, middle, name, color=colour, fontsize=14, rotation=90,
            ha='center', va='center',
        )  # fmt: skip
    return figure


def figure_pairs(head: Head) -> list[Pair]:
    """Return the scans that the figure shows: four slices, each on another test scanner."""
    pairs = degraded(head, 'scanners, canonical contrast', 4, seed=1)
    return [pairs[i] for i in (0, 7 + 2, 14 + 4, 21 + 6)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON; 1 if an interpolation restores as well or better."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--t2w', type=Path, required=True, help='brain-extracted T2w volume')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--out', type=Path, default=Path('restoration.json'))
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--slices', type=int, default=6, help='of each part, per seed and scanner')
    parser.add_argument('--figure', type=Path, help='also draw before, after and truth (PNG)')
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    recipe = str(weights.recipe.get('name', 'individuals'))
    sys.stdout.write(
        f'simulated scans of {options.t2w.name}, network of recipe {recipe}; '
        f'{options.slices} slices, {options.seeds} seeds: mean (standard deviation over seeds)\n'
    )
    document: dict[str, Any] = {
        'simulated': True,
        'volume': options.t2w.name,
        'weights_sha256': weights.sha256,
        'recipe': recipe,
        'canonical_fwhm_mm': weights.fwhm_mm,
        'canonical_thickness_mm': CANONICAL_THICKNESS,
        'slices': options.slices,
        'seeds': list(range(1, options.seeds + 1)),
        'parts': {},
    }
    worse = False
    for part in PARTS:
        head = t2w_head(options.t2w, part)
        rows = {
            name: measured(weights, head, name, options.slices, options.seeds)
            for name in DEGRADATIONS
        }
        label = label_of(part, recipe)
        document['parts'][part] = {'label': label, 'rows': rows}
        sys.stdout.write(table_of(part, label, rows))
        for methods in rows.values():
            best = max(methods[m]['psnr_b0']['mean'] for m in METHODS if m != 'network')
            worse |= methods['network']['psnr_b0']['mean'] <= best
        if part == 'all' and options.figure:
            options.figure.parent.mkdir(parents=True, exist_ok=True)
            options.figure.write_bytes(save_png(mosaic_of(weights, figure_pairs(head))))
    options.out.write_text(json.dumps(document, indent=1) + '\n')
    return int(worse)


if __name__ == '__main__':
    sys.exit(main())
