"""The command line becomes Settings, or one line that says what was wrong."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from bidsharmony import __version__
from bidsharmony.cli.options import build_parser
from bidsharmony.cli.parser import parse_args
from bidsharmony.settings import MOST_THREADS, Settings, processors
from tests.datasets import write_dataset
from tests.tiny_dataset import write_weights

HEAVY = {
    'torch',
    'ants',
    'nipype',
    'niworkflows',
    'pandas',
    'matplotlib',
    'bids',
    'scipy',
    'numpy',
}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Work in a folder that holds a dataset ``raw``, a filter file and a weights file."""
    write_dataset(tmp_path / 'raw', {'sub-01/dwi/sub-01_dwi.nii.gz': ''})
    (tmp_path / 'filter.json').write_text(
        json.dumps({'dwi': {'acquisition': None, 'run': [1, 2]}, 'bold': {'task': 'rest'}})
    )
    (tmp_path / 'w.safetensors').touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults(here):
    """Nothing is asked for but the folders and the level."""
    assert parse_args(['raw', 'out', 'participant']) == Settings(
        bids_dir=here / 'raw', output_dir=here / 'out'
    )


@pytest.mark.parametrize(
    ('arguments', 'changed'),
    [
        ('--participant-label sub-01 02 01', {'participant_label': ('01', '02')}),
        ('--participant_label=01 --participant-label 02', {'participant_label': ('01', '02')}),
        ('--session-id ses-a', {'session_id': ('a',)}),
        ('--session_label a b', {'session_id': ('a', 'b')}),
        ('--run-id run-1 02', {'run_id': ('1', '02')}),
        ('--bids_filter_file filter.json', {'bids_filters': {'acquisition': None, 'run': [1, 2]}}),
        ('-w work', {'work_dir': 'work'}),
        ('--work_dir=w_o_r_k', {'work_dir': 'w_o_r_k'}),
        ('--nprocs 3', {'nprocs': 3}),
        ('--omp-nthreads 2', {'omp_nthreads': 2}),
        ('--max-gb 0.5', {'max_gb': 0.5}),
        ('--mem-mb 900', {'mem_mb': 900.0}),
        ('--mem_mb 2G', {'mem_mb': 2048.0}),
        ('--participant-timeout 90', {'participant_timeout': 90.0}),
        ('--denoise mppca', {'denoise': 'mppca'}),
        ('--rician', {'rician': True}),
        ('--b0-threshold 5.5', {'b0_threshold': 5.5}),
        ('--no-bias-correction', {'bias_correction': False}),
        ('--output-resolution 2.5', {'output_resolution': 2.5}),
        ('--output-resolution native', {}),
        ('--strength 0.25', {'strength': 0.25}),
        ('--weights w.safetensors', {'weights': 'w.safetensors'}),
        ('-d qsiprep=raw', {'derivatives': {'qsiprep': 'raw'}}),
        (
            '--derivatives qsiprep=raw --qsiprep-compat',
            {'derivatives': {'qsiprep': 'raw'}, 'qsiprep_compat': True},
        ),
        ('--audit none', {'audit': 'none'}),
        ('--scanner-from sites.tsv:place', {'scanner_from': ('sites.tsv', 'place')}),
        ('--scanner_from=inside.tsv:place', {'scanner_from': ('raw/inside.tsv', 'place')}),
        ('--scanner-software', {'scanner_software': True}),
        ('--random-seed 7', {'random_seed': 7}),
        ('--device auto', {'device': 'auto'}),
        ('--brain-mask compute', {'brain_mask': 'compute'}),
        ('--output-desc desc-other', {'output_desc': 'other'}),
        ('--dry-run', {'dry_run': True}),
        ('--reports-only', {'reports_only': True}),
        ('--boilerplate-only', {'boilerplate_only': True}),
        ('--clean-workdir', {'clean_workdir': True}),
        ('--stop-on-first-crash', {'stop_on_first_crash': True}),
        ('--write-graph', {'write_graph': True}),
        ('--resource-monitor', {'resource_monitor': True}),
        ('--debug', {'debug': True, 'verbose_count': 2}),
        ('--debug -vvv', {'debug': True, 'verbose_count': 3}),
        ('-vv', {'verbose_count': 2}),
    ],
)
def test_each_option_matters(here, arguments, changed):
    """Every option changes its own field and no other."""
    for name in ('work_dir', 'weights'):
        if name in changed:
            changed[name] = here / changed[name]
    for table in (here / 'sites.tsv', here / 'raw' / 'inside.tsv'):
        table.write_text('participant_id\tplace\nsub-01\tRome\n')
    if 'scanner_from' in changed:
        path, column = changed['scanner_from']
        changed['scanner_from'] = here / path, column
    if 'derivatives' in changed:
        changed['derivatives'] = {'qsiprep': here / 'raw'}
    expected = Settings(bids_dir=here / 'raw', output_dir=here / 'out', **changed)
    assert parse_args(['raw', 'out', 'participant', *arguments.split()]) == expected


