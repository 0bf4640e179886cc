"""Measure the memory and the disk that one participant takes, by the size of its series.

Drawn heads of several matrices and numbers of volumes are harmonized by the whole command, one
after the other. While it works, the memory that is a participant's own (not shared with the
process it was forked from) and the folders are looked at again and again; the peaks are printed,
and beside them what ``bidsharmony.supervise.needs`` expects. Its constants come from here.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nb
import numpy as np
from csv_tables import write_table
from spaces import SPACE, write_template

from bidsharmony.bids import collect_dwi
from bidsharmony.cli.parser import parse_args
from bidsharmony.supervise.needs import needs_of

FOV = (240.0, 240.0, 144.0)  # mm
SIDECAR = {
    'Manufacturer': 'Siemens',
    'ManufacturersModelName': 'Prisma',
    'MagneticFieldStrength': 3,
    'EchoTime': 0.071,
}
CASES = (
    ((64, 64, 24), 7, 1, ()),
    ((64, 64, 24), 7, 2, ()),
    ((96, 96, 48), 31, 1, ()),
    ((128, 128, 60), 4, 1, ()),
    ((128, 128, 60), 31, 1, ()),
    ((128, 128, 60), 31, 2, ()),
    ((128, 128, 60), 100, 1, ()),
    ((256, 256, 30), 4, 1, ()),
    ((256, 256, 30), 4, 2, ()),
    ((96, 96, 48), 31, 1, ('--denoise', 'mppca', '--rician')),
    ((96, 96, 48), 31, 1, ('--output-resolution', '1.25')),
    ((96, 96, 48), 31, 1, ('--output-spaces', SPACE)),
)
"""Matrix, volumes, runs, options."""

HEADER = [
    *(
        'matrix',
        'volumes',
        'runs',
        'options',
        'memory (MB)',
        'estimate',
        'output (MB)',
        'estimate',
    ),
    *('work (MB)', 'estimate', 'server (MB)', 'seconds'),
]


def write_series(
    root: Path, shape: tuple[int, int, int], volumes: int, subject: str = '01', run: int = 1
) -> Path:
    """Draw an ellipsoid with a core in a coil's shading and noise, at b=0 and in many directions.

    Integers of 16 bits, gzipped. Without shading N4 would look for it in vain, and twice.
    Each run has an echo time of its own, so that none shares its gain.
    """
    rng = np.random.default_rng(0)
    axes = [np.linspace(-1, 1, size, dtype=np.float32) for size in shape]
    radius = np.sqrt(sum((axis / 0.8) ** 2 for axis in np.meshgrid(*axes, indexing='ij')))
    shading = np.exp(0.3 * axes[0][:, None, None] + 0.2 * axes[1][:, None] ** 2)
    brain = shading * (500 * (radius < 1) + 300 * (radius < 0.4))
    adc = np.where(radius < 0.4, 1.6e-3, 0.8e-3)
    directions = rng.normal(size=(volumes - 1, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    series = np.empty((*shape, volumes), np.int16)
    series[..., 0] = np.abs(brain + rng.normal(0, 5, shape))
    for ix, direction in enumerate(directions, start=1):
        signal = brain * np.exp(-1000 * adc * (1 + 0.1 * direction[0]))
        series[..., ix] = np.abs(signal + rng.normal(0, 5, shape))
    zooms = np.array(FOV) / shape
    affine = np.diag([-zooms[0], zooms[1], zooms[2], 1.0])
    affine[:3, 3] = -affine.diagonal()[:3] * (np.array(shape) - 1) / 2
    folder = root / f'sub-{subject}' / 'dwi'
    folder.mkdir(parents=True, exist_ok=True)
    (root / 'dataset_description.json').write_text('{"Name": "sizes", "BIDSVersion": "1.10.0"}')
    image = nb.Nifti1Image(series, affine)
    image.header.set_xyzt_units('mm', 'sec')
    path = folder / f'sub-{subject}_run-{run}_dwi.nii.gz'
    nb.save(image, path)
    start = str(path).removesuffix('.nii.gz')
    Path(f'{start}.json').write_text(
        json.dumps(SIDECAR | {'EchoTime': SIDECAR['EchoTime'] + 0.01 * (run - 1)})
    )
    Path(f'{start}.bval').write_text('0' + ' 1000' * (volumes - 1))
    rows = np.vstack([np.zeros(3), directions]).T
    Path(f'{start}.bvec').write_text('\n'.join(' '.join(f'{v:.6f}' for v in row) for row in rows))
    return path


def peaks(command: list[str], out: Path, work: Path) -> dict[str, float]:
    """Run a command; the most memory and disk that it takes (MB)."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = dict.fromkeys(('own', 'server', 'out', 'work'), 0.0)
    looked = 0.0
    shared: dict[int, float] = {}
    while process.poll() is None:
        own = server = 0.0
        for child in children(process.pid):
            # the server is what the participants are forked from; what they start is theirs
            participants = children(child)
            if participants:
                server = max(server, private_mb(child))
            for participant in participants:
                family = list(descendants(participant))
                resident, alone = resident_mb(participant), private_mb(participant)
                if not family:
                    shared[participant] = resident - alone
                # what it shares with a fork of its own is its own, too
                mine = max(alone, resident - shared.get(participant, resident))
                own = max(own, mine + sum(map(private_mb, family)))
        now = {'own': own, 'server': server}
        if time.monotonic() - looked > 0.2:
            now |= {'out': folder_mb(out), 'work': folder_mb(work)}
            looked = time.monotonic()
        most |= {key: max(most[key], mb) for key, mb in now.items()}
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f'{" ".join(command)} ended with {process.returncode}')
    return most


