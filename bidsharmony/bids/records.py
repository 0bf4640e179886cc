"""What the search for diffusion runs hands on: runs, refusals and what was passed over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bidsharmony.bids.scanner import Scanner


class BIDSError(ValueError):
    """Say in one line why a dataset, a file or a selection cannot be used."""


@dataclass(frozen=True)
class B0Source:
    """Name an image whose b=0 volumes may go with a trace image, and its b-values."""

    image: Path
    bval: Path
    sidecar: dict[str, Any] = field(default_factory=dict, hash=False)
    sidecar_files: tuple[Path, ...] = ()

    @property
    def relative(self) -> str:
        """Give the posix path of the image inside its dataset."""
        return relative_path(self.image)


@dataclass(frozen=True)
class DwiRun:
    """Hold one diffusion run: absolute paths, and the sidecar merged by inheritance.

    ``entities`` has pybids' long names (``subject``, ``session``, ``direction`` ...) in the
    order of the file name. A trace image without gradients has no ``bval`` and no ``bvec``, but
    ``b0_sources``: where its b=0 may be, likeliest first.

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
    b0_sources: tuple[B0Source, ...] = ()

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
        return relative_path(self.image)


@dataclass(frozen=True)
class Skipped:
    """Name an image that is by design not a run, and say why."""

    image: Path
    reason: str

    @property
    def relative(self) -> str:
        """Give the posix path of the image inside its dataset."""
        return relative_path(self.image)

    @property
    def participant(self) -> str:
        """Give the participant's folder, such as ``sub-01``."""
        return self.relative.split('/')[0]


@dataclass(frozen=True)
class Refused(Skipped):
    """Name a run that cannot be processed, with cause and remedy (makes the exit code 1)."""


@dataclass(frozen=True)
class Collection:
    """Hold what was found, each part sorted by path.

    Examples
    --------
    >>> Collection(refused=(Refused(Path('/d/sub-01/dwi/sub-01_dwi.nii'), 'why'),)).participants
    ('sub-01',)
    """

    runs: tuple[DwiRun, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    refused: tuple[Refused, ...] = ()

    @property
    def participants(self) -> tuple[str, ...]:
        """List the folders (``sub-01``) of whatever was found, sorted."""
        found = (*self.runs, *self.skipped, *self.refused)
        return tuple(sorted({item.relative.split('/')[0] for item in found}))


def relative_path(image: Path) -> str:
    """Cut a path to what follows the dataset's root, which is the parent of ``sub-*``.

    Examples
    --------
    >>> relative_path(Path('/d/sub-x/raw/sub-01/dwi/sub-01_dwi.nii'))
    'sub-01/dwi/sub-01_dwi.nii'
    """
    parts = image.parts
    starts = [ix for ix, part in enumerate(parts[:-1]) if part.startswith('sub-')]
    return '/'.join(parts[starts[-1] if starts else -1 :])
