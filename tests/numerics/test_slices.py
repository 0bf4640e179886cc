"""Slice profiles: variance, gain and edges, known on paper."""

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


@pytest.mark.parametrize(('thickness', 'spacing'), THIN)
def test_variance_is_that_of_the_box(thickness, spacing):
    """A box of the acquired thickness and the kernel have together the canonical variance."""
    kernel = throughplane_kernel(thickness, spacing, 5.0)
    place = (np.arange(len(kernel)) - len(kernel) // 2) * spacing
    assert kernel @ place**2 + thickness**2 / 12 == pytest.approx(5.0**2 / 12, rel=1e-12)


@pytest.mark.parametrize(('thickness', 'spacing'), THIN)
def test_weights_only_average(thickness, spacing):
    """Non-negative, symmetric, sum 1, falling outwards, no frequency inverted."""
    kernel = throughplane_kernel(thickness, spacing, 5.0)
    middle = len(kernel) // 2
    assert kernel.dtype == np.float64
    assert len(kernel) % 2
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, kernel[::-1], rtol=0, atol=1e-15)
    assert (kernel >= 0).all()
    assert (np.diff(kernel[middle:]) <= 0).all()
    response = np.fft.fft(np.fft.ifftshift(np.pad(kernel, 32)))
    assert response.real.min() > -1e-12
    assert abs(response.imag).max() < 1e-12


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
    """White noise has its variance multiplied by the sum of the squared weights."""
    kernel = throughplane_kernel(2.0, 2.0, 5.0)
    noise = np.random.default_rng(1).standard_normal((64, 64, 60))
    inside = through_plane(noise, 2, kernel)[..., 3:-3]
    assert inside.var() == pytest.approx((kernel**2).sum(), rel=0.02)
    assert (kernel**2).sum() < 0.5


def test_a_thin_scan_becomes_the_thick_one():
    """A smooth profile through 1 mm slices, averaged, is what 5 mm slices would have shown."""
    fine = np.arange(-60, 60.01, 0.05)
    signal = np.exp(-(fine**2) / 2 / 12**2)
    box = {width: np.ones(round(width / 0.05) + 1) for width in (1.0, 5.0)}
    seen = {w: np.convolve(signal, b / b.sum(), mode='same')[::20] for w, b in box.items()}
    made = through_plane(seen[1.0], 0, throughplane_kernel(1.0, 1.0, 5.0))
    inner = slice(20, -20)
    before = abs(seen[1.0] - seen[5.0])[inner].max()
    assert abs(made - seen[5.0])[inner].max() < before / 20
