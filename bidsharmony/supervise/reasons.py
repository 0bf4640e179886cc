"""Say in one line why a participant was not harmonized, and whether the machine is at fault."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

from bidsharmony.settings import Settings
from bidsharmony.supervise.locks import LockedError
from bidsharmony.supervise.needs import NoRoomError
from bidsharmony.supervise.records import Job

_MACHINE = (
    (re.compile(r'No space left on device|ENOSPC'), errno.ENOSPC),
    (re.compile(r'Disk quota exceeded'), errno.EDQUOT),
    (re.compile(r'Read-only file system'), errno.EROFS),
    (re.compile(r'\bMemoryError\b|Cannot allocate memory|bad_alloc|Unable to allocate'),
     errno.ENOMEM),
    (re.compile(r'Permission denied'), errno.EACCES),
)  # fmt: skip


_FULL = (errno.ENOSPC, errno.EDQUOT)


def judge(job: Job, text: str, error: Exception | None) -> tuple[int, str]:
    """Tell the machine's faults from the run's, and write the reason in one line.

    Parameters
    ----------
    job : Job
    text : str
        what is known of the error
    error : Exception or None
        the error itself, where it is at hand

    Returns
    -------
    code : int
        an errno; 0 where the machine is not at fault
    reason : str
        that names no folder of this machine
    """
    if isinstance(error, LockedError):
        return 0, error.strerror
    log = job.log_file.relative_to(job.settings.output_dir).as_posix()
    code = next((code for pattern, code in _MACHINE if pattern.search(text)), 0)
    if isinstance(error, OSError) and error.errno:
        code = error.errno
        text = f'{error.filename or job.settings.output_dir.name}: {error.strerror}'
    if code in _FULL and not isinstance(error, NoRoomError):
        text = _full(job)
    # tables and pages are passed on: they name no folder of this machine
    text = _without_places(text, job.settings)
    text = re.sub(r'^(?:[\w.]+\.)?(?:\w*Error|\w*Exception): ', '', ' '.join(text.split()))
    return code, f'{text.rstrip(".")}. See {log}.'


def _without_places(text: str, settings: Settings) -> str:
    """Leave of each path in a text the last part of it.

    Folders that are known are taken first, since the name of a folder may hold blanks.
    """
    home = Path(os.path.expanduser('~'))
    weights = settings.weights and settings.weights.parent
    given = [settings.output_dir, settings.bids_dir, settings.work_dir, weights]
    given += settings.derivatives.values()
    folders = {place for path in given if path for place in (path, path.parent)}
    if home.is_absolute():
        folders.add(home)
    for folder in sorted(folders, key=lambda path: -len(str(path))):
        if folder != folder.parent:
            text = text.replace(f'{folder}/', '')
    text = text.replace(str(home), '~') if len(home.parts) > 1 else text
    return re.sub(r'(?<![\w.])/(?:[^\s\'":]+/)+', '', text)


def _full(job: Job) -> str:
    """Say which disk is full, and how much is left of it: most writes fail without a name."""
    places = [job.settings.output_dir, job.settings.work_dir or job.settings.output_dir]
    free, place = min((shutil.disk_usage(place).free, place) for place in places if place.is_dir())
    return f'{place.name}: no space left, {free} bytes are free. Make room and re-run'
