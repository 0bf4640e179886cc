"""Scale is the mean of tissue; noise is found where it was put."""

import numpy as np
import pytest

from bidsharmony.numerics.intensity import noise_sigma, robust_scale


def test_robust_scale_is_the_tissue_mean():
    """Fluid, voxels outside the mask and outliers do not count."""
    tissue, fluid = np.linspace(90, 110, 201), np.full(80, 400.0)
    b0 = np.concatenate([tissue, fluid, [1e6, 1e6], [7.0]])[None, None]
    adc = np.concatenate([np.full(201, 0.8e-3), np.full(80, 3e-3), [0.8e-3] * 3])
    mask = np.ones(b0.shape, bool)
    mask[..., -1] = False
    assert robust_scale(b0, b0 * np.exp(-1000 * adc), mask) == pytest.approx(100, rel=0.01)


def test_robust_scale_of_a_test_object_is_its_mean():
    """Water alone has no tissue."""
    b0 = np.full((2, 2, 2), 50.0)
    assert robust_scale(b0, b0 * np.exp(-2.0), b0 > 0) == 50


@pytest.mark.parametrize(
    ('b0', 'mask', 'says'),
    [
        ([1.0], [0], 'mask is empty'),
        ([0.0], [1], 'is 0, not positive'),
        ([-2.0], [1], 'is -2, not positive'),
        ([np.nan], [1], 'is nan, not positive'),
    ],
)
def test_robust_scale_refuses(b0, mask, says):
    """No unit comes out of nothing."""
    with pytest.raises(ValueError, match=says):
        robust_scale(np.array([[b0]]), np.array([[b0]]), np.array([[mask]], bool))


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('sigma', [0.5, 20.0])
def test_noise_sigma_of_gaussian_noise(rng, axis, sigma):
    """White noise on a shaded background, for each slice axis."""
    shape = np.insert([48, 48], axis, 8)
    image = 1e4 + 3 * np.indices(shape).sum(axis=0) + rng.normal(0, sigma, shape)
    assert noise_sigma(image, np.ones(shape, bool), axis) == pytest.approx(sigma, rel=0.1)


def test_noise_sigma_does_not_take_tissue_for_noise(rng):
    """Edges, and whatever lies outside the mask, leave it alone."""
    rows, columns, _ = np.indices((48, 48, 6))
    disc = (rows - 24) ** 2 + (columns - 24) ** 2 < 15**2
    image = 100.0 * disc + rng.normal(0, 2, disc.shape)
    mask = np.ones(disc.shape, bool)
    mask[:4] = False
    image[:4] = np.nan
    assert noise_sigma(image, mask, 2) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ('shape', 'inside'),
    [((8, 8, 1), False), ((2, 2, 4), True), ((1, 9, 9), True), ((8, 8, 3), True)],
)
def test_noise_sigma_of_nothing(shape, inside):
    """An empty mask, a tiny slice and a constant image hold no noise."""
    assert noise_sigma(np.ones(shape), np.full(shape, inside), 2) == 0


def test_noise_sigma_sees_through_zero_filling(rng):
    """Band-limited noise: every second pixel of a twofold zero-filled image is as acquired."""
    acquired = np.fft.fft2(rng.normal(0, 2.0, (3, 48, 48)))
    padded = np.zeros((3, 96, 96), complex)
    padded[:, 24:72, 24:72] = np.fft.fftshift(acquired, axes=(1, 2))
    image = np.moveaxis(np.fft.ifft2(np.fft.ifftshift(padded, axes=(1, 2))).real * 4, 0, 2)
    mask = np.ones(image.shape, bool)
    assert noise_sigma(image, mask, 2, stride=2) == pytest.approx(2, rel=0.1)
    assert noise_sigma(image, mask, 2) < 1
