"""Find the finished runs of an output folder: only what a done-marker vouches for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

MAX_JSON_BYTES = 10_000_000
QC_SUFFIX = '_desc-harmonized_qc.json'
AUDIT_SUFFIX = '_desc-audit_slices.npz'
STATE_DIR = '.bidsharmony'


@dataclass(frozen=True)
class FinishedRun:
    """One marked run: its figures, and where its audit slices are (None if they are missing)."""

    qc: Mapping[str, Any]
    qc_file: Path
    audit_file: Path | None
    audit_sha256: str = ''


@dataclass(frozen=True)
class Unused:
    """Something that the group level could not use, and why."""

    name: str
    reason: str


def read_runs(output_dir: Path) -> Iterator[FinishedRun | Unused]:
    """Read the runs of an output folder one by one, in the order of their markers.

    Parameters
    ----------
    output_dir : Path
        where the participant level wrote

    Yields
    ------
    FinishedRun or Unused
        ``Unused`` for refused runs, for markers and files that do not fit together, and for what
        stands in the folder without a marker
    """
    root = output_dir.resolve()
    marked: set[str] = set()
    participants: set[str] = set()
    named: set[str] = set()
    for marker_file in sorted((root / STATE_DIR / 'done').glob('*.json')):
        participants.add(marker_file.stem)
        try:
            marker = _read_json(marker_file.read_bytes())
            outputs = marker['outputs']
            qc_names = sorted(name for name in outputs if name.endswith(QC_SUFFIX))
            refused = [(str(name), str(reason)) for name, reason in marker.get('refused') or ()]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            yield Unused(marker_file.stem, 'its done-marker is damaged. Run the participant again')
            continue
        for name, reason in refused:
            named.add(name)
            yield Unused(name, reason)
        for name in qc_names:
            marked.add(name)
            yield _open_run(root, name, outputs)
    # a row may be older than the marker
    finished = {Path(name).name.removesuffix(QC_SUFFIX) for name in marked}
    failures = (item for item in _failures(root) if _stem(item.name) not in finished)
    for unused in (*_unmarked(root, marked, participants), *failures):
        if unused.name not in named:
            named.add(unused.name)
            yield unused


def read_slices(run: FinishedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Read the audit slices of a run.

    Parameters
    ----------
    run : FinishedRun

    Returns
    -------
    tuple or None
        before (n, 2, H, W), after (n, 2, H, W) and mask (n, H, W) bool; None where the file is
        missing, is not the one that was marked, or holds no slice
    """
    try:
        content = run.audit_file.read_bytes() if run.audit_file else b''
        if hashlib.sha256(content).hexdigest() != run.audit_sha256:
            return None
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            before, after, mask = (archive[name] for name in ('before', 'after', 'mask'))
    except (OSError, ValueError, KeyError, BadZipFile):
        return None
    fits = mask.ndim == 3 and len(mask) and before.shape == after.shape
    if not fits or before.shape != (len(mask), 2, *mask.shape[1:]):
        return None
    return before, after, mask > 0


def middle_slice(run: FinishedRun) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Read the audit slice that holds most brain.

    Parameters
    ----------
    run : FinishedRun

    Returns
    -------
    tuple or None
        before (2, H, W), after (2, H, W) and mask (H, W) bool; None where `read_slices` is
    """
    slices = read_slices(run)
    if slices is None:
        return None
    before, after, mask = slices
    index = int(mask.sum(axis=(1, 2)).argmax())
    return before[index].astype(np.float32), after[index].astype(np.float32), mask[index]


def _open_run(root: Path, name: str, outputs: Mapping[str, Any]) -> FinishedRun | Unused:
    """Read one marked qc.json, and make sure that it is the one that was marked."""
    run = Path(name).name.removesuffix(QC_SUFFIX)
    qc_file = root / name
    if not qc_file.resolve().is_relative_to(root):
        return Unused(run, 'its path leads out of the output folder')
    try:
        content = qc_file.read_bytes()
    except OSError:
        return Unused(run, 'its qc.json is missing. Run the participant again')
    if hashlib.sha256(content).hexdigest() != outputs[name]:
        return Unused(run, 'its qc.json changed after the run. Run the participant again')
    try:
        document = _read_json(content)
    except ValueError:
        return Unused(run, 'its qc.json is no JSON object. Run the participant again')
    audit_name = name.removesuffix(QC_SUFFIX) + AUDIT_SUFFIX
    audit_file = root / audit_name
    usable = audit_name in outputs and audit_file.is_file() and not audit_file.is_symlink()
    return FinishedRun(
        document, qc_file, audit_file if usable else None, str(outputs.get(audit_name, ''))
    )


def _unmarked(root: Path, marked: set[str], participants: set[str]) -> Iterator[Unused]:
    """Name what stands in the folder without a marker."""
    for qc_file in sorted(root.glob(f'sub-*/**/*{QC_SUFFIX}')):
        if qc_file.relative_to(root).as_posix() not in marked:
            yield Unused(
                qc_file.name.removesuffix(QC_SUFFIX),
                'not marked as done: the participant is running, failed or was interrupted',
            )
    for folder in sorted((root / STATE_DIR / 'staging').glob('sub-*')):
        if folder.is_dir() and folder.name not in participants:
            yield Unused(
                folder.name, 'not finished: the participant is running or was interrupted'
            )


def _failures(root: Path) -> Iterator[Unused]:
    """Name what the participant level listed as refused or failed."""
    path = root / 'logs' / 'failures.tsv'
    try:
        # what a link leads to is not of this output
        table = '' if path.is_symlink() else path.read_text(encoding='utf-8', errors='replace')
    except OSError:
        return
    for line in table.splitlines()[1:]:
        name, _, rest = line.partition('\t')
        status, _, reason = rest.partition('\t')
        if reason:
            yield Unused(name, reason if status == 'refused' else f'{status}: {reason}')


def _stem(image: str) -> str:
    """Give the start of the names that a run's outputs have."""
    return re.sub(r'(_desc-[A-Za-z0-9]+)?_dwi$', '', Path(image).name.split('.')[0])


def _read_json(content: bytes) -> dict[str, Any]:
    if len(content) > MAX_JSON_BYTES:
        message = f'{len(content)} bytes of JSON, at most {MAX_JSON_BYTES} are read'
        raise ValueError(message)
    try:
        document = json.loads(content)
    except RecursionError as error:
        message = 'JSON nested too deep'
        raise ValueError(message) from error
    if not isinstance(document, dict):
        message = f'a JSON {type(document).__name__} instead of an object'
        raise ValueError(message)
    return document
