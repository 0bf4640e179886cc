"""Hold the corpus, or mutated files, against the input gate, and write what came out.

``python -m tests.corpus --table docs/_static/corpus.csv``
``python -m tests.corpus --fuzz 10000 --table docs/_static/fuzz.csv``
"""

from __future__ import annotations

import argparse
import csv
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.corpus.case import PROCESSED, REFUSED, SKIPPED, Case
from tests.corpus.fuzz import FUZZERS, fuzz
from tests.corpus.gate import shortcomings, verdict_of_good
from tests.corpus.tables import CASES, TABLES

OUTCOMES = (REFUSED, SKIPPED, PROCESSED)
FIRST = ['class', 'cases', *OUTCOMES, 'as expected']
FUZZED = [
    *('mutated', 'inputs', *OUTCOMES, 'uncaught exceptions', 'over 5 s'),
    *('slowest (s)', 'memory added (MB)'),
]


def rows(found: Mapping[Case, list[str]]) -> list[list[str]]:
    """Count the cases by class and outcome, and those that came out so."""
    counted = []
    for table in TABLES:
        counts = Counter(case.outcome for case in table.cases)
        met = sum(not found[case] for case in table.cases)
        counted.append([len(table.cases), *(counts[outcome] for outcome in OUTCOMES), met])
    totals = [sum(column) for column in zip(*counted, strict=True)]
    names = [*(table.kind for table in TABLES), 'all']
    return [
        [name, *map(str, numbers)] for name, numbers in zip(names, [*counted, totals], strict=True)
    ]


def run_corpus() -> dict[Case, list[str]]:
    """Hold every case against the gate; case to what is not as it must be."""
    with tempfile.TemporaryDirectory() as folder:
        places = Path(folder)
        good = verdict_of_good(places / 'good')
        return {case: shortcomings(case, places / str(ix), good) for ix, case in enumerate(CASES)}


def run_fuzzers(count: int, seed: int) -> tuple[list[list[str]], list[str]]:
    """Mutate files; a row for each fuzzer, and what went wrong."""
    written, wrong = [], []
    for name, mutate in FUZZERS.items():
        with tempfile.TemporaryDirectory() as folder:
            result = fuzz(mutate, Path(folder), count, seed)
        outcomes = [str(result.counts[outcome]) for outcome in OUTCOMES]
        written.append(
            [
                *(name, str(count), *outcomes, str(len(result.uncaught)), str(len(result.slow))),
                *(f'{result.slowest:.2f}', f'{result.megabytes:.0f}'),
            ]
        )
        wrong += [f'{name}, {line}' for line in (*result.uncaught, *result.slow)]
    return written, wrong


def main() -> int:
    """Run what was asked for, write its table, and say whether all was as it must be."""
    parser = argparse.ArgumentParser(prog='python -m tests.corpus', description=__doc__)
    parser.add_argument('--table', type=Path, help='CSV file to write')
    parser.add_argument('--fuzz', type=int, metavar='N', help='mutated inputs of each fuzzer')
    parser.add_argument('--seed', type=int, default=0)
    options = parser.parse_args()
    # what libraries say of each file is not asked for here
    logging.disable(logging.CRITICAL)
    if options.fuzz:
        table, wrong = run_fuzzers(options.fuzz, options.seed)
        table = [FUZZED, *table]
    else:
        found = run_corpus()
        table = [FIRST, *rows(found)]
        wrong = [f'{case.kind} {case.name}: {text}' for case in CASES for text in found[case]]
    if options.table:
        with options.table.open('w', newline='', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerows(table)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        '  '.join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    ]
    sys.stdout.write('\n'.join([*lines, *wrong]) + '\n')
    return int(bool(wrong))


if __name__ == '__main__':
    sys.exit(main())
