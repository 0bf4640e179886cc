"""Do every fault to the real command a number of times, and write what came of it.

``python -m tests.faults --table docs/_static/faults.csv``
``python -m tests.faults --only kill --share 0.1``
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, NotPermittedError, Tried
from tests.faults.study import Study
from tests.faults.tables import FAULTS

PARTICIPANTS = 16
FIRST = ['fault', 'what must be', 'survived', 'tried', 'worst to notice (s)', 'worst to end (s)']


def seeded(fault: Fault, seed: int) -> np.random.Generator:
    """Make the generator of a row: the same whichever other rows are made."""
    return np.random.default_rng([seed, zlib.crc32(fault.name.encode())])


def chosen(only: Sequence[tuple[str, int | None]] | None, share: float) -> list[tuple[Fault, int]]:
    """Pair the faults that were asked for, in that order, with their numbers of tries.

    Examples
    --------
    >>> [(fault.name, count) for fault, count in chosen([('disk', None), ('kill', 3)], 0.5)]
    [('disk', 3), ('kill', 3)]
    """
    named = {fault.name: fault for fault in FAULTS}
    wanted = [(name, None) for name in named] if only is None else only
    return [
        (named[name], count or math.ceil(named[name].target * share)) for name, count in wanted
    ]


def _counted(text: str) -> tuple[str, int | None]:
    """Read ``NAME`` or ``NAME=TRIES``."""
    name, _, count = text.partition('=')
    names = [fault.name for fault in FAULTS]
    if name not in names or (count and not count.isdigit()):
        raise argparse.ArgumentTypeError(f'{text}: give one of {", ".join(names)}, or NAME=TRIES')
    return name, int(count) if count else None


def row_of(fault: Fault, tries: Sequence[Tried]) -> list[str]:
    """Sum up the tries of a fault.

    Examples
    --------
    >>> fault = Fault('x', 'pull the plug', 'all is well', 3, None)
    >>> row_of(fault, [Tried(ended=2.0), Tried(['burnt'], ended=0.5)])
    ['pull the plug', 'all is well', '1', '2', '', '2.0']
    """
    worst = [
        f'{max(seconds):.1f}' if (seconds := [s for s in some if s is not None]) else ''
        for some in ((t.noticed for t in tries), (t.ended for t in tries))
    ]
    survived = sum(not tried.wrong for tried in tries)
    return [fault.done, fault.must, str(survived), str(len(tries)), *worst]


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write rows of the table in its order; those that were not made now stay as they are."""
    table = {row[0]: list(row) for row in rows}
    if path.is_file():
        with path.open(newline='', encoding='utf-8') as file:
            table = {row[0]: row for row in csv.reader(file)} | table
    ordered = [table[fault.done] for fault in FAULTS if fault.done in table]
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows([FIRST, *ordered])


def main() -> int:
    """Make the rows that were asked for, and say whether all was survived."""
    parser = argparse.ArgumentParser(prog='python -m tests.faults', description=__doc__)
    parser.add_argument('--table', type=Path, help='CSV file to write; other rows in it stay')
    parser.add_argument(
        '--only', nargs='+', type=_counted, metavar='NAME[=TRIES]', help='rows to make'
    )
    parser.add_argument('--share', type=float, default=1.0, help='of the tries of a whole table')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--participants', type=int, default=PARTICIPANTS, help='of the study')
    options = parser.parse_args()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        study = Study(Path(folder) / 'study', options.participants)
        _say(f'{study.lasts:.1f} s for one participant, {study.starts:.1f} s of them to begin')
        for fault, count in chosen(options.only, options.share):
            began, tries = time.monotonic(), []
            place = Path(folder) / fault.name
            try:
                for tried in fault.tries(study, count, seeded(fault, options.seed), place):
                    tries.append(tried)
                    for text in tried.wrong:
                        _say(f'{fault.name}, try {len(tries)}: {text}')
            except NotPermittedError as error:
                _say(f'{fault.name}: not tried, {error}')
                continue
            row = row_of(fault, tries)
            wrong += int(row[3]) - int(row[2])
            _say(
                f'{fault.name}: {row[2]} of {row[3]} survived, to notice {row[4] or "-"} s, '
                f'to end {row[5] or "-"} s, {time.monotonic() - began:.0f} s in all'
            )
            if options.table:
                write_table(options.table, [row])
    return int(bool(wrong))


def _say(text: str) -> None:
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


if __name__ == '__main__':
    sys.exit(main())
