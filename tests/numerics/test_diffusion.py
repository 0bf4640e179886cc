"""Brain masks of heads that are simple, means and the diffusivity of two images."""

import nibabel as nb
import numpy as np
import pytest
from dipy.segment.mask import multi_median
from scipy import ndimage

from bidsharmony.numerics.diffusion import (
    MEDIAN_PASSES,
    _smooth,
    apparent_diffusion,
    brain_mask,
    mean_b0,
)


def test_mean_b0():
    """Only the b=0 volumes count, integers do not overflow, NaN counts as 0."""
    series = np.full((2, 2, 2, 3), 60000, np.uint16)
    assert mean_b0(series, [0, 2]).dtype == np.float32
    np.testing.assert_array_equal(mean_b0(series, [0, 2]), 60000)
    broken = series.astype(float)
    broken[0, 0, 0, 0] = np.nan
    assert mean_b0(broken, [0, 2])[0, 0, 0] == 30000


def test_apparent_diffusion():
    """The ADC of two images is the one they were made with, 0 outside, never NaN."""
    b0 = np.array([[[100.0, 100.0, 0.0, -1.0, np.nan, 100.0, 100.0]]])
    trace = np.array([[[100 * np.exp(-0.7), 50.0, 10.0, 5.0, 5.0, 0.0, 200.0]]])
    mask = np.array([[[1, 0, 1, 1, 1, 1, 1]]], bool)
    found = apparent_diffusion(b0, trace, mask)
    np.testing.assert_allclose(found.ravel(), [7e-4, 0, 0, 0, 0, 5e-3, 0], rtol=1e-5)
    assert found.dtype == np.float32


def head(zoom=4.0, thickness=4.0, noise=0.0):
    """Draw a brain in a dim scalp with two eyes on thin stalks; return image, brain, zooms."""
    zooms = np.array([zoom, zoom, thickness])
    shape = np.ceil(np.array([200, 220, 160]) / zooms).astype(int)
    x, y, z = ((np.indices(shape).T + 0.5 - shape / 2) * zooms).T
    brain = (x / 65) ** 2 + (y / 80) ** 2 + (z / 60) ** 2 < 1
    scalp = (x / 80) ** 2 + (y / 95) ** 2 + (z / 75) ** 2 < 1
    image = 25.0 * scalp
    image[brain] = 300
    image[(x / 15) ** 2 + (y / 25) ** 2 + (z / 15) ** 2 < 1] = 900  # ventricle
    image[(abs(x) - 30) ** 2 + (y - 5) ** 2 + z**2 < 9**2] = 20  # iron
    for side in (-35, 35):
        image[(x - side) ** 2 + (y - 95) ** 2 + (z + 5) ** 2 < 12**2] = 1000
        image[(abs(x - side) < 4) & (y > 50) & (y < 95) & (abs(z + 5) < 4)] = 400
    image *= 1 + 0.3 * y / 110  # coil
    rng = np.random.default_rng(3)
    image = np.abs(image + rng.normal(0, noise, shape) + 1j * rng.normal(0, noise, shape))
    return image, brain, zooms


@pytest.mark.parametrize(
    'part',
    [
        np.s_[:, :, :],
        np.s_[:, :, 20:23],
        np.s_[:, :, 20:21],
        np.s_[24:27, :, :],
        np.s_[:, :, 12:],
        np.s_[10:40, 14:41, :],
    ],
    ids=['head', '3 axial', '1 axial', '3 sagittal', 'cut through', 'brain only'],
)
@pytest.mark.parametrize('order', [(0, 1, 2), (1, 2, 0)], ids=['axial', 'sagittal'])
@pytest.mark.parametrize('given', [True, False], ids=['zooms', 'no zooms'])
def test_brain_mask(part, order, given):
    """Heads and slabs, however stacked: the brain without eyes and holes, to its last slice."""
    image, brain, zooms = head(noise=8)
    image, brain = image[part].transpose(order), brain[part].transpose(order)
    mask = brain_mask(image, zooms=zooms[list(order)] if given else None)
    assert mask.dtype == bool
    assert 2 * (mask & brain).sum() / (mask.sum() + brain.sum()) > 0.95
    np.testing.assert_array_equal(mask, ndimage.binary_fill_holes(mask))
    assert ndimage.label(mask)[1] == 1
    if min(image.shape) <= 3:  # no slice of a slab is lost
        slices = np.moveaxis(mask, np.argmin(mask.shape), 0)
        assert slices.any(axis=(1, 2)).all()


@pytest.mark.parametrize('value', [0.0, 7.0, np.nan])
def test_no_brain_in_a_constant_image(value):
    """Nothing is found, nothing fails."""
    assert not brain_mask(np.full((9, 9, 3), value)).any()


@pytest.mark.parametrize('shape', [(24, 20, 7), (3, 18, 16), (5, 6, 1), (5, 1, 1)])
def test_heads_are_smoothed_as_dipy_does(shape, rng):
    """The medians of dipy's filter to the bit, borders included, on any number of threads."""
    image = rng.gamma(2, 100, shape).astype(np.float32)
    for threads in (1, 3):
        np.testing.assert_array_equal(
            _smooth(image, threads), multi_median(image, 1, MEDIAN_PASSES)
        )


def test_brain_mask_of_noise_and_broken_voxels(rng):
    """Neither noise alone nor NaN in a head stops it."""
    assert brain_mask(np.abs(rng.normal(size=(16, 16, 6)))).shape == (16, 16, 6)
    image, _, zooms = head()
    clean = brain_mask(image, zooms=zooms)
    image[0, 0, 0], image[1, 1, 1] = np.nan, np.inf
    np.testing.assert_array_equal(brain_mask(image, zooms=zooms), clean)


@pytest.mark.parametrize(
    ('name', 'least', 'most'),
    [
        ('sub-uih02/dwi/sub-uih02_dir-AP', 900, 1100),  # a slab without the base
        ('sub-toshiba/dwi/sub-toshiba_acq-ortho', 1250, 1450),
        ('sub-vanderbilt/dwi/sub-vanderbilt', 1200, 1400),
    ],
)
def test_brain_volume_of_real_heads(shared_data, name, least, most):
    """Volumes were judged by eye, slice by slice (ml)."""
    image = nb.load(shared_data / 'bids_multiscanner' / f'{name}_dwi.nii.gz')
    b0 = np.asarray(image.dataobj[..., 0], np.float32)
    zooms = image.header.get_zooms()[:3]
    for given in (zooms, None):
        volume = brain_mask(b0, zooms=given).sum() * np.prod(zooms) / 1000
        assert least < volume < most
