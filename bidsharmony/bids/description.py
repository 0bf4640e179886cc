"""Describe the dataset that is written: its description, its links to the input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bidsharmony.bids.collect import check_dataset
from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.sidecar import DESCRIPTION, generators, read_json
from bidsharmony.bids.templates import DATASET

BIDS_VERSION = '1.10.0'

COMPAT = 'qsiprep-compat'
"""Folder of the output that is a dataset of its own, named as QSIPrep names its files."""

BIDSIGNORE = (
    '*.html',
    'logs/',
    'sub-*/figures',
    'group_*',
    '*_dwimap.*',
    '*_dwiref.*',
    '*_trace.*',
    '*_ADC.*',
    '*_dwi.bval',
    '*_dwi.bvec',
    '*_qc.json',
    '*_slices.npz',
    '*_xfm.*',
    COMPAT,
)
"""Outputs that the validator does not know (bids-validator-deno 3.0.2)."""

QSIPREP_IGNORED = ('*_dwi.b',)
"""Files of QSIPrep's that it does not know either."""


DOIS = 'https://doi.org/'
"""What makes an address of a DOI."""

_DOI = re.compile(rf'(doi:|{re.escape(DOIS)})?10(\.\d+)*/[\w.;()/:<>-]{{1,128}}', re.ASCII)


def write_dataset_description(
    output_dir: Path,
    bids_dir: Path,
    *,
    version: str,
    derivatives: Mapping[str, Path] | None = None,
    templates: Path | None = None,
) -> Path:
    """Write ``dataset_description.json`` and ``.bidsignore`` of the derivatives, atomically.

    Array jobs may call it at once: each writes a file of its own and renames it, and nothing is
    written when the content is there already.

    Parameters
    ----------
    output_dir, bids_dir : Path
        the derivatives and the dataset they come from
    version : str
        of bidsharmony
    derivatives : mapping, optional
        other datasets that the input was taken from, by the names they have in BIDS URIs
    templates : Path, optional
        folder of TemplateFlow, where images are brought to its spaces

    Returns
    -------
    Path
        the description

    Raises
    ------
    BIDSError
        if the output folder is somebody else's dataset
    OSError
        if it cannot be written
    """
    name = 'bidsharmony - harmonized diffusion MRI'
    sources = {'raw': bids_dir, **(derivatives or {})}
    return _write(output_dir, sources, name, version, BIDSIGNORE, templates)


def write_compat_description(
    output_dir: Path, bids_dir: Path, *, version: str, derivatives: Mapping[str, Path]
) -> Path:
    """Write the description of the dataset inside the output that is named as QSIPrep's are.

    The parameters are those of ``write_dataset_description``.
    """
    name = 'bidsharmony - harmonized diffusion MRI, with the names of QSIPrep'
    sources, ignored = {'raw': bids_dir, **derivatives}, (*BIDSIGNORE, *QSIPREP_IGNORED)
    return _write(Path(output_dir) / COMPAT, sources, name, version, ignored)


def _write(
    folder: Path,
    sources: Mapping[str, Path],
    name: str,
    version: str,
    ignored: tuple[str, ...],
    templates: Path | None = None,
) -> Path:
    """Write description and ``.bidsignore``; the first source gives the licence.

    Raises
    ------
    BIDSError
        if the folder is somebody else's dataset
    """
    roots = {label: check_dataset(root) for label, root in sources.items()}
    folder = Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / DESCRIPTION
    if path.exists():
        _check_ours(path)
    known = {label: read_json(root / DESCRIPTION) for label, root in roots.items()}
    links = {
        label: link for label, root in roots.items() if (link := _link(root, folder, known[label]))
    }
    if templates is not None and (link := _link(templates.resolve(), folder, {})):
        links[DATASET] = link
    description: dict[str, Any] = {
        'Name': name,
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': 'bidsharmony', 'Version': version, **_container()}],
        'SourceDatasets': [
            source for label in roots if (source := _source(known[label], links.get(label)))
        ],
        'DatasetLinks': links,
    }
    license_ = next(iter(known.values())).get('License')
    if isinstance(license_, str):
        description['License'] = license_
    texts = {
        path: json.dumps(description, indent=2) + '\n',
        folder / '.bidsignore': '\n'.join(ignored) + '\n',
    }
    with _locked(folder) as held:
        for target, text in texts.items():
            if held:
                # a draft that is there now was left by a process that died
                for left in folder.glob(f'.{target.name}.{"[0-9a-f]" * 32}'):
                    left.unlink(missing_ok=True)
            _write_text(target, text)
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold a lock on a folder among the jobs of one output, where there are locks."""
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        held = False
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        yield held
    finally:
        os.close(descriptor)


def _check_ours(path: Path) -> None:
    """Refuse to write into a dataset that another program, or a person, made."""
    try:
        names = generators(path.parent)
    except BIDSError as error:
        raise BIDSError(f'{path.parent.name}/{path.name}: {error}') from None
    if 'bidsharmony' not in names:
        raise BIDSError(
            f'{path.parent.name}: the output holds another dataset. Give a folder of its own'
        )


def _container() -> dict[str, Any]:
    """Name the container we run in, as its recipe or its engine tells us."""
    if tag := os.environ.get('BIDSHARMONY_CONTAINER_TAG'):
        return {'Container': {'Type': 'docker', 'Tag': tag}}
    for engine in ('apptainer', 'singularity'):
        if name := os.environ.get(f'{engine.upper()}_NAME'):
            return {'Container': {'Type': engine, 'Tag': Path(name).name}}
    return {}


def _source(raw: dict[str, Any], link: str | None) -> dict[str, str]:
    if doi := _doi(raw):
        return {'DOI': doi}
    return {'URL': link} if link else {}


def _link(root: Path, folder: Path, raw: dict[str, Any]) -> str:
    """Lead from the output to a dataset, by a relative path or by its DOI; '' if neither can.

    Where the two share no folder, the relative path would spell out the absolute one, which
    concerns nobody who is given the output. In a container ``/data`` tells nothing.
    """
    link = Path(os.path.relpath(root, folder)).as_posix()
    if len(root.parts) <= 2 or not link.endswith(f'..{root.as_posix()}'):
        return quote(link)
    doi = re.search(r'10[./].*', _doi(raw))
    return f'{DOIS}{quote(doi[0])}' if doi else ''


def _doi(raw: dict[str, Any]) -> str:
    """Read a dataset's DOI; '' where there is none, or something else is in its place."""
    doi = raw.get('DatasetDOI')
    return doi if isinstance(doi, str) and _DOI.fullmatch(doi) else ''


def _write_text(path: Path, text: str) -> None:
    """Replace a small file in one step, unless it holds this text already."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == text.encode():
        return
    draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    try:
        with draft.open('x', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
