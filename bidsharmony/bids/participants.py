"""Read what a dataset says of its participants: tables with a row each, or one a session."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.sidecar import read_json, read_text

LARGEST_TABLE = 2**26
"""Bytes of a table that are read."""

MISSING = {'', 'n/a', 'na', 'nan', 'none'}
"""What stands for no value, in lower case."""

PARTICIPANT, SESSION = 'participant_id', 'session_id'


def read_table(path: Path) -> list[dict[str, str]]:
    """Read the rows of a BIDS table that begin with a participant; no value is ``''``.

    Parameters
    ----------
    path : Path
        Tab-separated, with a column ``participant_id``.

    Returns
    -------
    list of dict
        Participants and sessions without ``sub-`` and ``ses-``.

    Raises
    ------
    BIDSError
        with cause and remedy, without the file's name
    """
    text = read_text(path, LARGEST_TABLE, 'is larger than 64 MB. Shorten it')
    reader = csv.DictReader(text.splitlines(), delimiter='\t', quoting=csv.QUOTE_NONE)
    if PARTICIPANT not in (reader.fieldnames or ()):
        raise BIDSError(f'has no column {PARTICIPANT}. Is it tab-separated?')
    rows = []
    for row in reader:
        # a row that is too short or too long holds None, as value or as key
        cells = {key: (value or '').strip() for key, value in row.items() if key is not None}
        cells = {key: '' if value.lower() in MISSING else value for key, value in cells.items()}
        cells[PARTICIPANT] = cells[PARTICIPANT].removeprefix('sub-')
        if SESSION in cells:
            cells[SESSION] = cells[SESSION].removeprefix('ses-')
        if cells[PARTICIPANT]:
            rows.append(cells)
    return rows


def read_column(path: Path, column: str) -> dict[tuple[str, str], str]:
    """Read one column of a table, by participant and session.

    Parameters
    ----------
    path : Path
    column : str

    Returns
    -------
    dict
        (participant, session) to value, labels without prefix; session ``''`` for a row that
        holds for all. Rows without a value are left out.

    Raises
    ------
    BIDSError
        with cause and remedy, without the file's name
    """
    rows = read_table(path)
    if not rows:
        raise BIDSError('has no row. Check it')
    if column not in rows[0] or column in (PARTICIPANT, SESSION):
        named = [name for name in rows[0] if name not in (PARTICIPANT, SESSION)]
        raise BIDSError(f'has no such column; it has: {", ".join(named) or "none"}')
    found: dict[tuple[str, str], str] = {}
    for row in rows:
        key, value = (row[PARTICIPANT], row.get(SESSION, '')), row[column]
        if not value:
            continue
        if found.setdefault(key, value) != value:
            who = f'sub-{key[0]}' + (f' ses-{key[1]}' if key[1] else '')
            raise BIDSError(f'has two values for {who}: {found[key]} and {value}. Keep one')
    if not found:
        raise BIDSError('has no value in that column. Check it')
    return found


def participants_of(bids_dir: Path) -> tuple[dict[str, dict[str, str]], dict[str, Any]]:
    """Read ``participants.tsv`` and ``participants.json`` of a dataset.

    Returns
    -------
    rows : dict
        Participant without ``sub-`` to cells; empty without a table that can be read. The first
        row of a participant counts.
    columns : dict
        What the JSON says of the columns; empty without one.
    """
    try:
        table = read_table(bids_dir / 'participants.tsv')
    except BIDSError:
        return {}, {}
    rows: dict[str, dict[str, str]] = {}
    for row in table:
        rows.setdefault(row[PARTICIPANT], row)
    try:
        columns = read_json(bids_dir / 'participants.json')
    except BIDSError:
        columns = {}
    return rows, {name: entry for name, entry in columns.items() if isinstance(entry, Mapping)}
