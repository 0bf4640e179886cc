"""Describe the dataset that is written: its description, its links to the input."""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

from bidsharmony.bids.collect import DESCRIPTION, check_dataset
from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.sidecar import read_json

BIDS_VERSION = '1.10.0'

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
)
"""Outputs that the validator does not know (bids-validator-deno 3.0.2)."""


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


def write_dataset_description(output_dir: Path, bids_dir: Path, *, version: str) -> Path:
    """Write ``dataset_description.json`` and ``.bidsignore`` of the derivatives, atomically.

    Array jobs may call it at once: each writes a file of its own and renames it, and nothing is
    written when the content is there already.

    Parameters
    ----------
    output_dir, bids_dir : Path
        the derivatives and the dataset they come from
    version : str
        of bidsharmony

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
    root = check_dataset(bids_dir)
    output_dir = Path(output_dir).resolve()
    output_dir.mkdir(parents=True, exist_ok=True)
    path = output_dir / DESCRIPTION
    if path.exists():
        _check_ours(path)
    raw = read_json(root / DESCRIPTION)
    link = quote(Path(os.path.relpath(root, output_dir)).as_posix())
    description: dict[str, Any] = {
        'Name': 'bidsharmony - harmonized diffusion MRI',
        'BIDSVersion': BIDS_VERSION,
        'DatasetType': 'derivative',
        'GeneratedBy': [{'Name': 'bidsharmony', 'Version': version, **_container()}],
        'SourceDatasets': [_source(raw, link)],
        'DatasetLinks': {'raw': link},
    }
    if isinstance(raw.get('License'), str):
        description['License'] = raw['License']
    _write_text(path, json.dumps(description, indent=2) + '\n')
    _write_text(output_dir / '.bidsignore', '\n'.join(BIDSIGNORE) + '\n')
    return path


def _check_ours(path: Path) -> None:
    """Refuse to write into a dataset that another program, or a person, made."""
    try:
        generators = read_json(path).get('GeneratedBy')
    except BIDSError as error:
        raise BIDSError(f'{path.parent.name}/{path.name}: {error}') from None
    entries = generators if isinstance(generators, list) else []
    names = [entry.get('Name') for entry in entries if isinstance(entry, dict)]
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


def _source(raw: dict[str, Any], link: str) -> dict[str, str]:
    doi = raw.get('DatasetDOI')
    return {'DOI': doi} if isinstance(doi, str) and doi else {'URL': link}


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
