"""Noise that was put in is found and leaves, and what it raised comes down again."""

import numpy as np
import pytest

from bidsharmony.numerics.denoise import (
    denoise_mppca,
    patch_radius,
    remove_rician_bias,
    why_not_mppca,
)


def diffusion(n_directions: int, rng: np.random.Generator) -> np.ndarray:
    """Compute two b=0 volumes and one shell of fibres that turn, without noise, (12, 12, 8, N)."""
    x, y, z = np.indices((12, 12, 8)) / 6 - 1
    fibre = np.stack([np.cos(1.5 * x + y), np.sin(1.5 * x + y), 0.5 * z], axis=-1)
    fibre /= np.linalg.norm(fibre, axis=-1, keepdims=True)
    directions = rng.normal(size=(n_directions, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    adc = 0.4e-3 + 1.2e-3 * np.einsum('xyzi,di->xyzd', fibre, directions) ** 2
    b0 = (500 + 150 * (x > 0) + 100 * np.sin(4 * y))[..., None]
    return np.concatenate([b0, b0, b0 * np.exp(-1000 * adc)], axis=-1)


@pytest.mark.parametrize('n_directions', [8, 30])
def test_mppca_finds_the_noise_and_takes_it_out(rng, n_directions):
    """Sigma is what was added; the error falls, and more with more volumes."""
    truth = diffusion(n_directions, rng)
    denoised, sigma = denoise_mppca(truth + rng.normal(0, 20, truth.shape))
    assert np.median(sigma) == pytest.approx(20, rel=0.05)
    error = denoised - truth
    assert np.sqrt((error**2).mean()) < {8: 0.75, 30: 0.5}[n_directions] * 20
    assert abs(error.mean()) < 0.2
    assert denoised.dtype == sigma.dtype == np.float32


@pytest.mark.parametrize('n_directions', [10, 31])
def test_a_masked_background_hides_no_noise(rng, n_directions):
    """Exact zeros around the brain spoil the patches at its rim: sigma comes from within."""
    shape = (22, 22, 22)
    distance = np.linalg.norm(np.indices(shape) - 10.5, axis=0)
    brain = distance < 9
    level = 400 * np.exp(-rng.uniform(0, 1, n_directions + 2))
    series = np.where(brain[..., None], level + rng.normal(0, 3, (*shape, len(level))), 0)
    _, sigma = denoise_mppca(series)
    assert np.median(sigma[brain]) == pytest.approx(3, rel=0.05)
    assert (np.abs(sigma[brain] / 3 - 1) < 0.25).mean() > 0.99
    assert not sigma[~brain].any()


def test_mppca_of_nothing_is_nothing():
    """An empty background has no noise, not nan."""
    series = np.zeros((7, 7, 7, 12), np.float32)
    denoised, sigma = denoise_mppca(series)
    np.testing.assert_array_equal(denoised, 0)
    np.testing.assert_array_equal(sigma, 0)


@pytest.mark.parametrize(
    ('shape', 'radius', 'why'),
    [
        ((96, 96, 60, 9), (2, 2, 2), '9 volumes'),
        ((96, 96, 60, 124), (2, 2, 2), ''),
        ((96, 96, 60, 125), (3, 3, 3), ''),
        ((96, 96, 1, 24), (2, 2, 0), ''),
        ((96, 96, 1, 25), (3, 3, 0), ''),
        ((4, 4, 1, 12), (1, 1, 0), '9 voxels for 12 volumes'),
    ],
)
def test_patches_have_more_voxels_than_volumes(shape, radius, why):
    """Or MP-PCA is left out, with the reason."""
    assert patch_radius(shape) == radius
    assert why in why_not_mppca(shape)
    assert bool(why) is bool(why_not_mppca(shape))


def magnitudes(signal: float, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Rician magnitudes with a sigma of 1."""
    return np.hypot(signal + rng.normal(size=n), rng.normal(size=n))


@pytest.mark.parametrize('averaged', [1, 16], ids=['as acquired', 'denoised'])
@pytest.mark.parametrize('snr', [2.0, 3.0, 5.0, 10.0])
def test_the_rician_bias_falls_to_a_sixth(rng, snr, averaged):
    """Of single samples, and of the means that a denoiser comes to."""
    drawn = magnitudes(snr, 1_600_000, rng).reshape(-1, averaged).mean(axis=1)
    bias = drawn.mean() - snr
    assert bias == pytest.approx(1 / (2 * snr), rel=0.1)
    left = remove_rician_bias(drawn, np.ones_like(drawn)).mean() - snr
    assert abs(left) < bias / 6


@pytest.mark.parametrize(('b', 'snr'), [(2000, 10), (3000, 20)])
def test_the_adc_comes_back(rng, b, snr):
    """The noise floor makes diffusion look slower, above all at high b."""
    adc = 0.7e-3
    levels = snr * np.exp(-adc * np.array([0, b]))
    means = np.array([magnitudes(level, 200_000, rng).mean() for level in levels])
    corrected = remove_rician_bias(means, np.ones(2))
    before, after = (np.log(pair[0] / pair[1]) / b - adc for pair in (means, corrected))
    assert before < -0.02 * adc
    assert abs(after) < abs(before) / 6


def test_what_is_not_finite_stays_so():
    """It is counted later."""
    found = remove_rician_bias(np.array([np.nan, np.inf, 1e200, -5.0]), np.ones(4))
    np.testing.assert_array_equal(found, [np.nan, np.inf, 1e200, 0])
