"""Keep the part of the output that QSIRecon reads: anatomy linked in, nothing stale."""

from __future__ import annotations

import logging
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path

from bidsharmony.bids import COMPAT, QSIPREP
from bidsharmony.bids.sidecar import why_unusable
from bidsharmony.supervise.marker import file_sha256, final_place, fsync_folder
from bidsharmony.supervise.records import Job

LOGGER = logging.getLogger('bidsharmony')


def link_anatomy(job: Job) -> dict[str, str]:
    """Link a participant's anatomy from QSIPrep's derivatives, or copy it where links are not.

    Links are relative, so that both datasets may be moved together.

    Returns
    -------
    dict
        name in the output to sha256 of what it leads to

    Raises
    ------
    OSError
        if neither can be made
    """
    root, output_dir = job.settings.derivatives[QSIPREP], job.settings.output_dir
    hashes, folders = {}, set()
    for path in sorted(_anatomy(root, job.participant)):
        if reason := why_unusable(path, root):
            LOGGER.warning('%s: not linked, it %s.', path.relative_to(root).as_posix(), reason)
            continue
        name = f'{COMPAT}/{path.relative_to(root).as_posix()}'
        target = final_place(output_dir, name)
        draft = target.with_name(f'.{target.name}.{uuid.uuid4().hex}')
        try:
            draft.symlink_to(os.path.relpath(path, target.parent.resolve()))
        except OSError:
            shutil.copyfile(path, draft)
            with draft.open('rb') as file:
                os.fsync(file.fileno())
        draft.replace(target)
        hashes[name] = file_sha256(target)
        folders.add(target.parent)
    for folder in sorted(folders):
        fsync_folder(folder)
    return hashes


def _anatomy(root: Path, participant: str) -> Iterable[Path]:
    """List the files of a participant's anatomy, of all its sessions."""
    for pattern in ('anat/*', 'ses-*/anat/*'):
        yield from (root / participant).glob(pattern)


def remove_stale(job: Job, outputs: Iterable[str]) -> None:
    """Remove from QSIRecon's dataset what the marker does not vouch for: QSIRecon reads no marker.

    Parameters
    ----------
    job : Job
    outputs : iterable of str
        names in the output that hold
    """
    output_dir, hold = job.settings.output_dir, set(outputs)
    folder = output_dir / COMPAT / job.participant
    if folder.resolve() != output_dir.resolve() / COMPAT / job.participant:
        return
    for path in sorted(folder.rglob('*'), reverse=True):
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.relative_to(output_dir).as_posix() not in hold:
            path.unlink()
