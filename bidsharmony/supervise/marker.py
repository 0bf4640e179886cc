"""Done-markers: which runs of a participant are finished, from what, and with which bytes."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bidsharmony.bids.names import output_stem, spaceless
from bidsharmony.supervise.places import leads_out
from bidsharmony.supervise.records import HIDDEN

_CHUNK = 1024**2
_KEYS = {'participant', 'version', 'inputs', 'options', 'outputs', 'runs', 'refused', 'failed',
         'skipped'}  # fmt: skip


def marker_path(output_dir: Path, participant: str) -> Path:
    """Give the place of a participant's marker."""
    return output_dir / HIDDEN / 'done' / f'{participant}.json'


def file_sha256(path: Path) -> str:
    """Hash a file's content.

    Raises
    ------
    OSError
    """
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def read_marker(path: Path) -> dict[str, Any] | None:
    """Read a marker; None where there is none, or none that can be trusted."""
    try:
        marker = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    if not isinstance(marker, dict) or not set(marker) >= _KEYS:
        return None
    # what is out of date is removed by these names
    names = marker['outputs'] if isinstance(marker['outputs'], dict) else ['']
    return None if any(map(leads_out, names)) else marker


def write_marker(path: Path, marker: Mapping[str, Any]) -> None:
    """Write a marker so that a reader sees the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # who writes holds the participant's lock: any draft there was left by a process that died
    for left in path.parent.glob(f'.{path.name}.*'):
        left.unlink(missing_ok=True)
    draft = path.with_name(f'.{path.name}.{uuid.uuid4().hex}')
    try:
        with draft.open('w', encoding='utf-8') as file:
            json.dump(marker, file, indent=1, sort_keys=True, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(path.parent)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def final_place(output_dir: Path, name: str) -> Path:
    """Make the folder of an output, and give its path.

    Raises
    ------
    OSError
        if a link in the output leads elsewhere
    """
    target = output_dir / name
    # before it is made, or folders would be made where the link leads
    if output_dir.resolve() / Path(name).parent != target.parent.resolve():
        raise OSError(errno.EPERM, 'a link in the output leads elsewhere', str(target.parent))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def stem_of(output: str, runs: Iterable[str] = ()) -> str:
    """Find the run that an output belongs to; '' for files of the whole participant.

    Parameters
    ----------
    output : str
    runs : iterable of str
        stems among which the run of an image in a standard space is found: its name has that
        space in the place of the run's own

    Examples
    --------
    >>> stem_of('sub-01/dwi/sub-01_space-MNI_res-2_desc-brain_mask.json', ['sub-01_space-ACPC'])
    'sub-01_space-ACPC'
    >>> stem_of('sub-01/dwi/sub-01_from-dwi_to-MNI_mode-image_xfm.nii.gz')
    'sub-01'
    >>> stem_of('sub-01/dwi/sub-01_dir-AP_res-canonical_desc-brain_mask.json')
    'sub-01_dir-AP'
    >>> stem_of('qsiprep-compat/sub-01/dwi/sub-01_space-ACPC_dwiref.nii.gz')
    'sub-01_space-ACPC'
    >>> stem_of('sub-01.html'), stem_of('qsiprep-compat/sub-01/anat/sub-01_desc-preproc_T1w.json')
    ('', '')
    """
    path = Path(output)
    if path.parent.name == 'anat':
        return ''
    marks = ('_from-dwi_to-', '_desc-', '_dwiref.')
    mark = next((mark for mark in marks if mark in path.name), None)
    if mark is None:
        return ''
    stem = path.name.rpartition(mark)[0].removesuffix('_res-canonical')
    known = list(runs)
    if stem in known:
        return stem
    bare = spaceless(stem)
    return next((run for run in known if spaceless(run) == bare), stem)


def outputs_of(marker: Mapping[str, Any], stems: Iterable[str]) -> dict[str, str]:
    """Pick the outputs of some runs, with their hashes."""
    wanted = set(stems)
    runs = marker['runs']
    return {
        name: digest for name, digest in marker['outputs'].items() if stem_of(name, runs) in wanted
    }


def beside(skipped: Iterable[tuple[str, str]], stems: Iterable[str]) -> list[tuple[str, str]]:
    """Leave out images whose run is finished: an earlier call selected it, this one did not.

    Examples
    --------
    >>> beside([('sub-01/dwi/sub-01_dwi.nii', 'a'), ('sub-01/dwi/sub-01_FA.nii', 'b')], ['sub-01'])
    [('sub-01/dwi/sub-01_FA.nii', 'b')]
    """
    finished = set(stems)
    return sorted(pair for pair in skipped if output_stem(Path(pair[0])) not in finished)


def intact(output_dir: Path, outputs: Mapping[str, str]) -> bool:
    """See whether files are there with the bytes they were written with."""
    try:
        return all(file_sha256(output_dir / name) == sha for name, sha in outputs.items())
    except OSError:
        return False


def is_unchanged(
    marker: Mapping[str, Any] | None,
    output_dir: Path,
    *,
    version: str,
    options: Mapping[str, Any],
    inputs: Mapping[str, Mapping[str, str]],
    refused: Iterable[tuple[str, str]],
    skipped: Iterable[tuple[str, str]],
) -> bool:
    """See whether running again would only write the same files.

    Parameters
    ----------
    marker : mapping or None
        what the last run left
    output_dir : Path
    version : str
        of bidsharmony
    options : mapping
        those that change results
    inputs : mapping
        stem of each run asked for now to its files and their sha256
    refused, skipped : iterable of (relative image, reason)
        now
    """
    if marker is None or marker['failed']:
        return False
    return (
        marker['version'] == version
        and marker['options'] == dict(options)
        and all(marker['inputs'].get(stem) == dict(files) for stem, files in inputs.items())
        and set(inputs) <= set(marker['runs'])
        and {tuple(pair) for pair in marker['refused']} == set(refused)
        and {tuple(pair) for pair in marker['skipped']} == set(beside(skipped, marker['runs']))
        and intact(output_dir, marker['outputs'])
    )
