"""Time the group level without a deep network: drawn heads on seven scanners, 1,400 slices.

The heads are those of the tests and their scanners differ by a planted effect, so that the time is
real and nothing else is.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bidsharmony.cli.group import run_group  # noqa: E402
from bidsharmony.settings import Settings  # noqa: E402
from tests.planted_study import planted_study  # noqa: E402


def main() -> None:
    """Write the study, run the group level on it, and print the seconds that it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--scanners', type=int, default=7)
    parser.add_argument('--subjects', type=int, default=10)
    parser.add_argument('--slices', type=int, default=20)
    parser.add_argument('--nprocs', type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out_dir = Path(folder) / 'derivatives'
        out_dir.mkdir()
        planted_study(
            out_dir,
            scanners=given.scanners,
            subjects=given.subjects,
            n_slices=given.slices,
            effect=0.4,
            rest=0.05,
            atrophy=True,
        )
        subjects = range(1, given.subjects + 1)
        lines = [f'sub-{one:02d}\t{39 + one}\t{"MF"[one % 2]}' for one in subjects]
        table = Path(folder) / 'participants.tsv'
        table.write_text('\n'.join(['participant_id\tage\tsex', *lines, '']))
        settings = Settings(
            bids_dir=Path(folder),
            output_dir=out_dir,
            analysis_levels=('group',),
            audit='quick',
            nprocs=given.nprocs,
        )
        begun, spent = time.perf_counter(), _processor_seconds()
        run_group(settings)
        seconds, processor = time.perf_counter() - begun, _processor_seconds() - spent
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        found = json.loads((out_dir / 'group_batcheffects.json').read_text())
        retrained = found['scanner_id']['forest']['retrained']
        accuracy = ' and '.join(
            f'{retrained[side]["accuracy"]:.2f} {side}' for side in ('before', 'after')
        )
        print(
            f'{found["n_slices"]} slices of {found["n_runs"]} runs on {found["n_scanners"]} '
            f'scanners: {seconds:.0f} s with --nprocs {given.nprocs}, {processor:.0f} s of '
            f'processor time, {peak:.1f} GB at most\n'
            f'Retrained forest: {accuracy}, chance {found["chance"]:.2f}'
        )


def _processor_seconds() -> float:
    """Return what this process and those that it started have used."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


if __name__ == '__main__':
    main()
