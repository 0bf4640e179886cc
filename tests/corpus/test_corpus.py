"""Every case of the corpus comes out as its row says, beside a good run that is taken."""

import csv

import pytest

from tests.corpus.__main__ import FIRST, rows
from tests.corpus.gate import PROCESSED, shortcomings, verdict_of_good
from tests.corpus.tables import CASES, TABLES

COUNTS = {
    'gz and file': 14,
    'header': 22,
    'geometry': 16,
    'voxels': 10,
    'gradients': 29,
    'sidecar': 24,
    'layout': 18,
    'security': 16,
    'multi-scanner': 8,
}


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """Say what is recorded of the good run when it is alone."""
    verdict = verdict_of_good(tmp_path_factory.mktemp('good'))
    assert verdict.status == PROCESSED
    return verdict


def test_counts():
    """No case is lost, and none has the name of another."""
    assert {table.kind: len(table.cases) for table in TABLES} == COUNTS
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES) == 157


def test_the_documentation_has_these_counts(repository):
    """Its table is the one that ``python -m tests.corpus`` writes where all is as expected."""
    with (repository / 'docs' / '_static' / 'corpus.csv').open(newline='') as file:
        assert list(csv.reader(file)) == [FIRST, *rows({case: [] for case in CASES})]


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.kind}-{case.name}')
def test_case(case, good, tmp_path):
    """Outcome and words are those of the row, in one line, in time; the good run is as before."""
    assert not shortcomings(case, tmp_path, good)
