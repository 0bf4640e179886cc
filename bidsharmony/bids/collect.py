"""Find the diffusion runs of a dataset, one participant at a time."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bidsharmony.bids.names import LABEL, Name, output_stem, parse_name, why_not_selected
from bidsharmony.bids.records import (
    BIDSError,
    Collection,
    DwiRun,
    Refused,
    Skipped,
    relative_path,
)
from bidsharmony.bids.scanner import scanner_identity
from bidsharmony.bids.sidecar import Inheritance, read_json, why_unusable

LOGGER = logging.getLogger(__name__)

DESCRIPTION = 'dataset_description.json'
NIFTI = ('.nii', '.nii.gz')

NO_RUNS = {
    'ADC': 'an apparent-diffusion map, computed from a series',
    'FA': 'a fractional-anisotropy map, computed from a series',
    'colFA': 'a colour-coded anisotropy map, computed from a series',
    'expADC': 'an exponential-ADC map, computed from a series',
    'S0map': 'a map of the signal at b=0, computed from a series',
    'trace': 'a trace image without gradient table; only series with one are harmonized',
    'sbref': 'a single-band reference, not a series',
    'dwiref': 'a reference image, not a series',
    'mask': 'a mask, not a series',
}
"""Suffixes that live in ``dwi/`` and are no runs."""

NOT_INDEXED = re.compile(r'^/(?!(dwi|ses-[^/]+|ses-[^/]+/dwi)(/[^/]*)?$)|[^\x20-\x7e]')
"""Paths inside a participant's folder that pybids need not see: those that cannot hold a run
(a link to a parent folder would be followed round and round), and names that its database
cannot hold."""

FILES_ONLY = {
    'name': 'files',
    'entities': [{'name': 'extension', 'pattern': r'[^./\\](\.[^/\\]+)$'}],
}
"""What pybids reads off a path. Its own 28 entities cost it a tenth of a second for each
participant, and it reads them off the whole path: below a folder ``sub-9/anat`` every file is an
anatomy of participant 9. Names are parsed by ``names.parse_name``."""

LONGEST_LIST = 20
"""Labels shown in an error message."""


def check_dataset(bids_dir: Path) -> Path:
    """Resolve a dataset's folder and make sure that it is one.

    Raises
    ------
    BIDSError
        if the folder or its ``dataset_description.json`` is missing or broken
    """
    root = Path(bids_dir).resolve()
    if not root.is_dir():
        raise BIDSError(f'{bids_dir}: no such folder. Give the folder of a BIDS dataset')
    if not (root / DESCRIPTION).is_file():
        raise BIDSError(
            f'{root.name}: not a BIDS dataset, it has no {DESCRIPTION}. '
            'Give the folder that holds it'
        )
    try:
        read_json(root / DESCRIPTION)
    except BIDSError as error:
        raise BIDSError(f'{root.name}/{DESCRIPTION}: {error}') from None
    return root


def list_participants(bids_dir: Path) -> tuple[str, ...]:
    """List the participants' labels as their folders have them, sorted, without ``sub-``."""
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
    """Find the diffusion runs of a dataset, one participant at a time.

    pybids indexes the files of each participant; names, links, inheritance and sidecars are
    checked here, so that what is wrong with one run never stops another. No image is opened.

    Parameters
    ----------
    bids_dir : Path
        the dataset
    participant_label, session_id, run_id : iterable of str
        labels to keep; empty keeps all
    filters : mapping, optional
        entity to value, list of values, None (absent) or ``'*'`` (any)

    Returns
    -------
    Collection
        runs; images skipped, because they are no runs or not selected; runs refused

    Raises
    ------
    BIDSError
        if this is no dataset, or a participant, session or run asked for is not in it
    """
    root = check_dataset(bids_dir)
    search = Search(root, tuple(session_id), tuple(run_id), dict(filters or {}), Inheritance(root))
    return search.find(participant_label)


