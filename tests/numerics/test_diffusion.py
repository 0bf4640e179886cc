"""Summary images of tensors that are known, and of heads that are simple."""

import nibabel as nb
import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel
from scipy import ndimage

from bidsharmony.numerics.diffusion import (
    apparent_diffusion,
    brain_mask,
    mean_b0,
    trace_weighted,
)

MD = 0.8e-3
AXES = np.eye(3)
SHAPE = (4, 3, 2)
MASK = np.ones(SHAPE, bool)


def sphere(count: int) -> np.ndarray:
    """Return directions spread over a half sphere, (count, 3)."""
    z = (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    return np.stack(
        [np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1
    )


# the last three are the volumes that clinical scanners make: along x, y and z
DIRECTIONS = {6: sphere(6), 30: sphere(30), 3: AXES}


def acquire(directions, b, *, b0s=2, s0=500.0, eigenvalues=(1.7e-3, 0.4e-3, 0.3e-3)):
    """Measure one tensor, turned against the axes, without noise."""
    turned, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    tensor = turned @ np.diag(eigenvalues) @ turned.T
    bvecs = np.concatenate([np.zeros((b0s, 3)), directions])
    bvals = np.concatenate([np.zeros(b0s), np.full(len(directions), float(b))])
    decay = np.exp(-bvals * np.einsum('ni,ij,nj->n', bvecs, tensor, bvecs))
    return np.broadcast_to(s0 * decay, (*SHAPE, len(bvals))).copy(), bvals, bvecs


def summarise(series, bvals, bvecs, mask=MASK):
    """Call the function under test; b-values of at most 50 are b=0."""
    return trace_weighted(series, bvals, bvecs, b0_ixs=np.flatnonzero(bvals <= 50), mask=mask)


@pytest.mark.parametrize('b0s', [1, 3])
@pytest.mark.parametrize(
    ('count', 'b', 'extrapolated'),
    [(6, 1000, False), (30, 1000, False), (30, 800, False), (30, 700, True), (30, 2000, True)],
)
def test_trace_of_a_known_tensor(count, b, extrapolated, b0s):
    """The trace image is S0 exp(-1000 MD), however the directions lie and whatever b was."""
    found = summarise(*acquire(DIRECTIONS[count], b, b0s=b0s))
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    np.testing.assert_allclose(found.trace, 500 * np.exp(-1000 * MD), rtol=1e-5)
    assert (found.method, found.n_directions) == ('tensor', count)
    assert (found.b_acquired, found.extrapolated) == (b, extrapolated)
    assert found.trace.dtype == found.adc.dtype == np.float32


def test_geometric_mean_of_three_orthogonal_directions():
    """Three orthogonal directions give MD exactly; their arithmetic mean image would not."""
    series, bvals, bvecs = acquire(AXES, 1000)
    found = summarise(series, bvals, bvecs)
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert (found.method, found.n_directions) == ('geometric', 3)
    arithmetic = -np.log(series[0, 0, 0, 2:].mean() / 500) / 1000
    assert arithmetic < 0.95 * MD


@pytest.mark.parametrize(
    ('directions', 'n_directions'),
    [
        (np.zeros((1, 3)), 0),  # a directionless trace image
        (np.repeat(AXES, 3, axis=0), 3),
        (np.concatenate([AXES, -AXES]), 3),
        # ten directions in a plane say nothing about the third axis
        ([[np.cos(t), np.sin(t), 0] for t in np.linspace(0, 3, 10)], 10),
        (np.concatenate([DIRECTIONS[30], np.zeros((1, 3))]), 30),
    ],
)
def test_too_few_directions_for_a_tensor(directions, n_directions):
    """What does not determine a tensor falls back to the geometric mean, and counts rightly."""
    found = summarise(*acquire(np.array(directions), 1000, eigenvalues=(MD, MD, MD)))
    assert (found.method, found.n_directions) == ('geometric', n_directions)
    if np.any(directions, axis=1).all():
        np.testing.assert_allclose(found.adc, MD, rtol=1e-5)


def test_tensor_agrees_with_dipy(rng):
    """The fit is dipy's weighted least squares, with noise and uneven signals."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000, b0s=1)
    series += rng.normal(0, 10, series.shape)
    model = TensorModel(gradient_table(bvals, bvecs=bvecs), fit_method='WLS')
    np.testing.assert_allclose(
        summarise(series, bvals, bvecs).adc, model.fit(series).md, rtol=1e-4
    )


def test_only_the_shell_nearest_1000_counts():
    """A shell at 3000, where the noise floor is, changes nothing."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000)
    far, far_bvals, far_bvecs = acquire(DIRECTIONS[30], 3000, b0s=0)
    found = summarise(
        np.concatenate([series, 0 * far + 100], axis=-1),
        np.concatenate([bvals, far_bvals]),
        np.concatenate([bvecs, far_bvecs]),
    )
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert found.b_acquired == 1000


def test_b_values_as_scanners_write_them():
    """b=0 at 1.25, b=1000 at 929.75 and b-vectors of nearly unit length are no error."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 928.5, b0s=1)
    found = summarise(series, bvals + 1.25, bvecs * 1.03)
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert not found.extrapolated


@pytest.mark.parametrize('count', [3, 30])
@pytest.mark.parametrize('value', [0, -5, np.nan, np.inf, 1e30])
def test_bad_signals_stay_where_they_are(count, value):
    """Zeros, negatives, NaN and inf give finite numbers, and leave their neighbours alone."""
    series, bvals, bvecs = acquire(DIRECTIONS[count], 1000)
    clean = summarise(series, bvals, bvecs)
    series[0, 0, 0] = value
    series[1, 0, 0, 0:2] = value
    series[2, 0, 0, 4] = value
    found = summarise(series, bvals, bvecs)
    for image in (found.trace, found.adc):
        assert np.isfinite(image).all()
        assert image.min() >= 0
    assert found.adc.max() <= 5e-3 * (1 + 1e-6)
    np.testing.assert_array_equal(found.trace[3], clean.trace[3])


def test_outside_the_mask_there_is_an_image_too():
    """The network sees the whole slice: outside the mask the geometric mean goes on."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000, eigenvalues=(MD, MD, MD))
    found = summarise(series, bvals, bvecs, mask=np.zeros(SHAPE, bool))
    assert found.method == 'tensor'
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)


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
