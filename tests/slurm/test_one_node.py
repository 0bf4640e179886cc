"""A Slurm of one node: steps as jobs, participants as an array, and what ends either."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nipype.interfaces.utility import Function
from nipype.pipeline.engine import Node, Workflow

from bidsharmony.supervise.cluster import ENDED, ClusterError, Queued, call, jobs_of
from bidsharmony.supervise.graph import _last_line
from bidsharmony.supervise.plugin import SlurmPlugin
from tests import tiny_dataset
from tests.slurm.one_node import UnavailableError, one_node
from tests.test_end_to_end import ROOT, bidsharmony, tree
from tests.test_shared_gain import write_pair

pytestmark = pytest.mark.slow

SCRIPTS = ROOT / 'docs' / 'scripts'

PATIENCE = 600.0
"""Seconds that a job may take on a busy machine."""


@pytest.fixture(scope='module')
def slurm():
    """Run a Slurm and give what the environment of its commands needs, or skip with the reason."""
    # the path of a socket has room for 107 characters
    with tempfile.TemporaryDirectory(prefix='slurm-') as folder:
        cluster = one_node(Path(folder) / 'one')
        try:
            environment = cluster.__enter__()
        except UnavailableError as error:
            pytest.skip(f'no Slurm of our own: {error}')
        try:
            yield environment
        finally:
            cluster.__exit__(None, None, None)


@pytest.fixture
def here(slurm, monkeypatch):
    """Set the environment of this process, where nobody has logged in, for the cluster."""
    for name, text in slurm.items():
        monkeypatch.setenv(name, text)
    monkeypatch.delenv('LOGNAME', raising=False)


def make(value):
    """Give what there was."""
    return value


def look():
    """Tell what a job sees."""
    import os

    import nipype

    return dict(os.environ), nipype.config.get('execution', 'hash_method')


def crash():
    """Fail as a step does."""
    raise ValueError('injected')


def leave():
    """End without a word."""
    import os
    import sys

    sys.stderr.write('last words\n')
    sys.stderr.flush()
    os._exit(3)


def cancel():
    """Be cancelled."""
    import os
    import time

    os.system('scancel $SLURM_JOB_ID')
    time.sleep(60)


def sleep():
    """Take long."""
    import time

    time.sleep(600)


def _script(path: Path, *lines: str) -> Path:
    path.write_text('\n'.join(['#!/bin/sh', *lines]))
    path.chmod(0o755)
    return path


def _node(name: str, function, outputs=('out',), **inputs) -> Node:
    step = Node(Function(function=function, output_names=list(outputs)), name=name)
    step.inputs.trait_set(**inputs)
    return step


def test_each_job_has_its_end(here, tmp_path, monkeypatch, caplog):
    """What crashes, leaves or is cancelled is told in one line, and what follows it is not run."""
    monkeypatch.setenv('PYTHONPATH', '')
    monkeypatch.setenv('SQUEUE_STATES', 'suspended')
    folder = tmp_path / 'my study'
    workflow = Workflow(name='all', base_dir=str(folder))
    workflow.config = {
        'execution': {
            'poll_sleep_duration': '0.5',
            'crashdump_dir': str(folder / 'logs'),
            'crashfile_format': 'txt',
            'hash_method': 'content',
            'create_report': 'false',
        }
    }
    ends = {
        name: _node(name, function)
        for name, function in (('crash', crash), ('leave', leave), ('cancel', cancel))
    }
    first, second = _node('first', make, value=7), _node('second', make)
    workflow.connect([
        (first, second, [('out', 'value')]),
        *((end, _node(f'after_{name}', make), [('out', 'value')]) for name, end in ends.items()),
    ])  # fmt: skip
    workflow.add_nodes([_node('look', look, ('variables', 'hash_method'))])
    # an earlier result of a job that leaves none
    stale = folder / 'all' / 'leave' / 'result_leave.pklz'
    stale.parent.mkdir(parents=True)
    stale.write_text('stale')
    told, results = {}, {}

    def report(node, status):
        told.setdefault(node.name, []).append(status)
        if status == 'exception':
            results[node.name] = _last_line(node)
        elif status == 'end':
            results[node.name] = node.result.outputs.trait_get()

    environment = {'OMP_NUM_THREADS': '1', 'MARK': "it's"}
    arguments = {'sbatch_args': '--export=NONE', 'status_callback': report}
    began = time.monotonic()
    with pytest.raises(RuntimeError, match='3 raised'), caplog.at_level('INFO', 'bidsharmony'):
        workflow.run(plugin=SlurmPlugin(arguments, environment))
    assert time.monotonic() - began < 120
    done, broken = ['start', 'end'], ['start', 'exception']
    assert told == dict.fromkeys(('first', 'second', 'look'), done) | dict.fromkeys(ends, broken)
    assert results['second']['out'] == 7
    seen = results['look']['variables']
    assert {name: seen[name] for name in environment} == environment
    assert results['look']['hash_method'] == 'content'
    # this checkout, though neither the job's folder nor its PYTHONPATH leads there
    assert str(Path(__file__).resolve().parents[2]) in seen['PYTHONPATH'].split(':')
    assert results['crash'] == 'ValueError: injected'
    assert 'left no result, it is FAILED. Its own output' in results['leave']
    assert 'last words' in caplog.text
    assert 'left no result, it is CANCELLED. Run the same' in results['cancel']
    assert len(list((folder / 'logs').glob('crash-*.txt'))) == 3
    assert {job.state for job in jobs_of(os.getuid())} == {'COMPLETED', 'FAILED', 'CANCELLED'}


def test_when_slurm_takes_no_more_jobs_none_is_left(here, tmp_path, monkeypatch):
    """Nothing runs on that nobody waits for, and the line says what Slurm said."""
    taken = tmp_path / 'taken'
    _script(
        tmp_path / 'sbatch',
        f'if [ -e {taken} ]; then echo "sbatch: error: over the limit" >&2; exit 1; fi',
        f'touch {taken}',
        f'exec {shutil.which("sbatch")} "$@"',
    )
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    workflow = Workflow(name='all', base_dir=str(tmp_path))
    workflow.config = {'execution': {'create_report': 'false'}}
    workflow.add_nodes([_node('one', sleep), _node('two', sleep)])
    plugin = SlurmPlugin({'max_tries': 1, 'retry_timeout': 0}, {})
    with pytest.raises(ClusterError, match='was not submitted, sbatch: error: over the limit'):
        workflow.run(plugin=plugin)
    assert taken.exists()
    _wait_for(lambda: not _waiting(str(tmp_path)), 60)


def _wait_for(found: Callable[[], object], seconds: float = PATIENCE) -> object:
    """Wait until something is true, and give it."""
    deadline = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < deadline, 'nothing happened'
        time.sleep(0.2)
    return answer


def _waiting(word: str = '') -> list[Queued]:
    """List the jobs that have not ended, of scripts with this in their path."""
    return [job for job in jobs_of(os.getuid()) if job.state not in ENDED and word in job.script]


@pytest.fixture(scope='module')
def study(slurm, tmp_path_factory):
    """Write two good participants, one of them with a pair, a bad and a third good one."""
    folder = tmp_path_factory.mktemp('my study')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    tiny_dataset.write_weights(folder / 'w.safetensors')
    write_pair(raw)
    tiny_dataset.write_run(raw, 'sub-02', seed=3)
    tiny_dataset.write_run(raw, 'sub-03', bvecs=False)
    tiny_dataset.write_run(raw, 'sub-04', seed=4)
    return folder


@pytest.fixture(scope='module')
def serial(study):
    """Harmonize three participants on this machine, one after the other, and compare them."""
    call = (study / 'raw', study / 'serial', 'participant', 'group')
    labels = ('--participant-label', '01', '02', '03')
    answer = bidsharmony(*call, *labels, '--weights', study / 'w.safetensors')
    assert answer.returncode == 1, answer.stderr
    return study / 'serial'


def _on_slurm(study: Path, out: str, *labels: str, **arguments: object) -> subprocess.Popen:
    """Start the command with a plugin file."""
    plugin = study / f'{out}.yml'
    # JSON, so YAML
    plugin.write_text(json.dumps({'plugin': 'SLURM', 'plugin_args': arguments}))
    return subprocess.Popen(
        [
            sys.executable, '-m', 'bidsharmony.cli.participant',
            study / 'raw', study / out, 'participant', '--participant-label', *labels,
            '--weights', study / 'w.safetensors', '--use-plugin', plugin, '--nprocs', '3',
        ],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_steps_as_jobs_give_the_bytes_of_a_local_run(here, study, serial):
    """Beside a participant, one of whose jobs is cancelled: that one fails, in one line."""
    process = _on_slurm(study, 'steps', '01', '02', '04', sbatch_args='--mem=1G --time=10')
    (victim, *_) = _wait_for(lambda: _waiting('work/sub-04/'))
    subprocess.run(['scancel', str(victim.number)], check=True)
    said, errors = process.communicate(timeout=600)
    assert process.returncode == 1, errors
    assert '3 done, 0 refused, 1 failed' in said
    (line,) = [line for line in errors.splitlines() if line.startswith('ERROR')]
    assert 'sub-04/dwi/sub-04_dwi.nii.gz: ' in line
    assert f'job {victim.number} left no result, it is CANCELLED. Run the same' in line
    assert 'Traceback' not in said + errors
    names = tree(serial)
    assert tree(study / 'steps') == {
        name: sha for name, sha in names.items() if not name.startswith('group')
    }
    assert {'sub-01.html', 'sub-02.html', 'group.html'} <= set(names)
    assert not _waiting()
    # every step but sinks was a job
    log = (study / 'steps' / 'logs' / 'sub-02.log').read_text()
    for step in ('mean_b0', 'brain_mask', 'estimate', 'network', 'series', 'measure'):
        assert f'_{step}.sh.out:' in log


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Make a folder for what is temporary, and tell jobs of it."""
    folder = tmp_path / 'scratch'
    folder.mkdir()
    monkeypatch.setenv('TMPDIR', str(folder))
    return folder


