"""Run the program on real and simulated scans, and list what became of every series.

    python benchmarks/series.py --bids DIR [--simulated N] [--weights FILE]
                                [--out series.json] [--tables DIR]

Every run of a BIDS dataset, and the runs of virtual heads on N scanners (`bidsharmony-phantom`,
labelled simulated), are harmonized on their own grid and on cubic voxels of `VOXEL_MM`, with the
command that users call. The figures are those of the qc files. Three tables are written for the
documentation: the guarantee and the noise on the own grid, and what the shared operator did.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from csv_tables import write_table

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
    """Write two values with an arrow, or that there is none.

    Examples
    --------
    >>> pair([0.5, 0.25], 100), pair(None)
    ('50 → 25', 'n/a')
    """
    if not values or any(value is None for value in values):
        return 'n/a'
    return ' → '.join(f'{value * factor:.{digits}g}' for value in values)


def single(value: float | None) -> str:
    """Write one value, or that there is none."""
    return 'n/a' if value is None else f'{value:.1e}'


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
        single(guarantee['max_ratio_change']),
        single(diffusion['md_change']),
        single(diffusion['fa_change']),
        single(diffusion['v1_degrees']),
    ]


def noise_row(document: Mapping[str, Any]) -> list[str]:
    """List the noise of single volumes."""
    noise = document['guarantee']['diffusion']['noise']
    return [document['run'], *(pair(noise[name], 100) for name in ('b0', 'weighted'))]


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
        'S_b/S_0, largest relative change',
        'MD, largest relative change',
        'FA, largest change',
        'V1, largest turn (degrees)',
    ),
    'noise': ('run', 'a b=0 volume (%)', 'a weighted volume (%)'),
    'operator': (
        'run',
        'voxel (mm)',
        'resolution (mm)',
        'noise gain',
        'median MD (1e-3 mm2/s)',
        'median FA',
    ),
}
ROWS = {'native': native_row, 'noise': noise_row, 'operator': operator_row}
GRID_OF = {'native': 'native', 'noise': 'native', 'operator': 'operator'}


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
    for table, head in HEADS.items():
        lines = [list(head)]
        for label, found in datasets.items():
            for name, document in found[GRID_OF[table]].items():
                lines.append([f'{name}{label}', *ROWS[table](document)[1:]])
        print(f'\n{table}')
        for line in lines:
            print('; '.join(line))
        if options.tables:
            write_table(options.tables / f'{table}.csv', lines)
    kept = {
        grid: {
            f'{name}{label}': {part: document[part] for part in ('guarantee', 'series')}
            for label, found in datasets.items()
            for name, document in found[grid].items()
        }
        for grid in GRIDS
    }
    if options.out:
        options.out.write_text(json.dumps(kept, indent=1) + '\n')
    guarantees = [run['guarantee'] for run in kept['native'].values()]
    return int(not all(g['max_ratio_change'] < g['limit'] for g in guarantees))


if __name__ == '__main__':
    sys.exit(main())
