"""``--output-spaces`` looks at its templates before anything starts."""

import json

import pytest

from bidsharmony.cli import docker
from bidsharmony.cli.logs import write_options
from bidsharmony.cli.parser import parse_args
from bidsharmony.cli.participant import main
from tests import datasets, templates


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work beside a dataset and a small TemplateFlow."""
    monkeypatch.chdir(tmp_path)
    datasets.write_dataset(tmp_path / 'raw', {'sub-01/dwi/sub-01_dwi.nii.gz': ''})
    home = tmp_path / 'templates'
    templates.write_template(home)
    templates.write_template(home, res='_res-02')
    templates.write_template(home, 'Kids', cohort=2, mask=False)
    monkeypatch.setenv('TEMPLATEFLOW_HOME', str(home))
    return tmp_path


def test_spellings_of_a_space_are_one(here):
    """Each once, in the order given, however often the option is."""
    spaces = ['Tiny:res-02', 'Kids:res-1:cohort-2', '--output_spaces', 'Tiny:res-2', 'Tiny']
    settings = parse_args(['raw', 'out', 'participant', '--output-spaces', *spaces])
    assert settings.output_spaces == ('Tiny:res-2', 'Kids:cohort-2:res-1', 'Tiny')
    assert settings.templateflow_home == here / 'templates'


def test_each_space_that_is_missing_has_its_line(here, capsys):
    """Exit code 2, the files and how to get them; nothing is written or downloaded."""
    (here / 'templates' / 'tpl-Tiny' / 'tpl-Tiny_res-02_desc-brain_mask.nii.gz').write_bytes(b'')
    before = sorted(here.rglob('*'))
    spaces = ['Tiny', 'Nix', 'Tiny:res-2', 'Kids']
    with pytest.raises(SystemExit) as caught:
        main(['raw', 'out', 'participant', '--output-spaces', *spaces])
    out, err = capsys.readouterr()
    assert (caught.value.code, out) == (2, '')
    lines = err.splitlines()
    assert [line.split(': ')[0] for line in lines] == [
        f'ERROR --output-spaces {space}' for space in spaces[1:]
    ]
    assert 'there: Kids, Tiny' in lines[0]
    assert 'tpl-Tiny/tpl-Tiny_res-02_desc-brain_mask.nii.gz' in lines[1]
    assert "get('Tiny', resolution=2, desc='brain', suffix='mask')" in lines[1]
    assert 'Kids:cohort-2' in lines[2]
    assert sorted(here.rglob('*')) == before


def test_a_damaged_template_is_told_too(here, capsys):
    """A download that was interrupted is found before any participant is started."""
    path = here / 'templates' / 'tpl-Tiny' / 'tpl-Tiny_res-01_T2w.nii.gz'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SystemExit) as caught:
        parse_args(['raw', 'out', 'participant', '--output-spaces', 'Tiny'])
    err = capsys.readouterr().err
    assert (caught.value.code, err.count('\n')) == (2, 1)
    assert 'tpl-Tiny_res-01_T2w.nii.gz: gzip data ends early' in err


def test_the_group_level_needs_no_template(here):
    """It may run where there is none."""
    assert parse_args(['raw', 'out', 'group', '--output-spaces', 'Nix']).output_spaces == ('Nix',)


def test_spelling_is_refused_at_once(here, capsys):
    """In one line."""
    with pytest.raises(SystemExit) as caught:
        parse_args(['raw', 'out', 'participant', '--output-spaces', 'Tiny:native'])
    assert caught.value.code == 2
    assert "'Tiny:native' is not NAME, NAME:res-N" in capsys.readouterr().err


def test_a_file_of_options_gives_the_same(here):
    """What a call writes beside its logs holds the spaces."""
    settings = parse_args(['raw', 'out', 'participant', '--output-spaces', 'Tiny', 'Tiny:res-2'])
    write_options(settings, 'participant')
    written = here / 'out' / 'logs' / 'bidsharmony_participant.toml'
    assert 'output-spaces = ["Tiny", "Tiny:res-2"]' in written.read_text()
    assert parse_args(['raw', 'out', 'participant', '--config-file', str(written)]) == settings


def test_dry_run_shows_spaces_and_files(here, capsys):
    """And counts them among what is needed."""
    call = ['raw', 'out', 'participant', '--dry-run']
    main(call)
    without = capsys.readouterr().out
    main([*call, '--output-spaces', 'Tiny:res-2', 'Kids:cohort-2'])
    told = capsys.readouterr().out
    for words in (
        'Tiny:res-2     tpl-Tiny/tpl-Tiny_res-02_T2w.nii.gz',
        'tpl-Tiny/tpl-Tiny_res-02_desc-brain_mask.nii.gz',
        'Kids:cohort-2  tpl-Kids/cohort-2/tpl-Kids_cohort-2_res-01_T2w.nii.gz',
        'none: whole heads are registered',
    ):
        assert words in told
    assert 'output space' not in without
    assert not (here / 'out').exists()


def test_a_container_sees_the_templates(here):
    """Their folder is mounted read-only, and named."""
    given = ['raw', 'out', 'participant', '--output-spaces', 'Tiny']
    mounts, inside = docker.translate(given)
    assert f'{here}/templates:/templateflow:ro' in mounts
    assert inside[-2:] == ['--output-spaces', 'Tiny']
    command = docker.engine_command('docker', 'image', mounts, inside)
    assert command[command.index('--env') + 1] == 'TEMPLATEFLOW_HOME=/templateflow'
    assert '--env' not in docker.engine_command('docker', 'i', *docker.translate(given[:3]))


def test_template_is_known_by_its_content(here):
    """What was made with other bytes of it is out of date; JSON keeps what is compared."""
    from bidsharmony.supervise.child import result_options
    from bidsharmony.supervise.records import Job

    def options(*arguments: str) -> dict:
        settings = parse_args(['raw', 'out', 'participant', *arguments])
        return result_options(Job('sub-01', (), (), (), settings, '1'))

    none, before = options(), options('--output-spaces', 'Tiny')
    assert none['output_spaces'] == {}
    assert none != before
    assert json.loads(json.dumps(before['output_spaces'])) == before['output_spaces']
    templates.save(
        here / 'templates' / 'tpl-Tiny' / 'tpl-Tiny_res-01_T2w.nii.gz',
        templates.tissue_at(templates.SHAPE, templates.grid()).astype('float32'),
    )
    assert options('--output-spaces', 'Tiny') != before
