"""One study comes out the same to the byte: a few conditions of ``make reproduce``."""

import shutil

import pytest

from tests import reproduce
from tests.reproduce import (
    Call,
    Study,
    compare,
    conditions,
    elsewhere,
    tiny_study,
    tree_hash,
)

pytestmark = pytest.mark.slow

CHANGED = {'TZ': 'Pacific/Kiritimati', 'LC_ALL': 'C', 'PYTHONHASHSEED': '4711'}


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """Two participants, one of them with two runs, and the hash of what one process makes."""
    folder = tmp_path_factory.mktemp('reproduce')
    study = tiny_study(folder, n_participants=2)
    Call(study).run(folder / 'reference')
    return study, folder, tree_hash(folder / 'reference')[0]


def test_interrupted_and_run_again(study):
    """By SIGTERM, in the middle."""
    study, folder, reference = study
    ((_, _, found, count, _),) = compare(study, folder, ['interrupted by SIGTERM, run again'])
    assert int(count) > 100
    assert found == reference


def test_everything_at_once(study, monkeypatch):
    """Another folder, time zone, locale, hash seed; newer files; two processes of two threads."""
    study, folder, reference = study
    for name, value in CHANGED.items():
        monkeypatch.setenv(name, value)
    faster = type(study)(
        study.name,
        study.raw,
        (*study.options, '--nprocs', '2', '--omp-nthreads', '2'),
        study.participants,
    )
    elsewhere(faster, folder / 'out')
    assert tree_hash(folder / 'out')[0] == reference


def test_a_change_is_noticed(study, tmp_path):
    """One byte of one file, or one name: another hash. What is said is no part of it."""
    _, folder, reference = study
    out = shutil.copytree(folder / 'reference', tmp_path / 'copy')
    assert tree_hash(out)[0] == reference
    (out / 'logs' / 'sub-01.log').write_text('other')
    (out / 'dataset_description.json').write_text('{}')
    assert tree_hash(out)[0] == reference
    page = out / 'sub-01.html'
    page.rename(out / 'sub-03.html')
    assert tree_hash(out)[0] != reference
    (out / 'sub-03.html').rename(page)
    page.write_bytes(page.read_bytes() + b' ')
    assert tree_hash(out)[0] != reference


def test_every_condition_is_told_apart():
    """Names of conditions are rows of the table."""
    assert len(conditions()) >= 14
    assert next(iter(conditions())) == '1 process'


def test_what_differs_is_named(tmp_path, monkeypatch):
    """A row says that a tree is another, and lines below which of its files are."""

    def leave(text):
        def run(study, out):
            (out / 'logs').mkdir(parents=True)
            (out / 'logs' / 'log').write_text(text)
            (out / 'same').write_text('same')
            (out / 'other').write_text(text)

        return run

    monkeypatch.setattr(reproduce, 'conditions', lambda: {'a': leave('1'), 'b': leave('2')})
    said = []
    rows = compare(Study('heads', tmp_path, (), ()), tmp_path, report=said.append)
    assert [row[-1] for row in rows] == ['yes', 'no']
    assert said[-1] == '  differs: other'
    assert (tmp_path / 'differs 2' / 'other').read_text() == '2'
