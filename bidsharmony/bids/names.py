"""Read BIDS file names, and test their entities against a selection."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bidsharmony.bids.records import BIDSError

LONG_NAMES = {
    'sub': 'subject',
    'ses': 'session',
    'acq': 'acquisition',
    'rec': 'reconstruction',
    'dir': 'direction',
    'ce': 'ceagent',
}
"""Entities that pybids calls by another name than the file does."""

ENTITIES = (
    *LONG_NAMES.values(),
    *('run', 'echo', 'part', 'chunk', 'space', 'res', 'desc'),
    *('suffix', 'datatype', 'extension'),
)
"""What a filter may ask for."""

LABEL = re.compile(r'[A-Za-z0-9]+')
"""What a label may hold (not the ``+`` of BIDS 1.10: labels become names of pages and graphs)."""

_ENDING = re.compile(rf'(_desc-{LABEL.pattern})?_(dwi|trace)$')

_IN_SPACE = re.compile(rf'_(space|cohort|res)-{LABEL.pattern}')

NIFTI = ('.nii', '.nii.gz')

NO_RUNS = {
    'ADC': 'an apparent-diffusion map, computed from a series',
    'FA': 'a fractional-anisotropy map, computed from a series',
    'colFA': 'a colour-coded anisotropy map, computed from a series',
    'expADC': 'an exponential-ADC map, computed from a series',
    'S0map': 'a map of the signal at b=0, computed from a series',
    'sbref': 'a single-band reference, not a series',
    'dwiref': 'a reference image, not a series',
    'mask': 'a mask, not a series',
}
"""Suffixes that live in ``dwi/`` and are no runs."""

NOT_REPEATED = 'its name is not BIDS and may be private: --dry-run tells it'

_FOLDER = re.compile(rf'(sub|ses)-{LABEL.pattern}|dwi|not-BIDS-[0-9a-f]{{8}}')
_FILE = re.compile(
    rf'sub-{LABEL.pattern}(_[a-z]+-{LABEL.pattern})*(_(dwi|trace|{"|".join(NO_RUNS)}))?'
    r'(\.nii(\.gz)?)?'
)

INDICES = {'run', 'echo', 'chunk'}
"""Entities that are numbers: ``run-1`` and ``run-01`` are the same."""


@dataclass(frozen=True)
class Name:
    """Hold a file name in its parts; ``entities`` keeps the order of the name.

    Examples
    --------
    >>> name = parse_name('sub-01_dir-AP_dwi.nii.gz')
    >>> name.entities, name.suffix, name.extension
    ({'subject': '01', 'direction': 'AP'}, 'dwi', '.nii.gz')
    """

    entities: dict[str, str]
    suffix: str
    extension: str


def parse_name(filename: str) -> Name:
    """Split a file name into entities, suffix and extension.

    Raises
    ------
    BIDSError
        saying what in the name is not BIDS

    Examples
    --------
    >>> parse_name('sub-01_acq-a b_dwi.nii')
    Traceback (most recent call last):
    bidsharmony.bids.records.BIDSError: 'acq-a b' in its name is no entity...
    """
    stem, dot, extension = filename.partition('.')
    *pairs, suffix = stem.split('_')
    if not LABEL.fullmatch(suffix):
        raise BIDSError(f'its name ends in {suffix!r}, not in a suffix. Rename it after BIDS')
    entities: dict[str, str] = {}
    for pair in pairs:
        key, _, label = pair.partition('-')
        if not key.isalpha() or not key.isascii() or not LABEL.fullmatch(label):
            raise BIDSError(
                f'{pair!r} in its name is no entity-label pair of letters and digits. Rename it'
            )
        key = LONG_NAMES.get(key, key)
        if key in entities:
            raise BIDSError(f'its name has {key} twice. Rename it')
        entities[key] = label
    return Name(entities, suffix, dot + extension)


def public(relative: str, reason: str) -> tuple[str, str]:
    """Give what a page may say of an image that is not used: no name that BIDS does not know.

    Exports are named after patients. What takes the place of such a name is the same for the
    same name, and different for others.

    Parameters
    ----------
    relative : str
        image inside its dataset, or the start of its name
    reason : str
        why it is not used, which may repeat its name

    Examples
    --------
    >>> public('sub-01/dwi/sub-01_FA.nii', 'a map'), public('sub-01_dir-AP', 'not marked')
    (('sub-01/dwi/sub-01_FA.nii', 'a map'), ('sub-01_dir-AP', 'not marked'))
    >>> public('sub-01/dwi/DOE^JANE.nii', "its name ends in 'DOE^JANE'")[0]
    'sub-01/dwi/not-BIDS-35b048df'
    """
    *folders, last = relative.split('/')
    parts = [part if _FOLDER.fullmatch(part) else _masked(part) for part in folders]
    parts.append(last if _FILE.fullmatch(last) or _FOLDER.fullmatch(last) else _masked(last))
    name = '/'.join(parts)
    return name, reason if name == relative else NOT_REPEATED


def _masked(part: str) -> str:
    """Stand in for a part of a path."""
    digest = hashlib.sha256(part.encode('utf-8', 'surrogateescape')).hexdigest()
    return f'not-BIDS-{digest[:8]}'


def output_stem(image: Path) -> str:
    """Give the start of every output's name: the input's entities, but for its ``desc-``.

    Examples
    --------
    >>> output_stem(Path('sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.nii.gz'))
    'sub-01_space-ACPC'
    >>> output_stem(Path('sub-01/dwi/sub-01_acq-b1000_trace.nii.gz'))
    'sub-01_acq-b1000'
    """
    return _ENDING.sub('', image.name.split('.')[0])


def spaceless(stem: str) -> str:
    """Take out of a stem the space that its image is in: another one takes its place.

    Examples
    --------
    >>> spaceless('sub-01_dir-AP_space-ACPC'), spaceless('sub-01_space-T1w_res-2_dir-AP')
    ('sub-01_dir-AP', 'sub-01_dir-AP')
    """
    return _IN_SPACE.sub('', stem)


def same_label(key: str, label: str, wanted: Any) -> bool:
    """Compare two labels; those of an index compare as numbers.

    Examples
    --------
    >>> same_label('run', '01', 1), same_label('acquisition', '01', '1')
    (True, False)
    """
    wanted = str(wanted)
    if key in INDICES and label.isdecimal() and wanted.isdecimal():
        return int(label) == int(wanted)
    return label == wanted


def is_subset(entities: Mapping[str, str], of: Mapping[str, str]) -> bool:
    """See whether all these entities are among others, with the same labels.

    Examples
    --------
    >>> is_subset({'run': '1'}, {'subject': '01', 'run': '01'}), is_subset({'run': '1'}, {})
    (True, False)
    """
    return all(key in of and same_label(key, of[key], label) for key, label in entities.items())


def why_not_selected(
    name: Name,
    *,
    session_id: Iterable[str] = (),
    run_id: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
) -> str:
    """Say which part of the selection leaves a file out; '' when it is selected.

    Examples
    --------
    >>> why_not_selected(parse_name('sub-01_ses-b_dwi.nii'), session_id=['a'])
    'not selected: session is b, a is asked for'
    >>> why_not_selected(parse_name('sub-01_dwi.nii'), filters={'acquisition': None})
    ''
    """
    wanted = {key: list(labels) for key, labels in (('session', session_id), ('run', run_id))}
    questions = [(key, labels) for key, labels in wanted.items() if labels]
    questions += (filters or {}).items()
    values = {
        **name.entities,
        'suffix': name.suffix,
        'extension': name.extension,
        'datatype': 'dwi',
    }
    for key, answer in questions:
        label = values.get(key)
        choices = answer if isinstance(answer, (list, tuple)) else [answer]
        if any(_answers(key, label, choice) for choice in choices):
            continue
        asked = ' or '.join('none' if choice is None else str(choice) for choice in choices)
        return f'not selected: {key} is {label or "absent"}, {asked} is asked for'
    return ''


def _answers(key: str, label: str | None, choice: Any) -> bool:
    if choice is None or label is None:
        return choice is None and label is None
    return choice == '*' or same_label(key, label, choice)
