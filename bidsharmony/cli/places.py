"""Say at the end where everything is that a call has written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bidsharmony.bids import COMPAT
from bidsharmony.cli.listing import printable

LISTED = 3
"""Pages that are named; of more, only their pattern is."""


def places_written(output_dir: Path, done: Sequence[str], *, failed: bool) -> str:
    """Name pages, images, tables and logs that are there, relative to the output folder.

    Parameters
    ----------
    output_dir : Path
        the derivatives
    done : sequence of str
        images of the input that this call has harmonized, or found unchanged
    failed : bool
        whether the table of failures is worth a look

    Returns
    -------
    str
        lines, ending in a newline
    """
    participants = sorted({Path(run).parts[0] for run in done})
    folders = sorted({Path(run).parent.as_posix() for run in done})
    found = {
        'pages': _short([f'{name}.html' for name in participants], 'sub-*.html', output_dir),
        'images': _short(folders, 'sub-*', output_dir),
        'for QSIRecon': _short([COMPAT], COMPAT, output_dir),
        'failures': _short(['logs/failures.tsv'] if failed else [], '', output_dir),
        'methods': _short(['logs/CITATION.md'] if done else [], '', output_dir),
        'logs': 'logs',
    }
    lines = [f'In {output_dir.name}:']
    lines += [f'  {what + ":":14}{where}' for what, where in found.items() if where]
    return '\n'.join(printable(line) for line in lines) + '\n'


def _short(names: Sequence[str], pattern: str, output_dir: Path) -> str:
    """Name what there is of some files, or give their number and a pattern."""
    there = [name for name in names if (output_dir / name).exists()]
    return f'{len(there)} like {pattern}' if len(there) > LISTED else ', '.join(there)
