"""Find the runs that QSIPrep preprocessed, and the facts of the scanner in the raw dataset."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bidsharmony.bids.collect import Search, check_dataset, list_participants
from bidsharmony.bids.lesions import LesionMasks
from bidsharmony.bids.names import NIFTI, Name, is_subset, parse_name
from bidsharmony.bids.records import BIDSError, Collection, DwiRun, Skipped
from bidsharmony.bids.scanner import scanner_identity
from bidsharmony.bids.sidecar import (
    DESCRIPTION,
    PLAUSIBLE,
    Inheritance,
    number,
    read_json,
    why_unusable,
)
from bidsharmony.settings import B0_THRESHOLD

QSIPREP = 'qsiprep'
"""How BIDS URIs call QSIPrep's derivatives."""

PREPROCESSED = {'space': 'ACPC', 'desc': 'preproc'}
"""Entities of a series that QSIPrep has finished."""

RECOVERED = (
    *PLAUSIBLE,
    'Manufacturer',
    'ManufacturersModelName',
    'ImagingFrequency',
    'FlipAngle',
    'MRAcquisitionType',
    'ScanningSequence',
    'SequenceVariant',
    'MultibandAccelerationFactor',
    'ParallelReductionFactorInPlane',
    'ParallelAcquisitionTechnique',
    'PartialFourier',
    'NonlinearGradientCorrection',
)
"""Facts of scanner and sequence. Those that speak of the grid (matrix, slice times, phase-encoding
axis) are not among them: QSIPrep has resampled the series."""

_URI = re.compile(r'bids:([\w.-]*):(.+)')


def collect_qsiprep(
    qsiprep_dir: Path,
    bids_dir: Path,
    *,
    participant_label: Iterable[str] = (),
    session_id: Iterable[str] = (),
    run_id: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
    b0_threshold: float = B0_THRESHOLD,
) -> Collection:
    """Find the series that QSIPrep preprocessed, each with the facts of its raw sidecar.

    Parameters
    ----------
    qsiprep_dir, bids_dir : Path
        QSIPrep's derivatives, and the raw dataset they were made from
    participant_label, session_id, run_id, filters, b0_threshold
        as in ``collect_dwi``

    Returns
    -------
    Collection
        participants of the raw dataset that QSIPrep has not are listed as skipped

    Raises
    ------
    BIDSError
        if a folder is no dataset, or a participant, session or run asked for is not there
    """
    search = _QSIPrepSearch(
        check_dataset(qsiprep_dir),
        tuple(session_id),
        tuple(run_id),
        dict(filters or {}),
        b0_threshold,
        Inheritance(check_dataset(qsiprep_dir)),
        raw=check_dataset(bids_dir),
    )
    labels = tuple(participant_label)
    if not labels:
        search.missing_participants()
    return search.find(labels)


def recover(
    own: Mapping[str, Any], sources: Iterable[Mapping[str, Any]]
) -> tuple[dict[str, Any], list[str], list[str]]:
    """Complete a sidecar with facts that it lacks, or has in a wrong unit.

    Parameters
    ----------
    own : mapping
        sidecar of the derivative; what it holds and can be true stays
    sources : iterable of mapping
        sidecars of the images that it was made from

    Returns
    -------
    sidecar : dict
    recovered, contradictory : list of str
        keys that were taken over, and keys on which the sources disagree

    Examples
    --------
    >>> recover({'EchoTime': 80}, [{'EchoTime': 0.08, 'FlipAngle': 90}, {'FlipAngle': 78}])
    ({'EchoTime': 0.08}, ['EchoTime'], ['FlipAngle'])
    """
    sidecar, recovered, contradictory = dict(own), [], []
    sources = list(sources)
    for key in RECOVERED:
        if _is_fact(key, own.get(key)):
            continue
        values = [source[key] for source in sources if _is_fact(key, source.get(key))]
        if any(value != values[0] for value in values[1:]):
            contradictory.append(key)
        elif values:
            sidecar[key] = values[0]
            recovered.append(key)
    return sidecar, recovered, contradictory


def _is_fact(key: str, value: Any) -> bool:
    """Tell a value that can be true from one that is missing or in another unit."""
    if key in PLAUSIBLE:
        low, high = PLAUSIBLE[key]
        value = number(value)
        return value is not None and low <= value <= high
    return value not in (None, '', 'None', 'n/a', [])


