"""Put one simulated series into every shape that scanners store, and list what became of each.

    python benchmarks/kinds.py [--weights FILE] [--out kinds.json] [--table CSV]

A virtual head (`bidsharmony-phantom`, simulated) is written as a clinical scan, as shells, with
slices along other axes, in other number formats, with names that carry ``part``, ``run`` and
sessions, and as what is no run at all; the command that users call is run on all of it once.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from csv_tables import write_table
from nibabel.orientations import (
    apply_orientation,
    axcodes2ornt,
    inv_ornt_aff,
    io_orientation,
    ornt_transform,
)
from series import call, single

KEPT = (
    'Manufacturer',
    'ManufacturersModelName',
    'MagneticFieldStrength',
    'EchoTime',
    'RepetitionTime',
    'SliceThickness',
    'PhaseEncodingDirection',
)
ORTHOGONAL = np.eye(3)
OBLIQUE = 20.0  # degrees


class Series:
    """A 4-D series with what belongs to it; every change gives another.

    Attributes
    ----------
    data : (I, J, K, N) float
    affine : (4, 4)
    bvals : (N,)
    world : (N, 3)
        Directions in scanner coordinates.
    sidecar : dict
    """

    def __init__(self, data, affine, bvals, world, sidecar):
        self.data, self.affine, self.bvals = data, affine, bvals
        self.world, self.sidecar = world, sidecar

    def changed(self, **what: Any) -> Series:
        """Return the series with these attributes instead of its own."""
        return Series(**{**vars(self), **what})

    def volumes(self, ixs: list[int]) -> Series:
        """Return some volumes."""
        return self.changed(data=self.data[..., ixs], bvals=self.bvals[ixs], world=self.world[ixs])

    def stored(self, codes: str) -> Series:
        """Store the volumes along other axes."""
        turn = ornt_transform(io_orientation(self.affine), axcodes2ornt(codes))
        affine = self.affine @ inv_ornt_aff(turn, self.data.shape[:3])
        return self.changed(data=apply_orientation(self.data, turn), affine=affine)

    def bvecs(self) -> np.ndarray:
        """Return FSL's table, (3, N): along the voxel axes, the first one turned if det > 0."""
        axes = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        vectors = np.linalg.solve(axes, self.world.T)
        vectors[0] *= -1 if np.linalg.det(axes) > 0 else 1
        return vectors

    def write(self, stem: Path, *, gradients: bool = True, dtype: Any = np.int16, slope=None):
        """Write image, sidecar and, where wanted, gradient tables; `stem` ends in the suffix."""
        stem.parent.mkdir(parents=True, exist_ok=True)
        top = float(np.abs(self.data).max())
        data = self.data
        if np.issubdtype(dtype, np.integer):
            data = np.rint(data * (np.iinfo(dtype).max / top * 0.98))
        image = nb.Nifti1Image(data.astype(dtype), self.affine)
        image.set_sform(self.affine, 1)
        image.set_qform(self.affine, 1)
        image.header.set_xyzt_units('mm', 'sec')
        if slope is not None:
            image = nb.Nifti1Image(self.data, self.affine, image.header)
            image.header.set_data_dtype(dtype)
            image.header.set_slope_inter(*slope)
        nb.save(image, f'{stem}.nii.gz')
        Path(f'{stem}.json').write_text(json.dumps(self.sidecar))
        if gradients:
            np.savetxt(f'{stem}.bval', self.bvals[None], fmt='%g')
            np.savetxt(f'{stem}.bvec', self.bvecs(), fmt='%.6f')


def read(root: Path) -> Series:
    """Read the only run of a dataset."""
    path = next(root.glob('sub-*/**/*_dwi.nii.gz'))
    image = nb.load(path)
    end = len('.nii.gz')
    bvals = np.loadtxt(str(path)[:-end] + '.bval')
    bvecs = np.loadtxt(str(path)[:-end] + '.bvec')
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    bvecs[0] *= -1 if np.linalg.det(axes) > 0 else 1
    sidecar = json.loads(Path(str(path)[:-end] + '.json').read_text())
    return Series(
        image.get_fdata(),
        image.affine,
        bvals,
        (axes @ bvecs).T,
        {key: sidecar[key] for key in KEPT},
    )


def tripled(one: Series) -> Series:
    """Make a b=0 and three orthogonal directions, each the mean of the nearest ones."""
    weighted = np.flatnonzero(one.bvals > 0)
    nearest = [weighted[np.argmax(np.abs(one.world[weighted] @ axis))] for axis in ORTHOGONAL]
    ixs = [0, *map(int, nearest)]
    some = one.volumes(ixs)
    return some.changed(world=np.vstack([np.zeros(3), ORTHOGONAL]))


