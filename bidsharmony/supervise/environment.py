"""What a participant's process finds in its environment, and where its server has its socket."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from bidsharmony.supervise.records import HIDDEN

LONGEST_TMPDIR = 75
"""Bytes of the folder for temporary files; the path of a socket in it has 108 at most."""

SHORT_TMPDIRS = ('/tmp', '/var/tmp', '/dev/shm')

ONE_THREAD = ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS')


def child_environment(output_dir: Path) -> dict[str, str]:
    """Give what children find in their environment: no threads of libraries, network or HOME.

    TemplateFlow unpacks and indexes its archive on import (10 s) unless its folder holds a file.
    """
    hidden = output_dir / HIDDEN
    templates = hidden / 'templateflow'
    templates.mkdir(parents=True, exist_ok=True)
    (templates / 'none').touch()
    return {
        **dict.fromkeys(ONE_THREAD, '1'),
        'NO_ET': '1',
        'NIPYPE_NO_ET': '1',
        'NIPYPE_CONFIG_DIR': str(hidden / 'nipype'),
        'MPLCONFIGDIR': str(hidden / 'matplotlib'),
        'TEMPLATEFLOW_HOME': str(templates),
        'TEMPLATEFLOW_AUTOUPDATE': 'off',
    }


@contextlib.contextmanager
def short_tmpdir() -> Iterator[None]:
    """Have the server's socket where its path is short enough: a job's TMPDIR may be long.

    Raises
    ------
    OSError
        if no such folder can be written
    """
    before, folder = tempfile.tempdir, tempfile.gettempdir()
    if len(os.fsencode(folder)) > LONGEST_TMPDIR:
        able = (place for place in SHORT_TMPDIRS if os.access(place, os.W_OK | os.X_OK))
        short = next(able, None)
        if short is None:
            raise OSError(
                errno.ENAMETOOLONG,
                f'the path is too long for a socket. Set TMPDIR to one of {LONGEST_TMPDIR} bytes',
                folder,
            )
        tempfile.tempdir = short
    try:
        yield
    finally:
        tempfile.tempdir = before


@contextlib.contextmanager
def with_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the server that children are forked from, and take them back."""
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
