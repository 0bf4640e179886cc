"""Find the lesion masks that apply to a run, among the derivatives of a dataset."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from bidsharmony.bids.names import NIFTI, Name, is_subset, parse_name
from bidsharmony.bids.records import BIDSError, DwiRun
from bidsharmony.bids.sidecar import generators, why_unusable

LOGGER = logging.getLogger(__name__)

LESION = 'lesion'
"""Label of the masks that are looked for."""

FOLDERS = ('dwi', 'anat')
"""Where masks lie below a participant, or a session."""

_OF_THE_MASK = ('label', 'desc', 'res')
"""Entities that tell masks apart, not the runs they are for. The space is not among them: a mask
that states one is for runs in that space."""


@dataclass
class LesionMasks:
    """Find the lesion masks of runs, reading each participant's folders once.

    Masks are taken from every folder of ``raw/derivatives``, with a description or without, and
    from the datasets ``given``. What bidsharmony made itself is passed over.

    Parameters
    ----------
    raw : Path
        the raw dataset, resolved
    given : tuple of Path
        preprocessed datasets that runs are taken from, resolved
    """

    raw: Path
    given: tuple[Path, ...] = ()
    _datasets: list[tuple[Path, Path]] | None = None
    _listings: dict[str, list[tuple[Path, Path, Name]]] = field(default_factory=dict)

    def attach(self, run: DwiRun) -> DwiRun:
        """Add to a run the masks that apply to it, and a note on each that cannot be used."""
        masks, notes = [], []
        for root, path, name in self._listing(run.subject):
            wanted = {k: v for k, v in name.entities.items() if k not in _OF_THE_MASK}
            if not is_subset(wanted, run.entities):
                continue
            if reason := why_unusable(path, root):
                notes.append(f'{run.locate(path)} {reason}. This lesion mask was left out.')
            else:
                masks.append(path)
        return replace(run, lesion_masks=tuple(masks), notes=(*run.notes, *notes))

    def _listing(self, subject: str) -> list[tuple[Path, Path, Name]]:
        """List the lesion masks of a participant: root that none may leave, path, name."""
        if subject in self._listings:
            return self._listings[subject]
        found = {}
        # a dataset may be given that is linked to below raw/derivatives too
        for root, dataset in self._places():
            for folder in FOLDERS:
                for middle in ('', 'ses-*/'):
                    pattern = f'sub-{subject}/{middle}{folder}/*_mask.nii*'
                    for path in sorted(dataset.glob(pattern)):
                        if (name := _lesion_name(path)) and name.entities['subject'] == subject:
                            place = os.path.realpath(path.parent), path.name
                            found.setdefault(place, (root, path, name))
        self._listings[subject] = list(found.values())
        return self._listings[subject]

    def _places(self) -> list[tuple[Path, Path]]:
        """List the datasets that may hold masks, each with the root that none may leave."""
        if self._datasets is None:
            inside = sorted(path for path in self.raw.glob('derivatives/*') if path.is_dir())
            self._datasets = [
                *((root, root) for root in self.given),
                *((self.raw, path) for path in inside if not _is_ours(path)),
            ]
        return self._datasets


def _lesion_name(path: Path) -> Name | None:
    """Parse the name of a lesion mask; None for any other file."""
    try:
        name = parse_name(path.name)
    except BIDSError as error:
        LOGGER.debug('%s is no lesion mask: %s.', path.name, error)
        return None
    lesion = name.entities.get('label') == LESION and 'subject' in name.entities
    return name if lesion and name.suffix == 'mask' and name.extension in NIFTI else None


def _is_ours(dataset: Path) -> bool:
    """Tell an output of bidsharmony: masks in it were not drawn on what was scanned."""
    try:
        return 'bidsharmony' in generators(dataset)
    except BIDSError:
        return False
