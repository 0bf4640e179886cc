"""A tiny study, what an uninterrupted run makes of it, and the command on it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests import tiny_dataset

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 240.0
"""Seconds after which a command hangs: some 15 are enough, on a machine that does nothing else."""

PER_PARTICIPANT = 40.0
"""Seconds that each further participant of a command may take, where some 6 are enough."""

LEAVES = 0.3
"""Seconds between the last word of a command and its end."""

LOOK = 0.001
"""Seconds between looks at a folder or a process."""


def tree(folder: Path) -> dict[str, str]:
    """Hash every file of an output that its tree hash counts."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder).as_posix()
        if name.startswith(('.bidsharmony/', 'logs/')) or name == 'dataset_description.json':
            continue
        if path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def differences(found: Mapping[str, str], expected: Mapping[str, str]) -> list[str]:
    """Say which files are missing, too many or other than expected.

    Examples
    --------
    >>> differences({'a': '1', 'b': '2'}, {'a': '1', 'b': '3', 'c': '4'})
    ['other bytes: b', 'missing: c']
    """
    told = []
    for name in sorted({*found, *expected}):
        if name not in expected:
            told.append(f'too many: {name}')
        elif name not in found:
            told.append(f'missing: {name}')
        elif found[name] != expected[name]:
            told.append(f'other bytes: {name}')
    return told


def droppings(out: Path) -> list[str]:
    """List drafts and unfinished work that nothing should have left behind."""
    hidden = out / '.bidsharmony'
    left = [path for path in out.glob('.*') if path.name not in ('.bidsharmony', '.bidsignore')]
    left += [path for path in (out / 'logs').glob('.*') if path.name != '.failures.lock']
    left += [*(hidden / 'done').glob('.*'), *(hidden / 'staging').glob('*')]
    left += (hidden / 'work').glob('*')
    return [f'left behind: {path.relative_to(out).as_posix()}' for path in sorted(left)]


