"""What the scanner leaves behind, where the answer is known on paper."""

import numpy as np
import pytest

from bidsharmony.evaluation.batch import (
    between_scanner_cv,
    scanner_eta_squared,
    scanner_spectral_distance,
)

HEADS, SCANNERS = 5, 7


def test_cv_is_that_of_the_factors(rng):
    """Scanners that only scale have the deviation of their factors, whatever the head."""
    factors = np.array([0.8, 0.9, 1.0, 1.1, 1.2])
    heads = rng.uniform(1, 3, (4, 1))
    expected = np.std(factors, ddof=1) / 1.0
    np.testing.assert_allclose(between_scanner_cv(heads * factors), expected, rtol=1e-12)


def test_cv_keeps_further_axes():
    values = np.stack([np.full((2, 3), 4.0), np.tile([3.0, 4.0, 5.0], (2, 1))], axis=-1)
    np.testing.assert_allclose(between_scanner_cv(values), [[0, 0.25]] * 2)


def test_eta_squared_of_planted_offsets():
    """Scanners and heads with variances 9 and 1: nine tenths, and all of it within heads."""
    offsets = np.linspace(-1, 1, SCANNERS)
    heads = np.linspace(-1, 1, HEADS)
    offsets, heads = 3 * offsets / offsets.std(), heads / heads.std()
    values = heads[:, None] + offsets
    assert scanner_eta_squared(values) == pytest.approx(0.9)
    assert scanner_eta_squared(values, within_heads=True) == pytest.approx(1.0)


@pytest.mark.parametrize('within_heads', [False, True])
def test_eta_squared_of_chance(within_heads, rng):
    """Where scanners do nothing the mean is (S - 1) over the degrees of freedom."""
    values = rng.standard_normal((HEADS, SCANNERS, 4000))
    freedom = HEADS * SCANNERS - (HEADS if within_heads else 1)
    found = scanner_eta_squared(values, within_heads=within_heads).mean()
    assert found == pytest.approx((SCANNERS - 1) / freedom, abs=0.005)


def test_eta_squared_ignores_unit_and_offset(rng):
    values = rng.standard_normal((HEADS, SCANNERS)) + np.arange(SCANNERS)
    assert scanner_eta_squared(5 * values + 100) == pytest.approx(scanner_eta_squared(values))


def test_eta_squared_of_what_does_not_vary():
    assert scanner_eta_squared(np.full((HEADS, SCANNERS), 0.1)) == 0


def test_spectral_distance_of_known_gains():
    """Three scanners at 0, 10 and 20 dB: pairs at 10, 10 and 20."""
    flat = np.ones((2, 1, 6))
    spectra = np.concatenate([flat, 10 * flat, 100 * flat], axis=1)
    np.testing.assert_allclose(scanner_spectral_distance(spectra), [40 / 3] * 2)
