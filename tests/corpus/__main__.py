"""Write the table of the corpus: ``python -m tests.corpus docs/_static/corpus.csv``."""

import csv
import sys
from collections import Counter
from pathlib import Path

from tests.corpus.case import PROCESSED, REFUSED, SKIPPED
from tests.corpus.tables import TABLES

OUTCOMES = (REFUSED, SKIPPED, PROCESSED)


def rows() -> list[list[str]]:
    """Count the cases by class and outcome."""
    found = [['class', 'cases', 'refused', 'skipped', 'processed, with a note where one is due']]
    for table in TABLES:
        counts = Counter(case.outcome for case in table.cases)
        found.append(
            [table.kind, str(len(table.cases)), *(str(counts[outcome]) for outcome in OUTCOMES)]
        )
    totals = [sum(int(row[column]) for row in found[1:]) for column in range(1, len(found[0]))]
    return [*found, ['all', *map(str, totals)]]


if __name__ == '__main__':
    with Path(sys.argv[1]).open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(rows())
