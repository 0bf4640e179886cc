"""Run every test of this folder and write how many there are of each promise, and passed.

``python -m tests.security --table docs/_static/security.csv``
"""

from __future__ import annotations

import argparse
import csv
import importlib
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
HEADER = ('promise', 'tests', 'passed', 'skipped')


class Tally:
    """Count what became of the tests of each module."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a test once: when it ran, was skipped, or failed while it was prepared."""
        if report.when == 'call' or not report.passed:
            module = Path(report.location[0]).stem
            self.counts.setdefault(module, Counter())[report.outcome] += 1


def main() -> int:
    """Run the tests, write the table, and say whether all passed."""
    parser = argparse.ArgumentParser(prog='python -m tests.security', description=__doc__)
    parser.add_argument('--table', type=Path, help='CSV file to write')
    options = parser.parse_args()
    tally = Tally()
    modules = sorted(HERE.glob('test_*.py'))
    code = pytest.main(['-q', '-p', 'no:xdist', *map(str, modules)], plugins=[tally])
    rows = []
    for path in modules:
        told = importlib.import_module(f'tests.security.{path.stem}').__doc__ or path.stem
        counts = tally.counts.get(path.stem, Counter())
        cells = (counts.total(), counts['passed'], counts['skipped'])
        rows.append((told.splitlines()[0].rstrip('.'), *map(str, cells)))
    if options.table:
        with options.table.open('w', newline='', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerows([HEADER, *rows])
    return int(code)


if __name__ == '__main__':
    sys.exit(main())
