"""Random fields through a slab: variance, extent and what averaging leaves of them."""

import numpy as np
import pytest

from bidsharmony.physics.fields import slab_field

SIZE, REACH = 96, 6
CENTRE = np.eye(2 * REACH + 1, dtype=np.float32)[REACH]


@pytest.mark.parametrize('scale', [2.0, 3.7, 20.0])
def test_unit_variance_where_nothing_is_averaged(scale, rng):
    values = [slab_field(SIZE, REACH, scale, rng).under(CENTRE) for _ in range(60)]
    assert np.sqrt(np.mean(np.square(values))) == pytest.approx(1, abs=0.12)


def test_a_thick_slice_averages_what_is_fine_and_keeps_what_is_coarse(rng):
    thick = np.full(2 * REACH + 1, 1 / (2 * REACH + 1), np.float32)
    kept = {
        scale: np.mean(
            [
                np.std(field.under(thick)) / np.std(field.under(CENTRE))
                for field in (slab_field(SIZE, REACH, scale, rng) for _ in range(20))
            ]
        )
        for scale in (2.0, 40.0)
    }
    # 13 mm hold six independent planes 2 mm apart: about 1 / sqrt(6)
    assert 0.3 < kept[2.0] < 0.55
    assert kept[40.0] > 0.8


def test_averages_are_linear_in_the_profile(rng):
    field = slab_field(SIZE, REACH, 3.0, rng)
    profile = np.zeros(2 * REACH + 1)
    profile[[3, 8]] = 0.25, 0.75
    single = [field.under(np.eye(2 * REACH + 1)[i]) for i in (3, 8)]
    parts = 0.25 * single[0] + 0.75 * single[1]
    np.testing.assert_allclose(field.under(profile), parts, rtol=1e-4, atol=1e-5)


def test_the_slab_lies_between_nodes(rng):
    for scale in (2.0, 5.0, 40.0):
        field = slab_field(SIZE, REACH, scale, rng)
        assert field.heights[0] <= -REACH
        assert field.heights[-1] >= REACH
