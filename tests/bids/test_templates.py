"""Templates are found in what is there of TemplateFlow, and what is missing is told."""

from pathlib import Path

import pytest

from bidsharmony.bids.records import BIDSError
from bidsharmony.bids.templates import (
    find_template,
    parse_space,
    templateflow_home,
)

WHOLE = 'tpl-A/tpl-A_res-01_T2w.nii.gz', 'tpl-A/tpl-A_res-01_desc-brain_mask.nii.gz'
KIDS = 'tpl-B/cohort-2/tpl-B_cohort-2_res-1_T1w.nii.gz'
NAMES = (
    *WHOLE,
    'tpl-A/tpl-A_res-01_T1w.nii.gz',
    'tpl-A/tpl-A_res-01_desc-head_mask.nii.gz',
    'tpl-A/tpl-A_res-01_desc-brain_T1w.nii.gz',
    'tpl-A/tpl-A_res-02_T1w.nii.gz',
    'tpl-A/tpl-A_res-02_desc-brain_mask.nii.gz',
    KIDS,
    'tpl-B/cohort-1/tpl-B_cohort-1_res-1_T1w.nii.gz',
    'tpl-C/tpl-C_T1w.nii.gz',
    'tpl-D/tpl-D_den-32k_sphere.surf.gii',
)


@pytest.fixture
def home(tmp_path):
    """Lay out templates; what is in the files does not matter here."""
    for name in NAMES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text('x')
    return tmp_path


@pytest.mark.parametrize(
    ('text', 'image', 'mask'),
    [
        ('A', *WHOLE),
        ('A:res-1', *WHOLE),
        ('A:res-2', 'tpl-A/tpl-A_res-02_T1w.nii.gz', 'tpl-A/tpl-A_res-02_desc-brain_mask.nii.gz'),
        ('B:cohort-2', KIDS, None),
        ('B:res-01:cohort-02', KIDS, None),
        ('C', 'tpl-C/tpl-C_T1w.nii.gz', None),
    ],
)
def test_found(home, text, image, mask):
    """The finest resolution unless another one is asked for; T2w before T1w."""
    template = find_template(parse_space(text), home)
    assert (template.image, template.mask) == (image, mask)
    assert set(template.files.values()) == {home / name for name in (image, mask) if name}


def empty(path: Path) -> None:
    """Leave what TemplateFlow puts in the place of what it has not downloaded."""
    path.write_text('')


def lead_nowhere(path: Path) -> None:
    """Leave what git-annex puts there."""
    path.unlink()
    path.symlink_to('../.git/annex/objects/x')


@pytest.mark.parametrize('spoil', [empty, lead_nowhere])
def test_what_is_not_there_yet_counts_as_missing(home, spoil):
    """Both files are told with their paths, and the calls that get them."""
    spoil(home / WHOLE[0])
    # the other contrast is there
    assert find_template(parse_space('A'), home).image == 'tpl-A/tpl-A_res-01_T1w.nii.gz'
    spoil(home / 'tpl-A/tpl-A_res-01_T1w.nii.gz')
    spoil(home / WHOLE[1])
    with pytest.raises(BIDSError) as caught:
        find_template(parse_space('A'), home)
    said = str(caught.value)
    assert f'{WHOLE[0]} or tpl-A/tpl-A_res-01_T1w.nii.gz, {WHOLE[1]}' in said
    assert "get('A', resolution=1, desc='brain', suffix='mask')" in said
    assert str(home) in said


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('Nix', 'no tpl-Nix in TEMPLATEFLOW_HOME'),
        ('Nix', 'there: A, B, C, D'),
        ('A:res-3', 'no tpl-A/tpl-A_res-03_T2w.nii.gz or tpl-A/tpl-A_res-03_T1w.nii.gz'),
        ('A:res-3', 'resolutions there: res-1, res-2'),
        ('B', 'has cohorts. Add one of them: B:cohort-1'),
        ('B:cohort-9', 'no cohort-9 in tpl-B; there: cohort-1, cohort-2'),
        ('A:cohort-1', 'no cohort-1 in tpl-A; there: none'),
        ('D', 'no tpl-D/tpl-D_res-01_T2w.nii.gz'),
    ],
)
def test_not_found(home, text, words):
    """What is there is told instead."""
    with pytest.raises(BIDSError, match=words):
        find_template(parse_space(text), home)


def test_a_home_that_is_not_there_holds_nothing(tmp_path):
    """Nothing is made there either."""
    with pytest.raises(BIDSError, match='there: nothing'):
        find_template(parse_space('A'), tmp_path / 'none')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'text', ['', 'A:', 'A:res-', 'A:res-0', 'A:res-2:res-2', 'A:den-2', '../A', 'A_B']
)
def test_spellings_that_are_none(text):
    """Nothing but NAME, cohort and resolution, once each."""
    with pytest.raises(BIDSError, match='is not'):
        parse_space(text)


@pytest.mark.parametrize(
    ('variables', 'home'),
    [
        ({'TEMPLATEFLOW_HOME': '/t'}, '/t'),
        ({'XDG_CACHE_HOME': '/c', 'HOME': '/h'}, '/c/templateflow'),
        ({'HOME': '/h'}, '/h/.cache/templateflow'),
    ],
    ids=str,
)
def test_home_is_that_of_templateflow(monkeypatch, variables, home):
    """As its client has it on Linux."""
    monkeypatch.setattr('sys.platform', 'linux')
    for name in ('TEMPLATEFLOW_HOME', 'XDG_CACHE_HOME', 'HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert templateflow_home() == Path(home)
