"""Judge the network on simulated scans of individuals that training never saw.

    python benchmarks/quality.py --anatomy DIR [--weights FILE] [--out quality.json]

Individuals 13 to 17, each with slices of random scanners, three seeds. Identity is the robustly
scaled scan on the canonical grid by linear interpolation, bicubic by cubic interpolation. Every
method gets one affine intensity fit per image. All figures are simulated.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from bidsharmony.network.training import (
    METHODS,
    TESTING,
    draw_pairs,
    evaluate,
    load_individuals,
)
from bidsharmony.network.weights import load_weights

FIGURES = ('psnr_b0', 'psnr_trace', 'ssim_b0', 'ssim_trace')
SEEDS = (1, 2, 3)


def main() -> int:
    """Print the table and write the JSON; 1 if the network misses +3 dB over identity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--out', type=Path, default=Path('quality.json'))
    parser.add_argument('--slices', type=int, default=12, help='per individual and seed')
    options = parser.parse_args()
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    heads = load_individuals(options.anatomy, TESTING)
    runs = [
        evaluate(weights.model, draw_pairs(heads, options.slices, 1000 + seed)) for seed in SEEDS
    ]
    rows = {
        method: {
            name: [
                float(np.mean([run[method][name] for run in runs])),
                float(np.std([run[method][name] for run in runs])),
            ]
            for name in FIGURES
        }
        for method in METHODS
    }
    sys.stdout.write(
        f'simulated; individuals {TESTING[0]}-{TESTING[-1]}, {options.slices} slices each, '
        f'{len(SEEDS)} seeds: mean (standard deviation over seeds)\n'
    )
    sys.stdout.write(f'{"":10}' + ''.join(f'{name:>18}' for name in FIGURES) + '\n')
    for method, row in rows.items():
        cells = ''.join(f'{mean:11.3f} ({spread:4.3f})' for mean, spread in row.values())
        sys.stdout.write(f'{method:10}{cells}\n')
    gains = {n: rows['network'][n][0] - rows['identity'][n][0] for n in FIGURES[:2]}
    sys.stdout.write(
        'network over identity: '
        + ', '.join(f'{name} {gain:+.2f} dB' for name, gain in gains.items())
        + '\n'
    )
    document = {
        'simulated': True,
        'weights_sha256': weights.sha256,
        'individuals': list(TESTING),
        'slices': options.slices,
        'seeds': list(SEEDS),
        'mean_and_sd_over_seeds': rows,
    }
    options.out.write_text(json.dumps(document, indent=1) + '\n')
    return 0 if min(gains.values()) >= 3 else 1


if __name__ == '__main__':
    sys.exit(main())
