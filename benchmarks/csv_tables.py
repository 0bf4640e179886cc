"""Write the tables that the documentation shows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path


def write_table(path: Path, lines: Iterable[Sequence[str]]) -> None:
    """Write lines of cells as CSV; the folder is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(lines)
