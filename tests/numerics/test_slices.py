"""Slice profiles: weights, edges and noise, known on paper."""

import numpy as np
import pytest
from scipy.special import ndtr

from bidsharmony.numerics.slices import through_plane, throughplane_kernel

WIDTH = 4.0  # mm, of the canonical Gaussian
THIN = [  # thickness, spacing (mm): isotropic, with a gap, overlapping, research, clinical
    (2.0, 2.0),
    (1.25, 1.25),
    (1.0, 3.0),
    (3.0, 1.5),
    (0.7, 0.7),
    (4.0, 4.8),
    (5.0, 5.0),
]


def variance(kernel, spacing):
    """Variance of the places that a kernel weighs, mm2."""
    return np.sum(kernel * (spacing * (np.arange(len(kernel)) - len(kernel) // 2)) ** 2)


@pytest.mark.parametrize(
    ('thickness', 'spacing'), [(0.5, 0.5), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0)]
)
def test_variances_add_up_where_slices_are_fine(thickness, spacing):
    """A box of t mm has variance t^2 / 12, a Gaussian (FWHM / 2.355)^2: weights are the rest."""
    kernel = throughplane_kernel(thickness, spacing, WIDTH)
    wanted = (WIDTH / 2.3548) ** 2
    assert variance(kernel, spacing) + thickness**2 / 12 == pytest.approx(wanted, rel=0.03)


def test_the_finest_slices_are_weighed_by_the_gaussian_itself():
    kernel = throughplane_kernel(0.2, 1.0, WIDTH)
    gaussian = np.exp(
        -((np.arange(len(kernel)) - len(kernel) // 2) ** 2) * 4 * np.log(2) / WIDTH**2
    )
    np.testing.assert_allclose(kernel, gaussian / gaussian.sum(), atol=0.01)


def test_one_weight_on_either_side_known_on_paper():
    """With two neighbours only, least squares has one unknown and a closed form."""
    thickness, spacing = 3.0, 6.0
    heights = np.linspace(-40, 40, 160001)
    wanted = ndtr(heights / (WIDTH / 2.3548200450309493))

    def edge(shift):
        return np.clip((heights - shift) / thickness + 0.5, 0, 1)

    pair, missing = edge(spacing) + edge(-spacing) - 2 * edge(0.0), wanted - edge(0.0)
    kernel = throughplane_kernel(thickness, spacing, WIDTH)
    assert len(kernel) == 3
    assert kernel[0] == pytest.approx((pair @ missing) / (pair @ pair), abs=1e-3)


@pytest.mark.parametrize(('thickness', 'spacing'), THIN)
def test_weights_only_average(thickness, spacing):
    """Non-negative, symmetric, sum 1: noise falls, and no value leaves the range there was."""
    kernel = throughplane_kernel(thickness, spacing, WIDTH)
    assert kernel.dtype == np.float64
    assert len(kernel) % 2
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1], rtol=0, atol=1e-15)
    assert (kernel >= 0).all()
    assert np.sqrt((kernel**2).sum()) < 1


@pytest.mark.parametrize(('thickness', 'spacing'), [*THIN, (3.0, 3.0), (3.0, 3.6)])
def test_no_other_weights_show_an_edge_better(thickness, spacing):
    """Neither no weights nor those that keep the variance, nor any near the best."""
    kernel = throughplane_kernel(thickness, spacing, WIDTH)
    best = edge_error(kernel, thickness, spacing)
    assert best < edge_error(np.ones(1), thickness, spacing)
    side = ((WIDTH / 2.3548) ** 2 - thickness**2 / 12) / 2 / spacing**2
    if side <= 0.5:
        assert best <= edge_error(np.array([side, 1 - 2 * side, side]), thickness, spacing)
    middle = len(kernel) // 2
    for k in range(1, middle + 1):
        for step in (-1e-2, 1e-2):
            other = kernel.copy()
            other[[middle - k, middle + k]] += step
            other[middle] -= 2 * step
            if (other >= 0).all():
                assert edge_error(other, thickness, spacing) > best - 1e-9


def edge_error(kernel, thickness, spacing):
    """Mean squared difference between averaged slices and canonical ones across an edge."""
    heights = np.linspace(-20, 20, 8001)
    middle = len(kernel) // 2
    shown = sum(
        weight * np.clip((heights - (k - middle) * spacing) / thickness + 0.5, 0, 1)
        for k, weight in enumerate(kernel)
    )
    return np.mean((shown - ndtr(heights / (WIDTH / 2.3548))) ** 2)


@pytest.mark.parametrize('thickness', [6.0, 6.5, 8.0])
def test_thick_slices_are_left_alone(thickness):
    """Nothing sharpens a thick slice: the kernel does nothing."""
    kernel = throughplane_kernel(thickness, thickness, WIDTH)
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
    after = through_plane(volume, axis, throughplane_kernel(1.25, 1.25, WIDTH))
    assert after.dtype == np.float32
    np.testing.assert_allclose(after, volume, rtol=1e-6)


def test_a_ramp_stays():
    """A linear change along the slice axis is kept where no edge is within reach."""
    kernel = throughplane_kernel(1.5, 1.5, WIDTH)
    reach = len(kernel) // 2
    ramp = np.linspace(1, 9, 40) * np.ones((2, 3, 1))
    after = through_plane(ramp, 2, kernel)[..., reach:-reach]
    np.testing.assert_allclose(after, ramp[..., reach:-reach], rtol=1e-12)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_an_impulse_shows_the_kernel_along_the_axis_only(axis):
    """What one slice gives to its neighbours is the kernel, in place."""
    kernel = throughplane_kernel(2.0, 2.0, WIDTH)
    volume = np.zeros((9, 9, 9))
    volume[4, 4, 4] = 1
    line = np.moveaxis(through_plane(volume, axis, kernel), axis, 0)
    np.testing.assert_allclose(np.trim_zeros(line[:, 4, 4]), kernel)
    assert line.sum() == pytest.approx(1)
    assert np.count_nonzero(line) == len(kernel)


def test_noise_falls_as_the_kernel_says():
    """White noise is multiplied by the root of the sum of the squared weights."""
    kernel = throughplane_kernel(2.0, 2.0, WIDTH)
    noise = np.random.default_rng(1).standard_normal((64, 64, 60))
    inside = through_plane(noise, 2, kernel)[..., 3:-3]
    gain = np.sqrt((kernel**2).sum())
    assert inside.std() == pytest.approx(gain, rel=0.01)
    assert gain == pytest.approx(0.6, abs=0.05)


def test_thin_scans_of_two_kinds_become_one():
    """Slices of 1 mm and of 2 mm show nearly the same, averaged, and unlike before."""
    fine = np.random.default_rng(2).random(6000)  # heights 0.1 mm apart
    fine = np.convolve(fine, np.ones(20) / 20, 'same')
    total = np.concatenate([[0], np.cumsum(fine)])

    def stack(tenths):
        first = 1000 - tenths // 2
        return (total[first + tenths :] - total[first:-tenths])[::tenths][:150] / tenths

    thin, thicker = stack(10)[:299:2], stack(20)
    averaged = [
        through_plane(one, 0, throughplane_kernel(mm, mm, WIDTH))
        for one, mm in ((stack(10), 1.0), (stack(20), 2.0))
    ]
    inside = slice(5, 70)
    apart = np.std(averaged[0][::2][inside] - averaged[1][inside])
    assert apart < 0.2 * np.std(thin[inside] - thicker[inside])
