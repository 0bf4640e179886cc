"""Write what was found, and what became of it, as plain lines for a person."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from bidsharmony.bids import Collection, DwiRun
from bidsharmony.cli.options import EXIT_ENVIRONMENT


def printable(text: str) -> str:
    r"""Show control characters instead of obeying them: file names may hold some.

    Examples
    --------
    >>> printable('sub-\x1b[2J')
    'sub-\\x1b[2J'
    """
    encodable = text.encode('utf-8', 'backslashreplace').decode()
    return ''.join(
        char if char.isprintable() else char.encode('unicode_escape').decode()
        for char in encodable
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Align columns with two blanks between them.

    Examples
    --------
    >>> table(['run', 'bval'], [['sub-01', 'dwi.bval']]).splitlines()
    ['run     bval', 'sub-01  dwi.bval']
    """
    lines = [[printable(cell) for cell in row] for row in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return '\n'.join(
        '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def plural(number: int, noun: str) -> str:
    """Count things.

    Examples
    --------
    >>> plural(1, 'run'), plural(20, 'run')
    ('1 run', '20 runs')
    """
    return f'{number} {noun}' + ('' if number == 1 else 's')


def say(text: str) -> None:
    """Write to stdout; where nobody reads it any more (``| head``), the work goes on unheard."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str, code: int) -> int:
    """Write one line to stderr, and hand back the exit code."""
    line = printable(' '.join(message.split())).rstrip('.')
    sys.stderr.write(f'ERROR {line}.\n')
    return code


def complain_of_machine(error: OSError) -> int:
    """Say in one line what the disk, memory or a permission kept from happening."""
    # The errno's own words carry no trace of where in the code it happened.
    place = f'{error.filename}: ' if error.filename else ''
    cause = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename:
        with contextlib.suppress(OSError):
            cause += f', {shutil.disk_usage(Path(error.filename).parent).free} bytes are free'
    return complain(f'{place}{cause}. Check space and rights there', EXIT_ENVIRONMENT)


def dry_run(collection: Collection, root: Path) -> str:
    """List the runs with what they inherit, the scanners, and what is left out and why.

    Parameters
    ----------
    collection : Collection
        what was found
    root : Path
        the dataset

    Returns
    -------
    str
        several paragraphs, ending in a newline
    """
    root = Path(root).resolve()
    runs = collection.runs
    parts = [
        f'{printable(root.name)}: {plural(len(runs), "run")} of '
        f'{plural(len({run.subject for run in runs}), "participant")} would be harmonized, '
        f'{len(collection.refused)} refused, {len(collection.skipped)} skipped'
    ]
    if runs:
        header = ('run', 'scanner', 'b-values', 'b-vectors', 'sidecar')
        parts.append(table(header, [_row(run) for run in runs]))
        parts.append(_scanners(runs))
    for title, items in (('refused', collection.refused), ('skipped', collection.skipped)):
        if items:
            parts.append(table((title, 'why'), [(item.relative, item.reason) for item in items]))
    return '\n\n'.join(parts) + '\n'


def _row(run: DwiRun) -> tuple[str, ...]:
    def where(path: Path | None) -> str:
        """Say that a file lies beside the image, or give the path of one that is inherited."""
        if path is None:
            return 'none'
        if path.name.partition('.')[0] == run.image.name.partition('.')[0]:
            return 'own'
        return run.locate(path)

    sidecars = ' + '.join(where(path) for path in run.sidecar_files) or 'none'
    bval = (
        f'{plural(len(run.b0_sources), "b=0 image")} to try' if run.b0_sources else where(run.bval)
    )
    return run.relative, run.scanner.label, bval, where(run.bvec), sidecars


def _scanners(runs: Sequence[DwiRun]) -> str:
    counts = Counter(run.scanner.label for run in runs)
    subjects = {label: set() for label in counts}
    for run in runs:
        subjects[run.scanner.label].add(run.subject)
    rows = [
        (label, str(count), str(len(subjects[label]))) for label, count in sorted(counts.items())
    ]
    return table(('scanner', 'runs', 'participants'), rows)
