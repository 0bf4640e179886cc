"""The commands that train and simulate refuse in one line what cannot work."""

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


@pytest.mark.parametrize(
    ('arguments', 'n_heads'), [('', 2), ('--heads 1', 1), ('--anatomy a b c', 3)]
)
def test_heads_are_those_of_the_anatomy(tmp_path, monkeypatch, arguments, n_heads):
    """Nobody has to count the files that were given."""
    found = []
    monkeypatch.setattr('bidsharmony.physics.heads.load_head', lambda file: file)
    monkeypatch.setattr('bidsharmony.physics.phantom.icbm_heads', lambda n, rng: [None] * n)
    monkeypatch.setattr(
        'bidsharmony.physics.phantom.write_phantom',
        lambda out, heads, scanners, seed: found.extend(heads) or [],
    )
    assert phantom.main([str(tmp_path), *arguments.split()]) == 0
    assert len(found) == n_heads
