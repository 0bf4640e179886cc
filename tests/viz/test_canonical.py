"""The shipped range is one, it fits what it is drawn behind, and counting in it is right."""

import math

import numpy as np
import pytest

from bidsharmony.evaluation.features import describe
from bidsharmony.viz.canonical import applies, canonical_range, share_inside
from tests.synthetic_runs import audit_slices


@pytest.mark.parametrize('channel', ['b0', 'trace'])
def test_the_range_has_the_figures_of_a_run(channel):
    """Same frequencies, same features, and the lower end below the upper one."""
    known, found = canonical_range(), describe(audit_slices('prisma', n_slices=1))
    np.testing.assert_allclose(known['freqs_per_mm'], found['psd']['freqs_per_mm'], rtol=1e-3)
    assert set(known['glcm'][channel]) == set(found['glcm'][channel]['after'])
    spectra = [known['psd'][channel], *known['glcm'][channel].values()]
    for ends in spectra:
        assert (np.array(ends['low']) <= np.array(ends['high'])).all()


def test_spectra_of_the_range_have_unit_area():
    """As those of a run: the lower end has less than 1, the upper one more."""
    known = canonical_range()
    step = known['freqs_per_mm'][0]
    for ends in known['psd'].values():
        assert sum(ends['low']) * step < 1 < sum(ends['high']) * step


def test_the_range_says_what_it_is_and_how_it_was_made():
    """Simulated, and by which command."""
    known = canonical_range()
    assert known['description'].startswith('Simulated')
    assert known['command'].startswith('python benchmarks/canonical.py --anatomy DIR')
    assert known['n_persons'] >= known['n_anatomies'] > 0


@pytest.mark.parametrize(
    ('fwhm', 'expected'),
    [(2.0, True), (2.01, True), (1.9, False), (True, False), ('2', False), (math.nan, False)],
)
def test_another_resolution_has_no_range(fwhm, expected):
    """It was measured at one."""
    assert applies(fwhm) is expected


@pytest.mark.parametrize(
    ('values', 'share'), [([1, 1], 1.0), ([1, 9], 0.5), ([None, 1], 0.5), ([0, 9], 0.0)]
)
def test_shares(values, share):
    """What is missing is not inside."""
    assert share_inside(values, [0.5, 0.5], [2, 2]) == share
    assert math.isnan(share_inside([], [0.5], [2]))
