"""Keep what is written where it belongs: links in the output are not followed, work is private."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from bidsharmony.bids import COMPAT, BIDSError
from bidsharmony.settings import Settings
from bidsharmony.supervise.records import HIDDEN

LOGS = 'logs'
"""Folder of the output that holds what was said."""


def linked_folder(output_dir: Path, participants: Iterable[str] = ()) -> Path | None:
    """Find a folder of the output that is a link: what is written there would be elsewhere.

    Parameters
    ----------
    output_dir : Path
    participants : iterable of str
        folders (``sub-01``) that are looked through, beside those of the program's own

    Returns
    -------
    Path or None
        the first one, if any
    """
    return next((path for path in _folders(output_dir, participants) if path.is_symlink()), None)


def refuse_links(output_dir: Path) -> None:
    """Make sure that the program's own folders in the output lie there.

    Raises
    ------
    BIDSError
        naming one that is a link
    """
    if linked := linked_folder(output_dir):
        raise BIDSError(
            f'{output_dir.name}/{linked.relative_to(output_dir).as_posix()} is a link, and links '
            'in the output are not followed. Put a folder in its place'
        )


def _folders(output_dir: Path, participants: Iterable[str]) -> Iterator[Path]:
    hidden = output_dir / HIDDEN
    yield from (output_dir / name for name in (LOGS, COMPAT, HIDDEN))
    if hidden.is_dir():
        yield from hidden.iterdir()
    for participant in participants:
        for top in (output_dir / participant, output_dir / COMPAT / participant):
            yield top
            for folder, names, _ in os.walk(top):
                yield from (Path(folder, name) for name in names)


def leads_out(name: str) -> bool:
    """Tell a name that is not one of a file inside the output.

    Examples
    --------
    >>> leads_out('sub-01/dwi/sub-01_dwi.bval'), leads_out('sub-01/../../x'), leads_out('/x')
    (False, True, True)
    """
    path = Path(name)
    return path.is_absolute() or '..' in path.parts or not path.parts


def open_own(path: Path, flags: int) -> int:
    """Open a file of the output to write into it; a link in its place is replaced, not followed.

    Parameters
    ----------
    path : Path
    flags : int
        of ``os.open``, beside those that make the file

    Returns
    -------
    int
        a file descriptor

    Raises
    ------
    OSError
    """
    if path.is_symlink():
        path.unlink()
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)


def work_root(settings: Settings) -> Path:
    """Give the folder for intermediate files; outputs that share ``--work-dir`` stay apart."""
    if settings.work_dir is None:
        return settings.output_dir / HIDDEN / 'work'
    mark = hashlib.sha256(os.fsencode(settings.output_dir)).hexdigest()[:8]
    return settings.work_dir / f'bidsharmony_{mark}'


def work_folder(settings: Settings, participant: str) -> Path:
    """Give the folder for the intermediate files of a participant."""
    return work_root(settings) / participant


def fresh_folder(folder: Path) -> Path:
    """Make an empty folder that only this user can enter: nipype unpickles what is in it.

    Raises
    ------
    OSError
        if somebody else owns it
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.is_symlink() or (folder.exists() and folder.stat().st_uid != os.getuid()):
        raise OSError(errno.EPERM, 'belongs to somebody else', str(folder))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    return folder


def private_folder(folder: Path) -> None:
    """Make a folder that only this user can enter, or make sure that it is this user's.

    Raises
    ------
    OSError
        if somebody else owns it, or it is a link
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise OSError(errno.EPERM, 'belongs to somebody else', str(folder))
    # it may have been there, open to all
    folder.chmod(0o700)
