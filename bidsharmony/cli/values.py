"""Read the values of options: each function takes the text and refuses it in one line."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bidsharmony.bids import QSIPREP
from bidsharmony.bids.names import ENTITIES, LABEL
from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.sidecar import read_json

DERIVATIVES = (QSIPREP,)
"""Preprocessed datasets that are understood."""

LARGEST_SEED = 2**31 - 1
"""NumPy, scikit-learn and torch all take it."""


def label_after(prefix: str) -> Callable[[str], str]:
    """Make a type that strips ``sub-`` and the like, and accepts letters and digits only."""

    def convert(text: str) -> str:
        label = text.removeprefix(prefix)
        if not LABEL.fullmatch(label):
            raise argparse.ArgumentTypeError(f'{text!r} is not a label of letters and digits')
        return label

    return convert


def positive_int(text: str) -> int:
    """Read a whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1 on')
    return int(text)


def whole_number(text: str) -> int:
    """Read a seed that every library takes: a whole number from 0 on."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number up to {LARGEST_SEED}')
    return int(text)


def number_between(low: float, high: float, what: str, *, word: str = '') -> Callable[[str], Any]:
    """Make a type that reads a number of a range, or one word, which means None.

    Examples
    --------
    >>> voxel = number_between(0.5, 10, 'a voxel size', word='native')
    >>> voxel('2.5'), voxel('native')
    (2.5, None)
    """

    def convert(text: str) -> float | None:
        if word and text == word:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and low <= value <= high):
            raise argparse.ArgumentTypeError(f'{text!r} is not {what}')
        return value

    return convert


def megabytes(text: str) -> float:
    """Read a size in MB, or with a suffix in MB, GB or TB.

    Examples
    --------
    >>> megabytes('800'), megabytes('8G'), megabytes('1.5gb')
    (800.0, 8192.0, 1536.0)
    """
    found = re.fullmatch(r'(\d+(?:\.\d+)?)\s*([MGT]?)B?', text.strip(), re.IGNORECASE)
    size = float(found[1]) * 1024 ** 'MGT'.index(found[2].upper() or 'M') if found else 0.0
    if size < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a size such as 8000, 8000M or 8G')
    return size


def dwi_filters(text: str) -> dict[str, Any]:
    """Read the ``dwi`` query of a filter file and check it against the entities there are."""
    path = Path(text)
    try:
        content = read_json(path)
    except BIDSError as error:
        raise argparse.ArgumentTypeError(f'{path.name} {error}') from None
    query = content.get('dwi')
    if not isinstance(query, dict):
        raise argparse.ArgumentTypeError(
            f'{path.name} has no query "dwi"; it has: {", ".join(content) or "nothing"}'
        )
    if unknown := [key for key in query if key not in ENTITIES]:
        raise argparse.ArgumentTypeError(
            f'{path.name} filters by {", ".join(unknown)}; choose from {", ".join(ENTITIES)}'
        )
    for key, answer in query.items():
        choices = answer if isinstance(answer, list) else [answer]
        if not choices or not all(c is None or isinstance(c, (str, int)) for c in choices):
            raise argparse.ArgumentTypeError(
                f'{path.name} asks for {key} {answer!r}; give a label, a list of labels, '
                'null (none) or "*" (any)'
            )
    return query


def with_file(read: Callable[[str], Any]) -> Callable[[str], tuple[Path, Any]]:
    """Make a type that keeps the file beside what was read from it."""

    def convert(text: str) -> tuple[Path, Any]:
        content = read(text)
        return Path(text).expanduser().resolve(), content

    return convert


def named_dataset(text: str) -> tuple[str, Path]:
    """Read ``NAME=PATH``."""
    name, found, path = text.partition('=')
    if not found or not path:
        raise argparse.ArgumentTypeError(f'{text!r} is not NAME=PATH')
    if name not in DERIVATIVES:
        raise argparse.ArgumentTypeError(
            f'{name!r} is not a dataset that is understood; choose from {", ".join(DERIVATIVES)}'
        )
    return name, Path(path).expanduser().resolve()


def table_column(text: str) -> tuple[Path, str]:
    """Read ``FILE:COLUMN``.

    Examples
    --------
    >>> table_column('participants.tsv:site')[1]
    'site'
    """
    path, found, column = text.rpartition(':')
    if not (found and path and column):
        raise argparse.ArgumentTypeError(f'{text!r} is not FILE:COLUMN')
    return Path(path).expanduser(), column
