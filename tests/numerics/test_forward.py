"""The forward check finds what has a place, and leaves alone what the scanner did."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.forward import PATCH_FWHM, blend_weight, contrast_weights, degrade

FINE, COARSE, ZOOM, SLICES = 192, 64, 3.0, 6


@pytest.fixture
def canonical(rng):
    """Brain-like b=0 and trace (2, S, 192, 192) with fine structure, and its disc."""
    rows, columns = np.indices((FINE, FINE)) - (FINE - 1) / 2
    disc = np.repeat((np.hypot(rows, columns) < 80)[None], SLICES, axis=0)
    folds = ndimage.gaussian_filter(rng.normal(size=(SLICES, FINE, FINE)), (0, 3, 3))
    fluid = folds > 1.5 * folds.std()
    b0 = np.where(fluid, 2.5, 1.0 + 0.5 * folds / folds.std() * 0.2)
    trace = np.where(fluid, 0.15, 0.45 + 0.03 * folds / folds.std())
    return disc * np.stack([b0, trace]), disc


def scanned(images, rng, fwhm=(4.0, 4.0), noise=0.02, gain=1.7):
    """What a coarser scanner of another contrast shows; with the logarithm of its gain."""
    seen = degrade(images, (COARSE, COARSE), (ZOOM, ZOOM), fwhm) / gain
    noisy = seen + noise * rng.standard_normal(seen.shape)
    return noisy.astype(np.float32), np.full(images.shape[1:], np.log(gain))


def weigh(images, log_gain, scan, disc, fwhm=(4.0, 4.0)):
    mask = degrade(disc[None].astype(float), (COARSE, COARSE), (ZOOM, ZOOM), (0, 0))[0] > 0.9
    return blend_weight(images, log_gain, scan, mask, zooms=(ZOOM, ZOOM), fwhm=fwhm)


def spot(disc, index=2, at=(80, 100), radius=5):
    rows, columns = np.indices(disc.shape[1:])
    found = np.zeros(disc.shape, bool)
    found[index] = np.hypot(rows - at[0], columns - at[1]) <= radius
    return found


@pytest.mark.parametrize('assumed', [(4.0, 4.0), (2.0, 5.0), (2.0, 2.0)])
def test_the_truth_is_left_alone(canonical, rng, assumed):
    """Noise and blur that is estimated wrongly are everywhere, and so nowhere."""
    images, disc = canonical
    scan, log_gain = scanned(images, rng)
    weight = weigh(images, log_gain, scan, disc, assumed)
    assert weight.shape == disc.shape
    assert weight[disc].mean() < 0.005
    assert np.mean(weight[disc] > 0) < 0.02
    assert not weight[~disc].any()


@pytest.mark.parametrize(('channel', 'factor'), [(1, 1.6), (1, 0.5), (0, 1.6), (0, 0.6)])
def test_what_came_or_went_is_found_and_nothing_else(canonical, rng, channel, factor):
    """A spot of 10 mm, brighter or darker in one image, is handed to the scan, in both."""
    images, disc = canonical
    scan, log_gain = scanned(images, rng)
    there = spot(disc)
    changed = images.copy()
    changed[channel][there] *= factor
    weight = weigh(changed, log_gain, scan, disc)
    assert weight[there].mean() > 0.9
    near = ndimage.binary_dilation(there, iterations=int(2 * PATCH_FWHM))
    assert weight[disc & ~near].mean() < 0.005


def test_a_spot_that_was_lost_is_as_bad_as_one_invented(canonical, rng):
    """The scan shows it, the images do not."""
    images, disc = canonical
    there = spot(disc)
    full = images.copy()
    full[1][there] *= 1.6
    scan, log_gain = scanned(full, rng)
    assert weigh(images, log_gain, scan, disc)[there].mean() > 0.9


def test_fluid_that_is_fluid_in_both_is_left_to_the_network(canonical, rng):
    """Brighter or darker fluid has nothing to go back to; fluid where the scan has none does."""
    images, disc = canonical
    there = spot(disc, radius=12)
    fluid = images.copy()
    fluid[0][there], fluid[1][there] = 2.5, 0.15
    scan, log_gain = scanned(fluid, rng)
    brighter = fluid.copy()
    brighter[0][there] *= 1.5
    core = spot(disc, radius=7)
    assert not weigh(brighter, log_gain, scan, disc)[core].any()
    scan, log_gain = scanned(images, rng)
    assert weigh(fluid, log_gain, scan, disc)[core].mean() > 0.9


def test_the_more_it_leaves_the_more_is_blended(canonical, rng):
    """The weight grows from nothing to one."""
    images, disc = canonical
    scan, log_gain = scanned(images, rng)
    there = spot(disc)
    means = []
    for factor in (1.0, 1.05, 1.15, 1.4):
        changed = images.copy()
        changed[1][there] *= factor
        means.append(weigh(changed, log_gain, scan, disc)[there].mean())
    assert means == sorted(means)
    assert means[0] < 0.05
    assert means[-1] > 0.7


def test_what_is_wrong_everywhere_does_not_hide_in_its_own_spread(canonical, rng):
    """Random texture that shares nothing with the scan is handed over to it by the half."""
    images, disc = canonical
    scan, log_gain = scanned(images, rng)
    texture = ndimage.gaussian_filter(rng.normal(size=images.shape), (0, 0, 4, 4))
    made = np.maximum(images.mean() * (1 + 0.6 * texture / texture.std()), 0) * disc
    assert np.mean(weigh(made, log_gain, scan, disc)[disc] > 0) > 0.4


@pytest.mark.parametrize('images', [0.0, 1.0])
def test_images_of_nothing_are_no_error(images):
    """Flat images, of whatever level, and an empty mask."""
    made, log_gain = np.full((2, 3, 24, 24), images), np.zeros((3, 24, 24))
    scan, mask = np.full((2, 3, 12, 12), images), np.ones((3, 12, 12), bool)
    for inside in (mask, mask & False):
        weight = blend_weight(made, log_gain, scan, inside, zooms=(2, 2), fwhm=(0, 0))
        assert weight.shape == log_gain.shape
        assert not weight.any()


def test_contrast_is_solved_for(rng):
    """Planted weights come back, and twice the same image is no error."""
    images, mask = rng.random((2, 2, 8, 8)), np.ones((2, 8, 8), bool)
    planted = np.array([[0.5, 2.0], [1.5, -0.25]])
    given = np.tensordot(planted, images, axes=1)
    np.testing.assert_allclose(contrast_weights(images, given, mask), planted, rtol=1e-6)
    doubled = contrast_weights(np.concatenate([images, images]), given, mask)
    np.testing.assert_allclose(doubled[:, :2] + doubled[:, 2:], planted, rtol=1e-6)