@dataclass(kw_only=True)
class _QSIPrepSearch(Search):
    """Search QSIPrep's derivatives; ``raw`` is the dataset that they were made from."""

    raw: Path
    _inheritances: dict[Path, Inheritance] = field(default_factory=dict)

    def missing_participants(self) -> None:
        """List participants that QSIPrep has not, rather than pass them over in silence."""
        for label in sorted(set(list_participants(self.raw)) - set(list_participants(self.root))):
            reason = 'QSIPrep has no folder of this participant'
            self.skipped.append(Skipped(self.raw / f'sub-{label}' / 'dwi', reason))

    def lesion_masks(self) -> LesionMasks:
        """Say where the masks of lesions are looked for."""
        return LesionMasks(self.raw, given=(self.root,))

    def no_run(self, name: Name) -> str:
        """Say why a well-named image is not taken for a run; '' if it is."""
        if name.suffix in ('dwi', 'trace') and not is_subset(PREPROCESSED, name.entities):
            return 'not a series that QSIPrep has finished, which is space-ACPC_desc-preproc'
        return super().no_run(name)

    def described(self, image: Path, name: Name, **files: Any) -> DwiRun:
        """Complete a run with the brain mask beside it and with the facts of its raw sidecar."""
        run = super().described(image, name, **files)
        linked = [('raw', self.raw)]
        mask = image.with_name(
            re.sub(r'preproc_dwi\.nii(\.gz)?$', 'brain_mask.nii.gz', image.name)
        )
        reason = why_unusable(mask, self.root) if os.path.lexists(mask) else 'is not there'
        notes = [f'The brain mask of QSIPrep {reason}. One was computed.'] if reason else []
        table = image.with_name(image.name.split('.')[0] + '.b')
        sidecars, inherited, images = [], [], []
        for dataset, root, source in self._sources(image, name, run.sidecar):
            inheritance = self._inheritances.setdefault(root, Inheritance(root))
            try:
                found, of_it = inheritance.merged(source, parse_name(source.name))
            except (BIDSError, OSError) as error:
                notes.append(f'The sidecar of {source.name} was not used: {error}.')
                continue
            sidecars.append(found)
            known = (*inherited, *run.sidecar_files)
            inherited += [path for path in of_it if path not in known]
            linked += [(dataset, root)] if (dataset, root) not in linked else []
            images.append(source)
        sidecar, recovered, contradictory = recover(run.sidecar, sidecars)
        run = replace(
            run,
            dataset=QSIPREP,
            linked=tuple(linked),
            sidecar=sidecar,
            sidecar_files=(*run.sidecar_files, *inherited),
            scanner=scanner_identity(sidecar),
            brain_mask=None if reason else mask,
            mrtrix_table=None if why_unusable(table, self.root) else table,
        )
        named = ' and '.join(run.locate(source) for source in images)
        if recovered:
            notes.append(f'Taken from the sidecar of {named}: {", ".join(recovered)}.')
        if contradictory:
            notes.append(f'The sidecars of {named} disagree on {", ".join(contradictory)}.')
        if not images and not all(_is_fact(key, sidecar.get(key)) for key in PLAUSIBLE):
            notes.append('Facts are missing in the sidecar of QSIPrep, and no raw run was found.')
        return replace(run, notes=tuple(notes))

    def _sources(
        self, image: Path, name: Name, sidecar: Mapping[str, Any]
    ) -> list[tuple[str, Path, Path]]:
        """List the series that one was made from: dataset, its root, image."""
        listed = sidecar.get('Sources')
        uris = [uri for uri in (listed if isinstance(listed, list) else ()) if type(uri) is str]
        found = [self._resolve(*match.groups()) for uri in uris if (match := _URI.fullmatch(uri))]
        return [source for source in found if source] or self._namesakes(image, name)

    def _resolve(self, dataset: str, inner: str) -> tuple[str, Path, Path] | None:
        """Find the series that a BIDS URI names; None for other files and other places."""
        roots = [('raw', self.raw)]
        if dataset and (root := self._linked_root(dataset)):
            roots.append((dataset, root))
        for known, root in roots:
            path = Path(os.path.normpath(root / unquote(inner)))
            if path.is_relative_to(root) and os.path.lexists(path) and _is_series(path):
                return known, root, path
        return None

    def _linked_root(self, dataset: str) -> Path | None:
        """Find the folder of a dataset that QSIPrep's description links to."""
        try:
            links = read_json(self.root / DESCRIPTION).get('DatasetLinks')
        except BIDSError:
            return None
        link = links.get(dataset) if isinstance(links, dict) else None
        if not isinstance(link, str):
            return None
        parts = urlsplit(link)
        if parts.scheme not in ('', 'file'):
            return None
        root = (self.root / unquote(parts.path)).resolve()
        return root if (root / DESCRIPTION).is_file() else None

    def _namesakes(self, image: Path, name: Name) -> list[tuple[str, Path, Path]]:
        """List the raw series of the same entities; else those that have all of them and more.

        QSIPrep drops an entity from the name where it has joined the runs that it tells apart.
        """
        wanted = {key: label for key, label in name.entities.items() if key not in PREPROCESSED}
        folder = self.raw / image.parent.relative_to(self.root)
        paths = sorted(path for path in folder.glob('*_dwi.nii*') if _is_series(path))
        wider = [path for path in paths if is_subset(wanted, parse_name(path.name).entities)]
        same = [path for path in wider if len(parse_name(path.name).entities) == len(wanted)]
        return [('raw', self.raw, path) for path in same or wider]


def _is_series(path: Path) -> bool:
    try:
        name = parse_name(path.name)
    except BIDSError:
        return False
    return name.suffix == 'dwi' and name.extension in NIFTI
