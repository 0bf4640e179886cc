"""Read sidecars safely, and find the files that an image inherits."""

from __future__ import annotations

import json
import logging
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bidsharmony.bids.names import Name, is_subset, parse_name
from bidsharmony.bids.records import BIDSError

LOGGER = logging.getLogger(__name__)

DESCRIPTION = 'dataset_description.json'

LARGEST_JSON = 2**20
"""Bytes of JSON that are read; a longer file is no sidecar."""

DEEPEST_JSON = 50
"""Levels of nesting that are read."""

PLAUSIBLE = {
    'MagneticFieldStrength': (0.05, 12.0),  # T
    'EchoTime': (0.005, 0.5),  # s
    'RepetitionTime': (0.1, 60.0),  # s
    'SliceThickness': (0.3, 30.0),  # mm
}
"""BIDS unit ranges: outside of them a number is in another unit, or wrong."""

COMPANIONS = ('.bval', '.bvec', '.json')


def read_text(path: Path, largest: int, too_large: str) -> str:
    """Read a file of UTF-8 text.

    Parameters
    ----------
    path : Path
    largest : int
        Bytes.
    too_large : str
        What is said of a larger one.

    Raises
    ------
    BIDSError
        with cause and remedy, without the file's name
    """
    try:
        # a pipe would wait for ever, a device never end
        if not path.is_file():
            raise BIDSError('is not there, or no regular file. Check its name')
        if path.stat().st_size > largest:
            raise BIDSError(too_large)
        return path.read_bytes().decode('utf-8-sig')
    except UnicodeDecodeError:
        raise BIDSError('is not UTF-8 text. Save it as UTF-8') from None
    except OSError as error:
        raise BIDSError(f'cannot be read ({error.strerror}). Check it and its rights') from None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of at most 1 MB and 50 levels; NaN and infinity become None.

    Raises
    ------
    BIDSError
        with cause and remedy, without the file's name
    """
    text = read_text(path, LARGEST_JSON, 'is larger than 1 MB, which no sidecar is. Shorten it')
    try:
        content = json.loads(text, parse_constant=lambda _: None)
    except json.JSONDecodeError as error:
        place = f'line {error.lineno}, column {error.colno}'
        raise BIDSError(f'is not valid JSON ({place}). Repair it') from None
    except RecursionError:
        content = None
        depth = DEEPEST_JSON + 1
    except ValueError:
        raise BIDSError('is not valid JSON (a number is too long). Repair it') from None
    else:
        depth = _depth(content)
    if depth > DEEPEST_JSON:
        raise BIDSError(f'is nested deeper than {DEEPEST_JSON} levels. Flatten it')
    if not isinstance(content, dict):
        raise BIDSError('holds no JSON object. Write its entries between braces')
    return content


def generators(dataset: Path) -> list[str]:
    """Name the programs that made a dataset, as its description does.

    Raises
    ------
    BIDSError
        if the description cannot be read
    """
    listed = read_json(dataset / DESCRIPTION).get('GeneratedBy')
    entries = listed if isinstance(listed, list) else []
    return [str(entry.get('Name')) for entry in entries if isinstance(entry, dict)]


def number(value: Any) -> float | None:
    """Take a finite number from a sidecar, or None.

    Examples
    --------
    >>> number(3), number('3'), number(True), number(float('nan')), number(10**400)
    (3.0, None, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _depth(content: Any) -> int:
    """Count levels of nesting, one level at a time so that no depth exhausts the stack."""
    depth, level = 0, [content]
    while level:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        depth, level = depth + 1, inner
    return depth


def why_unusable(path: Path, root: Path) -> str:
    """Say what is wrong with a file that ought to be a regular one of the dataset; '' if nothing.

    The content is not opened: ``root`` must be resolved.
    """
    try:
        target = path.resolve(strict=True)
    except FileNotFoundError:
        return 'is a link to a file that is not there. Fetch its content (datalad get)'
    except (OSError, RuntimeError):
        return 'is a link that leads nowhere. Remove it'
    if not target.is_relative_to(root):
        return 'is a link out of the dataset. Copy the file into the dataset'
    if not target.is_file():
        return 'is not a regular file. Remove it'
    return ''


@dataclass
class Inheritance:
    """Find what images inherit, reading each folder of the dataset once.

    Parameters
    ----------
    root : Path
        the dataset, resolved
    """

    root: Path
    _listings: dict[Path, list[tuple[Path, Name]]] = field(default_factory=dict)

    def applicable(self, image: Path, name: Name, extension: str) -> list[Path]:
        """List the files that apply to an image, from the root down to the image's folder.

        A file applies if it has the suffix and its entities are all the image's (BIDS,
        inheritance principle). In one folder the file with more entities comes later.

        Raises
        ------
        BIDSError
            if two files of one folder apply equally, or one is no regular file of the dataset
        """
        found: list[Path] = []
        folders = [self.root]
        for part in image.parent.relative_to(self.root).parts:
            folders.append(folders[-1] / part)
        for folder in folders:
            level = [
                (len(other.entities), path)
                for path, other in self._listing(folder)
                if other.extension == extension
                and other.suffix == name.suffix
                and is_subset(other.entities, name.entities)
            ]
            counts = [count for count, _ in level]
            if len(set(counts)) < len(counts):
                files = ' and '.join(path.name for _, path in level)
                raise BIDSError(f'{files} apply to it equally. Keep one, or rename them')
            found += [path for _, path in sorted(level)]
        for path in found:
            if reason := why_unusable(path, self.root):
                raise BIDSError(f'{self._relative(path)} {reason}')
        return found

    def merged(self, image: Path, name: Name) -> tuple[dict[str, Any], tuple[Path, ...]]:
        """Merge the sidecars of an image, the nearest last, and list them.

        Raises
        ------
        BIDSError
            naming the sidecar that cannot be read
        """
        files = tuple(self.applicable(image, name, '.json'))
        sidecar: dict[str, Any] = {}
        for path in files:
            try:
                sidecar |= read_json(path)
            except BIDSError as error:
                raise BIDSError(f'{self._relative(path)} {error}') from None
        return sidecar, files

    def nearest(self, image: Path, name: Name, extension: str) -> Path | None:
        """Give the one file of a kind that holds for an image, or None."""
        return next(reversed(self.applicable(image, name, extension)), None)

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def _listing(self, folder: Path) -> list[tuple[Path, Name]]:
        if folder in self._listings:
            return self._listings[folder]
        listing = []
        for filename in sorted(os.listdir(folder)):
            if not filename.endswith(COMPANIONS):
                continue
            try:
                listing.append((folder / filename, parse_name(filename)))
            except BIDSError as error:
                LOGGER.debug('%s is not inherited: %s.', self._relative(folder / filename), error)
        self._listings[folder] = listing
        return listing
