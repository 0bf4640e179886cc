"""What the search for diffusion runs hands on: runs, refusals and what was passed over."""

from __future__ import annotations

import os
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
    ``b0_sources``: where its b=0 may be, likeliest first. ``dataset`` is how BIDS URIs call the
    dataset of the image, ``linked`` lists other datasets that it takes files from, ``brain_mask``
    and ``mrtrix_table`` (gradients in scanner coordinates) came with the image, ``lesion_masks``
    apply to it by their names, and ``notes`` are sentences for the report.

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
    dataset: str = 'raw'
    linked: tuple[tuple[str, Path], ...] = ()
    brain_mask: Path | None = None
    mrtrix_table: Path | None = None
    lesion_masks: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()

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

    @property
    def root(self) -> Path:
        """Give the folder of the dataset that the image lies in."""
        return self.image.parents[len(Path(self.relative).parts) - 1]

    def uri(self, path: Path) -> str:
        """Name a file of the run by dataset and path.

        Raises
        ------
        BIDSError
            if the file is in none of the run's datasets
        """
        for name, root in self.linked:
            if path.is_relative_to(root) and not path.is_relative_to(self.root):
                return bids_uri(path, root, name)
        return bids_uri(path, self.root, self.dataset)

    def locate(self, path: Path) -> str:
        """Name a file by its posix path in the dataset of the image, another's by its URI."""
        try:
            uri = self.uri(path)
        except BIDSError:
            return path.name
        return uri.removeprefix(f'bids:{self.dataset}:')


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
class Covered(Skipped):
    """Name an image whose acquisition a run covers; it may have been one before that was there."""


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


def bids_uri(path: Path, root: Path, dataset: str = 'raw') -> str:
    """Name a file of a dataset without naming where the dataset lies.

    Raises
    ------
    BIDSError
        if the file is outside ``root``

    Examples
    --------
    >>> bids_uri(Path('/data/sub-01/dwi/sub-01_dwi.nii.gz'), Path('/data'))
    'bids:raw:sub-01/dwi/sub-01_dwi.nii.gz'
    """
    path, root = Path(os.path.abspath(path)), Path(os.path.abspath(root))
    if not path.is_relative_to(root):
        raise BIDSError(f'{path.name} is outside the dataset {root.name}. Give a file inside it')
    return f'bids:{dataset}:{path.relative_to(root).as_posix()}'
