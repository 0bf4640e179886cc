"""Measure on real pairs of opposite phase encoding what two runs of one session may share.

    python benchmarks/pairs.py --bids DIR [--weights FILE] [--out benchmarks/pairs.json]
                               [--tables docs/_static/series]

Each of two runs that differ in ``dir-`` alone is harmonized by itself, then both together, with
the command that users call. In the voxels that both brain masks have, the logarithms of gain and
of bias field are compared, less their median: as estimated separately, and after the one was
displaced as the images are (`displacement`), which is how they meet once distortion is corrected.
Beside it stands what one map for both does there: the map against itself, displaced. The figures
are of real scans, and have no known truth.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from csv_tables import write_table
from scipy import ndimage
from series import call

from bidsharmony.bids import DwiRun, collect_dwi
from bidsharmony.interfaces.files import read_bvals
from bidsharmony.interfaces.volumes import load_mask, load_volume
from bidsharmony.settings import B0_THRESHOLD
from bidsharmony.workflows.groups import differ_within

REACH = 12.0
"""Displacements of two images against each other that are tried, either way (mm)."""

STEP = 0.5  # mm
AROUND = 8.0
"""Standard deviation of the window in which two images are laid over each other (mm)."""

PHASE_AXIS = {'AP': 1, 'PA': 1, 'LR': 0, 'RL': 0}


def pairs_of(bids_dir: Path) -> list[tuple[DwiRun, DwiRun]]:
    """Find the pairs of runs with opposite labels of phase encoding."""
    runs = [run for run in collect_dwi(bids_dir).runs if 'direction' in run.entities]
    return [
        pair
        for pair in combinations(runs, 2)
        if differ_within(*(run.entities for run in pair))
        and pair[0].entities['direction'] == pair[1].entities['direction'][::-1]
    ]


def harmonized(bids_dir: Path, out_dir: Path, pair: tuple[DwiRun, ...], *options: object) -> None:
    """Harmonize these runs of a dataset, and no others."""
    with tempfile.NamedTemporaryFile('w', suffix='.json') as file:
        labels = [run.entities['direction'] for run in pair]
        json.dump({'dwi': {'datatype': 'dwi', 'direction': labels}}, file)
        file.flush()
        place = (bids_dir, out_dir, 'participant', '--participant-label', pair[0].subject)
        call('participant', *place, '--bids-filter-file', file.name, *options)


def log_maps(out_dir: Path, run: DwiRun) -> dict[str, np.ndarray]:
    """Read what multiplied a run: logarithms of the gain, of one over the field, of both."""
    gain, field = (
        np.log(load_volume(_derivative(out_dir, run, f'{name}_dwimap'), np.float64))
        for name in ('gain', 'biasfield')
    )
    return {'gain': gain, 'bias field': -field, 'gain over bias field': gain - field}


def mean_b0(path: Path, run: DwiRun) -> np.ndarray:
    """Average the b=0 volumes of a series."""
    bvals = read_bvals(run.bval, run.relative)
    series = np.asarray(nb.load(path).dataobj)
    return series[..., bvals <= B0_THRESHOLD].mean(axis=-1, dtype=np.float64)


def displacement(
    fixed: np.ndarray, moving: np.ndarray, mask: np.ndarray, zooms: np.ndarray, axis: int
) -> np.ndarray:
    """Find how far one image lies from another along one axis, place by place (mm).

    Of all displacements the one by which both correlate best in a Gaussian window: a coil
    that shades them differently does not matter.
    """
    sigma = AROUND / zooms

    def smooth(image: np.ndarray) -> np.ndarray:
        return ndimage.gaussian_filter(image, sigma)

    inside = np.where(ndimage.binary_dilation(mask, iterations=2), 1.0, 0.0)
    still = np.log1p(np.maximum(fixed, 0) / np.median(fixed[mask])) * inside
    mean, spread = smooth(still), smooth(still**2)
    best, found = np.full(fixed.shape, -np.inf), np.zeros(fixed.shape)
    for mm in np.arange(-REACH, REACH + STEP / 2, STEP):
        moved = _move(np.maximum(moving, 0) / np.median(moving[mask]), mm, zooms, axis)
        moved = np.log1p(moved) * inside
        other = smooth(moved)
        covariance = smooth(still * moved) - mean * other
        scale = (spread - mean**2) * (smooth(moved**2) - other**2)
        fit = covariance / np.sqrt(np.maximum(scale, 1e-12))
        found, best = np.where(fit > best, mm, found), np.maximum(fit, best)
    return ndimage.gaussian_filter(found, sigma / 2)


def compare(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Say how far two logarithmic maps differ beside their medians."""
    change = (first - second)[mask]
    change = change - np.median(change)
    return {'sd': float(change.std()), 'p95': float(np.percentile(np.abs(change), 95))}


