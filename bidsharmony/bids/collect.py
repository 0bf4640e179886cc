"""Find the diffusion runs of a dataset, one participant at a time."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bidsharmony.bids.images import check_name, list_images
from bidsharmony.bids.lesions import LesionMasks
from bidsharmony.bids.names import (
    INDICES,
    NO_RUNS,
    Name,
    output_stem,
    why_not_selected,
)
from bidsharmony.bids.pairing import Pairing, acquisition, is_trace
from bidsharmony.bids.records import (
    BIDSError,
    Collection,
    Covered,
    DwiRun,
    Refused,
    Skipped,
    relative_path,
)
from bidsharmony.bids.scanner import scanner_identity
from bidsharmony.bids.sidecar import (
    DESCRIPTION,
    Inheritance,
    read_json,
    why_unusable,
)
from bidsharmony.settings import B0_THRESHOLD

LOGGER = logging.getLogger(__name__)

ONLY_B0 = 'it holds b=0 and no diffusion weighting; it serves a trace image at most'

HIDDEN = 'a hidden file, as systems leave them beside others'

_PADDED = re.compile(rf'(_(?:{"|".join(sorted(INDICES))})-)0+(?=\d)')

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
    b0_threshold: float = B0_THRESHOLD,
) -> Collection:
    """Find the diffusion runs of a dataset, one participant at a time.

    pybids indexes the files of each participant; names, links, inheritance and sidecars are
    checked here, so that what is wrong with one run never stops another. No image is opened.

    A trace image without gradients is a run of its own if its session has a b=0 image, or a
    series, to pair it with; unless a run of the same entities, but for ``rec-``, covers it: that
    one makes its own trace image, and one acquisition is harmonized once.

    Parameters
    ----------
    bids_dir : Path
        the dataset
    participant_label, session_id, run_id : iterable of str
        labels to keep; empty keeps all
    filters : mapping, optional
        entity to value, list of values, None (absent) or ``'*'`` (any)
    b0_threshold : s/mm2
        b-values up to this one count as b=0

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
    search = Search(
        root,
        tuple(session_id),
        tuple(run_id),
        dict(filters or {}),
        b0_threshold,
        Inheritance(root),
    )
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
    b0_threshold: float
    inheritance: Inheritance
    runs: list[DwiRun] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    seen: dict[str, set[str]] = field(default_factory=lambda: {'session': set(), 'run': set()})

    @property
    def pairing(self) -> Pairing:
        """Give what tells gradients and lenders of a b=0."""
        return Pairing(self.root, self.inheritance, self.b0_threshold)

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
            images = list_images(folder)
        except OSError as error:
            self.refused.append(Refused(folder / 'dwi', f'{error.strerror}. Check its rights'))
            return
        stems = Counter(image.name.split('.')[0] for image in images)
        first, traces = len(self.runs), []
        for image in images:
            if image.name.startswith('.'):
                self.skipped.append(Skipped(image, HIDDEN))
                continue
            try:
                name = check_name(image)
                if reason := self.no_run(name):
                    self.skipped.append(Skipped(image, reason))
                    continue
                if stems[image.name.split('.')[0]] > 1:
                    raise BIDSError('it is there both as .nii and as .nii.gz. Keep one')
                if is_trace(name):
                    traces.append((image, name))
                    continue
                run = self.run(image, name)
            except BIDSError as error:
                if 'dwi' in image.name.lower():
                    self.refused.append(Refused(image, f'{error}.'))
                else:
                    self.skipped.append(Skipped(image, f'not a run; {error}'))
                continue
            if run is not None:
                self.runs.append(run)
        series = self.runs[first:]
        for image, name in traces:
            try:
                run = self._trace(image, name, series, images)
            except BIDSError as error:
                self.refused.append(Refused(image, f'{error}.'))
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
        """Refuse runs whose outputs would overwrite each other, or that BIDS takes for one."""
        rivals: dict[str, list[DwiRun]] = {}
        for run in self.runs:
            rivals.setdefault(_PADDED.sub(r'\1', output_stem(run.image)), []).append(run)
        self.runs = [runs[0] for runs in rivals.values() if len(runs) == 1]
        for runs in rivals.values():
            alike = len({output_stem(run.image) for run in runs}) < len(runs)
            for run in runs if len(runs) > 1 else ():
                others = ' and '.join(other.image.name for other in runs if other is not run)
                reason = (
                    f'its outputs would have the same names as those of {others}. '
                    'Choose one with --bids-filter-file.'
                    if alike
                    else f'it has the same index as {others}: zeros in front count for nothing. '
                    'Keep one, or number them anew.'
                )
                self.refused.append(Refused(run.image, reason))

    def no_run(self, name: Name) -> str:
        """Say why a well-named image is not taken for a run; '' if it is."""
        if name.suffix not in ('dwi', 'trace'):
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
        if bval is not None and self.pairing.holds_only_b0(bval):
            self.skipped.append(Skipped(image, ONLY_B0))
            return None
        missing = [ext for ext, path in (('.bval', bval), ('.bvec', bvec)) if path is None]
        if missing:
            raise BIDSError(
                f'no {" and no ".join(missing)} file applies to it. '
                'Add it beside the image or in a folder above'
            )
        return self.described(image, name, bval=bval, bvec=bvec)

    def described(self, image: Path, name: Name, **files: Any) -> DwiRun:
        """Make the record of a run, with the sidecar that it inherits."""
        sidecar, sidecar_files = self.inheritance.merged(image, name)
        LOGGER.debug('%s: found.', relative_path(image))
        return DwiRun(
            image=image,
            sidecar=sidecar,
            sidecar_files=sidecar_files,
            entities=name.entities,
            scanner=scanner_identity(sidecar),
            **files,
        )

    def _trace(
        self, image: Path, name: Name, runs: list[DwiRun], images: list[Path]
    ) -> DwiRun | None:
        """Complete a trace image with its gradients or with its b=0; None if it is skipped."""
        for run in runs:
            if acquisition(run.entities) == acquisition(name.entities):
                reason = f'a trace image; {run.image.name} of the same acquisition covers it'
                self.skipped.append(Covered(image, reason))
                return None
        if any(self.pairing.gradients(image, name, end, images) for end in ('.bval', '.bvec')):
            return self.run(image, name)
        if reason := why_unusable(image, self.root):
            raise BIDSError(f'it {reason}')
        if sources := self.pairing.b0_sources(name, images):
            return self.described(image, name, bval=None, bvec=None, b0_sources=sources)
        reason = (
            'a trace image without gradient table, and its session has no b=0 to pair it with '
            '(a _dwi image with a .bval file)'
        )
        self.skipped.append(Skipped(image, reason))
        return None

    def lesion_masks(self) -> LesionMasks:
        """Say where the masks of lesions are looked for."""
        return LesionMasks(self.root)

    def collection(self) -> Collection:
        """Hand on what was found, sorted by path; runs with the lesion masks for them."""
        masks = self.lesion_masks()
        parts = ([masks.attach(run) for run in self.runs], self.skipped, self.refused)
        return Collection(*(tuple(sorted(part, key=lambda item: item.relative)) for part in parts))
