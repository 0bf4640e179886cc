"""Put known faults into canonical images, and see whether the forward check finds them.

Individuals that training never saw lie in seven scanners (`cohort.simulate`). What the network
makes of each run is held to the scan as it is, with every lesion wiped out, and with a spot that
is not there; so is the truth itself, which the check should leave alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cohort import Cohort, held, passed, simulate
from csv_tables import write_table
from scipy import ndimage

from bidsharmony.evaluation.fidelity import psnr
from bidsharmony.interfaces.qc import rounded
from bidsharmony.network.training import TESTING, load_individuals
from bidsharmony.network.weights import Weights, load_weights
from bidsharmony.numerics.gradients import B_CANONICAL
from bidsharmony.numerics.intensity import FLUID_ADC
from bidsharmony.physics.protocol import held_out_scanners

SPOT_RADIUS = 4  # pixels of 1 mm
SPOT_CONTRAST = 0.3  # of the tissue's median trace
AROUND = (3, 12)  # pixels from a lesion: what it is wiped out with
#: what is held to the scan, and how the table calls it
KINDS = {
    'truth': 'the truth',
    'network': "the network's",
    'wiped': 'lesions wiped out',
    'invented': 'a spot invented',
}


def wiped(images: np.ndarray, lesion: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Fill the lesions of (2, N, F, F) images with the median of what surrounds them."""
    out = images.copy()
    for n in np.flatnonzero(lesion.any(axis=(1, 2))):
        far = ndimage.distance_transform_edt(~lesion[n])
        ring = brain[n] & (far > AROUND[0]) & (far <= AROUND[1])
        soft = ndimage.gaussian_filter(lesion[n].astype(np.float32), 1.5)
        for image in out:
            image[n] += soft * (np.median(image[n][ring]) - image[n])
    return out


def spotted(
    images: np.ndarray,
    lesion: np.ndarray,
    brain: np.ndarray,
    truth: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Put a bright spot into the tissue of every slice without lesion; also (N, F, F) bool."""
    out, spots = images.copy(), np.zeros(brain.shape, bool)
    tissue = brain & (truth[1] > truth[0] * np.exp(-B_CANONICAL * FLUID_ADC))
    for n in np.flatnonzero(~lesion.any(axis=(1, 2))):
        deep = np.argwhere(ndimage.binary_erosion(tissue[n], iterations=SPOT_RADIUS))
        if len(deep):
            far = np.hypot(
                *(np.indices(brain[n].shape) - deep[rng.integers(len(deep))][:, None, None])
            )
            spots[n] = far <= SPOT_RADIUS
            level = SPOT_CONTRAST * np.median(images[1, n][brain[n]])
            out[1, n] += level * ndimage.gaussian_filter(spots[n].astype(np.float32), 1.0)
    return out, spots


def check(weights: Weights, cohort: Cohort, seed: int) -> list[dict[str, Any]]:
    """Hold every kind of every run to its scan; a row each."""
    rng, rows = np.random.default_rng([seed, 31]), []
    heads, scanners, _ = cohort.shape
    for h in range(heads):
        brain, lesion = cohort.brain[h], cohort.lesion[h] & cohort.brain[h]
        truth = cohort.truth[h].swapaxes(0, 1)
        for s in range(scanners):
            slices, facts = cohort.images['bicubic'][h, s], cohort.facts[h][s]
            out, log_gain = passed(weights, slices, facts, brain)
            invented, spots = spotted(out, lesion, brain, truth, rng)
            for kind, images, place in (
                ('truth', truth, lesion),
                ('network', out, lesion),
                ('wiped', wiped(out, lesion, brain), lesion),
                ('invented', invented, spots),
            ):
                made, blend = held(
                    weights, images, log_gain, slices, facts, brain, cohort.scans[h][s]
                )
                row = {
                    'head': h,
                    'scanner': s,
                    'kind': kind,
                    'blended_fraction': float(blend[brain].mean()),
                    'share_beyond': float(np.mean(blend[brain] > 0)),
                    'in_place': float(blend[place].mean()) if place.any() else None,
                }
                if kind != 'truth':
                    for c, channel in enumerate(('b0', 'trace')):
                        row[f'psnr_{channel}'] = [
                            psnr(i[c], truth[c], brain) for i in (images, made)
                        ]
                rows.append(row)
    return rows


def summarise(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Average the runs of each kind; also the run where the check did least in the place."""
    out: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        mine = [row for row in rows if row['kind'] == kind]
        placed = [row['in_place'] for row in mine if row['in_place'] is not None]
        found = {
            'runs': len(mine),
            'blended_fraction': float(np.mean([row['blended_fraction'] for row in mine])),
            'share_beyond': float(np.mean([row['share_beyond'] for row in mine])),
            'in_place': float(np.mean(placed)),
            'in_place_least': float(np.min(placed)),
        }
        for key in ('psnr_b0', 'psnr_trace'):
            if kind != 'truth':
                found[key] = np.mean([row[key] for row in mine], axis=0).tolist()
        out[kind] = found
    return out


def table(found: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Lay the figures out as text."""
    head = ['Simulated', 'Brain beyond 3 sigma (%)', 'Blended (%)', 'Weight in the place']
    rows = [[*head, 'least of a run', 'PSNR b=0 (dB)', 'PSNR trace (dB)']]
    for kind, words in KINDS.items():
        row = found[kind]
        changes = (
            ' → '.join(f'{value:.2f}' for value in row[key]) if key in row else ''
            for key in ('psnr_b0', 'psnr_trace')
        )
        rows.append(
            [
                words,
                f'{100 * row["share_beyond"]:.1f}',
                f'{100 * row["blended_fraction"]:.1f}',
                f'{row["in_place"]:.2f}',
                f'{row["in_place_least"]:.2f}',
                *changes,
            ]
        )
    return rows


def main() -> int:
    """Print the table and write JSON and, where asked, CSV."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--slices', type=int, default=8, help='of each individual')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--out', type=Path, default=Path('blending.json'))
    parser.add_argument('--table', type=Path, help='CSV of the table')
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    heads = load_individuals(options.anatomy, TESTING)
    protocols = held_out_scanners(np.random.default_rng([options.seed, 20]))
    cohort = simulate(heads, protocols, options.slices, options.seed)
    rows = check(weights, cohort, options.seed)
    found = summarise(rows)
    lines = table(found)
    for line in lines:
        sys.stdout.write('  '.join(cell.ljust(24) for cell in line).rstrip() + '\n')
    document = {
        'simulated': True,
        'weights_sha256': weights.sha256,
        'individuals': [head.name for head in heads],
        'slices': options.slices,
        'seed': options.seed,
        'kinds': found,
        'runs': rows,
    }
    options.out.write_text(json.dumps(rounded(document, 4), indent=1) + '\n')
    if options.table:
        write_table(options.table, lines)
    return 0


if __name__ == '__main__':
    sys.exit(main())