def test_an_array_and_then_group_give_the_bytes_of_a_serial_run(
    here, study, serial, tmp_path, scratch, monkeypatch
):
    """With the scripts of the documentation; a bad participant leaves the others alone."""
    module = f"'{sys.executable}' -m bidsharmony.cli.participant"
    _script(
        tmp_path / 'bidsharmony', f'exec {module} "$@" --weights \'{study / "w.safetensors"}\''
    )
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    people, out = study / 'participants.txt', study / 'array'
    people.write_text('01\n02\n03\n')
    submit = [SCRIPTS / 'submit.sh', study / 'raw', out, people]
    subprocess.run(submit, cwd=tmp_path, check=True, capture_output=True)
    _wait_for(lambda: not _waiting())
    said = '\n'.join(path.read_text() for path in tmp_path.glob('*.out'))
    ends = call('squeue', '--states=all', '--name=bidsharmony', '--noheader', '--format=%K %T')
    assert sorted(ends.splitlines()) == ['1 COMPLETED', '2 COMPLETED', '3 FAILED'], said
    assert tree(out) == tree(serial), said
    tables = [folder / 'logs' / 'failures.tsv' for folder in (out, serial)]
    assert tables[0].read_text() == tables[1].read_text()
    assert 'sub-03/dwi/sub-03_dwi.nii.gz\trefused\t' in tables[0].read_text()
    people.write_text('01\n02\n03\n04\n')
    left = [SCRIPTS / 'left.sh', out, people]
    assert subprocess.check_output(left, text=True) == '03\n04\n'
    assert not list(scratch.iterdir())


