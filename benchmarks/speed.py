"""Time the program against the least that its work can take on the same machine.

    python benchmarks/speed.py [--anatomy DIR] [--only ROW ...] [--repeats 3]
                               [--out speed.json] [--table CSV]

Every row is a ratio of two measurements made one after the other on the same files, or a limit in
seconds or megabytes. Series are drawn. Without --anatomy the training is left out. Other work on
the machine disturbs every row: the load is printed first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# before anything that reads them is imported
for name in ('OMP', 'OPENBLAS', 'MKL'):
    os.environ.setdefault(f'{name}_NUM_THREADS', '1')
# of N4 alone, which runs are set against; their processes have their own
os.environ['ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS'] = '1'

RUNS = 20000  # of a large study
STEP = '  step '  # how rows begin that are not in the table
LEAST_STEP = 0.1  # seconds


class Row(NamedTuple):
    """What was measured, and what it must reach."""

    what: str
    value: float
    unit: str
    target: str
    met: bool


def at_most(what: str, value: float, unit: str, bound: float) -> Row:
    """Make a row that must not exceed a bound."""
    return Row(what, value, unit, f'<= {bound:g}', value <= bound)


def at_least(what: str, value: float, unit: str, bound: float) -> Row:
    """Make a row that must reach a bound."""
    return Row(what, value, unit, f'>= {bound:g}', value >= bound)


def step_rows(steps: dict[str, tuple[float, float]]) -> list[Row]:
    """Tell the steps of a run's graph that take longest, in the order in which they begin."""
    return [
        Row(f'{STEP}{name.split(".", 2)[2]}, from {start:.1f} s', seconds, 's', '', True)
        for name, (start, seconds) in sorted(steps.items(), key=lambda item: item[1])
        if seconds >= LEAST_STEP
    ]


def help_rows(given: argparse.Namespace) -> list[Row]:
    """Time the shortest answers."""
    from speed_runs import answering, imports

    found = answering()
    return [
        at_most('--help, --version', found['seconds'], 's', 0.4),
        at_least('they import no heavy library', float(found['light']), '', 1),
        Row('imports, once for all participants', imports(), 's', '', True),
    ]


def gzip_rows(given: argparse.Namespace) -> list[Row]:
    """Set the library that series are written by beside zlib."""
    from speed_runs import gzipping

    found = gzipping()
    return [
        Row('ISA-L over zlib level 1, writing', found['deflate'], 'times', '', True),
        Row('ISA-L over zlib, reading', found['inflate'], 'times', '', True),
        Row('size of its files', found['size'], 'times', '', True),
    ]


def clinical_rows(given: argparse.Namespace) -> list[Row]:
    """Time a run of b=0 and three directions."""
    from speed_runs import CLINICAL, parts, timed

    found, least = timed(*CLINICAL, given.repeats), parts(*CLINICAL)
    work = least['read'] + least['n4'] + least['write']
    return [
        Row('clinical run', found['seconds'], 's', '', True),
        Row('  processor time of its threads', found['processor'], 's', '', True),
        Row('  read + N4 + write', work, 's', '', True),
        at_most('clinical run / (read + N4 + write)', found['seconds'] / work, 'times', 2),
        at_most('of it not computing', 100 * (1 - found['compute'] / found['seconds']), '%', 15),
        *step_rows(found['steps']),
    ]


def research_rows(given: argparse.Namespace) -> list[Row]:
    """Time a run of a hundred volumes, one of fewer, and their memory."""
    from speed_runs import FEWER, RESEARCH, parts, timed

    shape, volumes = RESEARCH
    found, least = timed(shape, volumes, given.repeats), parts(shape, volumes)
    fewer = timed(shape, FEWER, given.repeats)
    work = 1.5 * least['pass'] + least['n4'] + least['network']
    more = (found['seconds'] - fewer['seconds']) / (volumes - FEWER)
    return [
        Row('research run', found['seconds'], 's', '', True),
        Row('  processor time of its threads', found['processor'], 's', '', True),
        Row('  inflate + multiply + deflate', least['pass'], 's', '', True),
        Row('  N4', least['n4'], 's', '', True),
        Row('  network', least['network'], 's', '', True),
        at_most('research run / (1.5 passes + N4 + network)', found['seconds'] / work, 'times', 1),
        at_most('one more direction / its pass', more / least['per_volume'], 'times', 1.15),
        at_most('memory of the research run', found['memory_mb'], 'MB', 1200),
        at_most(
            f'memory at {volumes} volumes over that at {FEWER}',
            found['usual_mb'] / fewer['usual_mb'],
            'times',
            1.02,
        ),
        *step_rows(found['steps']),
    ]