class Command:
    """The real command in a session of its own, so that all it starts can be found again."""

    def __init__(
        self, argv: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.began = time.monotonic()
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open('wb') as file:
            self.process = subprocess.Popen(
                argv,
                env={**os.environ, 'PYTHONPATH': str(ROOT), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # a shell has what it runs in the background ignore SIGINT
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def pid(self) -> int:
        """Give the supervisor's process, whose session is that of everything it starts."""
        return self.process.pid

    def said(self) -> str:
        """Give what stands on the screen so far."""
        return self.log.read_text(encoding='utf-8', errors='replace')

    def running(self) -> bool:
        """See whether the supervisor is there."""
        return self.process.poll() is None

    def alive(self) -> list[int]:
        """List the processes of the session that are not dead."""
        return [pid for pid, (state, _, session) in processes().items()
                if session == self.pid and state != 'Z']  # fmt: skip

    def children(self) -> list[int]:
        """List participants' processes: they lead groups of their own in the session."""
        return [pid for pid, (state, group, session) in processes().items()
                if session == self.pid != pid == group and state != 'Z']  # fmt: skip

    def until(self, happens: Callable[[], object], deadline: float = DEADLINE) -> float | None:
        """Wait for something; seconds until it happened, None if the command ended before.

        Raises
        ------
        TimeoutError
            if neither comes
        """
        start = time.monotonic()
        while time.monotonic() - start < deadline:
            ended = not self.running()
            if happens():
                return time.monotonic() - start
            if ended:
                return None
            time.sleep(LOOK)
        raise TimeoutError(f'nothing came within {deadline:.0f} s')

    def wait(self, deadline: float = DEADLINE) -> int:
        """Wait for the end, and give the exit code as a shell does.

        Raises
        ------
        TimeoutError
        """
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f'hung for {deadline:.0f} s: {self.said()[-300:]}') from None
        return code if code >= 0 else 128 - code

    def all_gone(self, seconds: float) -> float | None:
        """Wait until no process of the session is left; None if one stays longer than that."""
        start = time.monotonic()
        while self.alive():
            if time.monotonic() - start > seconds:
                return None
            time.sleep(LOOK)
        return time.monotonic() - start

    def kill_all(self, rng: np.random.Generator | None = None) -> float:
        """Kill every process with SIGKILL, in any order, until none is left.

        Returns
        -------
        float
            seconds
        """
        start = time.monotonic()
        while pids := self.alive():
            for pid in rng.permutation(pids).tolist() if rng is not None else pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.poll()
        self.process.wait()
        return time.monotonic() - start

    def __enter__(self) -> Command:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill_all()


def processes() -> dict[int, tuple[str, int, int]]:
    """List every process: pid to state, process group and session."""
    found = {}
    for entry in os.listdir('/proc'):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                text = Path(f'/proc/{entry}/stat').read_text()
                state, _, group, session = text.rpartition(')')[2].split()[:4]
                found[int(entry)] = state, int(group), int(session)
    return found


class Study:
    """Participants of one tiny run each, and what one uninterrupted command makes of them.

    Parameters
    ----------
    folder : Path
        empty
    participants : int
        how many

    Attributes
    ----------
    raw, weights : Path
    labels : list of str
    out : Path
        what the uninterrupted command wrote
    reference : dict
        its tree
    starts, lasts, names : float
        seconds of a command of one participant: until that is begun, until the end, and between
        the first file under a final name and the end
    """

    def __init__(self, folder: Path, participants: int) -> None:
        self.folder = folder
        self.raw = tiny_dataset.write_dataset(folder / 'raw')
        self.weights = tiny_dataset.write_weights(folder / 'weights.safetensors')
        # safetensors lets nobody else read what it writes
        self.weights.chmod(0o644)
        self.labels = [f'{ix:02}' for ix in range(1, participants + 1)]
        for ix, label in enumerate(self.labels):
            tiny_dataset.write_run(self.raw, f'sub-{label}', seed=ix)
        self.out = folder / 'reference'
        with self.start(self.out) as command:
            self.starts = self._seconds(command, lambda: 'started' in command.said())
            named = self._seconds(command, (self.out / f'sub-{self.labels[0]}').exists)
            done = self._seconds(command, lambda: ': done' in command.said())
            _must_be(command.wait(DEADLINE + PER_PARTICIPANT * participants), 0, command)
        self.names = done - named + LEAVES
        self.lasts = named + self.names
        self.reference = tree(self.out)

    @staticmethod
    def _seconds(command: Command, happens: Callable[[], object]) -> float:
        """Wait for something that a run without faults comes to; seconds since its start."""
        if command.until(happens) is None:
            raise RuntimeError(f'a run without any fault ended early: {command.said()}')
        return time.monotonic() - command.began

    def argv(
        self,
        out: Path,
        labels: Sequence[str] = (),
        *options: object,
        raw: Path | None = None,
        level: str = 'participant',
    ) -> list[str]:
        """Give a command line; all participants if no label is given."""
        chosen = ['--participant-label', *labels] if labels else []
        weights = ['--weights', str(self.weights)] if level == 'participant' else []
        return [
            *(sys.executable, '-m', 'bidsharmony.cli.participant', str(raw or self.raw), str(out)),
            *(level, *weights, *chosen, *map(str, options)),
        ]

    def start(
        self, out: Path, labels: Sequence[str] = (), *options: object, **kinds: object
    ) -> Command:
        """Start the command; what it says goes to a file beside the output."""
        log = out.parent / f'{out.name}.{time.monotonic_ns()}.txt'
        return Command(self.argv(out, labels, *options, **kinds), log)

    def expected(self, labels: Sequence[str]) -> dict[str, str]:
        """Give the tree of some participants, as the uninterrupted command wrote it."""
        starts = ('.bidsignore', *(f'sub-{label}' for label in labels))
        return {name: sha for name, sha in self.reference.items() if name.startswith(starts)}

    def copy(self, out: Path, labels: Sequence[str]) -> None:
        """Put what the uninterrupted command wrote of some participants at another place."""
        for name in self.expected(labels):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(self.out / name, out / name)
        shutil.copy2(self.out / 'dataset_description.json', out)
        done = out / '.bidsharmony' / 'done'
        done.mkdir(parents=True)
        for label in labels:
            shutil.copy2(self.out / '.bidsharmony' / 'done' / f'sub-{label}.json', done)

    def complete(self, out: Path, labels: Sequence[str]) -> list[str]:
        """Run the command again to its end; say what is not as an uninterrupted run leaves it."""
        with self.start(out, labels) as command:
            try:
                code = command.wait(DEADLINE + PER_PARTICIPANT * len(labels))
            except TimeoutError as error:
                return [f're-run {error}']
            said = command.said()
        wrong = [] if code == 0 else [f're-run: exit code {code}, {said[-300:]}']
        if 'Traceback' in said:
            wrong.append(f're-run: {said[-300:]}')
        return wrong + differences(tree(out), self.expected(labels)) + droppings(out)

    def partial(self, out: Path) -> list[str]:
        """Say which file under a final name is not whole, that is not as the reference has it."""
        return [
            f'not whole: {name}'
            for name, sha in tree(out).items()
            # a draft has no final name; what is left of it is asked for after the re-run
            if not _is_draft(name) and self.reference.get(name) != sha
        ]


def _is_draft(name: str) -> bool:
    """See whether a name is that of a draft: a dot, the final name and 32 hexadecimal digits."""
    return bool(re.fullmatch(r'\..+\.[0-9a-f]{32}', name.rpartition('/')[2]))


def _must_be(code: int, expected: int, command: Command) -> None:
    """Stop where a run that nothing was done to fails: no fault could be told from that."""
    if code != expected:
        raise RuntimeError(f'a run without any fault: exit code {code}, {command.said()}')


def still_locked(out: Path) -> list[str]:
    """Say which participants' locks are held by a process.

    The threads of a killed process end after its first one, which is all that is seen of it: they
    have a second.
    """
    end = time.monotonic() + 1
    while held := [
        path for path in (out / '.bidsharmony' / 'locks').glob('*.lock') if _held(path)
    ]:
        if time.monotonic() > end:
            break
        time.sleep(LOOK)
    return [f'still locked: {path.name}' for path in sorted(held)]


def _held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
