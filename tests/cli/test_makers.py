"""The commands that train and simulate refuse in one line what cannot work."""

import re

import pytest

from bidsharmony.cli import phantom, train


@pytest.mark.parametrize(
    ('command', 'arguments', 'said'),
    [
        (train, '--anatomy {} --out {}/w.safetensors --threads 0', 'a whole number from 1 on'),
        (train, '--anatomy {} --out {}/w.safetensors --steps -1', 'a whole number from 1 on'),
        (train, '--anatomy {} --out {}/w.pt', 'weights end in .safetensors'),
        (train, '--anatomy {} --out {}/w.safetensors', 'training_seg_'),
        (phantom, '{}/new --heads 0', 'a whole number from 1 on'),
        (phantom, '{}/new --scanners 99', 'choose 1 to'),
        (phantom, '{}/new --scanners siemens3t mars3t', 'choose among siemens3t, ge15t'),
        (phantom, '{}/new --scanners ge15t ge15t', 'given twice'),
        (phantom, '{}/new --anatomy {}/none.nii.gz', 'none.nii.gz'),
    ],
)
def test_usage_is_one_line(tmp_path, capsys, command, arguments, said):
    """Exit code 2, and no traceback."""
    with pytest.raises(SystemExit) as caught:
        command.main(arguments.format(tmp_path, tmp_path).split())
    err = capsys.readouterr().err
    assert (caught.value.code, err.count('\n')) == (2, 1), err
    assert said in err


def test_a_folder_that_cannot_be_made_is_the_machines_fault(tmp_path, capsys):
    """Exit code 3 in one line."""
    (tmp_path / 'file').touch()
    out = tmp_path / 'file' / 'deeper' / 'w.safetensors'
    assert train.main(['--anatomy', str(tmp_path), '--out', str(out)]) == 3
    err = capsys.readouterr().err
    assert err.startswith('ERROR ')
    assert err.count('\n') == 1


@pytest.fixture
def asked(monkeypatch) -> dict:
    """Return what the command asks of the writer, which writes nothing."""
    found = {}

    def write(out, heads, scanners, **settings):
        labels = [scanner.label for scanner in scanners]
        found.update(heads=len(heads), scanners=labels, **settings)
        found['names'] = [str(head) for head in heads]
        return []

    monkeypatch.setattr('bidsharmony.physics.heads.load_head', lambda file: file)
    monkeypatch.setattr('bidsharmony.physics.t2w.t2w_head', lambda file: f't2w {file}')
    monkeypatch.setattr('bidsharmony.physics.phantom.icbm_heads', lambda n, rng: [None] * n)
    monkeypatch.setattr('bidsharmony.interfaces.travelling.write_phantom', write)
    return found


@pytest.mark.parametrize(
    ('arguments', 'n_heads'), [('', 2), ('--heads 1', 1), ('--anatomy a b c', 3)]
)
def test_heads_are_those_of_the_anatomy(tmp_path, asked, arguments, n_heads):
    """Nobody has to count the files that were given."""
    assert phantom.main([str(tmp_path), *arguments.split()]) == 0
    assert asked['heads'] == n_heads


def test_anatomy_is_read_by_its_kind(tmp_path, asked):
    """A T2-weighted volume says so in its name; anything else is a label map."""
    files = 'labels.nii.gz sub-1_T2w.nii.gz T2w.nii sub-1_notT2w.nii.gz'
    assert phantom.main([str(tmp_path), '--anatomy', *files.split()]) == 0
    assert asked['names'] == [
        'labels.nii.gz',
        't2w sub-1_T2w.nii.gz',
        't2w T2w.nii',
        'sub-1_notT2w.nii.gz',
    ]


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        ('', {'travelling': True, 'lesions': False, 'seed': 0}),
        ('--no-travelling', {'travelling': False}),
        ('--travelling --lesions --seed 4', {'travelling': True, 'lesions': True, 'seed': 4}),
        ('--scanners 2', {'scanners': ['siemens3t', 'ge15t']}),
        ('--scanners uih3t siemens7t', {'scanners': ['uih3t', 'siemens7t']}),
    ],
)
def test_each_option_of_the_phantom_matters(tmp_path, asked, arguments, expected):
    """What was asked for reaches the writer."""
    assert phantom.main([str(tmp_path), *arguments.split()]) == 0
    assert {key: asked[key] for key in expected} == expected


def test_help_lists_the_scanners(capsys):
    """And answers without heavy libraries, as the layers' test says of the main command."""
    with pytest.raises(SystemExit):
        phantom.main(['--help'])
    text = ' '.join(capsys.readouterr().out.split())
    for label, name in phantom.shipped_scanners().items():
        assert f'{label} ({name})' in text


def test_the_page_lists_scanners_and_options(repository):
    """Each scanner with its model and field, each option of the command."""
    page = (repository / 'docs' / 'phantom.rst').read_text(encoding='utf-8')
    for label, name in phantom.shipped_scanners().items():
        model, field = name.rsplit(', ', 1)
        assert re.search(rf'``{label}``\n +- {re.escape(model)}\n +- {re.escape(field)}\n', page)
    options = {
        option
        for action in phantom.build_parser()._actions
        for option in action.option_strings
        if option.startswith('--') and option not in ('--help', '--no-travelling')
    }
    assert options <= set(re.findall(r'--[a-z-]+', page))
