"""Kill the process of one participant, or let the kernel do it for want of memory."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, NotPermittedError, Tried
from tests.faults.study import Command, Study, differences, processes, tree

LINE = 'killed, probably out of memory'
MEMORY = 8 * 1024**2
"""Bytes that a participant may still take when its memory is limited."""


def children(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Run two participants at a time, and let one of them die; every other one by its memory."""
    victim, other = study.labels[:2]
    for ix in range(count):
        if ix % 2:
            with (
                contextlib.suppress(NotPermittedError),
                Limit(f'bidsharmony{os.getpid()}') as limit,
            ):
                yield _die(study, victim, other, rng, place / f'children{ix}', limit)
                continue
        yield _die(study, victim, other, rng, place / f'children{ix}', None)


class Limit:
    """A control group of the kernel whose processes may take no more memory than it says."""

    ROOT = Path('/sys/fs/cgroup')

    def __init__(self, name: str) -> None:
        """Find out how it is called here.

        Raises
        ------
        NotPermittedError
            where there is none, or not for this user
        """
        old = (self.ROOT / 'memory' / 'memory.limit_in_bytes').exists()
        self.folder = (self.ROOT / 'memory' if old else self.ROOT) / name
        self.file = self.folder / ('memory.limit_in_bytes' if old else 'memory.max')
        try:
            self.folder.mkdir()
            self.file.write_text(str(MEMORY))
        except OSError as error:
            with contextlib.suppress(OSError):
                self.folder.rmdir()
            raise NotPermittedError(f'no limit of memory can be set here: {error}') from None

    def hold(self, pid: int) -> None:
        """Put a process under it."""
        (self.folder / 'cgroup.procs').write_text(str(pid))

    def __enter__(self) -> Limit:
        return self

    def __exit__(self, *_: object) -> None:
        self.folder.rmdir()


def _die(
    study: Study,
    victim: str,
    other: str,
    rng: np.random.Generator,
    out: Path,
    limit: Limit | None,
) -> Tried:
    """Let one of two participants die while it is worked on."""
    with study.start(out, [victim, other], '--nprocs', '2') as command:
        lock = out / '.bidsharmony' / 'locks' / f'sub-{victim}.lock'
        command.until(lambda: lock.exists() and '/' in lock.read_text())
        pid = int(lock.read_text().rpartition('/')[2])
        # not too far, so that it is surely at work when it happens
        time.sleep(rng.uniform(0, 0.4 * (study.lasts - study.starts)))
        if limit:
            limit.hold(pid)
            command.until(lambda: processes().get(pid, 'Z')[0] == 'Z')
        else:
            os.kill(pid, signal.SIGKILL)
        died = time.monotonic()
        return _judge(study, command, died, victim, other, out)


def _judge(
    study: Study, command: Command, died: float, victim: str, other: str, out: Path
) -> Tried:
    """See what the command said of the one that died, and whether the other one came through."""
    tried = Tried()
    if command.until(lambda: LINE in command.said()) is None:
        return Tried([f'nothing was said of it: {command.said()[-300:]}'])
    tried.noticed = time.monotonic() - died
    code = command.wait()
    tried.ended = time.monotonic() - died
    if code != 1:
        tried.wrong.append(f'exit code {code}')
    lines = [line for line in command.said().splitlines() if LINE in line]
    if any(f'sub-{victim}/' not in line for line in lines):
        tried.wrong.append(f'said of another one: {lines}')
    table = (out / 'logs' / 'failures.tsv').read_text()
    if f'sub-{victim}/dwi/sub-{victim}_dwi.nii.gz\tfailed\t{LINE}' not in table:
        tried.wrong.append('not in failures.tsv')
    tried.wrong += differences(tree(out), study.expected([other]))
    return tried


FAULT = Fault(
    'child',
    "SIGKILL of one participant's process, or a limit of memory that makes the kernel do it",
    'noticed within 5 s, told as "killed, probably out of memory"; the others finish, exit code 1',
    target=20,
    trier=children,
    slowest_notice=5.0,
)