@pytest.mark.parametrize(
    ('argument', 'wanted', 'said'),
    [
        ('--canonical-resolution=2', None, ''),
        ('--canonical-resolution=2.00', None, ''),
        ('--canonical_resolution=4.5', 4.5, ''),
        ('--canonical-resolution=5', 5.0, ''),
        (
            '--canonical-resolution=1.9',
            None,
            '1.9: the weights reach 2 mm and nothing finer. Give 2 to',
        ),
    ],
)
@pytest.mark.parametrize('shipped', [True, False])
def test_canonical_resolution_is_held_against_the_weights(
    here, capsys, monkeypatch, argument, wanted, said, shipped
):
    """From what the weights reach, as if nothing were said, up to 5 mm, whichever they are."""
    good = write_weights(here / 'good.safetensors')
    monkeypatch.setattr('bidsharmony.network.weights.shipped_weights', lambda: good)
    arguments = ['raw', 'out', 'participant', argument]
    arguments += [] if shipped else ['--weights', 'good.safetensors']
    if not said:
        assert parse_args(arguments).canonical_resolution == wanted
        return
    with pytest.raises(SystemExit) as stopped:
        parse_args(arguments)
    err = capsys.readouterr().err
    assert stopped.value.code == 2
    assert said in err
    assert len(err.splitlines()) == 1


def test_levels_come_in_order(here):
    """Group comes after participant, in whatever order they were typed."""
    assert parse_args(['raw', 'out', 'group', 'participant']).analysis_levels == (
        'participant',
        'group',
    )


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ('', 'required'),
        ('raw out', 'analysis_level'),
        ('raw out subject', "'subject'"),
        ('raw out participant --nproc 2', '--nproc'),
        ('raw out participant --nprocs 0', "'0' is not a whole number from 1 on"),
        ('raw out participant --omp-nthreads 1.5', "'1.5'"),
        ('raw out participant --max-gb 0', "'0' is not a size"),
        ('raw out participant --mem-mb 0', "'0' is not a size such as 8000, 8000M or 8G"),
        ('raw out participant --mem-mb 8X', "'8X' is not a size"),
        ('raw out participant --participant-timeout 0', "'0' is not minutes from 0.01 on"),
        ('raw out participant --b0-threshold nan', "'nan' is not a b-value"),
        ('raw out participant --b0-threshold -1', '--b0-threshold'),
        ('raw out participant --output-resolution 0.1', "'0.1' is not 'native' or a voxel size"),
        ('raw out participant --strength 1.5', "'1.5' is not a number from 0 to 1"),
        ('raw out participant --participant-label ../01', "'../01' is not a label"),
        ('raw out participant --participant-label', 'expected at least one argument'),
        ('gone out participant', 'gone: no such folder'),
        ('raw raw participant', 'output_dir is bids_dir'),
        ('raw raw/../raw participant', 'output_dir is bids_dir'),
        ('raw raw/sub-01/out participant', 'inside sub-01 of bids_dir'),
        ('raw filter.json participant', 'filter.json: not a folder'),
        ('raw out participant -w raw/work', 'inside bids_dir'),
        ('raw out participant -w raw', 'inside bids_dir'),
        ('raw out participant --weights gone', 'gone: no such file'),
        ('raw out participant --canonical-resolution 5.1', "'5.1' is not a resolution up to 5 mm"),
        ('raw out participant --canonical-resolution fine', "'fine' is not a resolution"),
        ('raw out participant --canonical-resolution nan', "'nan' is not a resolution"),
        ('raw out participant --canonical-resolution 0', "'0' is not a resolution"),
        ('raw out participant --canonical-resolution 3 --weights w.safetensors', 'not usable'),
        ('raw out participant -d raw', "'raw' is not NAME=PATH"),
        ('raw out participant -d qsiprep=', 'is not NAME=PATH'),
        (
            'raw out participant -d fmriprep=raw',
            "'fmriprep' is not a dataset that is understood; ",
        ),
        ('raw out participant -d fmriprep=raw', 'choose from qsiprep'),
        ('raw out participant -d qsiprep=gone', 'gone: no such folder'),
        ('raw out participant -d qsiprep=raw -d qsiprep=raw', 'qsiprep: given twice'),
        ('raw q/out participant -d qsiprep=q', 'output_dir is inside --derivatives qsiprep'),
        ('raw q participant -d qsiprep=q', 'output_dir is inside --derivatives qsiprep'),
        ('raw out participant -d qsiprep=q -w q/w', '--work-dir is inside --derivatives qsiprep'),
        ('raw out participant --qsiprep-compat', 'Add -d qsiprep=PATH'),
        ('raw out participant --bids-filter-file gone.json', 'gone.json is not there'),
        ('raw out participant --bids-filter-file bold.json', 'no query "dwi"; it has: bold'),
        ('raw out participant --bids-filter-file typo.json', 'filters by sesion; choose from'),
        ('raw out participant --bids-filter-file float.json', 'asks for run 1.5'),
        ('raw out participant --bids-filter-file empty.json', 'asks for run []'),
        ('raw out group --audit deep', "'deep' (choose from "),
        ('raw out group --random-seed -1', '--random-seed'),
        ('raw out group --random-seed 9999999999', 'is not a whole number up to 2147483647'),
        ('raw out participant --device tpu', "'tpu' (choose from "),
        ('raw out participant --dry-run --reports-only', '--dry-run and --reports-only: each'),
        ('raw out group --boilerplate-only', '--boilerplate-only is about the participant level'),
        ('raw out group --scanner-from place', "'place' is not FILE:COLUMN"),
        ('raw out group --scanner-from gone.tsv:place', 'gone.tsv:place: the table is not there'),
        ('raw out group --scanner-from sites.tsv:room', 'no such column; it has: place, empty'),
        ('raw out group --scanner-from sites.tsv:empty', 'has no value in that column'),
        ('raw out group --scanner-from bold.json:place', 'has no column participant_id'),
        (
            'raw out group --scanner-from sites.tsv:place --scanner-software',
            '--scanner-software does not go with --scanner-from',
        ),
    ],
)
def test_wrong_usage_is_one_line(here, capsys, arguments, said):
    """Exit code 2, one line, and the value that was wrong is in it."""
    for name, query in (
        ('bold', {'bold': {}}),
        ('typo', {'dwi': {'sesion': 'a'}}),
        ('float', {'dwi': {'run': 1.5}}),
        ('empty', {'dwi': {'run': []}}),
    ):
        (here / f'{name}.json').write_text(json.dumps(query))
    (here / 'q').mkdir()
    (here / 'sites.tsv').write_text('participant_id\tplace\tempty\nsub-01\tRome\tn/a\n')
    with pytest.raises(SystemExit) as caught:
        parse_args(arguments.split())
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count('\n')) == (2, '', 1)
    assert said in err
    assert err.startswith('ERROR ')


