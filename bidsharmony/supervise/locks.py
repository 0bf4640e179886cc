"""Let one process at a time work on a participant."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from bidsharmony.settings import Settings
from bidsharmony.supervise.places import open_own, work_root
from bidsharmony.supervise.records import HIDDEN

LOGGER = logging.getLogger('bidsharmony')


class LockedError(OSError):
    """Say that another process works on this participant."""


@contextlib.contextmanager
def locked(output_dir: Path, participant: str) -> Iterator[None]:
    """Hold a participant's lock, which the kernel lets go when this process dies.

    Parameters
    ----------
    output_dir : Path
    participant : str
        with its ``sub-``

    Raises
    ------
    LockedError
    """
    path = output_dir / HIDDEN / 'locks' / f'{participant}.lock'
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(open_own(path, os.O_RDWR | os.O_APPEND), 'a+', encoding='utf-8') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            owner = ''.join(char for char in file.read(200) if char.isprintable()) or 'a process'
            raise LockedError(
                errno.EAGAIN, f'locked by {owner}. Wait for it, or end it, and re-run.'
            ) from error
        except OSError:
            LOGGER.warning('%s: no file locks on this file system', participant)
        file.truncate(0)
        file.write(f'{socket.gethostname()}/{os.getpid()}')
        file.flush()
        try:
            yield
        finally:
            # where it ran concerns nobody any more
            file.truncate(0)


def sweep_work(settings: Settings) -> list[str]:
    """Remove the intermediate files of an output, but for those that a process works with.

    Returns
    -------
    list of str
        participants whose files were removed

    Raises
    ------
    OSError
        if they cannot be
    """
    swept = []
    root = work_root(settings)
    # a link is not followed: what it leads to is somebody else's
    for folder in sorted(root.glob('sub-*')) if not root.is_symlink() else ():
        if folder.is_symlink() or not folder.is_dir():
            continue
        with contextlib.suppress(LockedError), locked(settings.output_dir, folder.name):
            shutil.rmtree(folder)
            swept.append(folder.name)
    return swept
