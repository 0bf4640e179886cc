"""The table of faults is made of all of them, and a fault that is not survived shows in it."""

import csv
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tests.faults import __main__ as command
from tests.faults.children import Limit
from tests.faults.fault import Fault, NotPermittedError, Tried
from tests.faults.study import (
    Command,
    _is_draft,
    differences,
    droppings,
    processes,
    still_locked,
    tree,
)
from tests.faults.tables import FAULTS
from tests.faults.tampering import INPUTS

ROOT = Path(__file__).resolve().parents[2]


def test_each_fault_has_a_name_of_its_own():
    """And a number of tries."""
    assert len({fault.name for fault in FAULTS}) == len({f.done for f in FAULTS}) == len(FAULTS)
    assert all(fault.target >= 5 for fault in FAULTS)


def test_the_documented_table_is_of_these_faults():
    """Each row that is documented was survived as often as it was tried."""
    with (ROOT / 'docs' / '_static' / 'faults.csv').open(encoding='utf-8', newline='') as file:
        first, *rows = csv.reader(file)
    assert first == command.FIRST
    assert [row[:2] for row in rows] == [[fault.done, fault.must] for fault in FAULTS]
    for _, _, survived, tried, *_ in rows:
        assert int(survived) == int(tried) > 0


def test_what_takes_too_long_is_not_survived():
    """Neither to notice nor to end."""
    tries = [Tried(noticed=1.0, ended=1.0), Tried(noticed=3.0, ended=1.0), Tried(ended=9.0)]
    fault = Fault('x', 'a', 'b', 3, lambda *_: iter(tries), slowest_notice=2.0, slowest_end=5.0)
    found = list(fault.tries(None, 3, None, None))
    assert [tried.wrong for tried in found] == [[], ['noticed after 3.0 s'], ['ended after 9.0 s']]
    assert command.row_of(fault, found) == ['a', 'b', '1', '3', '3.0', '9.0']


def test_rows_that_are_not_made_stay(tmp_path, monkeypatch):
    """In the order of the faults, whichever is made first."""
    faults = [Fault(name, name, '', 1, None) for name in 'abc']
    monkeypatch.setattr(command, 'FAULTS', faults)
    path = tmp_path / 'faults.csv'
    for rows in (['c1', 'a1'], ['b2', 'a2']):
        command.write_table(path, [list(row) for row in rows])
    assert path.read_text().splitlines()[1:] == ['a,2', 'b,2', 'c,1']


def test_partial_files_and_drafts_are_told_apart(tmp_path):
    """A draft may be anything; what has a final name may not."""
    assert _is_draft(f'.dataset_description.json.{"0af" * 10}12')
    assert not _is_draft('.bidsignore')
    (tmp_path / 'sub-01').mkdir()
    (tmp_path / 'sub-01' / 'a.nii.gz').write_text('half')
    (tmp_path / 'logs').mkdir()
    (tmp_path / 'logs' / f'.failures.{"a" * 32}').touch()
    found = tree(tmp_path)
    assert differences(found, {'sub-01/a.nii.gz': 'x'}) == ['other bytes: sub-01/a.nii.gz']
    assert droppings(tmp_path) == [f'left behind: logs/.failures.{"a" * 32}']


def test_everything_that_a_command_starts_is_found(tmp_path):
    """Also what left its group, and whose parent died."""
    orphan = 'import os, time; os.fork() and os._exit(0); os.setpgid(0, 0); time.sleep(60)'
    script = f'import subprocess, sys, time\nsubprocess.run([sys.executable, "-c", {orphan!r}])\n'
    script += 'time.sleep(60)'
    with Command([sys.executable, '-c', script], tmp_path / 'said.txt') as started:
        assert started.until(started.children) is not None
        pids = started.alive()
        assert len(pids) == 2
        started.kill_all(np.random.default_rng(0))
        assert not started.alive()
    assert not [pid for pid in pids if processes().get(pid, 'Z')[0] != 'Z']


def test_the_kernel_ends_what_takes_too_much(tmp_path):
    """A limit of memory is one, where it can be set."""
    try:
        limit = Limit(f'bidsharmony-test{os.getpid()}')
    except NotPermittedError as error:
        pytest.skip(str(error))
    code = 'import time; time.sleep(1); x = bytearray(10**8); time.sleep(60)'
    with limit, Command([sys.executable, '-c', code], tmp_path / 'said.txt') as started:
        limit.hold(started.pid)
        assert started.wait(30) == 128 + signal.SIGKILL
    assert not limit.folder.exists()


def test_a_command_that_hangs_is_told(tmp_path):
    """It does not hang whoever waits for it."""
    with Command([sys.executable, '-c', 'import time; time.sleep(60)'], tmp_path / 's') as started:
        with pytest.raises(TimeoutError, match='hung for'):
            started.wait(0.5)
        with pytest.raises(TimeoutError, match='nothing came'):
            started.until(lambda: False, 0.1)


@pytest.mark.parametrize('kind', INPUTS)
def test_inputs_change_but_not_in_size(tmp_path, kind):
    """What is read changes, and can be read."""
    import gzip

    from tests import tiny_dataset

    ending, change = INPUTS[kind]
    image = tiny_dataset.write_run(tmp_path, 'sub-01')
    path = image.with_name(f'sub-01_dwi{ending}')
    before = path.read_bytes()
    change(path)
    after = path.read_bytes()
    assert len(after) == len(before)
    if ending == '.nii.gz':
        before, after = gzip.decompress(before), gzip.decompress(after)
    assert sum(a != b for a, b in zip(after, before, strict=True)) == 1


def test_a_socket_would_be_heard(tmp_path):
    """What Python asks of the network is written down, not what processes say to each other."""
    from tests.faults.sandbox import HOOK

    (tmp_path / 'sitecustomize.py').write_text(HOOK)
    code = (
        'import contextlib, socket\n'
        'socket.socketpair()\n'
        'with contextlib.suppress(OSError), socket.socket() as s: s.connect(("127.0.0.1", 9))\n'
        'with contextlib.suppress(OSError), socket.socket() as s: s.bind(("127.0.0.1", 0))\n'
    )
    environment = {
        **os.environ,
        'PYTHONPATH': str(tmp_path),
        'FAULTS_SOCKETS': str(tmp_path / 'heard'),
    }
    subprocess.run([sys.executable, '-c', code], env=environment, check=True)
    first, *heard = (tmp_path / 'heard').read_text().splitlines()
    assert first.startswith('listening ')
    assert heard == ["socket.connect (('127.0.0.1', 9),)", "socket.bind (('127.0.0.1', 0),)"]


def test_a_lock_that_is_held_is_told(tmp_path):
    """And one that nobody holds is not."""
    folder = tmp_path / '.bidsharmony' / 'locks'
    folder.mkdir(parents=True)
    (folder / 'sub-02.lock').touch()
    with (folder / 'sub-01.lock').open('w') as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert still_locked(tmp_path) == ['still locked: sub-01.lock']
    assert still_locked(tmp_path) == []


def test_a_file_that_is_not_whole_is_told(tmp_path):
    """The study compares bytes, and takes an absent file for whole."""
    from tests.faults.study import Study

    (tmp_path / 'sub-01').mkdir()
    (tmp_path / 'sub-01' / 'a').write_text('half')
    known = SimpleNamespace(reference={'sub-01/a': 'x', 'sub-01/b': 'y'})
    assert Study.partial(known, tmp_path) == ['not whole: sub-01/a']
