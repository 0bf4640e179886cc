"""Participants run apart: one that dies, hangs on or is locked leaves the others alone."""

import ast
import contextlib
import errno
import fcntl
import json
import os
import pickle
import re
import select
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest
from nipype.interfaces.utility import IdentityInterface, Rename
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.bids import (
    B0Source,
    Collection,
    DwiRun,
    Refused,
    Scanner,
    collect_dwi,
    collect_qsiprep,
)
from bidsharmony.network.weights import WeightsError
from bidsharmony.settings import Settings
from bidsharmony.supervise import child, compat, environment, finish, graph, marker, pool
from bidsharmony.supervise.locks import LockedError, locked, sweep_work
from bidsharmony.supervise.places import fresh_folder, private_folder, work_folder
from bidsharmony.supervise.reasons import judge
from bidsharmony.supervise.records import Job, Outcome, Step
from tests import tiny_dataset

ROOT = Path(__file__).resolve().parents[1]

DRIVER = """
    import json, logging, os, signal, struct, sys, time
    from pathlib import Path
    from bidsharmony.bids import Collection, DwiRun, Scanner
    from bidsharmony.settings import Settings
    from bidsharmony.supervise import child, pool
    from bidsharmony.supervise.records import Outcome, Step

    class Watch:
        '''Write down what is told.'''

        def __init__(self):
            self.told = []

        def planned(self, runs):
            self.told.append(['planned', runs])

        def started(self, participant):
            self.told.append(['started', participant])

        def step(self, participant, step):
            self.told.append(['step', participant, step.name, step.n_done, step.n_steps])

        def ended(self, participant):
            self.told.append(['ended', participant])

        def look(self):
            pass

    def act(job, connection, lifeline, environment):
        child.detach(lifeline)
        label = job.subject
        if label == 'killed':
            os.kill(os.getpid(), signal.SIGKILL)
        if label == 'segfault':
            os.kill(os.getpid(), signal.SIGSEGV)
        if label == 'exit':
            os._exit(7)
        if label.startswith('steps'):
            for n_done in range(3):
                child.tell(connection, Step('x' * 5000, n_done, 3))
        if label == 'stepskilled':
            os.kill(os.getpid(), signal.SIGKILL)
        if label == 'half':
            # the head of a message of 1000 bytes, and some of them
            os.write(connection.fileno(), struct.pack('!i', 1000) + b'x' * 10)
            os.kill(os.getpid(), signal.SIGKILL)
        began = time.monotonic()
        if label.startswith('slow'):
            time.sleep(0.5)
            log = job.settings.output_dir / label
            log.write_text(f'{began} {time.monotonic()}')
        if label == 'sleeps':
            (job.settings.output_dir / 'pid').write_text(str(os.getpid()))
            time.sleep(600)
        number = 28 if label == 'full' else 0
        connection.send([Outcome(run.relative, 'failed' if number else 'done', '', number)
                         for run in job.runs])

    def main(output_dir, more, labels):
        child.main, pool.PRELOAD = act, ('imports_long',) if 'imports' in labels else ()
        logging.basicConfig(level=logging.INFO)
        runs = tuple(
            DwiRun(Path(f'/d/sub-{label}/dwi/sub-{label}_dwi.nii.gz'), None, None, {}, (),
                   {'subject': label}, Scanner())
            for label in labels
        )
        settings = Settings(
            bids_dir=Path('/d'), output_dir=Path(output_dir), nprocs=2, **json.loads(more)
        )
        began = time.monotonic()
        try:
            watch = Watch()
            found = pool.run_participants(settings, Collection(runs=runs), watch=watch)
        except pool.Interrupted as stop:
            sys.exit(128 + stop.signum)
        print(json.dumps({'seconds': time.monotonic() - began, 'told': watch.told,
                          'runs': [[o.run, o.status, o.reason, o.errno] for o in found]}))

    if __name__ == '__main__':
        main(sys.argv[1], sys.argv[2], sys.argv[3:])
"""


