"""Write simulated studies as the participant level would leave them, for the group level to read.

``travelling``: the individuals that training never saw, each in two sessions on seven scanners of
four vendors at 1.5 and 3 T, with lesions in every second slice. ``atrophy``: people of another
age each, whose fluid spaces are the wider the older they are, on two of the scanners each.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cohort import FOV, Cohort, harmonized, simulate
from scipy import ndimage

from bidsharmony import __version__
from bidsharmony.evaluation.features import CHANNELS, audit_arrays, describe
from bidsharmony.evaluation.finished import AUDIT_SUFFIX, QC_SUFFIX
from bidsharmony.evaluation.lesions import CLEAR, without_specks
from bidsharmony.evaluation.preservation import lesion_figures
from bidsharmony.interfaces.compare import npz_bytes
from bidsharmony.network.training import TESTING, load_individuals
from bidsharmony.network.weights import load_weights
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.planes import AUDIT_STEP
from bidsharmony.numerics.rounding import rounded
from bidsharmony.physics.heads import Head
from bidsharmony.physics.protocol import Protocol, held_out_scanners
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES
from bidsharmony.supervise.marker import file_sha256, marker_path, write_marker

STUDIES = ('travelling', 'atrophy')
METHOD = 'network'
YOUNGEST, OLDEST = 30.0, 80.0  # years
WIDEST = 4.0  # mm that fluid reaches further into the brain of the oldest
AGES = 4  # of each individual: as many people of one anatomy
SCANNERS_EACH = 2  # that a person of the study of atrophy was on
B_VALUE = 1000.0  # s/mm2


@dataclass(frozen=True)
class Run:
    """One person on one scanner."""

    subject: str
    session: str
    protocol: Protocol
    letter: str

    @property
    def stem(self) -> str:
        """Start of the names of its files."""
        return f'sub-{self.subject}_ses-{self.session}_acq-{self.letter}'

    @property
    def scanner(self) -> dict[str, Any]:
        """Identity as ``qc.json`` states it."""
        field = self.protocol.contrast.field_strength
        maker, model = self.protocol.vendor, f'Simulated {self.letter}'
        return {
            'label': f'{maker} {model} {field:g} T',
            'manufacturer': maker,
            'model': model,
            'field_strength': field,
        }


def audit_of(
    before: np.ndarray, after: np.ndarray, brain: np.ndarray
) -> dict[str, np.ndarray | int]:
    """Cut a run's slices as the program does.

    Slices are cut one by one: the slabs of the simulation are no neighbours.

    Parameters
    ----------
    before : (2, N, R, R) float
        On the scanner's own grid.
    after : (N, 2, F, F) float
        Canonical.
    brain : (N, F, F) bool
    """
    grid = before.shape[-1]
    parts = []
    for n in range(before.shape[1]):
        mask = resample_to_shape(brain[n : n + 1].astype(np.float32), (1, grid, grid)) >= 0.5
        old, new = (
            [_volume(image[None]) for image in images] for images in (before[:, n], after[n])
        )
        parts.append(
            audit_arrays(*old, _affine(grid), _volume(mask), *new, _affine(after.shape[-1]))
        )
    return {
        **{
            key: np.concatenate([part[key] for part in parts])
            for key in ('before', 'after', 'mask')
        },
        'version': parts[0]['version'],
    }


def _volume(planes: np.ndarray) -> np.ndarray:
    """Turn (N, rows, columns) into a volume (x, y, z): rows run along y."""
    return np.transpose(planes, (2, 1, 0))


def _affine(size: int) -> np.ndarray:
    pixel = FOV / size
    return np.diag([pixel, pixel, AUDIT_STEP, 1.0])


def lesions_of(
    before: np.ndarray, after: np.ndarray, brain: np.ndarray, lesion: np.ndarray
) -> dict[str, Any] | None:
    """Measure what is left of the simulator's lesions as the program does; None without any."""
    lesion = without_specks(lesion, smallest=CLEAR)
    if not lesion.any():
        return None
    sides = []
    for images in (before, after.swapaxes(0, 1)):
        channels = dict(zip(CHANNELS, map(_volume, images), strict=True))
        ratio = np.maximum(channels['b0'], 1e-3) / np.maximum(channels['trace'], 1e-3)
        sides.append({**channels, 'adc': np.log(ratio) / B_VALUE})
    shape = before.shape[1:]
    masks = [resample_to_shape(m.astype(np.float32), shape) >= 0.5 for m in (lesion, brain)]
    pixel = FOV / shape[-1]
    return lesion_figures(*sides, *map(_volume, masks), zooms=(pixel, pixel, AUDIT_STEP), axis=2)


def write_run(out_dir: Path, run: Run, cohort: Cohort, h: int, s: int, method: str) -> None:
    """Write audit slices and figures of one run."""
    folder = out_dir / f'sub-{run.subject}' / f'ses-{run.session}' / 'dwi'
    folder.mkdir(parents=True, exist_ok=True)
    before, after = cohort.scans[h][s], cohort.images[method][h, s]
    audit = audit_of(before, after, cohort.brain[h])
    (folder / f'{run.stem}{AUDIT_SUFFIX}').write_bytes(npz_bytes(audit))
    document = {
        'version': 1,
        'run': run.stem,
        'subject': run.subject,
        'session': run.session,
        'scanner': run.scanner,
        'simulated': True,
        'network': {'canonical_fwhm_mm': 2.0},
        'lesions': lesions_of(before, after, cohort.brain[h], cohort.ischaemia[h]),
        **describe(audit),
        'warnings': [],
    }
    (folder / f'{run.stem}{QC_SUFFIX}').write_text(json.dumps(rounded(document)) + '\n')


