"""Run the program on real and simulated scans, and list what became of every series.

    python benchmarks/series.py --bids DIR [--simulated N] [--weights FILE]
                                [--out series.json] [--tables DIR]

Every run of a BIDS dataset, and the runs of virtual heads on N scanners (`bidsharmony-phantom`,
labelled simulated), are harmonized on their own grid and on cubic voxels of `VOXEL_MM`, with the
command that users call. The figures are those of the qc files. Two tables are written for the
documentation: the guarantee on the own grid, and what the shared operator did.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VOXEL_MM = 2.5
GRIDS = {'native': 'native', 'operator': f'{VOXEL_MM:g}'}


def call(module: str, *arguments: object) -> None:
    """Run one of the package's commands; its messages are shown if it fails.

    Raises
    ------
    SystemExit
    """
    command = [sys.executable, '-m', f'bidsharmony.cli.{module}', *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    # 1 is the code of a dataset of which some runs could not be used: they have no qc file
    if done.returncode not in (0, 1):
        sys.exit(f'{" ".join(command[2:])}\n{done.stderr}')


def harmonized(bids_dir: Path, weights: Path | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Harmonize a dataset on each of `GRIDS`; the qc document by grid and run."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for grid, voxel in GRIDS.items():
        with tempfile.TemporaryDirectory() as folder:
            options = ['--output-resolution', voxel]
            options += ['--weights', weights] if weights else []
            call('participant', bids_dir, folder, 'participant', *options)
            documents = [json.loads(p.read_text()) for p in Path(folder).rglob('*_qc.json')]
        found[grid] = {
            document['run']: document
            for document in sorted(documents, key=lambda document: document['run'])
            if document.get('guarantee')
        }
    return found


def pair(values: Any, factor: float = 1.0, digits: int = 3) -> str:
    """Write two values with an arrow, or a dash.

    Examples
    --------
    >>> pair([0.5, 0.25], 100), pair(None)
    ('50 → 25', '-')
    """
    if not values or any(value is None for value in values):
        return '-'
    return ' → '.join(f'{value * factor:.{digits}g}' for value in values)


def single(value: float | None) -> str:
    """Write one value, or a dash."""
    return '-' if value is None else f'{value:.1e}'


def native_row(document: Mapping[str, Any]) -> list[str]:
    """List what the gain alone changed, which is to be nothing."""
    guarantee = document['guarantee']
    diffusion = guarantee['diffusion']
    shells = ', '.join(
        f'{shell["n"]} at {shell["b"]:.0f}' for shell in document['input']['shells']
    )
    return [
        document['run'],
        shells,
        f'{diffusion["n_voxels"]}',
        single(guarantee['max_ratio_change']),
        single(diffusion['md_change']),
        single(diffusion['fa_change']),
        single(diffusion['v1_degrees']),
        pair(diffusion['noise']['b0'], 100),
        pair(diffusion['noise']['weighted'], 100),
    ]


def operator_row(document: Mapping[str, Any]) -> list[str]:
    """List what another grid changed."""
    series, diffusion = document['series'], document['guarantee']['diffusion']
    widths = series['fwhm_mm']

    def sizes(values: list[float]) -> str:
        return ' x '.join(f'{value:.1f}' for value in values)

    return [
        document['run'],
        f'{sizes(document["input"]["zooms"])} → {sizes(series["voxel_mm"])}',
        f'{sizes(widths["before"])} → {sizes(widths["after"])}',
        f'{series["noise_gain"]:.2f}',
        pair(diffusion['md'], 1e3),
        pair(diffusion['fa']),
    ]


HEADS = {
    'native': (
        'run',
        'directions at b',
        'voxels',
        'S_b/S_0, largest relative change',
        'MD, largest relative change',
        'FA, largest change',
        'V1, largest turn (degrees)',
        'noise of a b=0 volume (%)',
        'noise of a weighted one (%)',
    ),
    'operator': (
        'run',
        'voxel (mm)',
        'resolution (mm)',
        'noise gain',
        'median MD (1e-3 mm2/s)',
        'median FA',
    ),
}
ROWS = {'native': native_row, 'operator': operator_row}


def main() -> int:
    """Print both tables; end with 1 if a series on its own grid changed by more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--bids', type=Path, required=True)
    parser.add_argument('--simulated', type=int, default=7, help='scanners (default 7)')
    parser.add_argument('--weights', type=Path)
    parser.add_argument('--out', type=Path, help='JSON')
    parser.add_argument('--tables', type=Path, help='folder for the CSV tables')
    options = parser.parse_args()
    datasets = {'': harmonized(options.bids, options.weights)}
    if options.simulated:
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / 'raw'
            call('phantom', raw, '--heads', 1, '--scanners', options.simulated)
            datasets[' (simulated)'] = harmonized(raw, options.weights)
    broken, kept = False, {}
    for grid, head in HEADS.items():
        lines = [list(head)]
        for label, found in datasets.items():
            for name, document in found[grid].items():
                row = ROWS[grid](document)
                lines.append([f'{name}{label}', *row[1:]])
                kept.setdefault(grid, {})[f'{name}{label}'] = {
                    'guarantee': document['guarantee'],
                    'series': document['series'],
                }
                change, limit = (document['guarantee'][k] for k in ('max_ratio_change', 'limit'))
                broken |= grid == 'native' and not change < limit
        print(f'\n{grid}')
        for line in lines:
            print('; '.join(line))
        if options.tables:
            options.tables.mkdir(parents=True, exist_ok=True)
            with (options.tables / f'{grid}.csv').open('w', newline='') as file:
                csv.writer(file, lineterminator='\n').writerows(lines)
    if options.out:
        options.out.write_text(json.dumps(kept, indent=1) + '\n')
    return int(broken)


if __name__ == '__main__':
    sys.exit(main())
