"""Runs of a session get one level; maps become the geometric mean where they are shared."""

import numpy as np
import pytest

from bidsharmony.numerics.shared import share_maps

SHAPE = (6, 5, 4)


@pytest.fixture
def group(rng):
    """Draw gains, fields and brains of three runs."""
    gains, fields = (rng.uniform(0.5, 2.0, (3, *SHAPE)) for _ in range(2))
    masks = rng.uniform(size=(3, *SHAPE)) > 0.3
    fields /= np.array([field[mask].mean() for field, mask in zip(fields, masks, strict=True)])[
        :, None, None, None
    ]
    return gains, fields, masks


def level(gain, field, mask):
    """Take the median of the logarithm in a brain."""
    return np.median(np.log(gain / field)[mask])


def test_all_have_the_mean_of_the_levels(group):
    """Those whose maps are their own have it in their own brain, and keep the map but for it."""
    levels = [level(*maps) for maps in zip(*group, strict=True)]
    for own, (gain, field, mask) in enumerate(zip(*group, strict=True)):
        found = share_maps(*group, same=[0, 1, 2], own=own)
        assert level(*found, mask) == pytest.approx(np.mean(levels), abs=1e-12)
        change = np.log(found[0] / found[1]) - np.log(gain / field)
        assert np.ptp(change) < 1e-12


def test_who_shares_the_maps_has_the_same_bytes(group):
    """Split shells are multiplied by one factor; the mean is that of the logarithms."""
    gains, _, masks = group
    first, second, third = (share_maps(*group, same=[0, 0, 1], own=own) for own in range(3))
    assert [map_.tobytes() for map_ in first] == [map_.tobytes() for map_ in second]
    mean = np.exp(np.log(gains[:2]).mean(axis=0))
    assert np.ptp(np.log(first[0] / mean)) < 1e-12
    common = masks[:2].all(axis=0)
    assert first[1][common].mean() == pytest.approx(1.0)
    assert level(*first, common) == pytest.approx(level(*third, masks[2]))


@pytest.mark.parametrize('factor', [1e-3, 1e3])
def test_a_scale_of_one_run_goes_to_all(group, factor):
    """The scanner's own ratio of two series stays, whatever either was scaled by here."""
    gains, fields, masks = group
    scaled = gains * np.array([factor, 1, 1])[:, None, None, None]
    for own in range(3):
        gain, field = share_maps(scaled, fields, masks, same=[0, 0, 1], own=own)
        plain, same = share_maps(gains, fields, masks, same=[0, 0, 1], own=own)
        np.testing.assert_allclose(gain / plain, factor ** (1 / 3), rtol=1e-9)
        np.testing.assert_array_equal(field, same)


def test_brains_that_do_not_overlap(group):
    """The level is then that of either."""
    gains, fields, _ = group
    masks = np.zeros((3, *SHAPE), bool)
    masks[0, :2], masks[1, 3:], masks[2] = True, True, True
    gain, field = share_maps(gains, fields, masks, same=[0, 0, 1], own=1)
    assert np.isfinite(gain).all()
    assert (gain > 0).all()
    assert np.isfinite(field).all()


@pytest.mark.parametrize('value', [0.0, -1.0, np.nan, np.inf])
def test_what_is_not_positive_is_refused(group, value):
    """A logarithm of it would poison the partners."""
    gains, fields, masks = group
    gains[2, 0, 0, 0] = value
    with pytest.raises(ValueError, match='not finite and positive'):
        share_maps(gains, fields, masks, same=[0, 1, 2], own=0)
