"""Slice profiles: weights, edges and noise, known on paper."""

import numpy as np
import pytest

from bidsharmony.numerics.slices import through_plane, throughplane_kernel

THIN = [  # thickness, spacing (mm): isotropic, with a gap, overlapping, research, clinical
    (2.0, 2.0),
    (1.25, 1.25),
    (1.0, 3.0),
    (3.0, 1.5),
    (0.7, 0.7),
    (4.0, 5.2),
    (4.999, 6.5),
]


@pytest.mark.parametrize(
    ('thickness', 'spacing', 'weights'),
    [
        (1.0, 1.0, [1 / 5] * 5),
        (5 / 3, 5 / 3, [1 / 3] * 3),
        (2.5, 2.5, [3 / 16, 5 / 8, 3 / 16]),
        (1.0, 5.0, [14 / 135, 107 / 135, 14 / 135]),
    ],
)
def test_weights_known_on_paper(thickness, spacing, weights):
    """Boxes that fill the wide one add up to it; else the square of the edge's error is least.

    For 2.5 mm and a weight w on either side, the integral of that square goes with
    2 (w - 1/4)^2 + (w - 1/4) w / 2 + w^2 / 2, which is least at 3/16.
    """
    kernel = throughplane_kernel(thickness, spacing, 5.0)
    places = (len(kernel) - len(weights)) // 2
    np.testing.assert_allclose(kernel, np.pad(weights, places), rtol=0, atol=1e-5)


@pytest.mark.parametrize(('thickness', 'spacing'), THIN)
def test_weights_only_average(thickness, spacing):
    """Non-negative, symmetric, sum 1: noise falls, and no value leaves the range there was."""
    kernel = throughplane_kernel(thickness, spacing, 5.0)
    assert kernel.dtype == np.float64
    assert len(kernel) % 2
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1], rtol=0, atol=1e-15)
    assert (kernel >= 0).all()
    assert np.sqrt((kernel**2).sum()) < 1


@pytest.mark.parametrize(('thickness', 'spacing'), [*THIN, (3.0, 3.0), (3.0, 3.9)])
def test_no_other_weights_show_an_edge_better(thickness, spacing):
    """Neither no weights nor those that keep the variance, nor any near the best."""
    kernel = throughplane_kernel(thickness, spacing, 5.0)
    best = edge_error(kernel, thickness, spacing)
    assert best < edge_error(np.ones(1), thickness, spacing)
    side = (5.0**2 - thickness**2) / 24 / spacing**2  # t^2/12 + 2 w s^2 = 5^2/12
    if side <= 0.5:
        assert best < edge_error(np.array([side, 1 - 2 * side, side]), thickness, spacing)
    middle = len(kernel) // 2
    for k in range(1, middle + 1):
        for step in (-1e-2, 1e-2):
            other = kernel.copy()
            other[[middle - k, middle + k]] += step
            other[middle] -= 2 * step
            if (other >= 0).all():
                assert edge_error(other, thickness, spacing) > best - 1e-9


def edge_error(kernel, thickness, spacing):
    """Mean squared difference between averaged thin slices and 5 mm ones across an edge."""
    heights = np.linspace(-20, 20, 8001)
    middle = len(kernel) // 2
    shown = sum(
        weight * np.clip((heights - (k - middle) * spacing) / thickness + 0.5, 0, 1)
        for k, weight in enumerate(kernel)
    )
    return np.mean((shown - np.clip(heights / 5.0 + 0.5, 0, 1)) ** 2)


@pytest.mark.parametrize('thickness', [5.0, 5.1, 8.0])
def test_thick_slices_are_left_alone(thickness):
    """Nothing sharpens a thick slice: the kernel does nothing."""
    kernel = throughplane_kernel(thickness, 6.0, 5.0)
    np.testing.assert_array_equal(kernel, [1.0])
    volume = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    same = through_plane(volume, 2, kernel)
    np.testing.assert_array_equal(same, volume)
    assert same is not volume


@pytest.mark.parametrize('lengths', [(0, 2, 5), (2, 0, 5), (2, 2, 0), (-1, 2, 5), (np.nan, 2, 5)])
def test_lengths_that_are_none(lengths):
    """A length that is no length is refused with its value."""
    with pytest.raises(ValueError, match='not a positive number of mm'):
        throughplane_kernel(*lengths)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_a_constant_stays_and_edges_are_finite(axis):
    """DC gain 1 up to the outermost slices, and the type stays float32."""
    volume = np.full((4, 5, 6), 3.7, np.float32)
    after = through_plane(volume, axis, throughplane_kernel(1.25, 1.25, 5.0))
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, volume, rtol=1e-6)


def test_a_ramp_stays():
    """A linear change along the slice axis is kept where no edge is within reach."""
    kernel = throughplane_kernel(1.5, 1.5, 5.0)
    reach = len(kernel) // 2
    ramp = np.linspace(1, 9, 40) * np.ones((2, 3, 1))
    after = through_plane(ramp, 2, kernel)[..., reach:-reach]
    np.testing.assert_allclose(after, ramp[..., reach:-reach], rtol=1e-12)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_an_impulse_shows_the_kernel_along_the_axis_only(axis):
    """What one slice gives to its neighbours is the kernel, in place."""
    kernel = throughplane_kernel(2.0, 2.0, 5.0)
    volume = np.zeros((9, 9, 9))
    volume[4, 4, 4] = 1
    line = np.moveaxis(through_plane(volume, axis, kernel), axis, 0)
    np.testing.assert_allclose(np.trim_zeros(line[:, 4, 4]), kernel)
    assert line.sum() == pytest.approx(1)
    assert np.count_nonzero(line) == len(kernel)


def test_noise_falls_as_the_kernel_says():
    """White noise is multiplied by the root of the sum of the squared weights."""
    kernel = throughplane_kernel(2.0, 2.0, 5.0)
    noise = np.random.default_rng(1).standard_normal((64, 64, 60))
    inside = through_plane(noise, 2, kernel)[..., 3:-3]
    gain = np.sqrt((kernel**2).sum())
    assert inside.std() == pytest.approx(gain, rel=0.01)
    assert gain == pytest.approx(0.6, abs=0.05)


def test_a_thin_scan_becomes_the_thick_one():
    """Any profile through 1 mm slices, averaged, is what 5 mm slices show there."""
    fine = np.random.default_rng(2).random(600)  # heights 0.1 mm apart
    total = np.concatenate([[0], np.cumsum(fine)])
    thin = (total[10:] - total[:-10])[::10] / 10
    thick = (total[50:] - total[:-50])[::10] / 50  # the first about the third thin one
    made = through_plane(thin, 0, throughplane_kernel(1.0, 1.0, 5.0))
    np.testing.assert_allclose(made[2:-2], thick, rtol=1e-9)