def _not_there(what: str, absent: list[str], here: Iterable[str]) -> str:
    here = list(here)
    listed = ', '.join(here[:LONGEST_LIST]) + (', ...' if len(here) > LONGEST_LIST else '')
    return f'no {what} {", ".join(absent)} in the dataset. It has: {listed or "none"}'


@dataclass
class Search:
    """Sort the images of one participant after the other into runs, skipped and refused."""

    root: Path
    session_id: tuple[str, ...]
    run_id: tuple[str, ...]
    filters: dict[str, Any]
    inheritance: Inheritance
    runs: list[DwiRun] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    seen: dict[str, set[str]] = field(default_factory=lambda: {'session': set(), 'run': set()})

    def find(self, participant_label: Iterable[str] = ()) -> Collection:
        """Sort the images of these participants, or of all.

        Raises
        ------
        BIDSError
            if a participant, session or run asked for is not there
        """
        here = list_participants(self.root)
        labels = tuple(sorted(set(participant_label))) or here
        if absent := [label for label in labels if label not in here]:
            raise BIDSError(_not_there('participant', absent, here))
        for label in labels:
            self.participant(self.root / f'sub-{label}')
        if labels == here:
            self.lost_participants()
        self.shared_outputs()
        for key, wanted in (('session', self.session_id), ('run', self.run_id)):
            present = self.seen[key]
            bare = {label.lstrip('0') for label in present} if key == 'run' else present
            absent = [x for x in wanted if x not in present and x.lstrip('0') not in bare]
            if absent and present:
                raise BIDSError(_not_there(key, absent, sorted(present)))
        return self.collection()

    def participant(self, folder: Path) -> None:
        """Sort the images of one participant."""
        try:
            images = _images(folder)
        except OSError as error:
            self.refused.append(Refused(folder / 'dwi', f'{error.strerror}. Check its rights'))
            return
        stems = Counter(image.name.split('.')[0] for image in images)
        for image in images:
            try:
                name = _check_name(image)
                if reason := self.no_run(name):
                    self.skipped.append(Skipped(image, reason))
                    continue
                if stems[image.name.split('.')[0]] > 1:
                    raise BIDSError('it is there both as .nii and as .nii.gz. Keep one')
                run = self.run(image, name)
            except BIDSError as error:
                if 'dwi' in image.name.lower():
                    self.refused.append(Refused(image, f'{error}.'))
                else:
                    self.skipped.append(Skipped(image, f'not a run; {error}'))
                continue
            if run is not None:
                self.runs.append(run)

    def lost_participants(self) -> None:
        """Refuse participants whose folder is a link to nothing, rather than miss them."""
        for folder in self.root.glob('sub-*'):
            if folder.is_symlink() and not folder.exists():
                reason = (
                    'the folder of this participant is a link to nothing. Fetch it or remove it.'
                )
                self.refused.append(Refused(folder / 'dwi', reason))

    def shared_outputs(self) -> None:
        """Refuse runs whose outputs would overwrite each other."""
        rivals: dict[str, list[DwiRun]] = {}
        for run in self.runs:
            rivals.setdefault(output_stem(run.image), []).append(run)
        self.runs = [runs[0] for runs in rivals.values() if len(runs) == 1]
        for runs in rivals.values():
            for run in runs if len(runs) > 1 else ():
                others = ' and '.join(other.image.name for other in runs if other is not run)
                reason = f'its outputs would have the same names as those of {others}.'
                remedy = 'Choose one with --bids-filter-file.'
                self.refused.append(Refused(run.image, f'{reason} {remedy}'))

    def no_run(self, name: Name) -> str:
        """Say why a well-named image is not taken for a run; '' if it is."""
        if name.suffix != 'dwi':
            return NO_RUNS.get(name.suffix, f'its suffix {name.suffix} is not that of a series')
        for key, labels in self.seen.items():
            labels.update({name.entities[key]} if key in name.entities else ())
        part = name.entities.get('part', 'mag')
        if part != 'mag':
            return f'part-{part} of a complex series; the magnitude is harmonized'
        if name.entities.get('desc') == 'harmonized':
            return 'already harmonized'
        return why_not_selected(
            name, session_id=self.session_id, run_id=self.run_id, filters=self.filters
        )

    def run(self, image: Path, name: Name) -> DwiRun | None:
        """Complete a run with what it inherits; None if it turned out to be skipped."""
        if reason := why_unusable(image, self.root):
            raise BIDSError(f'it {reason}')
        bval = self.inheritance.nearest(image, name, '.bval')
        bvec = self.inheritance.nearest(image, name, '.bvec')
        if bval is None and bvec is None and _is_trace(name):
            self.skipped.append(Skipped(image, NO_RUNS['trace']))
            return None
        missing = [ext for ext, path in (('.bval', bval), ('.bvec', bvec)) if path is None]
        if missing:
            raise BIDSError(
                f'no {" and no ".join(missing)} file applies to it. '
                'Add it beside the image or in a folder above'
            )
        sidecar, files = self.inheritance.merged(image, name)
        LOGGER.debug('%s: found.', relative_path(image))
        return DwiRun(
            image=image,
            bval=bval,
            bvec=bvec,
            sidecar=sidecar,
            sidecar_files=files,
            entities=name.entities,
            scanner=scanner_identity(sidecar),
        )

    def collection(self) -> Collection:
        """Hand on what was found, sorted by path."""
        parts = (self.runs, self.skipped, self.refused)
        return Collection(*(tuple(sorted(part, key=lambda item: item.relative)) for part in parts))


