"""Options from a file are those of the command line, and those of a call can be used again."""

import json
import tomllib
from pathlib import Path

import pytest

from bidsharmony.cli.config import config_text
from bidsharmony.cli.docker import translate
from bidsharmony.cli.logs import write_options
from bidsharmony.cli.options import build_parser
from bidsharmony.cli.parser import parse_args
from tests.datasets import write_dataset

PLACES = ['raw', 'out', 'participant']


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Work in a folder with a dataset and the files that options name."""
    write_dataset(tmp_path / 'raw', {'sub-01/dwi/sub-01_dwi.nii.gz': ''})
    (tmp_path / 'filter.json').write_text(json.dumps({'dwi': {'acquisition': None, 'run': [1]}}))
    (tmp_path / 'slurm.yml').write_text('plugin: SLURM\nplugin_args: {max_jobs: 2}\n')
    (tmp_path / 'sites.tsv').write_text('participant_id\tplace\nsub-01\tRome\n')
    (tmp_path / 'w "1"\n.safetensors').touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def from_file(text: str, *arguments: str):
    """Read settings with a file of options."""
    Path('options.toml').write_text(text, encoding='utf-8')
    return parse_args([*PLACES, *arguments, '--config-file', 'options.toml'])


@pytest.mark.parametrize(
    ('text', 'arguments'),
    [
        ('nprocs = 3', '--nprocs 3'),
        ('omp_nthreads = 2\nmem_mb = "8G"', '--omp-nthreads 2 --mem-mb 8G'),
        ('mem-mb = 900', '--mem-mb 900'),
        ('strength = 0.5', '--strength 0.5'),
        ('strength = 0', '--strength 0'),
        ('output-resolution = "native"', ''),
        ('output-resolution = 2.5', '--output-resolution 2.5'),
        ('rician = true\ndry-run = false', '--rician'),
        ('no-bias-correction = true', '--no-bias-correction'),
        ('no-bias-correction = false', ''),
        ('participant-label = ["sub-01", "02", "01"]', '--participant-label 01 02'),
        ('session-label = ["a"]\nrun-id = []', '--session-id a'),
        ('denoise = "mppca"', '--denoise mppca'),
        (
            'derivatives = ["qsiprep=raw"]\nqsiprep_compat = true',
            '-d qsiprep=raw --qsiprep-compat',
        ),
        ('bids-filter-file = "filter.json"', '--bids-filter-file filter.json'),
        ('use-plugin = "slurm.yml"', '--use-plugin slurm.yml'),
        ('scanner-from = "sites.tsv:place"', '--scanner-from sites.tsv:place'),
        ('work-dir = "scratch"', '-w scratch'),
        ('verbose = 2', '-vv'),
    ],
)
def test_a_file_says_what_the_command_line_would(here, text, arguments):
    """Every kind of value, whichever way the key is spelled."""
    assert from_file(text) == parse_args([*PLACES, *arguments.split()])


@pytest.mark.parametrize(
    ('text', 'arguments'),
    [
        ('nprocs = 3', '--nprocs 1'),
        ('participant-label = ["01"]', '--participant-label 02'),
        ('derivatives = ["qsiprep=out"]', '-d qsiprep=raw'),
        ('verbose = 3', '-v'),
        ('bids-filter-file = "gone.json"', '--bids_filter_file=filter.json'),
    ],
)
def test_the_command_line_wins(here, text, arguments):
    """Also where it repeats a default, and lists are not joined."""
    typed = arguments.split()
    assert from_file(text, *typed) == parse_args([*PLACES, *typed])


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('nproc = 3', "options.toml: 'nproc' is no option. Choose from verbose, "),
        ('config-file = "x"', "'config-file' is no option"),
        ('bids_dir = "x"', "'bids_dir' is no option"),
        (
            'session-id = ["a"]\nsession-label = ["b"]',
            'session-label: the same option is there tw',
        ),
        ('nprocs = "3"', 'options.toml: nprocs = "3". Give the number without quotes'),
        ('nprocs = true', 'nprocs = true. Give one text in quotes, or one number'),
        ('nprocs = [3]', 'nprocs = [3]. Give one text in quotes, or one number'),
        ('nprocs = 1.5', "options.toml: nprocs: '1.5' is not a whole number from 1 on"),
        ('strength = 2', "strength: '2' is not a number from 0 to 1"),
        ('strength = nan', "strength: 'nan' is not a number"),
        ('rician = 1', 'rician = 1. Give true or false'),
        ('rician = "yes"', 'rician = "yes". Give true or false'),
        ('verbose = -1', 'verbose = -1. Give true, false or a whole number'),
        ('participant-label = "01"', 'participant-label = "01". Give a list of texts'),
        ('participant-label = [1]', 'participant-label = [1]. Give a list of texts'),
        ('participant-label = ["../01"]', "participant-label: '../01' is not a label"),
        ('denoise = "strong"', 'denoise = "strong". Choose from mppca, none'),
        ('work-dir = 3', 'work-dir = 3. Give a text in quotes'),
        ('work-dir = 2026-01-01', 'work-dir = 2026-01-01. Give one text'),
        ('[nprocs]\na = 1', "nprocs = {'a': 1}. Give one text"),
        ('bids-filter-file = "gone.json"', 'bids-filter-file: gone.json is not there'),
        ('nprocs = 3\nnprocs = 4', 'options.toml: not TOML (Cannot overwrite'),
        ('nprocs: 3', 'options.toml: not TOML (Expected'),
    ],
)
def test_what_is_wrong_is_one_line(here, capsys, text, said):
    """It names the file and the key."""
    with pytest.raises(SystemExit) as caught:
        from_file(text)
    out, err = capsys.readouterr()
    assert (caught.value.code, out, err.count('\n')) == (2, '', 1)
    assert said in err


@pytest.mark.parametrize(
    ('content', 'said'),
    [(None, 'No such file'), (b'\xff', 'not TOML'), (b'#' * 1_000_001, 'too large')],
)
def test_a_file_that_cannot_be_read(here, capsys, content, said):
    """One line again."""
    if content is not None:
        Path('x.toml').write_bytes(content)
    with pytest.raises(SystemExit):
        parse_args([*PLACES, '--config-file', 'x.toml'])
    err = capsys.readouterr().err
    assert 'x.toml' in err
    assert said in err
    assert err.count('\n') == 1


@pytest.mark.parametrize(
    'arguments',
    [
        [],
        [
            '-vv',
            '--rician',
            '--no-bias-correction',
            '--mem-mb',
            '8G',
            '--strength',
            '0.1',
            '--max-gb',
            '0.000001',
        ],
        [
            '--participant-label',
            '01',
            '02',
            '--run-id',
            '1',
            '-w',
            'scratch',
            '--nprocs',
            '2',
            '--b0-threshold',
            '5',
        ],
        ['--bids-filter-file', 'filter.json', '--use-plugin', 'slurm.yml'],
        ['-d', 'qsiprep=raw', '--qsiprep-compat', '--scanner-from', 'sites.tsv:place'],
        ['--weights', 'w "1"\n.safetensors', '--output-resolution', '2.5'],
    ],
)
def test_options_of_a_call_can_be_used_again(here, arguments):
    """They are written beside the logs, and give the same settings from anywhere."""
    settings = parse_args([*PLACES, *arguments])
    write_options(settings, 'participant')
    written = here / 'out' / 'logs' / 'bidsharmony_participant.toml'
    assert parse_args([*PLACES, '--config-file', str(written)]) == settings
    folder = here / 'elsewhere'
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        again = parse_args(
            [f'{here}/raw', f'{here}/out', 'participant', '--config-file', str(written)]
        )
    assert again == settings
    # no draft beside it; the lock of the folder is no draft
    beside = {path.name for path in written.parent.iterdir()} - {'.failures.lock'}
    assert beside == {written.name}


def test_every_option_is_written(here):
    """None is forgotten that is set."""
    settings = parse_args(
        [
            *PLACES,
            *['--mem-mb', '9', '--participant-timeout', '1', '--weights', 'sites.tsv', '-w', 'w'],
        ]
    )
    keys = set(tomllib.loads(config_text(settings, build_parser()._actions)))
    unset = {'use-plugin', 'bids-filter-file', 'scanner-from', 'output-resolution', 'omp-nthreads'}
    named = {
        next(name for name in action.option_strings if name.startswith('--'))[2:]
        for action in build_parser()._actions
        if action.option_strings
    }
    assert keys == named - unset - {'canonical-resolution', 'config-file', 'help', 'version'}


def test_a_container_sees_the_paths_of_a_file(here):
    """The options are passed on in the file's place, since its paths are of this machine."""
    Path('options.toml').write_text(
        'work-dir = "scratch"\nnprocs = 3\nverbose = 2\nrician = true\nsession-id = ["a", "b"]\n'
        'derivatives = ["qsiprep=raw"]\nmem-mb = 900\n'
    )
    mounts, inside = translate([*PLACES, '--config-file', 'options.toml', '--mem-mb', '800'])
    assert {f'{here}/scratch:/work', f'{here}/raw:/derivatives/qsiprep:ro'} <= set(mounts)
    text = ' '.join(inside)
    for part in ('--work-dir /work', '--nprocs 3', '-v -v', '--rician', '--session-label a b',
                 '--derivatives qsiprep=/derivatives/qsiprep', '--mem-mb 800'):  # fmt: skip
        assert part in text
    assert 'options.toml' not in text


def test_a_container_refuses_a_wrong_file(here, capsys):
    """Here and in one line, before it is started."""
    Path('options.toml').write_text('nproc = 3\n')
    with pytest.raises(SystemExit):
        translate([*PLACES, '--config-file', 'options.toml'])
    assert "options.toml: 'nproc' is no option" in capsys.readouterr().err
