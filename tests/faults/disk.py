"""Fill the disk that the output is on, before or while something is written."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, NotPermittedError, Tried
from tests.faults.moments import DRAWS, wait_for_moment
from tests.faults.study import Command, Study

SMALL = 64 * 1024
"""Bytes of a disk that has no room for a run from the start."""

ROOMY = 16 * 1024**3
"""Bytes of a disk with room; memory is taken only for what is written on it."""

STEPS = ('work', 'names', 'start', 'work', 'work')
"""When it is full: while a participant is worked on, while its files get their final names (the
marker and the table of failures do not fit then), or before anything."""

SAID = re.compile(r'\bout\b\S*: .*\b\d+ bytes\b|\bout\b.*\b\d[\d.,]* ?[kMG]?B\b')
"""Path and bytes."""


def disk(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Run on a disk of its own that fills, make room, and run again."""
    for ix in range(count):
        mount = place / f'disk{ix}'
        mount.mkdir(parents=True)
        step = STEPS[ix % len(STEPS)]
        with mounted(mount, SMALL if step == 'start' else ROOMY):
            yield _fill(study, step, rng, mount)


def _fill(study: Study, step: str, rng: np.random.Generator, mount: Path) -> Tried:
    """Let the disk be full at a step, and see what is said and what is left."""
    label, out = study.labels[0], mount / 'out'
    for draw in range(DRAWS):
        # what is said goes elsewhere than to the disk that fills
        log = mount.with_name(f'{mount.name}.txt')
        with Command(study.argv(out, [label]), log) as command:
            if step != 'start':
                wait_for_moment(step, command, study, out, label, rng, 0.5**draw)
                fill(mount)
            full = time.monotonic()
            try:
                code = command.wait()
            except TimeoutError as error:
                return Tried([f'{step}: {error}'])
            tried, said = Tried(ended=time.monotonic() - full), command.said()
        resize(mount, ROOMY)
        if step == 'start' or code:
            break
        # everything was written before, or what was removed made room again
        shutil.rmtree(out)
    if code != 3 or not SAID.search(said) or 'Traceback' in said:
        tried.wrong.append(f'{step}: exit code {code}, {said[-500:]}')
    tried.wrong += study.partial(out)
    tried.wrong += [f'{step}: {text}' for text in study.complete(out, [label])]
    return tried


@contextmanager
def mounted(folder: Path, size: int) -> Iterator[None]:
    """Put a file system in memory on a folder, and take it away.

    Raises
    ------
    NotPermittedError
        where that is for others to do
    """
    done = subprocess.run(
        ['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NotPermittedError(f'no disk can be mounted here: {done.stderr.strip()}')
    try:
        yield
    finally:
        # the processes on it are dead, but the kernel may not be through with them
        for _ in range(50):
            if not subprocess.run(['umount', str(folder)], capture_output=True).returncode:
                break
            time.sleep(0.1)


def resize(folder: Path, size: int) -> bool:
    """Give a mounted disk another size (bytes); False if more than that is on it."""
    command = ['mount', '-o', f'remount,size={size}', str(folder)]
    return not subprocess.run(command, capture_output=True, check=False).returncode


def fill(folder: Path) -> None:
    """Make a disk no larger than what is on it, while that grows."""
    for _ in range(100):
        if resize(folder, max(shutil.disk_usage(folder).used, 4096)):
            return
    raise RuntimeError(f'{folder}: could not be made smaller')


FAULT = Fault(
    'disk',
    'the disk of the output is full, from the start or from any moment on',
    'exit code 3 with path and bytes, nothing partial; after making room the re-run leaves an '
    'identical tree',
    target=5,
    trier=disk,
)
