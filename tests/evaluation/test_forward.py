"""The forward check on phantoms: what was done to them is what it finds, and where."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.evaluation.forward import (
    beyond_band,
    degrade,
    forward_consistency,
    residual_spectrum,
)
from bidsharmony.evaluation.structures import PROFILE, edge_profile, overshoot, structures

SIDE, SLICES, FACTOR = 180, 6, 3  # mm, and 1 mm pixels on a 3 mm grid
SD_PER_FWHM = 1 / 2.354820
SIGMA = 0.02
AFFINE = np.diag([3.0, 3.0, 5.0, 1.0])


@pytest.fixture(scope='module')
def brain():
    """Return (2, 180, 180, 6) canonical images with edges everywhere, and the mask on 3 mm."""
    rng = np.random.default_rng(7)
    texture = ndimage.gaussian_filter(rng.standard_normal((2, SIDE, SIDE, SLICES)), (0, 4, 4, 0))
    axes = np.indices((SIDE, SIDE))
    disc = ((axes - (SIDE - 1) / 2) ** 2).sum(axis=0) < 75**2
    tissue = np.where(texture > 0, 1.0, 0.6) * disc[:, :, None]
    mask = np.repeat(((degrade_3(disc.astype(float)[None, :, :, None])[0]) > 0.99), SLICES, axis=2)
    return ndimage.gaussian_filter(tissue, (0, *[2.0 * SD_PER_FWHM] * 2, 0)), mask


def degrade_3(images, fwhm=(0.0, 0.0)):
    """Blur (C, H, W, K) by a Gaussian and take every third pixel, without a Fourier transform."""
    widths = (0, fwhm[0] * SD_PER_FWHM, fwhm[1] * SD_PER_FWHM, 0)
    return ndimage.gaussian_filter(images, widths)[:, 1::FACTOR, 1::FACTOR]


def check(output, measured, mask, gain=None, zooms=(3, 3, 5), **options):
    """Run the check, with a gain of 1 unless one is given."""
    gain = np.full(mask.shape, 1.0) if gain is None else gain
    return forward_consistency(
        output, gain, measured, mask, [SIGMA, SIGMA], zooms=zooms, **options
    )


def noisy(images, rng):
    return images + SIGMA * rng.standard_normal(images.shape)


def disc_at(row, column, shape, radius, pixel=1.0):
    rows, columns = np.indices(shape)
    return np.hypot(rows - row, columns - column) * pixel <= radius


@pytest.mark.parametrize('fwhm', [(4.5, 4.5), (4.2, 6.0), (7.0, 5.0)])
def test_known_blur_is_recovered_and_passes(brain, rng, fwhm):
    output, mask = brain
    found = check(output, noisy(degrade_3(output, fwhm), rng), mask)
    np.testing.assert_allclose(found.fwhm_mm, fwhm, rtol=0.05)
    assert max(found.beyond) < 0.005
    np.testing.assert_allclose(found.slope, 1, atol=0.005)
    np.testing.assert_allclose(found.nrmse, found.nrmse_noise, rtol=0.05)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_slices_may_lie_along_any_axis(brain, rng, axis):
    output, mask = brain
    measured = noisy(degrade_3(output, (4.2, 6.0)), rng)
    turned = [np.moveaxis(x, -1, axis - 3) for x in (output, measured, mask)]
    found = check(*turned, axis=axis, zooms=np.insert([3.0, 3.0], axis, 5.0))
    np.testing.assert_allclose(found.fwhm_mm, (4.2, 6.0), rtol=0.05)
    assert found.residual.shape == turned[1].shape


def test_white_noise_leaves_what_it_must(brain, rng):
    output, mask = brain
    measured = degrade(output.transpose(0, 3, 1, 2), (60, 60), (3, 3), (5, 5))
    measured = measured.transpose(0, 2, 3, 1)
    found = check(output, noisy(measured, rng), mask)
    np.testing.assert_allclose(found.beyond, 0.0027, atol=0.001)
    np.testing.assert_allclose(found.high_frequency, 1, atol=0.08)
    np.testing.assert_allclose(found.edge_correlation, 0, atol=0.05)
    np.testing.assert_allclose(found.smoothing, 0, atol=0.05)
    assert not structures(found.residual[0], found.predicted[0], SIGMA, mask, AFFINE)


def test_gain_brings_back_the_scanners_unit(brain, rng):
    output, mask = brain
    measured = noisy(degrade_3(output, (5, 5)), rng)
    ramp = np.exp(np.linspace(-0.3, 0.3, 60))[:, None, None] * np.ones(mask.shape)
    fine = np.exp((np.arange(SIDE) + 0.5) / SIDE * 0.61 - 0.305)[:, None, None]
    right, wrong = check(output * fine, measured, mask, ramp), check(output * fine, measured, mask)
    assert max(*right.beyond_gain, *right.beyond) < 0.01
    assert min(*wrong.beyond_gain, *wrong.beyond) > 0.3


def test_slope_tells_a_contrast_that_is_off(brain, rng):
    output, mask = brain
    measured = noisy(degrade_3(output, (5, 5)), rng)
    found = check(output * np.array([1.0, 1.25])[:, None, None, None], measured, mask)
    np.testing.assert_allclose(found.slope, (1, 0.8), rtol=0.01)
    np.testing.assert_allclose(found.fwhm_mm, (5, 5), rtol=0.05)
    assert found.beyond_gain[0] < 0.01
    assert found.beyond_gain[1] > 0.3
    # one factor for the whole brain is contrast, not structure
    assert max(found.beyond) < 0.01


def test_contrast_of_mixed_voxels_is_no_structure(brain, rng):
    """Fluid among tissue: a shared smooth gain must miss, two weights per image do not."""
    fluid, mask = (brain[0][:1] > 0.8).astype(float), brain[1]
    fluid = ndimage.gaussian_filter(fluid, (0, *[2.0 * SD_PER_FWHM] * 2, 0))
    b0 = {'canonical': 1.1 + 1.9 * fluid, 'scanner': 1.0 + 0.9 * fluid}
    trace = {'canonical': 0.5 - 0.35 * fluid, 'scanner': 0.45 - 0.34 * fluid}
    output, scanner = (np.concatenate([b0[k], trace[k]]) for k in ('canonical', 'scanner'))
    smooth = [ndimage.gaussian_filter(x[0], (1.7, 1.7, 0)) for x in b0.values()]
    gain = (smooth[0] / smooth[1])[1::3, 1::3]
    found = check(output, noisy(degrade_3(scanner, (5, 5)), rng), mask, gain)
    assert min(found.beyond_gain) > 0.02
    assert max(found.beyond) < 0.01
    np.testing.assert_allclose(found.fwhm_mm, (5, 5), rtol=0.05)


@pytest.mark.parametrize('sign', [1, -1])
def test_invented_blob_is_found_in_its_place(brain, rng, sign):
    output, mask = brain
    measured = noisy(degrade_3(output, (5, 5)), rng)
    blob = disc_at(90, 121, (SIDE, SIDE), 3.0)
    invented = output.copy()
    invented[1, :, :, 3] *= 1 + sign * 0.2 * ndimage.gaussian_filter(blob.astype(float), 0.5)
    found = check(invented, measured, mask)
    listed = [
        # below the default contrast: the blur has halved a blob of 20 %
        structures(
            found.residual[c], found.predicted[c], SIGMA, mask, AFFINE, contrast=0.05, area=15
        )
        for c in (0, 1)
    ]
    assert (len(listed[0]), len(listed[1])) == (0, 1)
    assert listed[1][0]['sign'] == sign
    assert listed[1][0]['kind'] == 'added'
    np.testing.assert_allclose(listed[1][0]['ras_mm'], (89, 120, 15), atol=3)


def test_what_the_input_has_alone_was_removed(brain, rng):
    output, mask = brain
    measured = noisy(degrade_3(output, (5, 5)), rng)
    spot = disc_at(30, 40, (60, 60), 5.0, pixel=3.0)
    measured[0, spot, 2] += 0.3
    found = check(output, measured, mask)
    listed = structures(found.residual[0], found.predicted[0], SIGMA, mask, AFFINE)
    assert [(item['kind'], item['sign']) for item in listed] == [('removed', -1)]
    np.testing.assert_allclose(listed[0]['ras_mm'], (90, 120, 10), atol=1)


def test_lost_detail_shows_at_edges_as_smoothing(brain, rng):
    output, mask = brain
    measured = noisy(degrade_3(output, (4.2, 4.2)), rng)
    smoother = ndimage.gaussian_filter(output, (0, 3.0, 3.0, 0))
    found, right = check(smoother, measured, mask), check(output, measured, mask)
    assert max(found.fwhm_mm) < 1
    assert min(found.smoothing) > 0.3
    assert min(found.edge_correlation) > 0.2
    assert max(np.abs(right.smoothing)) < 0.1


def test_ringing_raises_the_power_at_high_frequencies(brain, rng):
    output, mask = brain
    measured = noisy(degrade_3(output, (4.2, 4.2)), rng)
    ringing = output * (1 + 0.15 * np.cos(2 * np.pi * np.arange(SIDE) / 8))[:, None, None]
    found, right = check(ringing, measured, mask), check(output, measured, mask)
    assert min(found.high_frequency) > 2 * max(right.high_frequency)
    # 8 mm are 2.67 pixels of the scanner's grid
    assert found.freqs[found.spectrum[0].argmax()] == pytest.approx(3 / 8, abs=0.03)


def test_through_plane_kernel_smooths_the_input_and_its_noise(brain, rng):
    output, mask = brain
    kernel = np.array([0.25, 0.5, 0.25])
    thick = ndimage.correlate1d(output, kernel, axis=-1, mode='nearest')
    measured = noisy(degrade_3(output, (5, 5)), rng)
    found = check(thick, measured, mask, kernel=kernel)
    assert max(found.beyond) < 0.01
    assert min(check(thick, measured, mask).beyond) > 0.1
    # inner slices: outermost ones are repeated, so that their noise falls less
    inner = found.residual[:, :, :, 1:-1][:, mask[:, :, 1:-1]]
    np.testing.assert_allclose(inner.std(), 1, atol=0.05)


def test_spectrum_of_white_noise_is_flat(rng):
    noise = rng.standard_normal((1, 8, 64, 64))
    freqs, spectrum = residual_spectrum(noise, np.ones((8, 64, 64), bool))
    np.testing.assert_allclose(spectrum[0, 4:], 1, atol=0.25)
    assert freqs[-1] == 0.5


def test_beyond_band_sees_only_what_the_scanner_cannot(rng):
    wave = np.arange(96)[:, None] * np.ones(96)
    mask = np.ones((1, 96, 96), bool)
    coarse, fine = (2 + np.cos(2 * np.pi * wave / period) for period in (8, 4))
    # a 3 mm grid holds periods from 6 mm
    assert beyond_band(coarse[None], (32, 32), mask) < 1e-3
    assert beyond_band(fine[None], (32, 32), mask) == pytest.approx(np.sqrt(0.5 / 4.5), rel=0.01)


def cut_in_kspace(image, keep):
    k = np.fft.fftshift(np.fft.fft2(image))
    outside = np.abs(np.arange(len(k)) - len(k) // 2) > keep
    k[outside] = 0
    k[:, outside] = 0
    return np.fft.ifft2(np.fft.ifftshift(k)).real


def test_overshoot_is_that_of_a_cut_off_step():
    disc = 1.0 + disc_at(127.5, 127.5, (256, 256), 70)
    smooth = ndimage.gaussian_filter(disc, 1.5)
    mask = np.ones((1, 256, 256), bool)
    # 3 mm pixels: 43 of 128 frequencies
    # in another unit, as the scanner's is
    ringing, count = edge_profile(cut_in_kspace(disc, 43)[None], 1e4 * smooth[None], mask, 1.0)
    clean, _ = edge_profile(smooth[None], smooth[None], mask, 1.0)
    assert count > 200
    assert overshoot(clean) < 0.005
    assert 0.06 < overshoot(ringing) < 0.11
    assert PROFILE[np.argmax(ringing)] == pytest.approx(2, abs=1)


def test_no_edge_gives_no_profile():
    flat = np.ones((1, 32, 32))
    profile, count = edge_profile(flat, flat, flat > 0, 1.0)
    assert count == 0
    assert np.isnan(profile).all()


@pytest.mark.parametrize('sigma', [0.0, np.nan, -1.0])
def test_noise_must_be_positive(brain, sigma):
    output, mask = brain
    with pytest.raises(ValueError, match='noise must be positive'):
        forward_consistency(
            output, np.ones(mask.shape), degrade_3(output), mask, [SIGMA, sigma], zooms=(3, 3, 5)
        )


def test_mask_must_hold_something(brain):
    output, mask = brain
    with pytest.raises(ValueError, match='mask is empty'):
        check(output, degrade_3(output), mask & False)
