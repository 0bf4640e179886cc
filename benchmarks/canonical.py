"""Measure spectra and textures of the canonical images that the network was taught to make.

What is measured is the simulator's truth, on the heads that training saw and chose checkpoints
by, cut and described as the program does it. The pages draw their range behind every run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from cohort import FOV
from quality import commit
from study import audit_of

from bidsharmony.evaluation.features import CHANNELS, describe
from bidsharmony.network.training import TRAINING, VALIDATION, load_individuals
from bidsharmony.numerics.rounding import rounded
from bidsharmony.physics.heads import Head, brain_positions, draw_slab
from bidsharmony.physics.pairs import CANONICAL_FWHM, canonical_images, canonical_profile
from bidsharmony.physics.scanner import blur
from bidsharmony.physics.signal import varied_table

OUT = Path(__file__).resolve().parents[1] / 'bidsharmony' / 'data' / 'canonical_range.json'
DIGITS = 4  # of what is written: a band of a chart


def measure(head: Head, slices: int, rng: np.random.Generator) -> dict:
    """Describe one person of a head's anatomy, without lesions, as ``qc.json`` does a run."""
    positions = brain_positions(head)
    places = np.linspace(0.12, 0.88, slices) * (len(positions) - 1)
    table = varied_table(rng)
    images, brains = [], []
    for position in positions[np.rint(places).astype(int)]:
        slab = draw_slab(head, FOV, rng, lesion_chance=0.0, position=int(position))
        images.append(blur(canonical_images(head, slab, table), CANONICAL_FWHM))
        brains.append(slab.brain(canonical_profile()) > 0.5)
    truth = np.stack(images)
    return describe(audit_of(truth.swapaxes(0, 1), truth, np.stack(brains)))


def ranges(found: list[dict]) -> dict:
    """Collect lowest and highest of every figure over persons."""

    def ends(values: list) -> dict[str, list[float]]:
        return {'low': np.min(values, axis=0).tolist(), 'high': np.max(values, axis=0).tolist()}

    features = list(found[0]['glcm'][CHANNELS[0]]['after'])
    return {
        'freqs_per_mm': found[0]['psd']['freqs_per_mm'],
        'psd': {c: ends([one['psd'][c]['after'] for one in found]) for c in CHANNELS},
        'glcm': {
            c: {f: ends([one['glcm'][c]['after'][f] for one in found]) for f in features}
            for c in CHANNELS
        },
    }


def main() -> int:
    """Measure all persons and write the range."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--persons', type=int, default=3, help='of each anatomy')
    parser.add_argument('--slices', type=int, default=20, help='of each person')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--out', type=Path, default=OUT)
    options = parser.parse_args()
    heads = load_individuals(options.anatomy, (*TRAINING, *VALIDATION))
    found = [
        measure(head, options.slices, np.random.default_rng([options.seed, h, person]))
        for h, head in enumerate(heads)
        for person in range(options.persons)
    ]
    document = {
        'description': 'Simulated: lowest and highest spectrum (radial, in the brain, unit area) '
        'and texture of the canonical truth over persons without lesions.',
        'command': 'python benchmarks/canonical.py --anatomy DIR '
        f'--persons {options.persons} --slices {options.slices} --seed {options.seed}',
        'commit': commit(),
        'n_anatomies': len(heads),
        'n_persons': len(found),
        'canonical_fwhm_mm': CANONICAL_FWHM,
        **ranges(found),
    }
    options.out.write_text(json.dumps(rounded(document, DIGITS), indent=1) + '\n')
    b0, texture = document['psd']['b0'], document['glcm']['b0']['contrast_d1']
    spread = 10 * np.log10(np.array(b0['high']) / np.array(b0['low']))
    sys.stdout.write(
        f'{len(found)} simulated persons: spectra at b=0 within {spread[:40].max():.1f} dB up to '
        f'{document["freqs_per_mm"][39]:g} cycles/mm, GLCM contrast {texture["low"]:.3g} to '
        f'{texture["high"]:.3g}\n'
    )
    return 0


if __name__ == '__main__':
    sys.exit(main())