def shells(one: Series) -> Series:
    """Add a shell of b=2000 and one of b=3000: the decay goes on as a single exponential."""
    weighted = [int(ix) for ix in np.flatnonzero(one.bvals > 0)]
    b0, series = one.data[..., :1], [one.data]
    for times in (2, 3):
        decay = np.clip(one.data[..., weighted] / np.maximum(b0, 1), 0, 1)
        series.append(b0 * decay**times)
    return one.changed(
        data=np.concatenate(series, axis=3),
        bvals=np.concatenate([one.bvals, *(times * one.bvals[weighted] for times in (2, 3))]),
        world=np.concatenate([one.world, one.world[weighted], one.world[weighted]]),
    )


def tilted(one: Series) -> Series:
    """Tilt the stack about the left-right axis, directions with it."""
    angle = np.deg2rad(OBLIQUE)
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return one.changed(affine=turn @ one.affine, world=one.world @ turn[:3, :3].T)


def ball(one: Series) -> Series:
    """Fill a ball with water instead of a head."""
    centre = (np.array(one.data.shape[:3]) - 1) / 2
    zooms = np.linalg.norm(one.affine[:3, :3], axis=0)
    far = np.linalg.norm((np.indices(one.data.shape[:3]).T - centre) * zooms, axis=-1).T
    signal = 1000 * np.exp(-one.bvals * 2.0e-3)
    noise = np.random.default_rng(0).normal(0, 5, one.data.shape)
    return one.changed(data=np.abs((far < 70)[..., None] * signal + noise))


def directionless(one: Series) -> Series:
    """Make a b=0 and the trace image that a console makes of the directions."""
    trace = np.exp(np.log(np.maximum(one.data[..., 1:], 1)).mean(axis=3, keepdims=True))
    return one.changed(
        data=np.concatenate([one.data[..., :1], trace], axis=3),
        bvals=np.array([0.0, 1000.0]),
        world=np.zeros((2, 3)),
    )


def b0_as(value: float) -> Callable[[Series], Series]:
    """Write another b-value for b=0."""
    return lambda one: one.changed(bvals=np.where(one.bvals == 0, value, one.bvals))


#: label: what it is, how the series is changed, how it is written
SHAPES: dict[str, tuple[str, Callable[[Series], Series], dict[str, Any]]] = {
    'asis': ('axial, stored LAS, int16', lambda one: one, {}),
    'clinical': ('b=0 + 3 orthogonal directions', tripled, {}),
    'multishell': ('three shells', shells, {}),
    'b5': ('b=0 written as 5', b0_as(5.0), {}),
    'b125': ('b=0 written as 1.25', b0_as(1.25), {}),
    'ras': ('stored RAS', lambda one: one.stored('RAS'), {}),
    'psr': ('stored PSR', lambda one: one.stored('PSR'), {}),
    'sagittal': ('slices first, stored SLA', lambda one: one.stored('SLA'), {}),
    'coronal': ('slices second, stored LSA', lambda one: one.stored('LSA'), {}),
    'oblique': (f'slices tilted by {OBLIQUE:g} degrees', tilted, {}),
    'int8': ('int8', lambda one: one, {'dtype': np.int8}),
    'uint16': ('uint16', lambda one: one, {'dtype': np.uint16}),
    'float64': ('float64', lambda one: one, {'dtype': np.float64}),
    'slope': ('int16 with slope .5 and intercept -20', lambda one: one, {'slope': (0.5, -20.0)}),
    'notrace': ('b=0 + directionless trace in one file', directionless, {}),
    'nob0': ('no b=0', lambda one: one.volumes(list(range(1, len(one.bvals)))), {}),
    'ball': ('a ball of water', ball, {}),
}


