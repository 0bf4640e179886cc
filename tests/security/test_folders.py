"""The folder of intermediate files is its user's alone: nipype unpickles what is in it."""

import os
import stat
from dataclasses import replace

import pytest

from bidsharmony.settings import Settings
from bidsharmony.supervise.places import fresh_folder, private_folder, work_folder

MAKERS = {'of a participant': fresh_folder, 'shared by participants': private_folder}


def mode(path) -> int:
    """Give the rights of a folder."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=MAKERS)
def make(request):
    """Give what makes, or checks, a folder."""
    return MAKERS[request.param]


@pytest.mark.parametrize('umask', [0o000, 0o022, 0o077])
def test_a_new_folder_is_private(tmp_path, make, umask):
    """Whatever the user's umask."""
    before = os.umask(umask)
    try:
        make(tmp_path / 'a' / 'work')
    finally:
        os.umask(before)
    assert mode(tmp_path / 'a' / 'work') == 0o700


@pytest.mark.parametrize('rights', [0o777, 0o1777, 0o775, 0o750])
def test_a_folder_that_was_there_becomes_private(tmp_path, make, rights):
    """One's own, but open to others."""
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work').chmod(rights)
    make(tmp_path / 'work')
    assert mode(tmp_path / 'work') == 0o700


def test_what_was_in_it_is_not_unpickled(tmp_path):
    """A participant's folder is emptied before it is used."""
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'result_x.pklz').write_bytes(b'planted')
    assert list(fresh_folder(tmp_path / 'work').iterdir()) == []


@pytest.mark.skipif(os.getuid() != 0, reason='only root may give a folder to somebody else')
def test_a_folder_of_somebody_else_is_refused(tmp_path, make):
    """And nothing in it is removed."""
    (tmp_path / 'work').mkdir()
    (tmp_path / 'work' / 'theirs').touch()
    os.chown(tmp_path / 'work', 65534, 65534)
    with pytest.raises(OSError, match='belongs to somebody else'):
        make(tmp_path / 'work')
    assert (tmp_path / 'work' / 'theirs').exists()


def test_a_folder_whose_owner_is_another_is_refused(tmp_path, make, monkeypatch):
    """The same for who is not root."""
    (tmp_path / 'work').mkdir()
    mine = os.getuid()
    monkeypatch.setattr(os, 'getuid', lambda: mine + 1)
    with pytest.raises(OSError, match='belongs to somebody else'):
        make(tmp_path / 'work')


@pytest.mark.parametrize('leads_to', ['folder', 'nothing'])
def test_a_link_is_refused(tmp_path, make, leads_to):
    """It could lead to where somebody else waits."""
    elsewhere = tmp_path / 'elsewhere'
    if leads_to == 'folder':
        elsewhere.mkdir()
        (elsewhere / 'theirs').touch()
    (tmp_path / 'work').symlink_to(elsewhere)
    with pytest.raises(OSError):  # noqa: PT011, for a dangling one mkdir has words of its own
        make(tmp_path / 'work')
    assert (tmp_path / 'work').is_symlink()
    assert [path.name for path in tmp_path.glob('elsewhere/*')] == (
        ['theirs'] if leads_to == 'folder' else []
    )


def test_outputs_that_share_a_work_folder_stay_apart(tmp_path):
    """By a name that depends on the output, and tells nothing of it."""
    base = Settings(bids_dir=tmp_path, output_dir=tmp_path / 'secret', work_dir=tmp_path / 'w')
    one, two = (
        work_folder(settings, 'sub-01')
        for settings in (base, replace(base, output_dir=tmp_path / 'other'))
    )
    assert one != two
    assert 'secret' not in str(one)
