"""The command finds, hands on, sums up, and exits with the code that fits."""

import errno
import importlib
import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

from bidsharmony.bids import BIDSError
from bidsharmony.cli.logs import write_failures
from bidsharmony.cli.participant import main

# the parts of the real one stay within reach when a stand-in takes its name
from bidsharmony.supervise import needs, places  # noqa: F401
from tests.datasets import write_dataset

RUNS = ('sub-01/dwi/sub-01_dwi.nii.gz', 'sub-02/dwi/sub-02_dwi.nii.gz')
BROKEN = {'sub-03/dwi/sub-03_dwi.nii.gz': '', 'sub-03/dwi/sub-03_dwi.json': '{'}


@dataclass(frozen=True)
class Outcome:
    """Look like the supervisor's record."""

    run: str
    status: str
    reason: str = ''
    errno: int = 0


class Interrupted(KeyboardInterrupt):
    """Look like the supervisor's exception."""

    signum = signal.SIGTERM


@pytest.fixture
def stand_in(monkeypatch):
    """Replace the supervisor and the group level; ``calls`` tells what reached them."""
    calls = {'statuses': {}, 'error': None, 'group_code': 0, 'finished': True}

    def run_participants(settings, collection, *_, **__):
        calls['participant'] = (settings, collection)
        if calls['error'] is not None:
            raise calls['error']
        return [
            Outcome(run.relative, *calls['statuses'].get(run.relative, ('done',)))
            for run in collection.runs
        ]

    def run_group(settings):
        calls['group'] = settings
        return calls['group_code']

    # found as a part of the real supervisor, whichever test comes first
    importlib.import_module('bidsharmony.supervise.places')
    for name, function in (('supervise', run_participants), ('cli.group', run_group)):
        module = ModuleType(f'bidsharmony.{name}')
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, f'bidsharmony.{name}', module)
    module.is_anything_finished = lambda output_dir: calls['finished']
    return calls


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Write two good runs and a map beside them."""
    return write_dataset(
        tmp_path / 'raw', {**dict.fromkeys(RUNS, ''), 'sub-01/dwi/sub-01_FA.nii.gz': ''}
    )


def command(root: Path, *arguments: str) -> list[str]:
    return [str(root), str(root.parent / 'out'), 'participant', *arguments]


def failures(root: Path) -> list[list[str]]:
    text = (root.parent / 'out' / 'logs' / 'failures.tsv').read_text(encoding='utf-8')
    header, *rows = [line.split('\t') for line in text.splitlines()]
    assert header == ['run', 'status', 'reason']
    return rows


@pytest.mark.parametrize(
    ('statuses', 'code', 'summary'),
    [
        ({}, 0, '3 images: 2 done, 0 refused, 0 failed, 1 skipped'),
        ({RUNS[0]: ('failed', 'killed')}, 1, '3 images: 1 done, 0 refused, 1 failed, 1 skipped'),
        (
            {RUNS[0]: ('failed', 'disk full', errno.ENOSPC)},
            3,
            '3 images: 1 done, 0 refused, 1 failed, 1 skipped',
        ),
        ({RUNS[0]: ('refused', 'CRC')}, 1, '3 images: 1 done, 1 refused, 0 failed, 1 skipped'),
        ({RUNS[0]: ('skipped', 'x')}, 0, '3 images: 1 done, 0 refused, 0 failed, 2 skipped'),
        (
            dict.fromkeys(RUNS, ('skipped', 'one slice')),
            2,
            '3 images: 0 done, 0 refused, 0 failed, 3 skipped',
        ),
    ],
)
def test_one_status_table(dataset, stand_in, capsys, statuses, code, summary):
    """The exit code, the summary and the table of failures agree."""
    stand_in['statuses'] = statuses
    assert main(command(dataset)) == code
    assert capsys.readouterr().out.splitlines()[0] == summary
    bad = [[run, *rest[:2]] for run, rest in statuses.items() if rest[0] in ('failed', 'refused')]
    assert failures(dataset) == bad


def test_refused_beside_good(tmp_path, stand_in, capsys):
    """A broken sidecar is named with its remedy; the others are handed on."""
    root = write_dataset(tmp_path / 'raw', {**dict.fromkeys(RUNS, ''), **BROKEN})
    assert main(command(root)) == 1
    collection = stand_in['participant'][1]
    assert [run.relative for run in collection.runs] == list(RUNS)
    assert 'sub-03_dwi.json is not valid JSON' in capsys.readouterr().out
    assert failures(root)[0][:2] == ['sub-03/dwi/sub-03_dwi.nii.gz', 'refused']


def test_refused_alone_is_a_failure(tmp_path, stand_in):
    """The code says that runs failed, also where the group level finds nothing to compare."""
    stand_in |= {'finished': False, 'group_code': 2}
    assert main(command(write_dataset(tmp_path / 'raw', BROKEN), 'group')) == 1
    assert 'group' not in stand_in


def test_outcome_of_a_refused_run_counts_once(tmp_path, stand_in, capsys):
    """A supervisor that repeats the refusals does not double them."""
    root = write_dataset(tmp_path / 'raw', {RUNS[0]: '', **BROKEN})
    sys.modules['bidsharmony.supervise'].run_participants = lambda _, collection, **__: [
        Outcome(RUNS[0], 'done'),
        *(Outcome(item.relative, 'refused', item.reason) for item in collection.refused),
    ]
    assert main(command(root)) == 1
    assert capsys.readouterr().out.startswith('2 images: 1 done, 1 refused, 0 failed, 0 skipped')


@pytest.mark.parametrize(
    ('files', 'said'),
    [
        ({'sub-01/eeg/sub-01_eeg.edf': ''}, 'raw: no diffusion images'),
        ({'sub-01/dwi/sub-01_FA.nii': ''}, 'all 1 image skipped, 1 since a fractional-anisotropy'),
        ({'dataset_description.json': '{'}, 'raw/dataset_description.json: is not valid JSON'),
    ],
)
@pytest.mark.parametrize('option', ['--dry-run', '-v'])
def test_nothing_to_do_is_one_line(tmp_path, stand_in, capsys, files, said, option):
    """Exit code 2 with one line, and no output folder."""
    assert main(command(write_dataset(tmp_path / 'raw', files), option)) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count('\n') == 1
    assert not (tmp_path / 'out').exists()


def test_dry_run(tmp_path, stand_in, capsys):
    """Runs, what they inherit, scanners, and what is left out and why; nothing is written."""
    root = write_dataset(
        tmp_path / 'raw',
        {
            **dict.fromkeys(RUNS, ''),
            **BROKEN,
            'dwi.json': {'Manufacturer': 'Siemens', 'ManufacturersModelName': 'Prisma_fit'},
            'sub-02/dwi/sub-02_dwi.bval': '0 1',
            'sub-02/dwi/sub-02_ADC.nii': '',
        },
    )
    assert main(command(root, '--dry-run')) == 1
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [RUNS[0], 'Siemens', 'Prisma', 'dwi.bval', 'dwi.bvec', 'dwi.json'] in lines
    assert [RUNS[1], 'Siemens', 'Prisma', 'own', 'dwi.bvec', 'dwi.json'] in lines
    assert ['Siemens', 'Prisma', '2', '2'] in lines
    assert any(line[:1] == ['sub-03/dwi/sub-03_dwi.nii.gz'] and 'JSON' in line for line in lines)
    assert any(line[:1] == ['sub-02/dwi/sub-02_ADC.nii'] for line in lines)
    assert 'participant' not in stand_in
    assert not (tmp_path / 'out').exists()


def test_dry_run_of_preprocessed_series(tmp_path, stand_in, capsys):
    """Runs are QSIPrep's, with the raw dataset's scanner; the raw runs are not looked at."""
    root = write_dataset(tmp_path / 'raw', {RUNS[0]: '', 'dwi.json': {'Manufacturer': 'GE'}})
    series = 'sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi.nii.gz'
    qsiprep = write_dataset(tmp_path / 'qsiprep', {series: ''})
    assert main(command(root, '-d', f'qsiprep={qsiprep}', '--dry-run')) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ['qsiprep:', '1']
    assert [series, 'GE', 'dwi.bval', 'dwi.bvec', 'bids:raw:dwi.json'] in lines


def test_the_search_opens_no_image(dataset, stand_in):
    """It is about names, ours and that of pybids; after it the headers are read, for estimates."""
    opened = []
    watching = [True]

    def watch(event, arguments):
        if watching and event == 'open':
            opened.append(str(arguments[0]))

    sys.addaudithook(watch)
    try:
        assert main(command(dataset)) == 0
        assert any(name.endswith('dataset_description.json') for name in opened)
        assert not [name for name in opened if name.endswith(('.nii', '.nii.gz'))]
        assert main(command(dataset, '--dry-run')) == 0
    finally:
        watching.clear()
    images = {name for name in opened if name.endswith(('.nii', '.nii.gz'))}
    assert images == {str(dataset / name) for name in RUNS}


@pytest.mark.parametrize('option', [['--session-id', 'a'], ['--participant-label', '02']])
def test_selection_reaches_the_search(tmp_path, stand_in, option):
    """Filters of the command line are those of the search."""
    root = write_dataset(
        tmp_path / 'raw',
        {'sub-02/ses-a/dwi/sub-02_ses-a_dwi.nii': '', 'sub-01/ses-b/dwi/sub-01_ses-b_dwi.nii': ''},
    )
    assert main(command(root, *option)) == 0
    assert [run.subject for run in stand_in['participant'][1].runs] == ['02']


def test_group_only(dataset, stand_in):
    """The group level alone looks for no runs."""
    stand_in['group_code'] = 2
    assert main([str(dataset), str(dataset.parent / 'out'), 'group']) == 2
    assert 'participant' not in stand_in


def test_both_levels(dataset, stand_in):
    """A failed participant does not keep the group from its page, and is not forgotten."""
    stand_in['statuses'] = {RUNS[0]: ('failed', 'killed')}
    assert main(command(dataset, 'group')) == 1
    assert stand_in['group'] is stand_in['participant'][0]


@pytest.mark.parametrize(
    ('error', 'code', 'said'),
    [
        (OSError(errno.ENOSPC, 'No space left on device', 'out/x.nii'), 3, 'out/x.nii: No space'),
        (PermissionError(errno.EACCES, 'Permission denied'), 3, 'Permission denied'),
        (MemoryError(), 3, 'out of memory'),
        (KeyboardInterrupt(), 130, 'interrupted'),
        (Interrupted(), 143, 'terminated'),
        (BIDSError('raw: odd. Mend it'), 2, 'raw: odd. Mend it.'),
        (KeyError('what\nnow'), 1, "ERROR KeyError: 'what\\nnow'."),
    ],
)
def test_errors_become_codes(dataset, stand_in, capsys, error, code, said):
    """What stops everything is one line and a code, not a traceback."""
    stand_in['error'] = error
    assert main(command(dataset)) == code
    err = capsys.readouterr().err
    assert said in err
    assert 'Traceback' not in err


def test_sigterm(dataset, stand_in):
    """SIGTERM passes through every ``finally`` and ends in 143; the old handler comes back."""
    cleaned = []

    def run_participants(*_, **__):
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            cleaned.append(True)

    before = signal.getsignal(signal.SIGTERM)
    sys.modules['bidsharmony.supervise'].run_participants = run_participants
    assert main(command(dataset)) == 143
    assert cleaned
    assert signal.getsignal(signal.SIGTERM) is before


def test_output_of_another_program(dataset, stand_in, capsys):
    """Nothing is written into a folder that is somebody else's dataset."""
    out = write_dataset(dataset.parent / 'out', {})
    assert main(command(dataset)) == 2
    assert 'holds another dataset' in capsys.readouterr().err
    assert not (out / 'logs').exists()