def write_dataset(one: Series, root: Path) -> dict[str, str]:
    """Write every kind as a participant; what each is, by the start of its outputs' names."""
    root.mkdir()
    description = {'Name': 'kinds of input (simulated)', 'BIDSVersion': '1.9.0'}
    (root / 'dataset_description.json').write_text(json.dumps(description))
    words = {}
    for label, (what, change, how) in SHAPES.items():
        change(one).write(root / f'sub-{label}' / 'dwi' / f'sub-{label}_dwi', **how)
        words[f'sub-{label}'] = what
    pair = directionless(one)
    folder = root / 'sub-paired' / 'dwi'
    # in one unit: as integers, each file would be scaled by itself
    pair.volumes([0]).write(folder / 'sub-paired_dwi', dtype=np.float32)
    pair.volumes([1]).write(folder / 'sub-paired_rec-TRACE_dwi', gradients=False, dtype=np.float32)
    words['sub-paired_rec-TRACE'] = 'b=0 and a trace image in two files'
    folder = root / 'sub-parts' / 'dwi'
    one.write(folder / 'sub-parts_part-mag_dwi')
    one.write(folder / 'sub-parts_part-phase_dwi')
    words['sub-parts_part-mag'] = 'magnitude of a complex series'
    words['sub-parts_part-phase'] = 'its phase'
    reverse = one.changed(sidecar={**one.sidecar, 'PhaseEncodingDirection': 'j'})
    folder = root / 'sub-pairs' / 'ses-1' / 'dwi'
    one.write(folder / 'sub-pairs_ses-1_dir-AP_dwi')
    reverse.write(folder / 'sub-pairs_ses-1_dir-PA_dwi')
    words['sub-pairs_ses-1_dir-AP'] = 'encoded from anterior to posterior'
    words['sub-pairs_ses-1_dir-PA'] = 'its reverse, same session'
    folder = root / 'sub-pairs' / 'ses-2' / 'dwi'
    split = shells(one)
    for run, chosen in ((1, split.bvals < 1500), (2, (split.bvals == 0) | (split.bvals > 1500))):
        ixs = [int(ix) for ix in np.flatnonzero(chosen)]
        split.volumes(ixs).write(folder / f'sub-pairs_ses-2_run-{run}_dwi')
        words[f'sub-pairs_ses-2_run-{run}'] = f'split shells, another session, part {run} of 2'
    return words


def outcomes(out: Path) -> dict[str, dict[str, Any]]:
    """Read the qc files, by the start of their names."""
    found = {}
    for path in sorted(out.rglob('*_desc-harmonized_qc.json')):
        found[path.name.removesuffix('_desc-harmonized_qc.json')] = json.loads(path.read_text())
    return found


def passed_over(out: Path, names: list[str]) -> dict[str, str]:
    """Say of each name without outputs whether its page calls it skipped, or the log refused."""
    pages = ' '.join(path.read_text(encoding='utf-8') for path in out.glob('sub-*.html'))
    failures = (out / 'logs' / 'failures.tsv').read_text(encoding='utf-8')
    return {
        name: said
        for said, text in (('skipped', pages), ('refused', failures))
        for name in names
        if f'{name}_dwi.nii.gz' in text
    }


def row(
    name: str, what: str, document: dict[str, Any] | None, said_of: dict[str, str]
) -> list[str]:
    """List what became of one kind."""
    if document is None:
        return [what, said_of.get(name, 'not there'), *['n/a'] * 6]
    flagged = any('no brain' in text for text in document['warnings'])
    said = 'flagged: no brain' if flagged else 'done'
    if document['guarantee'] is None:
        return [what, f'{said}, no series', *['n/a'] * 4, fraction(document), 'no']
    diffusion = document['guarantee']['diffusion']
    return [
        what,
        said,
        single(document['guarantee']['max_ratio_change']),
        *(single(diffusion[key]) for key in ('md_change', 'fa_change', 'v1_degrees')),
        fraction(document),
        'yes' if document.get('shared') else 'no',
    ]


def fraction(document: dict[str, Any]) -> str:
    """Write the share of the brain that the forward check blends."""
    return f'{100 * document["forward"]["blended_fraction"]:.1f}'


HEAD = (
    'kind (simulated)',
    'outcome',
    'S_b/S_0, largest relative change',
    'MD, largest relative change',
    'FA, largest change',
    'V1, largest turn (degrees)',
    'blended (%)',
    'shares its gain',
)


def main() -> int:
    """Print the table, and end with 1 if a series changed by more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--out', type=Path, help='JSON')
    parser.add_argument('--table', type=Path, help='CSV')
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        phantom, raw, out = (Path(folder) / name for name in ('phantom', 'raw', 'out'))
        call('phantom', phantom, '--heads', 1, '--scanners', 'siemens3t')
        words = write_dataset(read(phantom), raw)
        more = ['--weights', options.weights] if options.weights else []
        call('participant', raw, out, 'participant', *more)
        found = outcomes(out)
        said_of = passed_over(out, [name for name in words if name not in found])
    lines = [list(HEAD), *(row(n, what, found.get(n), said_of) for n, what in words.items())]
    for line in lines:
        print('; '.join(line))
    if options.table:
        write_table(options.table, lines)
    if options.out:
        kept = {
            name: {
                key: document.get(key) for key in ('guarantee', 'forward', 'shared', 'warnings')
            }
            for name, document in found.items()
        }
        options.out.write_text(json.dumps({'simulated': True, 'kinds': kept}, indent=1) + '\n')
    series = [document['guarantee'] for document in found.values() if document['guarantee']]
    return int(not all(g['max_ratio_change'] < g['limit'] for g in series))


if __name__ == '__main__':
    sys.exit(main())
