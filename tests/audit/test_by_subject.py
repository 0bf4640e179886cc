"""Covariates, negative control, embedding and folds, on features that are made up."""

import numpy as np
import pytest

from bidsharmony.audit import control
from bidsharmony.audit.control import negative_control
from bidsharmony.audit.covariates import Covariate, covariate, find_covariates, unreadable
from bidsharmony.audit.embedding import balanced_positions, embedding
from bidsharmony.audit.forest_probe import MOST_FOLDS, subject_folds
from bidsharmony.audit.sample import Sample
from bidsharmony.audit.scores import Probe
from bidsharmony.evaluation.forest import Guesses

SLICES = 4


def made_up(n_subjects: int, *, n_scanners: int = 2, travelling: bool = True) -> Sample:
    """Name slices of subjects on scanners; there are no images."""
    pairs = [
        (scanner, subject)
        for scanner in range(n_scanners)
        for subject in range(n_subjects)
        if travelling or subject % n_scanners == scanner
    ]
    scanners, subjects = np.repeat(np.array(pairs), SLICES, axis=0).T
    empty = np.zeros((len(scanners), 0))
    runs = np.repeat(np.arange(len(pairs)), SLICES)
    return Sample(
        empty, empty, empty, scanners, subjects, runs,
        tuple(f'scanner {one}' for one in range(n_scanners)),
        tuple(f'{one:02d}' for one in range(n_subjects)),
        tuple(f'run {one}' for one in range(len(pairs))),
    )  # fmt: skip


def features_of(sample: Sample, values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Hide a value of each subject among 30 features."""
    noise = rng.normal(size=(len(sample), 30))
    noise[:, :5] += 3 * np.asarray(values, float)[sample.subjects][:, None]
    return noise


def test_folds_keep_subjects_together_and_scanners_apart():
    """25 subjects on two scanners: ten folds, each holding subjects of both."""
    sample = made_up(25, travelling=False)
    folds = subject_folds(sample.scanners, sample.subjects)
    assert set(folds) == set(range(MOST_FOLDS))
    for subject in range(25):
        assert len(set(folds[sample.subjects == subject])) == 1
    for fold in range(MOST_FOLDS):
        assert set(sample.scanners[folds == fold]) == {0, 1}


@pytest.mark.parametrize('kind', ['number', 'category'])
def test_a_covariate_that_is_lost_is_told(kind, rng):
    """It is kept where the features after hold it, and not where they hold nothing."""
    sample = made_up(24)
    numbers = np.arange(24) % 2 if kind == 'category' else np.linspace(-1, 1, 24)
    cells = {
        label: f'{number:g}' for label, number in zip(sample.subject_labels, numbers, strict=True)
    }
    one = Covariate(
        'x', kind, cells if kind == 'category' else {s: float(c) for s, c in cells.items()}
    )
    before = features_of(sample, numbers, rng)
    same = covariate(one, sample, before, features_of(sample, numbers, rng))
    lost = covariate(one, sample, before, features_of(sample, np.zeros(24), rng))
    assert same['before'] > 0.9
    assert same['after'] > 0.9
    assert same['kept'] is True
    assert lost['kept'] is False
    assert lost['change_ci95'][1] < 0
    assert lost['n_subjects'] == 24


def test_nothing_is_read_where_nothing_is(rng):
    """Without any signal, the interval holds what guessing gives, in most of 8 studies."""
    sample = made_up(20)
    readable = 0
    for _ in range(8):
        values = rng.permutation(20).astype(float)
        one = Covariate('x', 'number', dict(zip(sample.subject_labels, values, strict=True)))
        noise = features_of(sample, np.zeros(20), rng)
        readable += not unreadable(covariate(one, sample, noise, noise), 0.0)
    assert readable <= 2


@pytest.mark.parametrize(
    ('values', 'kind', 'travelling', 'said'),
    [
        ([str(i % 2) for i in range(20)], 'category', False, 'fully confounded with the scanner'),
        ([10.0 * (i % 2) + 0.01 * i for i in range(20)], 'number', False, 'fully confounded'),
        (['a'] * 16 + ['b'] * 4, 'category', True, 'fewer than two levels with 5 subjects'),
        ([float(i) for i in range(9)], 'number', True, '9 subjects with a value, at least 10'),
        ([1.0] * 20, 'number', True, 'all values are the same'),
    ],
)
def test_covariates_that_cannot_be_told_say_why(values, kind, travelling, said, rng):
    """Few subjects, small levels, or one level for each scanner."""
    sample = made_up(20, travelling=travelling)
    one = Covariate('x', kind, dict(zip(sample.subject_labels, values, strict=False)))
    noise = features_of(sample, np.zeros(20), rng)
    assert said in covariate(one, sample, noise, noise)


def test_columns_are_numbers_or_categories():
    """Codes are categories, by number or by the data dictionary."""
    rows = {
        f'{i}': {
            'participant_id': f'{i}',
            'age': f'{i}.5',
            'code': f'{i % 3}',
            'level': f'{i}',
            'no': '',
        }
        for i in range(12)
    }
    rows['0']['age'] = ''
    found = find_covariates(rows, {'level': {'Levels': {'0': 'none'}}})
    assert [(one.name, one.kind, len(one.values)) for one in found] == [
        ('age', 'number', 11),
        ('code', 'category', 12),
        ('level', 'category', 12),
        ('no', 'category', 0),
    ]


def test_halves_of_one_scanner_do_not_separate(monkeypatch, rng):
    """However much subjects differ; in at least four of five studies."""
    monkeypatch.setattr(control, 'TREES', 8)
    monkeypatch.setattr(control, 'SPLITS', 10)
    sample = made_up(10)
    passed = 0
    for seed in range(5):
        found = negative_control(sample, features_of(sample, rng.normal(size=10), rng), seed=seed)
        assert found['n_slices'] == 40
        passed += found['passes']
    assert passed >= 4


def test_halves_that_were_scanned_unlike_separate(monkeypatch, rng):
    """If the halves do differ, the control fails."""
    monkeypatch.setattr(control, 'SPLITS', 1)
    sample = made_up(10)
    halves = np.random.default_rng(0).permutation(10) % 2
    found = negative_control(sample, features_of(sample, halves, rng))
    assert found['accuracy'] > 0.9
    assert found['passes'] is False


def test_control_needs_six_subjects(rng):
    """Three in each half."""
    sample = made_up(5)
    assert 'no scanner has 6 subjects' in negative_control(
        sample, rng.normal(size=(len(sample), 3))
    )


def test_silhouette_falls_with_the_scanner(rng):
    """Two clusters before, one after; the points repeat."""
    sample = made_up(8)
    before, after = rng.normal(size=(2, len(sample), 6))
    before[:, 0] += 30 * sample.scanners
    before[:, 1:] *= 0.1
    nothing = Guesses(sample.scanners, sample.scanners, sample.subjects, 1.0)
    probe = Probe('x', nothing, nothing, nothing, before, after, 'made up')
    found = embedding(probe)
    assert found['silhouette']['before'] > found['silhouette']['after'] + 0.1
    assert abs(found['silhouette']['after']) < 0.1
    assert np.shape(found['points']['before']) == np.shape(found['points']['after']) == (64, 2)
    assert embedding(probe) == found


def test_points_are_bounded_and_balanced():
    """As many of each scanner, however many there are."""
    chosen = balanced_positions(np.repeat([0, 1, 2], [5000, 500, 50]), 300)
    assert np.bincount(np.repeat([0, 1, 2], [5000, 500, 50])[chosen]).tolist() == [100, 100, 50]
