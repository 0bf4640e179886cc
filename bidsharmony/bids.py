"""Find diffusion runs in a BIDS dataset, with the gradient files and sidecars they inherit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class BIDSError(ValueError):
    """Say in one line why a dataset cannot be used at all."""


@dataclass(frozen=True)
class Scanner:
    """Name a scanner by maker, model and field strength (T), spelling normalised.

    What the sidecar does not say is ``''`` (maker, model) or None (field strength).

    Examples
    --------
    >>> Scanner('Siemens', 'Prisma', 3.0).label
    'Siemens Prisma 3 T'
    >>> Scanner().label
    'unknown scanner'
    """

    manufacturer: str = ''
    model: str = ''
    field_strength: float | None = None

    @property
    def label(self) -> str:
        """Write the scanner as people say it."""
        words = [word for word in (self.manufacturer, self.model) if word] or ['unknown scanner']
        if self.field_strength is not None:
            words.append(f'{self.field_strength:g} T')
        return ' '.join(words)


@dataclass(frozen=True)
class DwiRun:
    """Hold one diffusion run: absolute paths, and the sidecar merged by inheritance.

    ``entities`` has pybids' long names (``subject``, ``session``, ``direction`` ...) in the
    order of the file name.

    Examples
    --------
    >>> run = DwiRun(
    ...     image=Path('/data/sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_dwi.nii.gz'),
    ...     bval=None, bvec=None, sidecar={}, sidecar_files=(), scanner=Scanner(),
    ...     entities={'subject': '01', 'session': 'a', 'direction': 'AP'},
    ... )
    >>> run.stem, run.relative
    ('sub-01_ses-a_dir-AP', 'sub-01/ses-a/dwi/sub-01_ses-a_dir-AP_dwi.nii.gz')
    """

    image: Path
    bval: Path | None
    bvec: Path | None
    sidecar: dict[str, Any] = field(hash=False)
    sidecar_files: tuple[Path, ...]
    entities: dict[str, str] = field(hash=False)
    scanner: Scanner

    @property
    def subject(self) -> str:
        """Give the participant's label, without ``sub-``."""
        return self.entities['subject']

    @property
    def session(self) -> str | None:
        """Give the session's label, without ``ses-``, or None."""
        return self.entities.get('session')

    @property
    def stem(self) -> str:
        """Give the file name up to its suffix: the start of every output's name."""
        return self.image.name.split('.')[0].removesuffix('_dwi')

    @property
    def relative(self) -> str:
        """Give the posix path of the image inside its dataset."""
        return _relative(self.image)


@dataclass(frozen=True)
class Skipped:
    """Name an image that is by design not a run, and say why."""

    image: Path
    reason: str

    @property
    def relative(self) -> str:
        """Give the posix path of the image inside its dataset."""
        return _relative(self.image)


@dataclass(frozen=True)
class Refused(Skipped):
    """Name a run that cannot be processed, with cause and remedy (makes the exit code 1)."""


@dataclass(frozen=True)
class Collection:
    """Hold what was found, each part sorted by path."""

    runs: tuple[DwiRun, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()


def _relative(image: Path) -> str:
    """Cut a path to what follows the dataset's root, which is the parent of ``sub-*``."""
    parts = image.parts
    starts = [ix for ix, part in enumerate(parts[:-1]) if part.startswith('sub-')]
    return '/'.join(parts[starts[-1] if starts else -1 :])


def list_participants(bids_dir: Path) -> tuple[str, ...]:
    """List the participants' labels, sorted, without ``sub-``."""
    folders = (path for path in Path(bids_dir).glob('sub-*') if path.is_dir())
    return tuple(sorted(path.name.removeprefix('sub-') for path in folders))


def collect_dwi(
    bids_dir: Path,
    *,
    participant_label: Iterable[str] = (),
    session_id: Iterable[str] = (),
    run_id: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
) -> Collection:
    """Find the diffusion runs of a dataset, one participant at a time."""
    return Collection()