@pytest.fixture
def drive(tmp_path):
    """Start the supervisor in a process of its own, with children that act by their label."""
    script = tmp_path / 'driver.py'
    script.write_text(textwrap.dedent(DRIVER))
    started = []

    def start(*labels, **settings):
        process = subprocess.Popen(
            [
                *(sys.executable, str(script), str(tmp_path / 'out')),
                *(json.dumps(settings), *labels),
            ],
            env={**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{tmp_path}'},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    (tmp_path / 'out').mkdir()
    yield start
    for process in started:
        process.kill()
        process.communicate()


def alive(pid: int) -> bool:
    """See whether a process runs; where nobody reaps them the dead stay listed, in state Z."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != 'Z'


def run_of(subject: str, root: str = '/d') -> DwiRun:
    """Name a run that need not exist."""
    path = Path(f'{root}/sub-{subject}/dwi/sub-{subject}_dwi.nii.gz')
    return DwiRun(path, None, None, {}, (), {'subject': subject}, Scanner())


def job_of(output_dir: Path, work_dir: Path | None = None) -> Job:
    """Make the job of one participant."""
    settings = Settings(bids_dir=Path('/d'), output_dir=output_dir, work_dir=work_dir)
    return Job('sub-01', (run_of('01'),), (), (), settings, '1.0')


def test_deaths_are_noticed_and_the_others_finish(drive):
    """A killed, a crashed and a silent child each get their line; the good ones are done."""
    out, err = drive('a', 'killed', 'segfault', 'exit', 'b').communicate(timeout=120)
    answer = json.loads(out)
    found = {run.split('/')[0]: (status, reason) for run, status, reason, _ in answer['runs']}
    assert found['sub-a'] == found['sub-b'] == ('done', '')
    assert 'probably out of memory' in found['sub-killed'][1]
    assert 'SIGSEGV' in found['sub-segfault'][1]
    assert 'exit code 7' in found['sub-exit'][1]
    assert 'Traceback' not in err
    assert answer['seconds'] < 60


def test_steps_are_told_and_a_death_in_a_message_is_a_death(drive):
    """Steps come in order, names cut short; who dies while it speaks leaves the others alone."""
    out, err = drive('steps', 'stepskilled', 'half', 'a').communicate(timeout=120)
    answer = json.loads(out)
    found = {run.split('/')[0]: (status, reason) for run, status, reason, _ in answer['runs']}
    assert found['sub-a'] == found['sub-steps'] == ('done', '')
    for name in ('sub-stepskilled', 'sub-half'):
        assert found[name][0] == 'failed'
        assert 'probably out of memory' in found[name][1]
    assert 'Traceback' not in err
    told = {
        name: [item for item in answer['told'] if item[1] == name]
        for name in ('sub-steps', 'sub-stepskilled', 'sub-half')
    }
    steps = [['step', 'sub-steps', 'x' * child.MAX_NAME, n_done, 3] for n_done in range(3)]
    assert told['sub-steps'] == [['started', 'sub-steps'], *steps, ['ended', 'sub-steps']]
    # what it said before its death is heard
    assert len(told['sub-stepskilled']) == 5
    assert told['sub-half'] == [['started', 'sub-half'], ['ended', 'sub-half']]
    assert answer['told'][0][0] == 'planned'


def test_nobody_waits_for_a_supervisor_that_does_not_listen():
    """A full pipe takes no more steps; what it has taken is whole."""
    ours, theirs = Pipe(duplex=False)
    for n_done in range(10_000):
        child.tell(theirs, Step('\N{GRINNING FACE}' * 500, n_done, 10_000))
    theirs.close()
    heard = []
    with contextlib.suppress(EOFError):
        while True:
            heard.append(ours.recv().n_done)
    assert 10 < len(heard) < 10_000
    assert heard == list(range(len(heard)))
    biggest = Step('\N{GRINNING FACE}' * child.MAX_NAME, 10**6, 10**6)
    # the head of a message has four bytes
    assert len(pickle.dumps(biggest)) + 4 < select.PIPE_BUF


def test_steps_count_what_is_run_and_each_once(tmp_path):
    """Of two graphs with a step in common; inputs and outputs of a graph are none."""
    told = []
    run = SimpleNamespace(
        run=SimpleNamespace(
            image=Path('/d/sub-01/dwi/sub-01_dir-AP_dwi.nii.gz'), stem='sub-01_dir-AP'
        )
    )
    steps = graph.Steps(told.append, '01', [run])

    def workflow(*names):
        inner = Workflow(name='sub_01_dir_AP_wf')
        inner.add_nodes([Node(IdentityInterface(['x']), name='inputnode')])
        inner.add_nodes([Node(Rename(format_string='x'), name=name) for name in names])
        outer = Workflow(name='sub_01_wf', base_dir=tmp_path)
        outer.add_nodes([inner])
        return outer

    steps.add(workflow('brain_mask', 'never'))
    steps.start('sub_01_wf.sub_01_dir_AP_wf.brain_mask')
    steps.end('sub_01_wf.sub_01_dir_AP_wf.brain_mask')
    steps.forget()
    steps.add(workflow('brain_mask', 'gain', 'save'))
    steps.start('sub_01_wf.sub_01_dir_AP_wf.brain_mask')
    steps.end('sub_01_wf.sub_01_dir_AP_wf.brain_mask')
    steps.start('sub_01_wf.sub_01_dir_AP_wf.bias_wf.estimate')
    assert told == [
        Step('dir-AP: brain mask', 0, 2),
        Step('', 1, 2),
        Step('dir-AP: brain mask', 1, 3),
        Step('', 1, 3),
        Step('dir-AP: bias estimate', 1, 3),
    ]


def test_a_long_folder_for_temporary_files_is_no_hindrance(drive, tmp_path, monkeypatch):
    """The path of a socket has 108 bytes at most, and batch systems nest their folders."""
    long = tmp_path / ('job' * 40)
    long.mkdir()
    monkeypatch.setenv('TMPDIR', str(long))
    out, err = drive('a').communicate(timeout=120)
    assert [row[1] for row in json.loads(out or '{"runs": []}')['runs']] == ['done'], err


def test_no_short_folder_for_temporary_files_is_told(tmp_path, monkeypatch):
    """With what to do about it."""
    monkeypatch.setattr(environment, 'SHORT_TMPDIRS', ())
    monkeypatch.setattr(environment.tempfile, 'tempdir', str(tmp_path / ('job' * 40)))
    with pytest.raises(OSError, match='Set TMPDIR'), environment.short_tmpdir():
        pass


def test_who_takes_too_long_is_given_up(drive):
    """Its process is ended, and the others go on."""
    out, err = drive('sleeps', 'a', 'b', participant_timeout=0.05).communicate(timeout=120)
    answer = json.loads(out)
    found = {run.split('/')[0]: (status, reason) for run, status, reason, _ in answer['runs']}
    assert found['sub-a'] == found['sub-b'] == ('done', '')
    status, reason = found['sub-sleeps']
    assert (status, reason) == (
        'failed',
        'not done after 0.05 min, ended. Raise --participant-timeout, or see logs/sub-sleeps.log.',
    )
    assert reason in err
    assert answer['seconds'] < 60


@pytest.mark.parametrize('stop', [True, False])
def test_the_first_failure_may_stop_the_others(drive, stop):
    """Who runs is ended and who waits is not begun, if that was asked for; all are told why."""
    labels = ('killed', 'sleeps', 'z')
    limit = {'participant_timeout': 0.3}
    out, _ = drive(*labels, stop_on_first_crash=stop, **limit).communicate(timeout=120)
    answer = json.loads(out)
    found = {run.split('/')[0]: reason for run, _, reason, _ in answer['runs']}
    assert 'probably out of memory' in found['sub-killed']
    begun, ended = ([name for what, name, *_ in answer['told'] if what == kind]
                    for kind in ('started', 'ended'))  # fmt: skip
    assert sorted(begun) == sorted(ended)
    since = 'since sub-killed failed (--stop-on-first-crash). Re-run to go on.'
    if stop:
        assert found['sub-sleeps'] == f'ended, {since}'
        assert found['sub-z'] == f'not begun, {since}'
    else:
        assert 'not done after 0.3 min' in found['sub-sleeps']
        assert found['sub-z'] == ''


@pytest.mark.parametrize('elsewhere', [True, False])
def test_only_work_that_nobody_uses_is_swept(tmp_path, elsewhere):
    """What a participant is being worked on with stays, and so does what is no participant's."""
    settings = replace(
        job_of(tmp_path / 'out').settings, work_dir=tmp_path / 'w' if elsewhere else None
    )
    folders = [work_folder(settings, f'sub-{label}') for label in ('01', '02', '03')]
    for folder in folders[:2]:
        (folder / 'node').mkdir(parents=True)
    folders[2].symlink_to(tmp_path)
    other = folders[0].parent / 'notes'
    other.touch()
    with locked(settings.output_dir, 'sub-02'):
        assert sweep_work(settings) == ['sub-01']
    assert [folder.exists() for folder in (*folders, other)] == [False, True, True, True]


@pytest.mark.parametrize(('brain_mask', 'given'), [('existing', True), ('compute', False)])
def test_a_mask_that_came_with_the_run_may_be_left(tmp_path, brain_mask, given):
    """It is then no input: the marker of a run that used it does not hold any more."""
    series = tiny_dataset.write_qsiprep(tiny_dataset.write_dataset(tmp_path / 'pre'))
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    collection = collect_qsiprep(tmp_path / 'pre', raw)
    settings = Settings(bids_dir=raw, output_dir=tmp_path / 'out', brain_mask=brain_mask)
    (job,) = pool.make_jobs(settings, collection)
    (checked,), _ = child.check_runs(job)
    assert (checked.brain_mask is not None) is given
    assert any('brain_mask' in name for name in checked.inputs) is given
    assert series.is_file()


@pytest.mark.parametrize(('mem_mb', 'together'), [(10, False), (1e6, True)])
def test_participants_wait_for_memory(drive, tmp_path, mem_mb, together):
    """Where it holds only one, they go one after the other."""
    drive('slow1', 'slow2', mem_mb=mem_mb).communicate(timeout=120)
    times = [
        [float(text) for text in (tmp_path / 'out' / name).read_text().split()]
        for name in ('slow1', 'slow2')
    ]
    (_, first_ends), (second_begins, _) = sorted(times)
    assert (second_begins < first_ends) is together


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_children(drive, tmp_path, number):
    """Nothing runs on after the supervisor was asked to stop."""
    process = drive('sleeps', 'waits')
    pid_file = tmp_path / 'out' / 'pid'
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 128 + number
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_signal_while_the_server_imports(drive, tmp_path):
    """The server of children does not go on importing for nobody."""
    pid_file = tmp_path / 'server'
    module = f'import os, time; open({str(pid_file)!r}, "w").write(str(os.getpid()))\n'
    (tmp_path / 'imports_long.py').write_text(module + 'time.sleep(60)\n')
    process = drive('imports')
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 128 + signal.SIGTERM
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_killed_supervisor_takes_its_children_along(drive, tmp_path):
    """Even SIGKILL of the parent leaves no child behind."""
    process = drive('sleeps')
    pid_file = tmp_path / 'out' / 'pid'
    deadline = time.monotonic() + 60
    while not (pid_file.exists() and pid_file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    pid = int(pid_file.read_text())
    process.kill()
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_full_disk_is_the_machines_fault(drive):
    """Its outcome says so, beside those of the others."""
    out, _ = drive('full', 'a').communicate(timeout=120)
    found = {run.split('/')[0]: (status, code) for run, status, _, code in json.loads(out)['runs']}
    assert found == {'sub-full': ('failed', 28), 'sub-a': ('done', 0)}


def test_what_a_killed_process_left_is_removed_where_nothing_is_to_do(tmp_path, monkeypatch):
    """The marker was there already, its intermediate files were still there."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    image = tiny_dataset.write_run(raw, 'sub-01')
    (job,) = pool.make_jobs(Settings(bids_dir=raw, output_dir=tmp_path / 'out'), collect_dwi(raw))
    (tmp_path / 'out').mkdir()
    monkeypatch.setattr(child, 'is_unchanged', lambda *_, **__: True)
    for folder in ('staging', 'work'):
        (job.hidden / folder / 'sub-01' / 'deep').mkdir(parents=True)
        (job.hidden / folder / 'sub-02').mkdir()
    (outcome,) = child.work(job)
    assert (outcome.run, outcome.reason) == (
        image.relative_to(raw).as_posix(),
        'unchanged since the last run',
    )
    for folder in ('staging', 'work'):
        assert [path.name for path in (job.hidden / folder).iterdir()] == ['sub-02']


def test_second_process_is_told_who_holds_the_lock(tmp_path):
    """One wins, the other learns host and pid; a lock left by a dead process does not count."""
    held = job_of(tmp_path).settings.output_dir, 'sub-01'
    with locked(*held), pytest.raises(LockedError, match=f'/{os.getpid()}'), locked(*held):
        pass
    with locked(*held):
        pass


def test_lock_file_alone_is_no_lock(tmp_path):
    """The kernel holds locks, files do not."""
    job = job_of(tmp_path)
    path = job.hidden / 'locks' / 'sub-01.lock'
    path.parent.mkdir(parents=True)
    path.write_text('elsewhere/123')
    with (
        locked(job.settings.output_dir, 'sub-01'),
        path.open() as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_jobs_are_made_by_participant(tmp_path):
    """Refused images travel with their participant, who without runs needs a marker as well."""
    path = marker.marker_path(tmp_path, 'sub-04')
    path.parent.mkdir(parents=True)
    path.touch()
    collection = Collection(
        runs=(run_of('01'), run_of('02')),
        refused=(
            Refused(Path('/d/sub-02/dwi/sub-02_dir-x_dwi.nii.gz'), 'why'),
            Refused(Path('/d/sub-03/dwi/sub-03_dwi.nii.gz'), 'why'),
            Refused(Path('/d/sub-04/dwi/sub-04_dwi.nii.gz'), 'why'),
        ),
    )
    settings = Settings(bids_dir=Path('/d'), output_dir=tmp_path)
    jobs = pool.make_jobs(settings, collection)
    assert [(job.participant, len(job.runs), len(job.refused)) for job in jobs] == [
        ('sub-01', 1, 0),
        ('sub-02', 1, 1),
        ('sub-04', 0, 1),
    ]


def test_refused_participant_is_finished_no_more(tmp_path, monkeypatch):
    """Its marker and outputs go; a second call has nothing to change."""
    monkeypatch.setattr(child, 'result_options', lambda job: {'x': 1})
    outputs = marked(tmp_path)['outputs']
    refused = (('sub-01/dwi/sub-01_dwi.nii.gz', 'why'),)
    settings = Settings(bids_dir=Path('/d'), output_dir=tmp_path)
    assert child.work(Job('sub-01', (), refused, (), settings, '1')) == []
    assert not marker.marker_path(tmp_path, 'sub-01').exists()
    assert not [name for name in outputs if (tmp_path / name).exists()]


def test_unusable_weights_stop_the_participant_before_its_graph(tmp_path, monkeypatch):
    """Before N4, in one line that names no folder."""
    path = tmp_path / 'w.safetensors'
    path.write_text('no weights')
    settings = Settings(bids_dir=Path('/d'), output_dir=tmp_path, weights=path)
    job = Job('sub-01', (run_of('01'),), (), (), settings, '1')
    with pytest.raises(WeightsError) as caught:
        child._harmonize(job, [None], [], tmp_path, tmp_path)
    _, reason = judge(job, f'WeightsError: {caught.value}', caught.value)
    assert reason.startswith('w.safetensors: not usable weights')


@pytest.mark.parametrize(
    'changed',
    [
        {'denoise': 'mppca'},
        {'rician': True},
        {'b0_threshold': 5.0},
        {'bias_correction': False},
        {'canonical_resolution': 3.0},
        {'output_resolution': 2.0},
        {'strength': 0.5},
    ],
    ids=str,
)
def test_options_that_change_results_are_told_apart(tmp_path, changed):
    """What was made with another value of one of them is out of date."""
    job = job_of(tmp_path)
    other = replace(job, settings=replace(job.settings, **changed))
    options = child.result_options(other)
    assert options != child.result_options(job)
    assert options == child.result_options(replace(other, settings=replace(other.settings)))


def marked(output_dir: Path) -> dict:
    """Write one output and the marker that vouches for it."""
    (output_dir / 'sub-01').mkdir()
    name = 'sub-01/sub-01_desc-harmonized_qc.json'
    (output_dir / name).write_text('{}')
    found = {
        'participant': 'sub-01',
        'version': '1',
        'options': {'x': 1},
        'inputs': {'sub-01': {'in': 'aa'}},
        'outputs': {name: marker.file_sha256(output_dir / name)},
        'runs': ['sub-01'],
        'refused': [],
        'failed': [],
        'skipped': [('sub-01/dwi/sub-01_FA.nii', 'a map')],
    }
    marker.write_marker(marker.marker_path(output_dir, 'sub-01'), found)
    return found


CHANGES = {
    'nothing': ({}, True),
    'version': ({'version': '2'}, False),
    'option': ({'options': {'x': 2}}, False),
    'input': ({'inputs': {'sub-01': {'in': 'bb'}}}, False),
    'input gone': ({'inputs': {'sub-01': {}}}, False),
    'further input': ({'inputs': {'sub-01': {'in': 'aa', 'in2': 'cc'}}}, False),
    'input of no run asked for': ({'inputs': {}}, True),
    'further run': ({'inputs': {'sub-01': {'in': 'aa'}, 'sub-01_dir-AP': {}}}, False),
    'refused': ({'refused': [('a', 'b')]}, False),
    'skipped': ({'skipped': []}, False),
    'finished, not selected now': (
        {'skipped': [('sub-01/dwi/sub-01_FA.nii', 'a map'), ('sub-01_dwi.nii', 'not selected')]},
        True,
    ),
}


@pytest.mark.parametrize(('change', 'unchanged'), CHANGES.values(), ids=CHANGES.keys())
def test_what_makes_a_participant_run_again(tmp_path, change, unchanged):
    """Any difference in what goes in."""
    marked(tmp_path)
    now = {
        'version': '1',
        'options': {'x': 1},
        'inputs': {'sub-01': {'in': 'aa'}},
        'refused': [],
        'skipped': [('sub-01/dwi/sub-01_FA.nii', 'a map')],
    }
    found = marker.read_marker(marker.marker_path(tmp_path, 'sub-01'))
    assert marker.is_unchanged(found, tmp_path, **(now | change)) is unchanged


@pytest.mark.parametrize('damage', ['change', 'delete', 'marker', 'cut marker'])
def test_damage_is_noticed(tmp_path, damage):
    """An output that is not as it was written, or a marker that cannot be read."""
    found = marked(tmp_path)
    output, path = tmp_path / next(iter(found['outputs'])), marker.marker_path(tmp_path, 'sub-01')
    if damage == 'change':
        output.write_text('[]')
    elif damage == 'delete':
        output.unlink()
    elif damage == 'marker':
        path.unlink()
    else:
        path.write_text(path.read_text()[:50])
    unchanged = marker.is_unchanged(
        marker.read_marker(path),
        tmp_path,
        version='1',
        options={'x': 1},
        inputs={'sub-01': {'in': 'aa'}},
        refused=[],
        skipped=[('sub-01/dwi/sub-01_FA.nii', 'a map')],
    )
    assert not unchanged


def test_page_tells_failed_from_refused_and_nothing_twice(tmp_path, monkeypatch):
    """A run finished earlier is on the page, so it is not listed as passed over."""
    marked(tmp_path)
    told = {}
    monkeypatch.setattr(
        finish,
        'write_participant_page',
        lambda *arguments, **named: told.update(named, skipped=arguments[3]),
    )
    settings = Settings(bids_dir=Path('/d'), output_dir=tmp_path)
    skipped = (('sub-01/dwi/sub-01_dwi.nii.gz', 'not selected'), ('sub-01/dwi/x_FA.nii', 'map'))
    job = Job('sub-01', (), (), skipped, settings, '1')
    (tmp_path / 'staging').mkdir()
    finish.finish(
        job,
        tmp_path / 'staging',
        done=[],
        refused=[('b', 'why')],
        failed=[('c', 'why')],
        inputs={},
        options={'x': 1},
    )
    assert told == {'skipped': [skipped[1]], 'refused': [('b', 'why')], 'failed': [('c', 'why')]}
    found = marker.read_marker(marker.marker_path(tmp_path, 'sub-01'))
    assert found['skipped'] == [list(skipped[1])]


@pytest.mark.parametrize(('sha', 'kept'), [('aa', True), ('bb', False)])
def test_a_run_is_kept_only_with_the_files_it_was_made_from(tmp_path, monkeypatch, sha, kept):
    """Another run that reads the same file again finds it as it was, or changed."""
    marked(tmp_path)
    monkeypatch.setattr(finish, 'write_participant_page', lambda *_, **named: None)
    staged = tmp_path / 'staging' / 'sub-01'
    staged.mkdir(parents=True)
    (staged / 'sub-01_dir-AP_desc-harmonized_qc.json').write_text('{}')
    image = tmp_path / 'raw/sub-01/dwi/sub-01_dir-AP_dwi.nii.gz'
    settings = Settings(bids_dir=tmp_path / 'raw', output_dir=tmp_path)
    finish.finish(
        Job('sub-01', (DwiRun(image, None, None, {}, (), {}, Scanner()),), (), (), settings, '1'),
        tmp_path / 'staging',
        done=['sub-01_dir-AP'],
        refused=[],
        failed=[],
        inputs={'sub-01_dir-AP': {'in': sha, 'own': 'cc'}},
        options={'x': 1},
    )
    found = marker.read_marker(marker.marker_path(tmp_path, 'sub-01'))
    assert ('sub-01' in found['runs'], 'sub-01' in found['inputs']) == (kept, kept)
    assert found['inputs']['sub-01_dir-AP'] == {'in': sha, 'own': 'cc'}


def test_what_a_run_makes_no_more_is_removed(tmp_path, monkeypatch):
    """A series that lost its directions leaves no file of the series beside the new outputs."""
    found = marked(tmp_path)
    old = 'sub-01/sub-01_desc-harmonized_dwi.nii.gz'
    (tmp_path / old).write_text('old')
    found['outputs'][old] = marker.file_sha256(tmp_path / old)
    marker.write_marker(marker.marker_path(tmp_path, 'sub-01'), found)
    monkeypatch.setattr(finish, 'write_participant_page', lambda *_, **named: None)
    staged = tmp_path / 'staging' / 'sub-01'
    staged.mkdir(parents=True)
    (staged / 'sub-01_desc-harmonized_qc.json').write_text('{"new": 1}')
    run = DwiRun(tmp_path / 'raw/sub-01/dwi/sub-01_dwi.nii.gz', None, None, {}, (), {}, Scanner())
    settings = Settings(bids_dir=tmp_path / 'raw', output_dir=tmp_path)
    finish.finish(
        Job('sub-01', (run,), (), (), settings, '1'),
        tmp_path / 'staging',
        done=['sub-01'],
        refused=[],
        failed=[],
        inputs={'sub-01': {'in': 'bb'}},
        options={'x': 1},
    )
    assert not (tmp_path / old).exists()
    kept = marker.read_marker(marker.marker_path(tmp_path, 'sub-01'))['outputs']
    assert list(kept) == ['sub-01/sub-01_desc-harmonized_qc.json']
    assert (tmp_path / next(iter(kept))).read_text() == '{"new": 1}'


def test_trace_image_that_lost_its_b0_is_skipped_and_leaves_nothing(tmp_path, monkeypatch):
    """What was made of it earlier goes; the reason goes to the page, not to the failures."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    trace = tiny_dataset.write_trace(raw, 'sub-01')
    far = tiny_dataset.write_trace(raw, 'sub-01_acq-far', suffix='dwi', shift=9.0)
    bval = far.with_name('sub-01_acq-far_dwi.bval')
    bval.write_text('0')
    sources = (B0Source(far, bval),)
    run = DwiRun(trace, None, None, {}, (), {'subject': '01'}, Scanner(), sources)
    (tmp_path / 'out').mkdir()
    outputs = marked(tmp_path / 'out')['outputs']
    settings = Settings(bids_dir=raw, output_dir=tmp_path / 'out')
    monkeypatch.setattr(child, 'result_options', lambda job: {'x': 1})
    (outcome,) = child.work(Job('sub-01', (run,), (), (), settings, '1'))
    assert (outcome.run, outcome.status) == ('sub-01/dwi/sub-01_trace.nii.gz', 'skipped')
    assert 'sub-01_acq-far_dwi.nii.gz lies up to 9.0 mm away' in outcome.reason
    assert not [name for name in outputs if (tmp_path / 'out' / name).exists()]
    assert not marker.marker_path(tmp_path / 'out', 'sub-01').exists()


def test_trace_image_that_a_series_covers_now_leaves_nothing(tmp_path, monkeypatch):
    """One acquisition is harmonized once: what was made of it before the series was there goes."""
    out = tmp_path / 'out'
    out.mkdir()
    found = marked(out)
    (out / 'sub-01' / 'sub-01_rec-TRACE_desc-harmonized_trace.nii.gz').write_text('old')
    name = 'sub-01/sub-01_rec-TRACE_desc-harmonized_trace.nii.gz'
    found['outputs'][name] = marker.file_sha256(out / name)
    found['runs'].append('sub-01_rec-TRACE')
    found['inputs']['sub-01_rec-TRACE'] = {'in': 'aa'}
    marker.write_marker(marker.marker_path(out, 'sub-01'), found)
    monkeypatch.setattr(finish, 'write_participant_page', lambda *_, **named: None)
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    series = tiny_dataset.write_run(raw, 'sub-01')
    tiny_dataset.write_trace(raw, 'sub-01_rec-TRACE', suffix='dwi')
    settings = Settings(bids_dir=raw, output_dir=out)
    (job,) = pool.make_jobs(settings, collect_dwi(raw))
    assert job.covered == ('sub-01/dwi/sub-01_rec-TRACE_dwi.nii.gz',)
    staged = tmp_path / 'staging' / 'sub-01'
    staged.mkdir(parents=True)
    (staged / 'sub-01_desc-harmonized_qc.json').write_text('{}')
    finish.finish(
        job,
        tmp_path / 'staging',
        done=['sub-01'],
        refused=[],
        failed=[],
        inputs={'sub-01': {'in': 'aa'}},
        options={'x': 1},
    )
    assert series.exists()
    assert not (out / name).exists()
    assert marker.read_marker(marker.marker_path(out, 'sub-01'))['runs'] == ['sub-01']


def test_promote_follows_no_link_out(tmp_path):
    """A link in the output is not a way out of it."""
    staging, output = tmp_path / 'staging', tmp_path / 'out'
    (staging / 'sub-01').mkdir(parents=True)
    (staging / 'sub-01' / 'a.json').write_text('{}')
    output.mkdir()
    (tmp_path / 'elsewhere').mkdir()
    (output / 'sub-01').symlink_to(tmp_path / 'elsewhere')
    with pytest.raises(OSError, match='leads elsewhere'):
        finish.promote(staging, output)
    assert not list((tmp_path / 'elsewhere').iterdir())


def test_promote_moves_everything(tmp_path):
    """All files change place, with the hash of what was written."""
    staging, output = tmp_path / 'staging', tmp_path / 'out'
    (staging / 'sub-01' / 'dwi').mkdir(parents=True)
    (staging / 'sub-01' / 'dwi' / 'a.json').write_text('{}')
    (staging / 'sub-01.html').write_text('page')
    hashes = finish.promote(staging, output)
    assert set(hashes) == {'sub-01/dwi/a.json', 'sub-01.html'}
    assert marker.intact(output, hashes)
    assert not [path for path in staging.rglob('*') if path.is_file()]


def compat_job(tmp_path: Path) -> Job:
    """Make the job of a participant whose anatomy QSIPrep has."""
    for name in ('anat/sub-01_space-ACPC_desc-preproc_T1w.nii.gz', 'ses-a/anat/sub-01_T1w.json'):
        path = tmp_path / 'qsiprep' / 'sub-01' / name
        path.parent.mkdir(parents=True)
        path.write_text('anatomy')
    (path.parent / 'dangling').symlink_to('gone')
    (path.parent / 'secret').symlink_to('/etc/hostname')
    settings = Settings(
        bids_dir=Path('/d'),
        output_dir=tmp_path / 'out',
        derivatives={'qsiprep': tmp_path / 'qsiprep'},
        qsiprep_compat=True,
    )
    return Job('sub-01', (), (), (), settings, '1')


@pytest.mark.parametrize('links', [True, False])
def test_anatomy_is_linked_or_copied(tmp_path, monkeypatch, links):
    """Both datasets can be moved together; what leads nowhere, or out, is left behind."""
    job = compat_job(tmp_path)
    if not links:
        monkeypatch.setattr(Path, 'symlink_to', lambda *_: (_ for _ in ()).throw(OSError()))
    for _ in range(2):
        hashes = compat.link_anatomy(job)
    assert set(hashes) == {
        'qsiprep-compat/sub-01/anat/sub-01_space-ACPC_desc-preproc_T1w.nii.gz',
        'qsiprep-compat/sub-01/ses-a/anat/sub-01_T1w.json',
    }
    (tmp_path / 'moved').mkdir()
    for folder in ('qsiprep', 'out'):
        (tmp_path / folder).rename(tmp_path / 'moved' / folder)
    for name in hashes:
        path = tmp_path / 'moved' / 'out' / name
        assert (path.read_text(), path.is_symlink()) == ('anatomy', links)
        assert not path.is_symlink() or not os.path.isabs(os.readlink(path))
    assert marker.intact(tmp_path / 'moved' / 'out', hashes)
    assert len(list((tmp_path / 'moved' / 'out').rglob('*.*'))) == len(hashes)


def test_stale_files_leave_the_dataset_that_others_read(tmp_path):
    """What no marker vouches for goes, links and empty folders with it; all else stays."""
    job = compat_job(tmp_path)
    hold, *_ = compat.link_anatomy(job)
    root = tmp_path / 'out' / 'qsiprep-compat'
    for name in ('sub-01/dwi/old.nii.gz', 'sub-02/dwi/other.nii.gz', 'dataset_description.json'):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text('x')
    compat.remove_stale(job, [hold])
    left = {path.relative_to(tmp_path / 'out').as_posix() for path in root.rglob('*.*')}
    assert left == {
        hold,
        'qsiprep-compat/sub-02/dwi/other.nii.gz',
        'qsiprep-compat/dataset_description.json',
    }
    assert not (root / 'sub-01' / 'dwi').exists()
    assert (tmp_path / 'qsiprep' / 'sub-01' / 'ses-a' / 'anat' / 'sub-01_T1w.json').exists()
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'file.txt').touch()
    (root / 'sub-02').rename(root / 'sub-03')
    (root / 'sub-02').symlink_to(tmp_path / 'elsewhere')
    compat.remove_stale(replace(job, participant='sub-02'), [])
    assert (tmp_path / 'elsewhere' / 'file.txt').exists()


def test_work_folder_is_private_and_empty(tmp_path):
    """Nobody else may put a pickle there."""
    folder = fresh_folder(tmp_path / 'work')
    (folder / 'old').touch()
    assert not list(fresh_folder(folder).iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    (tmp_path / 'link').symlink_to(folder)
    for make in (fresh_folder, private_folder):
        with pytest.raises(OSError, match='somebody else'):
            make(tmp_path / 'link')
    private_folder(tmp_path / 'parent')
    assert (tmp_path / 'parent').stat().st_mode & 0o777 == 0o700


def test_outputs_that_share_a_work_folder_stay_apart(tmp_path):
    """The folder below --work-dir depends on the output."""
    first, second = (
        work_folder(job_of(tmp_path / out, tmp_path / 'w').settings, 'sub-01') for out in 'ab'
    )
    assert first != second
    assert first.is_relative_to(tmp_path / 'w')
    assert (
        work_folder(job_of(tmp_path).settings, 'sub-01')
        == tmp_path / '.bidsharmony' / 'work' / 'sub-01'
    )


@pytest.mark.parametrize(
    ('text', 'number', 'reason'),
    [
        ('ValueError: no brain. Look.', 0, 'no brain. Look. See logs/sub-01.log.'),
        ('OSError: [Errno 28] No space left on device', 28, ''),
        ('MemoryError', 12, ''),
        ('PermissionError: [Errno 13] Permission denied: x', 13, ''),
        (
            "FileNotFoundError: No file '/data/my-study/a/b.nii' or 1/2",
            0,
            "No file 'b.nii' or 1/2. See logs/sub-01.log.",
        ),
        ('bidsharmony.x.SomeError: what', 0, 'what. See logs/sub-01.log.'),
    ],
)
def test_reasons(tmp_path, text, number, reason):
    """The machine's faults are told from the run's, without a traceback."""
    found_errno, found = judge(job_of(tmp_path), text, None)
    assert found_errno == number
    assert found == reason or not reason


def test_full_disk_names_place_and_bytes(tmp_path):
    """Whichever of output and work folder has less room; no folder of the machine is named."""
    text = 'OSError: [Errno 28] No space left on device'
    number, reason = judge(job_of(tmp_path / 'out', tmp_path), text, None)
    assert number == errno.ENOSPC
    words = r'(\S+): no space left, (\d+) bytes are free\. Make room and re-run\. See \S+log\.'
    found = re.fullmatch(words, reason)
    assert found[1] == tmp_path.name
    assert int(found[2]) > 0


@pytest.mark.parametrize(
    ('error', 'reason'),
    [
        (OSError(errno.ENOSPC, 'No space left on device'), 'OSError: [Errno 28] No space left'),
        (ValueError('of another run'), 'measure crashed'),
    ],
    ids=['disk', 'other'],
)
def test_a_result_that_could_not_be_written_is_the_disks_fault(error, reason):
    """The error stands in the result file, if anywhere; what nipype raises at the end tells it."""
    image = Path('/d/sub-01/dwi/sub-01_dwi.nii.gz')
    run = SimpleNamespace(run=SimpleNamespace(image=image, stem='sub-01'))
    node = SimpleNamespace(fullname='p.sub_01_wf.measure', name='measure')

    class Workflow:
        def run(self, plugin):
            for status in ('start', 'exception'):
                plugin._status_callback(node, status)
            raise RuntimeError('2 raised. Re-raising first.') from error

    steps = graph.Steps(None, '01', [run])
    crashes = graph._run(Workflow(), [run], {}, partial(graph._here, aside=False), steps)
    assert crashes['sub-01'].startswith(reason)


def test_drafts_of_markers_do_not_stay(tmp_path, monkeypatch):
    """Neither that of a process that died, nor of a write that failed; others' are left alone."""
    path = marker.marker_path(tmp_path, 'sub-01')
    path.parent.mkdir(parents=True)
    left, other = (path.with_name(f'.sub-0{ix}.json.{"a" * 32}') for ix in (1, 2))
    for draft in (left, other):
        draft.touch()
    marker.write_marker(path, {'x': 1})
    assert set(path.parent.iterdir()) == {path, other}
    monkeypatch.setattr(os, 'fsync', lambda _: (_ for _ in ()).throw(OSError(28, 'full')))
    with pytest.raises(OSError, match='full'):
        marker.write_marker(path, {'x': 2})
    assert set(path.parent.iterdir()) == {path, other}
    assert json.loads(path.read_text()) == {'x': 1}


def test_supervisor_itself_stays_light():
    """It must start at once, and before the children's environment is set."""
    code = 'import sys, bidsharmony.supervise; print(*sys.modules)'
    loaded = subprocess.run(
        [sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {'ants', 'nipype', 'niworkflows', 'scipy', 'templateflow', 'torch'} & set(loaded)


def test_outcome_is_a_value():
    """Two outcomes with the same content are the same."""
    assert Outcome('a', 'done') == Outcome('a', 'done', '', 0)


def test_what_every_run_needs_is_imported_by_the_server(tmp_path):
    """What interfaces import when they run, and no option asks for, participants find there."""
    folder = Path(pool.__file__).parents[1] / 'interfaces'
    wanted = {
        node.module
        for path in folder.glob('*.py')
        if path.name not in {'lesions.py', 'shared.py', 'spaces.py'}
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom)
    }
    assert len(wanted) > 10
    code = f"""
import importlib, sys
for name in {pool.PRELOAD!r}:
    importlib.import_module(name)
before = set(sys.modules)
for name in {sorted(wanted - {'bidsharmony.numerics.denoise'})!r}:
    importlib.import_module(name)
print(sorted(set(sys.modules) - before))
"""
    found = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == '[]'
