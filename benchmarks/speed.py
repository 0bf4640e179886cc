"""Time what bounds the training: one simulated pair, one step of the network.

    python benchmarks/speed.py --anatomy DIR [--out speed.json]

One core; processor time, so that what else the machine does counts little. Medians of blocks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

import numpy as np
import torch

from bidsharmony.network.loss import loss_of
from bidsharmony.network.model import Harmonizer
from bidsharmony.network.recipe import Recipe
from bidsharmony.network.training import TRAINING, load_individuals, twin_tensors
from bidsharmony.physics.pairs import draw_twins

BLOCKS = 5
TARGET_PAIR = 50.0  # ms


def milliseconds(work: Callable[[], object], repeats: int) -> float:
    """Return the processor time of one call, the median of `BLOCKS` blocks after a first."""
    blocks = []
    for _ in range(BLOCKS + 1):
        began = time.process_time()
        for _ in range(repeats):
            work()
        blocks.append(1e3 * (time.process_time() - began) / repeats)
    return statistics.median(blocks[1:])


def main() -> int:
    """Print the table; end with 1 if the pair costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True)
    parser.add_argument('--out', type=Path, help='JSON')
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = load_individuals(options.anatomy, TRAINING[:3])
    rng, recipe = np.random.default_rng(0), Recipe()
    pair = milliseconds(lambda: draw_twins(heads, rng), repeats=20) / 2

    model = Harmonizer().to(memory_format=torch.channels_last)
    twins = [twin_tensors(draw_twins(heads, rng), recipe, rng) for _ in range(recipe.batch // 2)]
    batch = {name: torch.cat([part[name] for part in twins]) for name in twins[0]}

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss_of(model, batch, recipe).backward()

    figures = {
        'simulated pair (ms)': pair,
        f'training step, {recipe.batch} patches of {recipe.patch} (ms)': milliseconds(step, 3),
    }
    for name, value in figures.items():
        print(f'{name:45s} {value:8.1f}')
    if options.out:
        options.out.write_text(json.dumps(figures, indent=1) + '\n')
    return int(pair > TARGET_PAIR)


if __name__ == '__main__':
    sys.exit(main())
