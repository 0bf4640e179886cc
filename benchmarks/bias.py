"""Compare ways to run N4, on coils that are known: drawn ones, and such put on real scans.

    python benchmarks/bias.py [--anatomy DIR] [--bids DIR] [--fields 3] [--seed 1] [--table CSV]

*drawn coil* (simulated): heads of the simulator behind the coils of the phantom's scanners; the
error is the standard deviation, in the brain, of the logarithm of the field over the coil.
*coil put on a real scan*: the field that is found with it over the one found without it, against
what was put on; what a method finds in the anatomy cancels out. *two real scans of one coil*: runs
of a session that differ in phase encoding; the standard deviation, in both brains, of the
logarithm of one field over the other. Seconds are those of N4 alone, on two threads.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import nibabel as nb
import numpy as np
from csv_tables import write_table
from scipy import ndimage

from bidsharmony.bids import DwiRun, collect_dwi
from bidsharmony.interfaces.files import read_gradients
from bidsharmony.numerics.bias import n4_field, shrink_factors
from bidsharmony.numerics.diffusion import found_brain, mean_b0
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.physics.fields import smooth_field
from bidsharmony.physics.heads import Head, load_head
from bidsharmony.physics.phantom import icbm_heads, phantom_scanners
from bidsharmony.physics.volumes import scan_head

WAYS = {
    'whole image, 1e-7': {'boxed': False, 'tolerance': 1e-7},
    'whole image, 1e-4': {'boxed': False, 'tolerance': 1e-4},
    'whole image, 1e-3': {'boxed': False, 'tolerance': 1e-3},
    'box of the brain, 1e-7': {'boxed': True, 'tolerance': 1e-7},
    'box of the brain, 1e-4': {'boxed': True, 'tolerance': 1e-4},
    'box of the brain, 1e-3': {'boxed': True, 'tolerance': 1e-3},
}
B0_THRESHOLD = 50  # s/mm2
AMPLITUDE = 0.1  # of the coils that are put on real scans, logarithmic
HEADER = ['images', 'N4 on, tolerance', 'images of', 'error', 'largest', 'seconds', 'of the first']


def heads(anatomy: Path | None, rng: np.random.Generator) -> list[Head]:
    """Load two heads of a folder of label maps, or warp the ICBM152 average twice."""
    if anatomy is None:
        return icbm_heads(2, rng)
    files = sorted(anatomy.glob('*.nii.gz'))
    return [load_head(file) for file in (files[0], files[-1])]


def drawn(
    anatomy: Path | None, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Scan heads, and give b=0, voxel and the coil of each scan."""
    for head in heads(anatomy, rng):
        for scanner in phantom_scanners():
            scan = scan_head(head, scanner, rng)
            b0 = mean_b0(scan.series, np.flatnonzero(scan.bvals == 0))
            coil = resample_to_shape(scan.truth.maps['coil'], b0.shape)
            yield b0, nb.affines.voxel_sizes(scan.affine), coil


def real(dataset: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Give the mean b=0 and the voxel of each run of a dataset."""
    yield from map(summary, collect_dwi(dataset).runs)


def summary(run: DwiRun) -> tuple[np.ndarray, np.ndarray]:
    """Give the mean b=0 and the voxel of a run."""
    bvals, _ = read_gradients(run.bval, run.bvec)
    image = nb.load(run.image)
    b0 = mean_b0(np.asarray(image.dataobj, np.float32), np.flatnonzero(bvals <= B0_THRESHOLD))
    return b0, np.array(image.header.get_zooms()[:3])


def pairs(dataset: Path) -> Iterator[tuple[tuple[np.ndarray, np.ndarray], ...]]:
    """Give what `summary` does of runs of one session that differ in phase encoding alone."""
    sessions: dict[str, list[DwiRun]] = {}
    for run in collect_dwi(dataset).runs:
        if 'direction' in run.entities:
            sessions.setdefault(str(run.image.parent), []).append(run)
    for runs in sessions.values():
        yield from combinations(map(summary, runs), 2)


def timed(
    b0: np.ndarray,
    mask: np.ndarray,
    zooms: np.ndarray,
    way: dict,
    where: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """Return the logarithm of the field in the brain or elsewhere, and the seconds."""
    where = mask if where is None else where
    box = (slice(None),) * 3
    if way['boxed']:
        (box,) = ndimage.find_objects(mask.astype(np.int8))
    began = time.perf_counter()
    field = n4_field(
        b0[box],
        mask[box],
        tuple(zooms),
        shrink_factors(b0.shape[2])[0],
        tolerance=way['tolerance'],
    )
    seconds = time.perf_counter() - began
    return np.log(field[where[box]].astype(np.float64)), seconds


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, metavar='DIR', help='label maps of heads')
    parser.add_argument('--bids', type=Path, metavar='DIR', help='real scans')
    parser.add_argument('--fields', type=int, default=3, help='coils put on each real scan')
    parser.add_argument('--seed', type=int, default=1)
    parser.add_argument('--table', type=Path, metavar='CSV', help='CSV file to write')
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}

    kind = 'drawn coil (simulated)'
    for b0, zooms, coil in drawn(given.anatomy, rng):
        mask = found_brain(b0, zooms=zooms)
        for name, way in WAYS.items():
            field, seconds = timed(b0, mask, zooms, way)
            error = float(np.std(field - np.log(coil[mask])))
            found.setdefault(kind, {}).setdefault(name, []).append((error, seconds))
    kind = 'coil put on a real scan'
    for b0, zooms in real(given.bids) if given.bids else ():
        mask = found_brain(b0, zooms=zooms)
        plain = {name: timed(b0, mask, zooms, way)[0] for name, way in WAYS.items()}
        for _ in range(given.fields):
            field = smooth_field(b0.shape, max(b0.shape) / 1.5, rng, order=3)
            put_on = AMPLITUDE * field / field.std()
            for name, way in WAYS.items():
                with_it, seconds = timed(b0 * np.exp(put_on), mask, zooms, way)
                error = float(np.std(with_it - plain[name] - put_on[mask]))
                found.setdefault(kind, {}).setdefault(name, []).append((error, seconds))

    kind = 'two real scans of one coil'
    for first, second in pairs(given.bids) if given.bids else ():
        masks = [found_brain(b0, zooms=zooms) for b0, zooms in (first, second)]
        both = masks[0] & masks[1]
        for name, way in WAYS.items():
            (one, seconds), (other, more) = (
                timed(b0, mask, zooms, way, both)
                for (b0, zooms), mask in zip((first, second), masks, strict=True)
            )
            error = float(np.std(one - other))
            found.setdefault(kind, {}).setdefault(name, []).append((error, (seconds + more) / 2))

    lines = [HEADER]
    for kind, ways in found.items():
        first = np.mean([seconds for _, seconds in next(iter(ways.values()))])
        for name, figures in ways.items():
            errors, seconds = np.transpose(figures)
            lines.append([
                kind, name, str(len(errors)), f'{errors.mean():.4f}', f'{errors.max():.4f}',
                f'{seconds.mean():.2f}', f'{seconds.mean() / first:.2f}',
            ])  # fmt: skip
    for line in lines:
        print('  '.join(text.ljust(24) for text in line[:2]), '  '.join(line[2:]))
    if given.table:
        write_table(given.table, lines)


if __name__ == '__main__':
    main()
