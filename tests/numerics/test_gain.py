"""One field for every volume leaves ratios of volumes alone."""

import numpy as np
import pytest

from bidsharmony.numerics.gain import apply_gain
from tests.ratios import ratio_change

SHAPE = (6, 5, 4, 7)
MASK = np.ones(SHAPE[:3], bool)


@pytest.mark.parametrize('kind', [np.int16, np.uint16, np.float32, np.float64])
def test_ratios_stay(rng, kind):
    """S_b / S_0 changes by two roundings of float32 at most, over seven decades of gain."""
    series = rng.integers(1, 30000, SHAPE).astype(kind)
    field = 10 ** rng.uniform(-4, 3, SHAPE[:3])
    gained = apply_gain(series, field)
    assert gained.dtype == np.float32
    change = ratio_change(series, gained, [0, 3], MASK)
    assert 0 < change.max_relative < 2.4e-7
    assert change.n_voxels == MASK.sum()
    np.testing.assert_array_equal(gained[..., 2], apply_gain(series[..., 2], field))


@pytest.mark.parametrize(
    ('shape', 'value', 'says'),
    [
        ((6, 5, 4), 0.0, 'in 1 voxels, the first is 0'),
        ((6, 5, 4), -1.0, 'the first is -1'),
        ((6, 5, 4), np.nan, 'the first is nan'),
        ((6, 5, 4), np.inf, 'the first is inf'),
        ((6, 5), 1.0, 'a field of shape'),
    ],
)
def test_bad_fields_are_refused(shape, value, says):
    """A field that could lose or turn a signal is no gain."""
    field = np.ones(shape)
    field[(0,) * len(shape)] = value
    with pytest.raises(ValueError, match=says):
        apply_gain(np.ones(SHAPE), field)


def test_what_is_not_finite_stays():
    """NaN and inf are carried through without a warning, and left out of the comparison."""
    series = np.ones(SHAPE)
    series[0, 0, 0, 1], series[0, 0, 1, 2], series[1, 1, 1, 0] = np.nan, np.inf, 0
    gained = apply_gain(series, np.full(SHAPE[:3], 2.0))
    np.testing.assert_array_equal(np.isfinite(gained), np.isfinite(series))
    change = ratio_change(series, gained, [0], MASK)
    assert change.max_relative == 0
    assert change.n_voxels == MASK.sum() - 1  # the voxel without b=0 signal


@pytest.mark.parametrize(
    ('factor', 'expected'), [(1.001, 1e-3), (0.5, 0.5), (0.0, 1.0), (np.nan, np.inf)]
)
def test_a_changed_volume_is_noticed(factor, expected):
    """One voxel of one volume is enough."""
    before, after = np.ones(SHAPE), np.ones(SHAPE)
    after[2, 2, 2, 5] *= factor
    assert ratio_change(before, after, [0], MASK).max_relative == pytest.approx(expected)
    outside = MASK.copy()
    outside[2, 2, 2] = False
    assert ratio_change(before, after, [0], outside).max_relative == 0


def test_a_lost_b0_is_noticed():
    """Without S_0 there is no ratio left."""
    before, after = np.ones(SHAPE), np.ones(SHAPE)
    after[0, 0, 0, 0] = 0
    assert ratio_change(before, after, [0], MASK).max_relative == np.inf


def test_nothing_to_compare():
    """An empty mask and a black series change nothing."""
    black = np.zeros(SHAPE)
    for series, mask in ((black, MASK), (np.ones(SHAPE), ~MASK)):
        assert ratio_change(series, series, [0], mask).n_voxels == 0


def test_a_volume_at_a_time_is_the_same(rng):
    """Stacking the mean b=0 and each volume gives the same figure as the whole series."""
    before = rng.uniform(1, 9, SHAPE)
    after = before * rng.uniform(0.9, 1.1, SHAPE)
    b0s = [series[..., [0, 3]].mean(axis=-1) for series in (before, after)]
    parts = [
        ratio_change(
            np.stack([b0s[0], before[..., ix]], -1),
            np.stack([b0s[1], after[..., ix]], -1),
            [0],
            MASK,
        )
        for ix in range(SHAPE[3])
    ]
    whole = ratio_change(before, after, [0, 3], MASK)
    assert max(part.max_relative for part in parts) == pytest.approx(whole.max_relative)