def children(pid: int) -> list[int]:
    """List the processes that one has started."""
    try:
        return list(map(int, Path(f'/proc/{pid}/task/{pid}/children').read_text().split()))
    except OSError:
        return []


def descendants(pid: int) -> Iterator[int]:
    """List the processes below one."""
    for child in children(pid):
        yield child
        yield from descendants(child)


def resident_mb(pid: int) -> float:
    """Return how much of a process lies in memory."""
    try:
        pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def private_mb(pid: int) -> float:
    """Return the memory that a process shares with no other."""
    try:
        lines = Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith('Private_')) / 1024


def folder_mb(folder: Path) -> float:
    """Return what the files of a folder take on the disk."""
    total = 0
    # what is moved on meanwhile counts in its new place
    for place, _, names in os.walk(folder, onerror=lambda error: None):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total / 2**20


def main() -> None:
    """Run every case, and print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--table', type=Path, help='CSV file to write')
    given = parser.parse_args()
    lines = [HEADER]
    print('  '.join(HEADER))
    for shape, volumes, runs, options in CASES:
        with tempfile.TemporaryDirectory() as folder:
            raw, out, work = (Path(folder) / name for name in ('raw', 'out', 'work'))
            os.environ['TEMPLATEFLOW_HOME'] = f'{folder}/home'
            write_template(Path(folder) / 'home')
            for run in range(1, runs + 1):
                write_series(raw, shape, volumes, run=run)
            arguments = [str(raw), str(out), 'participant', '-w', str(work), *options]
            began = time.monotonic()
            found = peaks(
                [sys.executable, '-m', 'bidsharmony.cli.participant', *arguments], out, work
            )
            seconds = time.monotonic() - began
            needs = needs_of(collect_dwi(raw).runs, parse_args(arguments))
        figures = (
            *(found['own'], needs.memory, found['out'], needs.output),
            *(found['work'], needs.work, found['server'], seconds),
        )
        matrix = ' x '.join(map(str, shape))
        case = [matrix, str(volumes), str(runs), ' '.join(options)]
        lines.append([*case, *(f'{x:.0f}' for x in figures)])
        print('  '.join(lines[-1]), flush=True)
    if given.table:
        write_table(given.table, lines)


if __name__ == '__main__':
    main()