def test_failures_of_array_jobs_add_up(tmp_path):
    """A job replaces the rows of its own participants and keeps the others'."""
    write_failures(tmp_path, [('sub-01/dwi/a', 'failed', 'x')], among=['sub-01'])
    write_failures(tmp_path, [('sub-02/dwi/b', 'refused', 'tab\tand\nline')], among=['sub-02'])
    path = write_failures(tmp_path, [], among=['sub-01'])
    assert path.read_text() == 'run\tstatus\treason\nsub-02/dwi/b\trefused\ttab\\tand\\nline\n'
    described = json.loads(path.with_suffix('.json').read_text())
    assert list(described) == ['run', 'status', 'reason']
    assert set(described['status']['Levels']) == {'refused', 'failed'}


def test_drafts_of_failures_do_not_stay(tmp_path, monkeypatch):
    """Neither that of a process that died, nor of a disk that is full, which is named."""
    path = write_failures(tmp_path, [], among=['sub-01'])
    names = {item.name for item in path.parent.iterdir()}
    (path.parent / f'.failures.{"a" * 32}').touch()
    write_failures(tmp_path, [], among=['sub-01'])
    assert {item.name for item in path.parent.iterdir()} == names

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, 'write_text', full)
    with pytest.raises(OSError, match='No space') as caught:
        write_failures(tmp_path, [], among=['sub-01'])
    assert caught.value.filename == str(path)
    assert {item.name for item in path.parent.iterdir()} == names


