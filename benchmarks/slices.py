"""Measure, on simulated brains without noise, how near averaged slices come to thick ones.

For every protocol: the root mean square difference from slices of the canonical profile, over
their mean, as acquired and after `numerics.slices`. This is the table of docs/limits.rst.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from bidsharmony.numerics.slices import FWHM_PER_SD, throughplane_kernel
from bidsharmony.physics.heads import load_head
from bidsharmony.physics.pairs import CANONICAL_THICKNESS
from bidsharmony.physics.signal import CANONICAL_CONTRAST, tissue_signal, varied_table
from bidsharmony.physics.tissue import TISSUES

TEST = range(13, 18)
# thickness, distance
PROTOCOLS = (
    *((1, 1), (2, 2), (2.5, 2.5), (2.5, 3), (3, 3), (3, 3.6)),
    *((4, 4), (4, 5.2), (5, 5), (6, 6), (6, 7.2)),
)
STEP = 7.3  # mm between the slices compared
MARGIN = 20.0  # mm at either end that no slice is taken from
SMALLEST = 2000  # mm2 of brain
BRAIN = np.array([tissue.brain for tissue in TISSUES.values()])


class Stack:
    """A volume of 1 mm voxels, cut into slices of any thickness at any height."""

    def __init__(self, volume: np.ndarray) -> None:
        edge = np.zeros((*volume.shape[:2], 1))
        self.below = np.concatenate([edge, np.cumsum(volume, axis=2, dtype=float)], axis=2)

    def slice(self, thickness: float, centre: float) -> np.ndarray:
        """Average over a box, (I, J)."""
        low, high = (self._up_to(centre + side * thickness / 2) for side in (-1, 1))
        return (high - low) / thickness

    def canonical(self, centre: float) -> np.ndarray:
        """Average under the canonical profile, (I, J)."""
        steps = np.arange(-3, 3.01, 0.1)  # standard deviations
        weights = np.exp(-(steps**2) / 2)
        sd = CANONICAL_THICKNESS / FWHM_PER_SD
        planes = [self.slice(0.1 * sd, centre + step * sd) for step in steps]
        return np.tensordot(weights / weights.sum(), planes, axes=(0, 0))

    def _up_to(self, height: float) -> np.ndarray:
        whole = int(height)
        part = height - whole
        return (1 - part) * self.below[..., whole] + part * self.below[..., whole + 1]


def differences(codes: np.ndarray, signal: np.ndarray) -> np.ndarray:
    """Return the relative difference of one head by protocol, as acquired and averaged, (P, 2)."""
    image, brain = Stack(signal[codes]), Stack(BRAIN[codes])
    squares, total, count = np.zeros((len(PROTOCOLS), 2)), 0.0, 0
    for centre in np.arange(MARGIN, codes.shape[2] - MARGIN, STEP):
        mask = brain.canonical(centre) > 0.5
        if mask.sum() < SMALLEST:
            continue
        truth = image.canonical(centre)[mask]
        total, count = total + truth.sum(), count + truth.size
        for row, (thickness, spacing) in enumerate(PROTOCOLS):
            kernel = throughplane_kernel(thickness, spacing, CANONICAL_THICKNESS)
            places = centre + spacing * (np.arange(len(kernel)) - len(kernel) // 2)
            slices = [image.slice(thickness, place)[mask] for place in places]
            shown = (slices[len(kernel) // 2], kernel @ slices)
            squares[row] += [((one - truth) ** 2).sum() for one in shown]
    return np.sqrt(squares / count) / (total / count)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('anatomy', type=Path, help='folder of training_seg_NN.nii.gz')
    folder = parser.parse_args().anatomy
    signal, _ = tissue_signal(varied_table(np.random.default_rng(0)), CANONICAL_CONTRAST)
    found = [
        differences(load_head(folder / f'training_seg_{number:02}.nii.gz').codes, signal)
        for number in TEST
    ]
    sys.stdout.write('thickness, distance (mm): as acquired, averaged (simulated)\n')
    for (thickness, spacing), (before, after) in zip(
        PROTOCOLS, np.mean(found, axis=0), strict=True
    ):
        sys.stdout.write(f'{thickness:g}, {spacing:g}: {before:.1%}, {after:.1%}\n')


if __name__ == '__main__':
    main()
