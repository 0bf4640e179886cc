"""Write what a call leaves in ``logs``: failures, options and what to cite; one job at a time."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bidsharmony import __version__
from bidsharmony.bids.names import output_stem
from bidsharmony.cli.config import config_text
from bidsharmony.cli.listing import printable
from bidsharmony.cli.options import build_parser
from bidsharmony.settings import Settings
from bidsharmony.supervise.places import LOGS, open_own

FAILURES = {
    'run': {'Description': 'path of the input image, relative to its dataset'},
    'status': {
        'Description': 'what became of the run',
        'Levels': {
            'refused': 'not processed: the input cannot be used',
            'failed': 'processing began and did not end',
        },
    },
    'reason': {'Description': 'the cause, and what to do'},
}
"""Data dictionary of ``logs/failures.tsv``, in the order of its columns."""


def write_failures(
    output_dir: Path,
    failures: Sequence[tuple[str, str, str]],
    *,
    among: Sequence[str],
    besides: Sequence[str] = (),
) -> Path:
    """Bring ``logs/failures.tsv`` and its dictionary up to date for the participants of this call.

    Rows of other participants stay: an array job writes one participant at a time.

    Parameters
    ----------
    output_dir : Path
        the derivatives
    failures : sequence of (run, status, reason)
        what failed now
    among : sequence of str
        participants' folders (``sub-01``) whose earlier rows are out of date
    besides : sequence of str
        images of theirs that this call passed over, as those of another session: their rows stay

    Returns
    -------
    Path
        the table
    """
    with _folder(output_dir) as folder:
        path = folder / 'failures.tsv'
        # an escaped cell holds no tab and no line break
        rows = {tuple(map(printable, row)) for row in failures}
        if path.is_file() and not path.is_symlink():
            with path.open(encoding='utf-8', errors='replace', newline='') as file:
                earlier = list(csv.reader(file, delimiter='\t', quoting=csv.QUOTE_NONE))[1:]
            rows |= {
                tuple(row)
                for row in earlier
                if len(row) == len(FAILURES)
                and (row[0].split('/')[0] not in among or row[0] in besides)
            }
        text = '\n'.join('\t'.join(row) for row in [tuple(FAILURES), *sorted(rows)])
        _replace(path, text + '\n')
        _replace(path.with_suffix('.json'), json.dumps(FAILURES, indent=2) + '\n')
    return path


def write_options(settings: Settings, level: str) -> Path:
    """Write the options of a level's last call, to be used again; an `OSError` names the file."""
    text = config_text(settings, build_parser()._actions)
    with _folder(settings.output_dir) as folder:
        path = folder / f'bidsharmony_{level}.toml'
        _replace(path, text)
    return path


def write_citation(output_dir: Path, done: Sequence[str]) -> None:
    """Write the methods and references of the runs of this call; an `OSError` names the file.

    Parameters
    ----------
    output_dir : Path
        the derivatives
    done : sequence of str
        images of the input that were harmonized, or found unchanged; with none, nothing is written
    """
    if not done:
        return
    # only who has harmonized something needs what pages are made with
    from bidsharmony.evaluation.finished import QC_SUFFIX
    from bidsharmony.reports.participant import read_qc

    places = [Path(name) for name in done]
    files = [output_dir / place.parent / f'{output_stem(place)}{QC_SUFFIX}' for place in places]
    # one that another job is just replacing is left out
    replace_citation(output_dir, [read_qc(file) for file in files if file.is_file()])


def replace_citation(output_dir: Path, documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Write the methods and references of runs, told by their ``qc.json`` or what it will say.

    Returns
    -------
    dict
        ``CITATION.md``, ``CITATION.html`` and ``CITATION.bib`` to their texts

    Raises
    ------
    OSError
        that names the file
    """
    from bidsharmony.reports.methods import citation

    texts = citation(documents, __version__)
    with _folder(output_dir) as folder:
        for name, text in texts.items():
            _replace(folder / name, text)
    return texts


@contextlib.contextmanager
def _folder(output_dir: Path) -> Iterator[Path]:
    """Hold the folder against the other jobs of this output, free of what died writers left.

    Where a file system has no locks, writers go on without, and leave drafts alone.
    """
    folder = output_dir / LOGS
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_own(folder / '.failures.lock', os.O_WRONLY), 'w') as lock:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            for left in folder.glob(f'.*.{"[0-9a-f]" * 32}'):
                left.unlink(missing_ok=True)
        yield folder


def _replace(path: Path, text: str) -> None:
    """Replace a small file in one step; an `OSError` names it."""
    draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    try:
        draft.write_text(text, encoding='utf-8', errors='replace')
        draft.replace(path)
    except OSError as error:
        # a full disk fails without a name
        error.filename = str(path)
        raise
    finally:
        draft.unlink(missing_ok=True)