def network_rows(given: argparse.Namespace) -> list[Row]:
    """Time the network."""
    from speed_compute import network, peak

    machine = peak()
    found = network(machine)
    return [
        Row('peak of one core', machine, 'Gflop/s', '', True),
        Row('network, a slice of 256 x 256', found['ms'], 'ms', '', True),
        at_least('network, share of the peak', 100 * found['of_peak'], '%', 40),
        Row(
            "faster than HACA3's networks on one orientation",
            found['times_haca3'],
            'times',
            '',
            True,
        ),
        at_least(
            "faster than HACA3's networks on three, as it works",
            found['orientations'] * found['times_haca3'],
            'times',
            10,
        ),
    ]


def panel_rows(given: argparse.Namespace) -> list[Row]:
    """Time what panels show."""
    from speed_compute import panels

    found = panels()
    rows = [
        at_most(f'GLCM and PSD of {found["slices"]} slices', found['ms'] / 1e3, 's', 1),
        Row(
            'GLCM by scikit-image slice by slice over that',
            found['times_looped'],
            'times',
            '',
            True,
        ),
    ]
    if 'times_mirp' in found:
        rows.append(at_least('GLCM faster than mirp', found['times_mirp'], 'times', 5))
    return rows


def training_rows(given: argparse.Namespace) -> list[Row]:
    """Time what bounds the training."""
    if given.anatomy is None:
        return []
    from speed_compute import peak, training

    found = training(given.anatomy, peak())
    return [
        at_most('simulated pair', found['pair_ms'], 'ms', 50),
        Row('training step, 8 patches of 128', found['step_ms'], 'ms', '', True),
        at_least('training step, share of the peak', 100 * found['of_peak'], '%', 40),
    ]


def dataset_rows(given: argparse.Namespace) -> list[Row]:
    """Time one participant of a large dataset, and two at once."""
    from speed_runs import at_once, finding_one

    found = finding_one()
    return [
        at_most('one of 2,000 participants, up to its work', found['many'], 's', 2),
        Row('  one of one', found['one'], 's', '', True),
        at_least('throughput of two processes over one', at_once(), 'times', 1.7),
    ]


def group_rows(given: argparse.Namespace) -> list[Row]:
    """Time the group level on a large study: its tables and page alone, and with the audit."""
    from speed_group import group

    half, whole = group(RUNS // 2, 'none'), group(RUNS, 'none')
    audited = group(RUNS, 'quick')
    return [
        Row(f'group on {RUNS:,} runs without the audit', whole['seconds'], 's', '', True),
        # a tenth is left for what the file system does with so many folders
        at_most('  over that on half as many', whole['seconds'] / half['seconds'], 'times', 2.2),
        at_most(
            f'audit by random forests, {audited["slices"]} slices',
            audited['seconds'] - whole['seconds'],
            's',
            600,
        ),
        at_most(f'memory of group on {RUNS:,} runs', audited['memory_mb'], 'MB', 1500),
    ]


ROWS: dict[str, Callable[[argparse.Namespace], list[Row]]] = {
    'help': help_rows,
    'gzip': gzip_rows,
    'clinical': clinical_rows,
    'research': research_rows,
    'network': network_rows,
    'panels': panel_rows,
    'training': training_rows,
    'dataset': dataset_rows,
    'group': group_rows,
}


def main() -> int:
    """Print and write the table; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, help='label maps, for the training')
    parser.add_argument('--only', nargs='+', choices=ROWS, default=list(ROWS))
    parser.add_argument('--repeats', type=int, default=3, help='of a run; the least time counts')
    parser.add_argument('--out', type=Path, help='JSON; rows of other calls stay')
    parser.add_argument('--table', type=Path, help='CSV for the documentation')
    given = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    print(f'load of the machine at the start: {os.getloadavg()[0]:.1f}')
    from quality import commit

    document: dict[str, Any] = {}
    if given.out and given.out.is_file():
        document = json.loads(given.out.read_text())
    for name in given.only:
        rows = ROWS[name](given)
        for row in rows:
            met = '' if not row.target else 'yes' if row.met else 'NO'
            print(
                f'{row.what:50s} {row.value:9.3g} {row.unit:8s} {row.target:>8s} {met}', flush=True
            )
        document[name] = [row._asdict() | {'value': float(f'{row.value:.4g}')} for row in rows]
        if given.out:
            kept = {key: document[key] for key in ROWS if document.get(key)}
            given.out.write_text(json.dumps({'commit': commit(), **kept}, indent=1) + '\n')
    if given.table:
        from csv_tables import write_table

        lines = [['', 'measured', 'target', 'met']]
        lines += [
            [row['what'].strip(), f'{row["value"]:.3g} {row["unit"]}'.strip(), row['target'],
             '' if not row['target'] else 'yes' if row['met'] else 'no']
            for key in ROWS
            for row in document.get(key) or ()
            if not row['what'].startswith(STEP)
        ]  # fmt: skip
        write_table(given.table, lines)
    return int(any(not row['met'] for key in ROWS for row in document.get(key) or ()))


if __name__ == '__main__':
    sys.exit(main())