def _is_trace(name: Name) -> bool:
    return 'trace' in name.entities.get('reconstruction', '').lower()


def _check_name(image: Path) -> Name:
    """Parse an image's name and hold it against the folders it lies in.

    Raises
    ------
    BIDSError
        with cause and remedy
    """
    folders = Path(relative_path(image)).parts[:-1]
    for folder in folders[:-1]:
        label = folder.partition('-')[2]
        if not LABEL.fullmatch(label):
            raise BIDSError(
                f'the folder {folder!r} has a label with other than letters and digits. Rename it'
            )
    if image.name.lower().endswith(NIFTI) and not image.name.endswith(NIFTI):
        raise BIDSError('its extension is in capitals. Rename it to .nii or .nii.gz')
    name = parse_name(image.name)
    if name.extension not in NIFTI:
        raise BIDSError(f'{name.extension!r} is no image extension. Rename it to .nii.gz')
    expected = [f'sub-{name.entities.get("subject", "")}']
    if 'session' in name.entities:
        expected.append(f'ses-{name.entities["session"]}')
    if [*expected, 'dwi'] != list(folders):
        raise BIDSError(
            f'its name belongs in {"/".join(expected)}/dwi, not in {"/".join(folders)}. '
            'Rename or move it'
        )
    return name


def _images(folder: Path) -> list[Path]:
    """List a participant's images: those pybids knows, then those it leaves out unsaid."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer

    layout = BIDSLayout(
        folder,
        validate=False,
        config=FILES_ONLY,
        indexer=BIDSLayoutIndexer(
            validate=False,
            index_metadata=False,
            ignore=[NOT_INDEXED],
            # a file of this name inside the dataset could re-define the entities
            config_filename='no_layout_config',
        ),
    )
    known = {Path(path) for path in layout.get(extension=list(NIFTI), return_type='filename')}
    # else each participant's database stays in memory to the end
    layout.session.close()
    layout.connection_manager.engine.dispose()
    nearby = {
        path
        for pattern in ('dwi/*', 'ses-*/dwi/*')
        for path in folder.glob(pattern)
        if path.name.lower().endswith(NIFTI)
    }
    return sorted(path for path in known | nearby if path.parent.name == 'dwi')