def test_a_cancelled_task_leaves_no_scratch(here, tmp_path, scratch, monkeypatch):
    """A node's disk is not filled by what was cancelled or took too long."""
    monkeypatch.setenv('BIDSHARMONY', str(_script(tmp_path / 'sleeps', 'exec sleep 300')))
    people = tmp_path / 'people'
    people.write_text('01\n')
    array = [str(SCRIPTS / 'array.sh'), 'raw', 'out', str(people)]
    number = call('sbatch', '--parsable', '--array=1', f'--chdir={tmp_path}', *array).strip()
    _wait_for(lambda: list(scratch.iterdir()))
    call('scancel', number)
    _wait_for(lambda: not _waiting())
    assert not list(scratch.iterdir())


def test_no_job_outlives_the_command(here, study):
    """SIGTERM cancels them; after SIGKILL, the next run does before it begins."""
    endless = '#!/bin/bash\nsleep 600'
    process = _on_slurm(study, 'ended', '04', template=endless)
    _wait_for(lambda: [job for job in _waiting('work/sub-04/') if job.state == 'RUNNING'])
    process.send_signal(signal.SIGTERM)
    _wait_for(lambda: not _waiting(), 10)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.splitlines()[-1] == 'ERROR terminated. Run the same command to go on.'

    process = _on_slurm(study, 'ended', '04', template=endless)
    (job, *_) = _wait_for(lambda: _waiting('work/sub-04/'))
    process.kill()
    process.communicate()
    time.sleep(3)
    assert job.number in {job.number for job in _waiting()}
    labels = ('--participant-label', '04')
    command = (study / 'raw', study / 'ended', 'participant', *labels)
    answer = bidsharmony(*command, '--weights', study / 'w.safetensors')
    assert answer.returncode == 0, answer.stderr
    assert not _waiting()
