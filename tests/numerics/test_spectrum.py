"""Spectra of waves and noise are known on paper."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.spectrum import log_spectral_distance, radial_psd, run_psd


@pytest.mark.parametrize('hann', [False, True])
@pytest.mark.parametrize('cycles', [3, 8, 12])
@pytest.mark.parametrize('shape', [(32, 32), (33, 33), (32, 48)])
def test_a_wave_has_one_frequency(shape, cycles, hann):
    """A wave of k cycles over the shorter side has its power in ring k."""
    rows = np.arange(shape[0])[:, None]
    wave = np.cos(2 * np.pi * cycles * rows / shape[0]) * np.ones(shape[1])
    psd = radial_psd(wave + 5, hann=hann)
    assert len(psd) == shape[0] // 2 + 1
    assert psd[1:].argmax() + 1 == cycles
    assert hann == (psd[0] < 1)  # the mean is removed with the window only


@pytest.mark.parametrize('hann', [False, True])
def test_white_noise_is_flat(rng, hann):
    """Noise of variance 4 has power 4 in each ring."""
    psd = np.mean([radial_psd(rng.normal(0, 2, (64, 64)), hann=hann) for _ in range(40)], axis=0)
    np.testing.assert_allclose(psd[2:], 4, rtol=0.2)


def brain(side: int = 64, radius: float = 24) -> np.ndarray:
    """Return a disc."""
    rows, columns = np.indices((side, side)) - (side - 1) / 2
    return rows**2 + columns**2 < radius**2


@pytest.mark.parametrize('pixel', [0.5, 1.25, 3.0])
def test_run_psd_is_in_cycles_per_mm(pixel):
    """A wave of 4 pixels has a frequency of 1 / (4 pixel), unit area and no effect of scale."""
    wave = np.cos(2 * np.pi * np.arange(64) / 4) * np.ones((3, 64, 64))
    masks = np.stack([brain()] * 3)
    freqs, psd = run_psd(100 + 7 * wave, masks, pixel)
    assert freqs[psd.argmax()] == pytest.approx(1 / (4 * pixel))
    assert freqs[-1] == pytest.approx(0.5 / pixel)
    assert psd.sum() * freqs[0] == pytest.approx(1)
    np.testing.assert_allclose(run_psd(wave, masks, pixel)[1], psd, rtol=1e-6, atol=1e-9)


def test_run_psd_sees_the_mask_only(rng):
    """Skull, background and NaN outside the mask leave no trace, an empty slice neither."""
    slices, masks = rng.normal(1, 0.1, (2, 64, 64)), np.stack([brain()] * 2)
    _, clean = run_psd(slices, masks, 1.25)
    slices[~masks] = np.nan
    np.testing.assert_array_equal(run_psd(slices, masks, 1.25)[1], clean)
    more = [np.concatenate([array, 0 * array[:1]]) for array in (slices, masks)]
    np.testing.assert_allclose(run_psd(*more, 1.25)[1], clean, rtol=1e-12)


def test_run_psd_edge_adds_no_power():
    """A constant brain on black is constant: its cut edge is not texture."""
    masks = brain()[None]
    noise = np.random.default_rng(0).normal(0, 1e-3, masks.shape)
    _, psd = run_psd(masks + noise, masks, 1.25)
    assert psd.max() < 4 * np.median(psd)


def test_blur_takes_high_frequencies(rng):
    """A Gaussian blur shows as its squared transfer function."""
    noise = rng.normal(0, 1, (20, 64, 64))
    masks = np.stack([brain(radius=30)] * 20)
    freqs, sharp = run_psd(noise, masks, 1.0)
    _, blurred = run_psd(ndimage.gaussian_filter(noise, (0, 1.2, 1.2)), masks, 1.0)
    ratio = (blurred / sharp)[2:20]
    expected = np.exp(-((2 * np.pi * freqs * 1.2) ** 2))[2:20]
    np.testing.assert_allclose(ratio / ratio[0], expected / expected[0], rtol=0.25)


@pytest.mark.parametrize(
    ('slices', 'masks'),
    [
        (np.ones((2, 16, 16)), np.ones((2, 16, 16))),
        (np.ones((2, 16, 16)), np.zeros((2, 16, 16))),
        (np.ones((0, 16, 16)), np.zeros((0, 16, 16))),
    ],
    ids=['constant', 'empty mask', 'no slice'],
)
def test_nothing_to_measure(slices, masks):
    """Without texture there is no power, and no NaN."""
    freqs, psd = run_psd(slices, masks, 1.25)
    assert len(freqs) == len(psd) == 8
    np.testing.assert_allclose(psd, 0, atol=1e-12)


@pytest.mark.parametrize(
    ('a', 'b', 'decibels'),
    [
        ([1, 1], [1, 1], 0),
        ([100, 1], [1, 100], 20),
        ([10, 1], [1, 1], np.sqrt(50)),
        ([0, 0], [0, 0], 0),
        ([1, 1], [0, 0], 100),
    ],
)
def test_log_spectral_distance(a, b, decibels):
    """Root mean square decibels, the same both ways, finite for an empty spectrum."""
    assert log_spectral_distance(a, b) == pytest.approx(decibels)
    assert log_spectral_distance(b, a) == pytest.approx(decibels)


def test_log_spectral_distance_refuses():
    """Spectra of two lengths cannot be compared."""
    with pytest.raises(ValueError, match='spectra of 2 and 3 frequencies'):
        log_spectral_distance([1, 1], [1, 1, 1])
