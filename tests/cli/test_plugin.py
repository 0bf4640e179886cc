"""A plugin file is read, or refused in one line, before anything runs."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bidsharmony.cli.parser import parse_args
from bidsharmony.cli.plugin import HANG, LEAVE, OTHERS, PLUGINS, unshared_folders
from bidsharmony.settings import Settings
from bidsharmony.supervise import child
from bidsharmony.supervise.records import Job
from tests import tiny_dataset
from tests.datasets import write_dataset

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Work in a folder that holds a dataset ``raw``."""
    write_dataset(tmp_path / 'raw', {'sub-01/dwi/sub-01_dwi.nii.gz': ''})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(text: str) -> Settings:
    """Give a plugin file with this content to the command."""
    Path('x.yml').write_text(text)
    return parse_args(['raw', 'out', 'participant', '--use_plugin', 'x.yml'])


@pytest.mark.parametrize(
    ('text', 'plugin'),
    [
        ('plugin: Linear', None),
        ('plugin: SLURM', ('SLURM', {})),
        ('plugin: SLURM\nplugin_args:', ('SLURM', {})),
        (
            'plugin: SLURM\nplugin_args: {sbatch_args: "--mem=8G -p \'a b\'", max_jobs: 4}',
            ('SLURM', {'sbatch_args': "--mem=8G -p 'a b'", 'max_jobs': 4}),
        ),
        (
            'plugin: SLURM\nplugin_args:\n  template: |\n    #!/bin/sh\n    module load x',
            ('SLURM', {'template': '#!/bin/sh\nmodule load x'}),
        ),
        ('plugin: SLURM\nplugin_args: {template: x.yml}', ('SLURM', {'template': 'x.yml'})),
        (
            'plugin: SLURM\nplugin_args: {jobid_re: "job (.)", max_tries: 0}',
            ('SLURM', {'jobid_re': 'job (.)', 'max_tries': 0}),
        ),
    ],
)
def test_what_is_read(here, text, plugin):
    """The plugin and its arguments; the one that is used anyway is none."""
    assert parse(text).use_plugin == plugin


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('plugin: [a', 'x.yml is not YAML (line 1)'),
        ('\x00', 'x.yml is not YAML'),
        ('- plugin', 'x.yml names no plugin; write "plugin: SLURM"'),
        ('', 'x.yml names no plugin'),
        ('#' * 100_001, 'x.yml is too large'),
        ('plugin: SLURM\nargs: 1', 'x.yml has args; choose from plugin, plugin_args'),
        ('plugin: MultiProc', 'waits for ever when a worker is killed'),
        ('plugin: LegacyMultiProc', 'Use --nprocs instead'),
        ('plugin: SLURMGraph', 'does not wait for them. Use SLURM instead'),
        ('plugin: PBS', 'Use array jobs, one participant each, instead'),
        ('plugin: Slurm', "'Slurm': no such plugin; choose from Linear, SLURM"),
        ('plugin: [SLURM]', 'no such plugin'),
        ('plugin: SLURM\nplugin_args: [1]', 'plugin_args that are no mapping'),
        ('plugin: SLURM\nplugin_args: {n_procs: 2}', 'plugin_args n_procs; choose from template'),
        ('plugin: Linear\nplugin_args: {n_procs: 2}', 'plugin_args n_procs; Linear takes none'),
        ('plugin: SLURM\nplugin_args: {max_jobs: 0}', 'max_jobs 0; give a whole number from 1'),
        ('plugin: SLURM\nplugin_args: {max_jobs: true}', 'max_jobs True'),
        ('plugin: SLURM\nplugin_args: {retry_timeout: x}', "retry_timeout 'x'"),
        ('plugin: SLURM\nplugin_args: {sbatch_args: [1]}', 'sbatch_args [1]; give a text'),
        ('plugin: SLURM\nplugin_args: {sbatch_args: "\'"}', 'close the quotation'),
        ('plugin: SLURM\nplugin_args: {template: gone}', "template 'gone', which is no file"),
        ('plugin: SLURM\nplugin_args: {jobid_re: "job"}', 'with the number in ()'),
        ('plugin: SLURM\nplugin_args: {jobid_re: "("}', 'with the number in ()'),
    ],
)
def test_what_is_refused(here, capsys, text, words):
    """One line with the file, the cause and what to write instead; exit code 2."""
    with pytest.raises(SystemExit) as stop:
        parse(text)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('ERROR argument --use-plugin: x.yml ')
    assert words in line


def test_a_missing_file_is_refused(here, capsys):
    """With its path, since it is that which is wrong."""
    with pytest.raises(SystemExit):
        parse_args(['raw', 'out', 'participant', '--use-plugin', 'a/gone.yml'])
    (line,) = capsys.readouterr().err.splitlines()
    assert 'a/gone.yml: No such file or directory' in line


def test_the_example_of_the_documentation(here):
    """It is taken as it stands."""
    text = (ROOT / 'docs' / 'scripts' / 'slurm.yml').read_text()
    name, arguments = parse(text).use_plugin
    assert name == 'SLURM'
    assert set(arguments) == {'sbatch_args', 'max_jobs'}


def test_every_plugin_of_nipype_has_its_answer():
    """None is taken for a word that nobody knows."""
    from nipype.pipeline import plugins

    known = {name.removesuffix('Plugin') for name in dir(plugins) if name.endswith('Plugin')}
    assert known == {*PLUGINS, *HANG, *LEAVE, *OTHERS}


def test_folders_that_one_node_has_to_itself(tmp_path):
    """They are named in a warning; any other may be shared."""
    out = Path('/tmp', 'out')
    settings = Settings(bids_dir=Path('/data'), output_dir=out, work_dir=Path('/w'))
    assert unshared_folders(settings) == {'OUTPUT_DIR': out}
    assert set(unshared_folders(replace(settings, work_dir=Path('/dev/shm/w')))) == {
        'OUTPUT_DIR',
        '--work-dir',
    }
    assert not unshared_folders(replace(settings, output_dir=Path('/tmpout')))


def test_the_plugin_changes_no_result(tmp_path):
    """What ran here counts as done there."""
    settings = Settings(bids_dir=tmp_path, output_dir=tmp_path)
    there = replace(settings, use_plugin=('SLURM', {'max_jobs': 4}))
    jobs = (Job('sub-01', (), (), (), some, '1') for some in (settings, there))
    first, second = map(child.result_options, jobs)
    assert first == second


def test_without_slurm_nothing_is_begun(tmp_path):
    """One line, and the exit code of the environment; a dry run needs no cluster."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    tiny_dataset.write_run(raw, 'sub-01')
    (tmp_path / 'x.yml').write_text('plugin: SLURM')
    call = [sys.executable, '-m', 'bidsharmony.cli.participant', 'raw', 'out', 'participant',
            '--use-plugin', 'x.yml']  # fmt: skip
    found = [
        subprocess.run(
            [*call, *more],
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'PATH': str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        for more in ((), ('--dry-run',))
    ]
    assert [answer.returncode for answer in found] == [3, 0]
    (line,) = found[0].stderr.splitlines()
    assert 'sbatch, squeue, scancel not found. Run it outside of containers' in line
    assert not (tmp_path / 'out').exists()


def test_a_percent_sign_is_told(here, capsys):
    """nipype's configuration would take it for the start of a name, in each job."""
    Path('x.yml').write_text('plugin: SLURM')
    with pytest.raises(SystemExit):
        parse_args(['raw', 'out 5%', 'participant', '--use-plugin', 'x.yml'])
    assert 'Give a folder without %' in capsys.readouterr().err
    parse_args(['raw', 'out 5%', 'participant'])
