"""The command line of this machine becomes mounts and the command line of a container."""

import os
import shlex
import stat
from pathlib import Path

import pytest

from bidsharmony.cli import docker
from bidsharmony.cli.docker import IMAGE, engine_command, main, translate
from bidsharmony.cli.options import build_parser


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in a folder with a dataset and the files that options name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'raw data').mkdir()
    for name in ('w.safetensors', 'filter.json', 'sites.tsv'):
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ('given', 'mounts', 'inside'),
    [
        ('-w scratch', ['scratch:/work'], '--work-dir /work'),
        (
            '--weights w.safetensors',
            ['w.safetensors:/options/w.safetensors:ro'],
            '--weights /options/w.safetensors',
        ),
        (
            '--bids_filter_file=filter.json',
            ['filter.json:/options/filter.json:ro'],
            '--bids-filter-file /options/filter.json',
        ),
        (
            '-d qsiprep=pre',
            ['pre:/derivatives/qsiprep:ro'],
            '--derivatives qsiprep=/derivatives/qsiprep',
        ),
        (
            '--scanner-from sites.tsv:site',
            ['sites.tsv:/options/sites.tsv:ro'],
            '--scanner-from /options/sites.tsv:site',
        ),
        ('--scanner-from participants.tsv:site', [], '--scanner-from participants.tsv:site'),
        ('--participant-label 01 02 --rician', [], '--participant-label 01 02 --rician'),
        ('-vv --no-bias-correction', [], '-v -v --no-bias-correction'),
        ('--mem-mb 8G', [], '--mem-mb 8G'),
    ],
)
def test_options(here, given, mounts, inside):
    """What names a path is mounted, and all else stays as it is."""
    found_mounts, found = translate(['raw data', 'out', 'participant', 'group', *given.split()])
    expected = ['raw data:/in:ro', 'out:/out', *mounts]
    assert sorted(found_mounts) == sorted(f'{here}/{mount}' for mount in expected)
    assert found[:4] == ['/in', '/out', 'participant', 'group']
    assert sorted(found[4:]) == sorted(inside.split())
    parser = build_parser()
    for action in parser._actions:
        action.type = None
    # the container's command line means the same options
    before = vars(parser.parse_args(['a', 'b', 'group', *map(docker.dashed, given.split())]))
    after = vars(parser.parse_args(found))
    same = {name for name in before if name not in docker.PLACES and name != 'analysis_level'}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}


def test_every_option_that_takes_a_path_is_known(here):
    """One that is added here must say where it is mounted, or that it cannot be."""
    paths = {
        action.dest
        for action in build_parser()._actions
        if action.type is Path or action.metavar in ('FILE', 'JSON', 'DIR', 'TOML', 'NAME=PATH')
    }
    assert paths <= {*docker.PLACES, *docker.READ_HERE, *docker.UNFIT}


def test_unknown_option(here, capsys):
    """It is refused here, in one line, before a container is started."""
    with pytest.raises(SystemExit) as caught:
        translate(['raw data', 'out', 'participant', '--nproc', '2'])
    assert caught.value.code == 2
    assert '--nproc' in capsys.readouterr().err


def test_container_is_closed(here, monkeypatch):
    """Read-only, without network, and as the user who calls."""
    monkeypatch.setattr(os, 'getuid', lambda: 1234)
    monkeypatch.setattr(os, 'getgid', lambda: 5678)
    command = engine_command('/usr/bin/docker', 'img', ['/a:/in:ro'], ['/in', '/out', 'group'])
    text = shlex.join(command)
    for part in ('--read-only', '--network none', '--user 1234:5678', '--volume /a:/in:ro'):
        assert part in text
    assert command[-4:] == ['img', '/in', '/out', 'group']
    assert 'keep-id' not in text
    assert '--userns keep-id' in shlex.join(engine_command('podman', 'i', [], []))


def test_engine_is_run(here, monkeypatch):
    """It gets the command; its exit code is passed on, and the output is ours."""
    engine = here / 'bin' / 'podman'
    engine.parent.mkdir()
    engine.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > called\nexit 143\n')
    engine.chmod(engine.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv('PATH', f'{engine.parent}:/usr/bin:/bin')
    assert main(['--engine', 'podman', 'raw data', 'new/out', 'participant']) == 143
    called = Path('called').read_text().splitlines()
    assert called[0] == 'run'
    assert called[-4:] == [IMAGE, '/in', '/out', 'participant']
    assert f'{here}/raw data:/in:ro' in called
    assert (here / 'new' / 'out').is_dir()


def test_no_engine(here, monkeypatch, capsys):
    """One line, and the code for what the machine lacks."""
    monkeypatch.setenv('PATH', str(here))
    assert main(['raw data', 'out', 'participant']) == 3
    assert capsys.readouterr().err.startswith('ERROR docker and podman: not found on the PATH')
    assert not (here / 'out').exists()
    assert main(['--print-command', 'raw data', 'out', 'participant']) == 0
    assert capsys.readouterr().out.startswith('docker run')


@pytest.mark.parametrize('arguments', [[], ['--help']])
def test_help(arguments, capsys):
    """It says what it adds, and where the rest is."""
    assert main(arguments) == 0
    assert '--engine' in capsys.readouterr().out


def test_a_plugin_cannot_be_passed_on(here, capsys):
    """The batch system is outside of the container."""
    with pytest.raises(SystemExit):
        translate(['raw data', 'out', 'participant', '--use-plugin', 'filter.json'])
    assert 'outside of the container' in capsys.readouterr().err