def measure(bids_dir: Path, pair: tuple[DwiRun, DwiRun], folder: Path, *options: object) -> dict:
    """Harmonize a pair apart and together, and compare."""
    for run in pair:
        harmonized(bids_dir, folder / 'apart', (run,), *options)
    apart = [log_maps(folder / 'apart', run) for run in pair]
    masks = [load_mask(_derivative(folder / 'apart', run, 'brain_mask')) for run in pair]
    b0s = {'input': [mean_b0(run.image, run) for run in pair]}
    b0s['apart'] = [_b0_of(folder / 'apart', run) for run in pair]
    harmonized(bids_dir, folder / 'together', pair, *options)
    together = [log_maps(folder / 'together', run) for run in pair]
    b0s['together'] = [_b0_of(folder / 'together', run) for run in pair]
    both, header = masks[0] & masks[1], nb.load(pair[0].image).header
    zooms = np.array(header.get_zooms()[:3], float)
    axis = PHASE_AXIS[pair[0].entities['direction']]
    moved_by = displacement(*b0s['input'], both, zooms, axis)
    maps: dict[str, Any] = {}
    for name in apart[0]:
        displaced = _move(apart[1][name], moved_by, zooms, axis)
        misplaced = _move(apart[0][name], moved_by, zooms, axis)
        maps[name] = {
            'apart': compare(apart[0][name], apart[1][name], both),
            'apart, one displaced': compare(apart[0][name], displaced, both),
            'one map, displaced': compare(apart[0][name], misplaced, both),
            'together': compare(together[0][name], together[1][name], both),
        }
    return {
        'runs': [run.stem for run in pair],
        'displacement_mm': {
            'median': float(np.median(np.abs(moved_by[both]))),
            'p95': float(np.percentile(np.abs(moved_by[both]), 95)),
        },
        'maps': maps,
        # of the medians, since distortion moves tissue from one voxel to the next
        'b0_ratio': {
            name: float(np.median(one[both]) / np.median(other[both]))
            for name, (one, other) in b0s.items()
        },
        'level_apart': [
            float(np.median(found['gain over bias field'][mask]))
            for found, mask in zip(apart, masks, strict=True)
        ],
        'level_together': [
            float(np.median(found['gain over bias field'][mask]))
            for found, mask in zip(together, masks, strict=True)
        ],
    }


def title(found: dict[str, Any]) -> str:
    """Name a pair."""
    return ' / '.join(found['runs']) + ' (real)'


def rows(found: dict[str, Any]) -> list[list[str]]:
    """List the maps of one pair, a line for each."""
    return [
        [
            title(found),
            name,
            *(f'{100 * values[key]["sd"]:.1f} / {100 * values[key]["p95"]:.1f}' for key in HEAD),
        ]
        for name, values in found['maps'].items()
    ]


def ratio_row(found: dict[str, Any]) -> list[str]:
    """List displacement and b=0 of one pair."""
    moved = found['displacement_mm']
    ratios = [f'{found["b0_ratio"][name]:.4f}' for name in ('input', 'apart', 'together')]
    return [title(found), f'{moved["median"]:.1f} / {moved["p95"]:.1f}', *ratios]


RATIO_HEAD = (
    'displacement, median / 95 % (mm)',
    'b=0 ratio, input',
    'harmonized separately',
    'harmonized together',
)
HEAD = {
    'apart': 'two maps, voxel by voxel (%)',
    'apart, one displaced': 'two maps, one displaced (%)',
    'one map, displaced': 'one map against itself, displaced (%)',
}


def main() -> None:
    """Print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bids', type=Path, required=True)
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--out', type=Path, help='JSON')
    parser.add_argument('--tables', type=Path, help='folder for the CSV tables')
    options = parser.parse_args()
    weights = ('--weights', options.weights) if options.weights else ()
    found = []
    for pair in pairs_of(options.bids):
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(options.bids, pair, Path(folder), *weights))
    tables = {
        'pairs': [
            ['pair', 'map', *HEAD.values()],
            *(line for pair in found for line in rows(pair)),
        ],
        'ratios': [['pair', *RATIO_HEAD], *map(ratio_row, found)],
    }
    for name, lines in tables.items():
        print(f'\n{name}')
        for line in lines:
            print('; '.join(line))
        if options.tables:
            write_table(options.tables / f'{name}.csv', lines)
    if options.out:
        options.out.write_text(json.dumps({'real': found}, indent=1) + '\n')


def _derivative(out_dir: Path, run: DwiRun, name: str) -> Path:
    """Name a map or a mask that was written for a run."""
    place = out_dir / Path(run.relative).parent
    return place / f'{run.stem}_desc-{name}.nii.gz'


def _b0_of(out_dir: Path, run: DwiRun) -> np.ndarray:
    return mean_b0(_derivative(out_dir, run, 'harmonized_dwi'), run)


def _move(image: np.ndarray, mm: float | np.ndarray, zooms: np.ndarray, axis: int) -> np.ndarray:
    """Look up an image so far along an axis, one distance or one for each voxel."""
    places = np.indices(image.shape, dtype=float)
    places[axis] += mm / zooms[axis]
    return ndimage.map_coordinates(image, places, order=1, mode='nearest')


if __name__ == '__main__':
    main()
