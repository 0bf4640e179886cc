"""Every case of the corpus comes out as its row says, beside a good run that is taken."""

import csv

import pytest

from tests.corpus.__main__ import rows
from tests.corpus.dataset import GOOD, Run, write_good
from tests.corpus.gate import PROCESSED, SKIPPED, judge, line, time_limit
from tests.corpus.tables import TABLES

COUNTS = {'gz and file': 14, 'header': 22, 'geometry': 16, 'voxels': 10, 'gradients': 29}
CASES = [case for table in TABLES for case in table.cases]


@pytest.fixture(scope='module')
def good(tmp_path_factory):
    """What is recorded of the good run when it is alone."""
    root = write_good(tmp_path_factory.mktemp('good') / 'bids')
    (verdict,) = judge(root).values()
    assert verdict.status == PROCESSED
    return verdict


def test_counts():
    """No case is lost, and none has the name of another."""
    assert {table.kind: len(table.cases) for table in TABLES} == COUNTS
    assert len({(case.kind, case.name) for case in CASES}) == len(CASES)


def test_the_documentation_has_these_counts(repository):
    """Its table is the one that ``python -m tests.corpus`` writes."""
    with (repository / 'docs' / '_static' / 'corpus.csv').open(newline='') as file:
        assert list(csv.reader(file)) == rows()


@pytest.mark.parametrize('case', CASES, ids=lambda case: f'{case.kind}-{case.name}')
def test_case(case, good, tmp_path):
    """Outcome and words are those of the row, in one line, in time; the good run is as before."""
    root = write_good(tmp_path / 'bids')
    run = Run.write(root)
    image = case.change(run) or run.relative
    with time_limit():
        verdicts = judge(root)
    verdict = verdicts[image]
    assert verdict.status == case.outcome, verdict.text
    assert case.said in verdict.text
    assert not [text for text in case.absent if text in verdict.text]
    if case.outcome != PROCESSED:
        said = line(image, verdict)
        assert image in said
        assert '\n' not in said
        assert 'Traceback' not in said
        # what is wrong, and what to do about it
        assert case.outcome == SKIPPED or verdict.text.rstrip().endswith('.')
    (unharmed,) = (found for name, found in verdicts.items() if name.startswith(GOOD))
    assert unharmed == good