def test_output_may_be_in_derivatives(here):
    """Derivatives inside the dataset are where BIDS has them."""
    output_dir = parse_args(['raw', 'raw/derivatives/x', 'participant']).output_dir
    assert output_dir == here / 'raw' / 'derivatives' / 'x'


def test_version(capsys):
    """The version is that of the package."""
    with pytest.raises(SystemExit) as caught:
        parse_args(['--version'])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f'bidsharmony {__version__}\n'


def test_every_setting_can_be_typed(here):
    """No setting is out of reach, and no option leads nowhere."""
    typed = {action.dest for action in build_parser()._actions} - {'help', 'version'}
    # a file of options is gone when they are read; those that hold others are kept by their names
    typed = typed - {'analysis_level', 'config_file'} | {'analysis_levels', 'option_files'}
    # of the environment
    typed |= {'templateflow_home'}
    assert typed == set(Settings.__dataclass_fields__)


def test_help_is_quick_and_light(repository):
    """``--help`` answers without any heavy library."""
    script = (
        'import sys\n'
        'from bidsharmony.cli.participant import main\n'
        'try:\n'
        '    main(["--help"])\n'
        'finally:\n'
        '    sys.stderr.write(" ".join(sys.modules))\n'
    )
    environment = {**os.environ, 'PYTHONPATH': str(repository)}
    seconds: dict[str, list[float]] = {'pass': [], script: []}
    for code, spent in [*seconds.items()] * 3:
        start = time.perf_counter()
        run = subprocess.run(
            [sys.executable, '-c', code], capture_output=True, text=True, env=environment
        )
        spent.append(time.perf_counter() - start)
    assert run.returncode == 0
    assert '--dry-run' in run.stdout
    assert not HEAVY & set(run.stderr.split())
    # beside Python's own start, since the machine may be slow or busy
    assert min(seconds[script]) < max(0.5, 8 * min(seconds['pass']))


@pytest.mark.parametrize(
    ('more', 'threads'),
    [
        ('', 6),
        ('--nprocs 2', 3),
        ('--nprocs 9', 1),
        ('--omp-nthreads 40', 40),
        ('--nprocs 2 --omp-nthreads 5', 5),
    ],
)
def test_processors_are_shared_out(here, monkeypatch, more, threads):
    """Those that this process may run on, unless a number is given."""
    monkeypatch.setattr('bidsharmony.settings.processors', lambda: 6)
    assert parse_args([*['raw', 'out', 'participant'], *more.split()]).threads == threads


def test_threads_of_other_machines_are_not_guessed(here, monkeypatch):
    """A large machine takes no more than some threads; steps on a cluster take one."""
    monkeypatch.setattr('bidsharmony.settings.processors', lambda: 128)
    settings = parse_args(['raw', 'out', 'participant'])
    assert settings.threads == MOST_THREADS
    assert replace(settings, use_plugin=('SLURM', {})).threads == 1


@pytest.mark.parametrize(
    ('text', 'most'),
    [('200000 100000', 2), ('50000 100000', 1), ('max 100000', 10**6), ('', 10**6)],
)
def test_a_container_has_the_processors_that_it_was_given(tmp_path, monkeypatch, text, most):
    """Of those there are; a part of one counts as one."""
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: range(16), raising=False)
    quota = tmp_path / 'cpu.max'
    assert processors(quota) == 16
    quota.write_text(text)
    assert processors(quota) == min(16, most)