def test_a_full_disk_is_told_after_the_summary(dataset, stand_in, capsys, monkeypatch):
    """What became of the runs is said even where its table cannot be written; path and bytes."""

    def full(output_dir, *_, **__):
        path = output_dir / 'logs' / 'failures.tsv'
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr('bidsharmony.cli.logs.write_failures', full)
    assert main(command(dataset)) == 3
    said = capsys.readouterr()
    assert said.out.startswith('3 images: 2 done')
    assert re.fullmatch(
        r'ERROR \S+/out/logs/failures\.tsv: No space left on device, \d+ bytes are free\. '
        r'Check space and rights there\.\n',
        said.err,
    )


def test_failures_of_another_session_stay(tmp_path):
    """A call for one session knows nothing new of the others."""
    a, b = (f'sub-01/ses-{ses}/dwi/sub-01_ses-{ses}_dwi.nii' for ses in 'ab')
    write_failures(tmp_path, [(a, 'failed', 'x'), (b, 'failed', 'x')], among=['sub-01'])
    path = write_failures(tmp_path, [], among=['sub-01'], besides=[a])
    assert path.read_text() == f'run\tstatus\treason\n{a}\tfailed\tx\n'


def test_a_reader_who_goes_is_no_error(dataset, repository):
    """``--dry-run | true`` ends well and says nothing."""
    words = [sys.executable, '-m', 'bidsharmony.cli.participant', *command(dataset, '--dry-run')]
    read, write = os.pipe()
    os.close(read)
    run = subprocess.run(
        words,
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(repository)},
    )
    os.close(write)
    assert (run.returncode, run.stderr) == (0, '')


def test_eeg_dataset(shared_data, tmp_path, capsys):
    """A dataset without diffusion ends with code 2 and one line."""
    root = shared_data / 'bids_examples' / 'eeg_matchingpennies'
    assert main([str(root), str(tmp_path / 'out'), 'participant', '--dry-run']) == 2
    out, err = capsys.readouterr()
    assert out == ''
    assert err.count('\n') == 1


@pytest.mark.parametrize(
    ('dataset', 'expected'),
    [
        ('bids_examples/ds114', {'20 runs of 10 participants', 'dwi.bval', 'unknown scanner'}),
        ('bids_examples/dwi_deriv', {'1 run of 1 participant', '6 skipped', 'Siemens Vida 3 T'}),
        ('bids_multiscanner', {'9 runs of 6 participants', 'UIH uMR 770 3 T  '}),
    ],
)
def test_real_dry_run(shared_data, tmp_path, capsys, dataset, expected):
    """Real layouts are listed with counts, inheritance and scanners."""
    root = shared_data / dataset
    assert main([str(root), str(tmp_path / 'out'), 'participant', '--dry-run']) == 0
    out = capsys.readouterr().out
    assert all(text in out for text in expected)
