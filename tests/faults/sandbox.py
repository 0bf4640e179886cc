"""Run as nobody, with no network, on input and HOME that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, NotPermittedError, Tried
from tests.faults.study import DEADLINE, LOOK, ROOT, Command, Study, differences, droppings, tree

NOBODY = 65534

HOOK = """
import os, socket, sys

def _write(text):
    with open(os.environ['FAULTS_SOCKETS'], 'a') as file:
        file.write(text + chr(10))

def _hear(event, given):
    if event.startswith('socket.') and event not in ('socket.__new__', 'socket.gethostname'):
        local = getattr(given[0] if given else None, 'family', None) == socket.AF_UNIX
        # urllib3, as it is imported, so finds out whether there is IPv6
        if not local and (event, given[1:]) != ('socket.bind', (('::1', 0),)):
            _write(f'{event} {given[1:]}')

sys.addaudithook(_hear)
_write(f'listening {os.getpid()}')
"""
"""What Python does with sockets is written down; those between processes are no network."""

TABLES = ('tcp', 'tcp6', 'udp', 'udp6', 'raw', 'raw6', 'packet')

ENTER = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


def sandbox(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Run one participant, another one each time."""
    place.mkdir(parents=True, exist_ok=True)
    # temporary folders are their owner's alone
    for folder in {place, place.parent, study.folder, study.folder.parent}:
        folder.chmod(0o755)
    entered = _enter(study)
    order = rng.permutation(study.labels).tolist()
    for ix in range(count):
        folder = place / f'sandbox{ix}'
        for name in ('home', 'tmp', 'to', 'site'):
            (folder / name).mkdir(parents=True)
        (folder / 'site' / 'sitecustomize.py').write_text(HOOK)
        (folder / 'sockets').touch()
        for name in ('tmp', 'to', 'sockets'):
            os.chown(folder / name, NOBODY, NOBODY)
        (folder / 'home').chmod(0o555)
        yield _run(study, entered, order[ix % len(order)], folder)


def _run(study: Study, entered: list[str], label: str, folder: Path) -> Tried:
    """Run it, and look at its sockets all the while."""
    out, before = folder / 'to' / 'out', tree(study.raw)
    environment = {
        'HOME': str(folder / 'home'),
        'TMPDIR': str(folder / 'tmp'),
        'PYTHONPATH': f'{folder / "site"}{os.pathsep}{ROOT}',
        'FAULTS_SOCKETS': str(folder / 'sockets'),
    }
    argv = [*entered, *study.argv(out, [label])]
    tried = Tried()
    with Command(argv, folder / 'said.txt', environment) as command:
        ours = os.readlink('/proc/self/ns/net')
        looks = 0
        while command.running():
            if time.monotonic() - command.began > DEADLINE:
                return Tried(['hung'])
            tried.wrong += _sockets(command.pid, ours)
            looks += 1
            time.sleep(20 * LOOK)
        code, said = command.wait(), command.said()
    tried.ended = time.monotonic() - command.began
    if code or 'Traceback' in said:
        tried.wrong.append(f'exit code {code}, {said[-500:]}')
    heard = (folder / 'sockets').read_text().splitlines()
    # the supervisor and the server of its children at least, or the hook was not there
    if sum(line.startswith('listening') for line in heard) < 2:
        tried.wrong.append(f'who opens sockets was not heard: {heard}')
    tried.wrong += [line for line in heard if not line.startswith('listening')]
    tried.wrong += differences(tree(study.raw), before)
    tried.wrong += [*differences(tree(out), study.expected([label])), *droppings(out)]
    owners = {path.stat().st_uid for path in out.rglob('*')}
    if owners != {NOBODY}:
        tried.wrong.append(f'written by {owners}')
    return tried


def _sockets(pid: int, ours: str) -> list[str]:
    """List the sockets of a network of its own, but those between processes."""
    try:
        if os.readlink(f'/proc/{pid}/ns/net') == ours:
            return []  # it has not entered yet
        texts = {name: Path(f'/proc/{pid}/net/{name}').read_text() for name in TABLES}
    except OSError:
        return []  # it has ended, or there is no table of that kind
    return [f'{name}: {line}' for name, text in texts.items() for line in text.splitlines()[1:]]


def _entered(raw: Path, may_read: bool = False) -> list[str]:
    """Give what a command line must begin with."""
    read = ['--inh-caps=+dac_read_search', '--ambient-caps=+dac_read_search']
    return [
        *('unshare', '--net', '--mount', 'sh', '-c', ENTER, 'sh', str(raw)),
        *('setpriv', f'--reuid={NOBODY}', f'--regid={NOBODY}', '--clear-groups'),
        *(read if may_read else ()),
        '--no-new-privs',
    ]


def _enter(study: Study) -> list[str]:
    """Find how it can be done here: a Python that only its owner can read needs leave to.

    Raises
    ------
    NotPermittedError
    """
    if missing := [name for name in ('unshare', 'setpriv') if shutil.which(name) is None]:
        raise NotPermittedError(f'not installed: {", ".join(missing)}')
    # where it cannot read its own library, Python may take that of another one
    code = f'import os; open({str(study.weights)!r}, "rb"); import bidsharmony; print(os.__file__)'
    for may_read in (False, True):
        entered = _entered(study.raw, may_read)
        done = subprocess.run(
            [*entered, sys.executable, '-c', code],
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.stdout.strip() == os.__file__:
            return entered
    raise NotPermittedError(f'uid {NOBODY} cannot run it: {done.stderr.strip()[-200:]}')


FAULT = Fault(
    'sandbox',
    'input and HOME that cannot be written, uid 65534, no network, another TMPDIR',
    'a whole run, its tree identical, the input unchanged, no connection and no listening socket',
    target=5,
    trier=sandbox,
)
