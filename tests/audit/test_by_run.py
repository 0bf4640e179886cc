"""Lesions and outliers are collected run by run; scanners get their names."""

import math
from pathlib import Path

import pytest

from bidsharmony.audit.grouping import Grouping
from bidsharmony.audit.lesions import LesionFigures
from bidsharmony.audit.outliers import FIGURES, outliers
from bidsharmony.evaluation.finished import FinishedRun, Unused
from tests.synthetic_runs import lesions


def test_lesions_of_known_size_and_overlap():
    """Two runs of two lesions each: 3 ml and 1.5 ml, Dice .93 as bright, not seen as dark."""
    figures = LesionFigures()
    for _ in range(2):
        figures.add({'lesions': lesions(2)})
    figures.add({'lesions': None})
    found = figures.block()
    assert (found['n_runs'], found['n_lesions']) == (2, 4)
    assert found['dice']['trace_bright'] == {'median': 0.93, 'worst_decile': 0.93, 'n': 4}
    assert found['dice']['adc_dark'] == {'median': None, 'worst_decile': None, 'n': 0}
    assert found['cnr']['trace'] == {'before': 2.03, 'after': 1.57}
    assert [(row['from_ml'], row['to_ml'], row['n']) for row in found['by_size']] == [
        (0.5, 2.0, 2),
        (2.0, 10.0, 2),
    ]


def test_worst_decile_is_the_tenth_percentile():
    """Ten lesions from .0 to .9."""
    figures = LesionFigures()
    block = lesions(10)
    for place, patch in enumerate(block['patches']):
        patch['dice'] = {'trace_bright': place / 10, 'adc_dark': None}
    figures.add({'lesions': block})
    assert figures.block()['dice']['trace_bright']['worst_decile'] == pytest.approx(0.09)
    assert figures.block()['dice']['trace_bright']['median'] == pytest.approx(0.45)


@pytest.mark.parametrize('block', [None, {}, {'n_voxels': 0, 'patches': []}, 'x'])
def test_no_lesion_is_no_block(block):
    """Runs without masks, or whose masks miss the brain."""
    figures = LesionFigures()
    figures.add({'lesions': block})
    assert figures.block() is None


def table(path: Path, n_runs: int, changes: dict[int, dict[str, str]]) -> Path:
    """Write a table of runs whose figures spread a little."""
    lines = ['\t'.join(('run', 'scanner', *FIGURES))]
    for index in range(n_runs):
        row = {
            name: f'{1 + 0.01 * math.sin(index * (3 + k)):.6g}' for k, name in enumerate(FIGURES)
        }
        row |= changes.get(index, {})
        lines.append('\t'.join((f'run-{index}', 'a scanner', *row.values())))
    path.write_text('\n'.join([*lines, '']))
    return path


def test_far_runs_are_named(tmp_path):
    """The farthest first; n/a is no figure."""
    far = {
        3: {'adc_after': '2'},
        7: {'mask_volume': '0.2', 'adc_after': 'n/a'},
        8: {'adc_after': '3'},
    }
    found = outliers(table(tmp_path / 'runs.tsv', 30, far))
    assert [entry['run'] for entry in found[:2]] == ['run-8', 'run-3']
    assert {entry['run'] for entry in found} == {'run-3', 'run-7', 'run-8'}
    assert found[0]['scanner'] == 'a scanner'
    assert 'median ADC in the brain, canonical: 3 mm^2/s' in found[0]['reason']


@pytest.mark.parametrize(('n_runs', 'expected'), [(9, None), (30, [])])
def test_runs_that_are_alike_are_not_named(tmp_path, n_runs, expected):
    """Too few runs are not judged."""
    assert outliers(table(tmp_path / 'runs.tsv', n_runs, {})) == expected


def test_listed_outliers_are_bounded(tmp_path):
    """Of 400 far runs among 1,000, the 50 farthest."""
    far = {index: {'adc_after': f'{10 + index}'} for index in range(400)}
    found = outliers(table(tmp_path / 'runs.tsv', 1000, far))
    assert [entry['run'] for entry in found] == [f'run-{index}' for index in range(399, 349, -1)]


def run(subject: str, session: str | None, **scanner) -> FinishedRun:
    """Name a run and its scanner."""
    qc = {'run': f'sub-{subject}', 'subject': subject, 'session': session, 'scanner': scanner}
    return FinishedRun(qc, Path('qc.json'), None)


@pytest.mark.parametrize(
    ('grouping', 'session', 'label'),
    [
        (Grouping(), '1', 'GE Signa 3 T'),
        (Grouping(software=True), '1', 'GE Signa 3 T, software DV26'),
        (Grouping({('01', ''): 'Berlin'}, 'x'), None, 'Berlin'),
        (Grouping({('01', ''): 'Berlin', ('01', '2'): 'Rome'}, 'x'), '2', 'Rome'),
        (Grouping({('01', ''): 'Berlin', ('01', '2'): 'Rome'}, 'x'), '1', 'Berlin'),
    ],
)
def test_names_of_scanners(grouping, session, label):
    """By the sidecar, or by the table: a row of the session before one of the participant."""
    placed = grouping.place(
        run('01', session, label='GE Signa 3 T', software='DV26', model='Signa')
    )
    assert placed.qc['scanner']['label'] == label
    assert placed.qc['scanner']['model'] == 'Signa'


def test_run_without_a_row_is_not_used():
    """It is told where a name was looked for."""
    placed = Grouping({('01', '1'): 'Berlin'}, 'column site of p.tsv').place(
        run('01', '2', label='x')
    )
    assert placed == Unused('sub-01', 'no scanner in column site of p.tsv')
