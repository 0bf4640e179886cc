"""Tissue constants and the signal equation against values worked out by hand."""

import numpy as np
import pytest

from bidsharmony.physics.signal import (
    CANONICAL_CONTRAST,
    Contrast,
    canonical_unit,
    nominal_table,
    tissue_signal,
    varied_table,
)
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES, tissue_codes

WHITE = TISSUE_NAMES.index('white matter')


@pytest.mark.parametrize(
    ('field', 't1', 't2'),
    [(1.5, 0.884, 0.080), (3.0, 1.084, 0.071), (7.0, 1.220, 0.047), (0.5, 0.884, 0.080)],
)
def test_relaxation_is_the_tables(field, t1, t2):
    assert TISSUES['white matter'].relaxation(field) == (t1, t2)


def test_signal_equation():
    signal, rate = tissue_signal(nominal_table(), Contrast(3.0, 0.08, 10.0), 1000.0)
    by_hand = 0.70 * (1 - np.exp(-10 / 1.084)) * np.exp(-0.08 / 0.071 - 0.7)
    assert signal[WHITE] == pytest.approx(by_hand)
    assert rate[WHITE] == pytest.approx(1 / 0.071)


def test_canonical_unit_is_white_matter():
    by_hand = 0.70 * (1 - np.exp(-10 / 1.084)) * np.exp(-0.08 / 0.071)
    assert canonical_unit() == pytest.approx(by_hand)


def test_more_weighting_is_darker_at_any_b():
    signals = [
        tissue_signal(nominal_table(), CANONICAL_CONTRAST, b)[0][1:] for b in range(0, 12000, 250)
    ]
    assert (np.diff(signals, axis=0) < 0).all()


@pytest.mark.parametrize('field', [1.5, 3.0, 7.0])
def test_longer_echo_is_darker(field):
    short, _ = tissue_signal(nominal_table(), Contrast(field, 0.06, 8.0))
    long, _ = tissue_signal(nominal_table(), Contrast(field, 0.09, 8.0))
    assert (long[1:] < short[1:]).all()


def test_people_differ_a_little_and_surroundings_a_lot(rng):
    density = np.array([varied_table(rng).proton_density for _ in range(200)])
    spread = np.log(density[:, 1:]).std(axis=0)
    assert spread[WHITE - 1] == pytest.approx(0.03, rel=0.2)
    assert spread[TISSUE_NAMES.index('skin') - 1] == pytest.approx(0.5, rel=0.2)


def test_every_label_of_a_tissue_is_known():
    labels = np.array([0, 2, 41, 3, 42, 4, 10, 13, 16, 24, 506, 507, 511, 515, 516])
    names = [TISSUE_NAMES[code] for code in tissue_codes(labels)]
    assert names[1:5] == ['white matter'] * 2 + ['cortex'] * 2
    assert names.count('air') == 1
