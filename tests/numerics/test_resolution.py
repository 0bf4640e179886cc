"""Widths that were put in are read off again; the operator is positive and adds no noise."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.resolution import effective_fwhm, series_operator
from bidsharmony.numerics.slices import FWHM_PER_SD

SIDE = 192  # mm, and pixels of the fine grid


@pytest.fixture(scope='module')
def anatomy():
    """Draw slices with detail at all scales in a round brain, at 1 mm, and the brain."""
    rng = np.random.default_rng(0)
    waves = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE))
    spectrum = 1 / np.maximum(waves, 1 / SIDE) ** 1.5
    noise = np.fft.fft2(rng.standard_normal((6, SIDE, SIDE)))
    slices = np.fft.ifft2(noise * spectrum).real
    y, x = np.indices((SIDE, SIDE)) - (SIDE - 1) / 2
    brain = np.broadcast_to(np.hypot(x / 0.9, y) < 75, slices.shape)
    return 1 + 0.2 * slices / slices.std(), brain


def seen(slices, rows_mm, columns_mm, pixel, sigma):
    """Blur along both axes, sample every so many mm, and add noise."""
    widths = (0, rows_mm / FWHM_PER_SD, columns_mm / FWHM_PER_SD)
    blurred = ndimage.gaussian_filter(slices, widths)
    n = SIDE // pixel
    coarse = blurred.reshape(len(slices), n, pixel, n, pixel)[:, :, pixel // 2, :, pixel // 2]
    return coarse + sigma * np.random.default_rng(1).standard_normal(coarse.shape)


@pytest.mark.parametrize('sigma', [0.0, 0.02])
@pytest.mark.parametrize(
    ('rows_mm', 'columns_mm', 'pixel'),
    [(2.0, 2.0, 1), (1.5, 3.0, 1), (3.0, 4.0, 1), (4.0, 3.0, 3), (5.0, 4.5, 3)],
)
def test_widths_are_read_off_the_spectrum(anatomy, rows_mm, columns_mm, pixel, sigma):
    """Along each axis by itself, on a grid of its own, with and without noise."""
    slices, brain = anatomy
    reference = seen(slices, 2.0, 2.0, 1, 0.0)
    images = seen(slices, rows_mm, columns_mm, pixel, sigma)
    found = effective_fwhm(
        images,
        reference,
        brain[:, pixel // 2 :: pixel, pixel // 2 :: pixel],
        brain,
        lengths_mm=(SIDE, SIDE),
        reference_fwhm_mm=2.0,
        sigma=sigma,
    )
    assert found == pytest.approx((rows_mm, columns_mm), rel=0.06)


def test_noise_alone_has_no_width(anatomy):
    """Where no frequency stands out of the noise, none is claimed."""
    slices, brain = anatomy
    noise = np.random.default_rng(2).standard_normal(slices.shape)
    common = {'lengths_mm': (SIDE, SIDE), 'reference_fwhm_mm': 2.0, 'sigma': 1.0}
    assert effective_fwhm(noise, slices, brain, brain, **common) == (None, None)


SHAPE, ZOOMS = (40, 44, 12), (3.0, 2.5, 6.0)


@pytest.mark.parametrize('voxel', [1.5, 2.5, 3.0, 4.0])
def test_operator_is_positive_sums_to_one_and_adds_no_noise(voxel):
    """A constant stays, white noise does not grow, as it says itself."""
    operator = series_operator(SHAPE, ZOOMS, (3.4, 3.0, 6.0), voxel, 2.0)
    for weights in operator.rows:
        assert weights.min() >= 0
        np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(operator.apply(np.full(SHAPE, 7.0)), 7.0, rtol=1e-12)
    noise = operator.apply(np.random.default_rng(0).standard_normal(SHAPE))
    assert operator.noise_gain <= 1
    x = np.linspace(1, 2, SHAPE[0])[:, None, None] * np.ones(SHAPE)
    draws = np.random.default_rng(1).standard_normal((60, *SHAPE)) * x
    spread = np.std([operator.apply(draw) for draw in draws], axis=0)
    assert spread / operator.propagate(x) == pytest.approx(1, abs=0.5)
    assert np.mean(spread / operator.propagate(x)) == pytest.approx(1, abs=0.02)
    assert noise.std() == pytest.approx(operator.noise_gain, rel=0.05)


def test_operator_reaches_its_width():
    """The variance of a point's image is the one that is asked for: a Gaussian's, per axis."""
    native, voxel, canonical = (2.0, 2.0, 6.0), 3.0, 2.0
    shape, zooms = (60, 60, 20), (2.0, 2.0, 6.0)
    operator = series_operator(shape, zooms, native, voxel, canonical)
    assert operator.fwhm_mm == pytest.approx((3.0, 3.0, np.sqrt(36 + 5.545 * 36 / 6)), rel=1e-3)
    for axis in (0, 1):
        # averaged over where between voxels the point lies, as anatomy does
        weights = operator.rows[axis].toarray()
        out = (np.arange(len(weights)) + 0.5) * shape[axis] * zooms[axis] / len(weights)
        place = (np.arange(shape[axis]) + 0.5) * zooms[axis]
        inner = slice(8, -8)
        spread = np.einsum('ij,ij->i', weights, (out[:, None] - place) ** 2)[inner].mean()
        assert FWHM_PER_SD**2 * spread + native[axis] ** 2 == pytest.approx(9.0, rel=0.02)


def test_operator_keeps_places():
    """A straight ramp over the field of view stays where it is, away from the ends."""
    operator = series_operator(SHAPE, ZOOMS, ZOOMS, 2.0, 2.0)
    for axis, (n, zoom) in enumerate(zip(SHAPE, ZOOMS, strict=True)):
        places = (np.arange(n) + 0.5) * zoom
        volume = np.broadcast_to(np.expand_dims(places, [a for a in range(3) if a != axis]), SHAPE)
        out = operator.apply(volume).mean(axis=tuple(a for a in range(3) if a != axis))
        expected = (np.arange(len(out)) + 0.5) * n * zoom / len(out)
        np.testing.assert_allclose(out[6:-6], expected[6:-6], atol=1e-3)


def test_the_same_grid_and_width_changes_nothing():
    """Voxels that are as wanted, and wide enough, are left alone to the last bit."""
    operator = series_operator((10, 10, 10), (2.0, 2.0, 2.0), (2.5, 2.5, 2.5), 2.0, 2.0)
    volume = np.random.default_rng(0).random((10, 10, 10))
    np.testing.assert_array_equal(operator.apply(volume), volume)
    assert operator.noise_gain == 1


def test_holes_do_not_spread():
    """A value that was not measured costs its own place at most; its neighbours stay the mean."""
    operator = series_operator((30, 30, 20), (3.0, 3.0, 5.0), (3.0, 3.0, 5.0), 2.5, 6.0)
    volume = np.full((30, 30, 20), 7.0)
    volume[10, 12, 8] = np.nan
    found = operator.apply(volume)
    assert np.isnan(found).sum() == 0
    np.testing.assert_allclose(found, 7.0, rtol=1e-9)
    volume[:, :, :4] = np.inf
    found = operator.apply(volume)
    assert np.isnan(found[:, :, :7]).all()
    np.testing.assert_allclose(found[:, :, 9:], 7.0, rtol=1e-9)