def mark_done(out_dir: Path, subject: str) -> None:
    """Vouch for the files of a participant."""
    files = sorted(file for file in (out_dir / f'sub-{subject}').rglob('*') if file.is_file())
    marker = {
        'participant': f'sub-{subject}',
        'version': __version__,
        'inputs': {},
        'options': {},
        'outputs': {file.relative_to(out_dir).as_posix(): file_sha256(file) for file in files},
        'runs': [f.name.removesuffix(QC_SUFFIX) for f in files if f.name.endswith(QC_SUFFIX)],
        'refused': [],
        'failed': [],
        'skipped': [],
    }
    write_marker(marker_path(out_dir, f'sub-{subject}'), marker)


def aged(head: Head, name: str, widening: float) -> Head:
    """Widen the fluid spaces of a head by some mm, at the cost of brain."""
    fluid = head.codes == TISSUE_NAMES.index('cerebrospinal fluid')
    brain = np.array([tissue.brain for tissue in TISSUES.values()])[head.codes]
    reached = (ndimage.distance_transform_edt(~fluid) <= widening) & brain
    # the rim of the brain is thin: it gives way last, or there would be no cortex left
    deep = ndimage.distance_transform_edt(brain | fluid) > 8
    codes = np.where(reached & deep, TISSUE_NAMES.index('cerebrospinal fluid'), head.codes)
    return Head(name, codes.astype(np.uint8), head.texture)


def travelling(
    out_dir: Path, heads: Sequence[Head], protocols: list[Protocol], slices: int, weights: Any
) -> dict[str, Mapping[str, Any]]:
    """Write every individual on every scanner, twice."""
    for session in (1, 2):
        cohort = simulate(heads, protocols, slices, session)
        cohort.images[METHOD] = harmonized(weights, cohort)
        for h, head in enumerate(heads):
            for s, protocol in enumerate(protocols):
                run = Run(_number(head), str(session), protocol, 'ABCDEFG'[s])
                write_run(out_dir, run, cohort, h, s, METHOD)
    return {_number(head): {} for head in heads}


def atrophy(
    out_dir: Path, heads: Sequence[Head], protocols: list[Protocol], slices: int, weights: Any
) -> dict[str, Mapping[str, Any]]:
    """Write people of many ages, each on two scanners that are dealt out evenly."""
    rng = np.random.default_rng([1, 40])
    people: dict[str, Mapping[str, Any]] = {}
    ages = rng.permutation(np.linspace(0, 1, AGES * len(heads)))
    for index, age in enumerate(ages):
        head = heads[index % len(heads)]
        subject = f'{_number(head)}{"abcdefgh"[index // len(heads)]}'
        older = aged(head, head.name, WIDEST * float(age))
        chosen = [(SCANNERS_EACH * index + k) % len(protocols) for k in range(SCANNERS_EACH)]
        cohort = simulate([older], [protocols[s] for s in chosen], slices, 100 + index)
        cohort.images[METHOD] = harmonized(weights, cohort)
        for k, s in enumerate(chosen):
            run = Run(subject, '1', protocols[s], 'ABCDEFG'[s])
            write_run(out_dir, run, cohort, 0, k, METHOD)
        people[subject] = {'age': round(YOUNGEST + (OLDEST - YOUNGEST) * float(age), 1)}
    return people


def _number(head: Head) -> str:
    return head.name.rsplit('_', 1)[-1]


def write_study(
    out_dir: Path, kind: str, anatomy: Path, slices: int, weights_file: Path | None = None
) -> None:
    """Write one study: ``out_dir/bids`` with its participants, ``out_dir/out`` with its runs."""
    heads = load_individuals(anatomy, TESTING)
    protocols = held_out_scanners(np.random.default_rng([1, 20]))
    derivatives, bids = out_dir / 'out', out_dir / 'bids'
    derivatives.mkdir(parents=True, exist_ok=True)
    bids.mkdir(exist_ok=True)
    make = {'travelling': travelling, 'atrophy': atrophy}[kind]
    people = make(derivatives, heads, protocols, slices, load_weights(weights_file))
    for subject in people:
        mark_done(derivatives, subject)
    columns = sorted({column for person in people.values() for column in person})
    lines = [['participant_id', *columns]]
    lines += [[f'sub-{s}', *(str(person[c]) for c in columns)] for s, person in people.items()]
    (bids / 'participants.tsv').write_text(''.join('\t'.join(line) + '\n' for line in lines))
    description = {'Name': f'simulated study: {kind}', 'BIDSVersion': '1.10.0'}
    (bids / 'dataset_description.json').write_text(json.dumps(description) + '\n')


def main() -> int:
    """Write the study that was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('study', choices=STUDIES)
    parser.add_argument('out', type=Path, help='folder that gets bids/ and out/')
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--slices', type=int, default=20, help='of each run')
    options = parser.parse_args()
    torch.set_num_threads(1)
    write_study(options.out, options.study, options.anatomy, options.slices, options.weights)
    return 0


if __name__ == '__main__':
    sys.exit(main())
