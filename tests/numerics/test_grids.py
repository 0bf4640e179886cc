"""Grids keep corners and directions."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.grids import inplane_grid, resample_to_shape, slice_axis
from tests.numerics.affines import AFFINES, world

CASES = pytest.mark.parametrize('affine', AFFINES.values(), ids=AFFINES)
SHAPE = (20, 18, 12)


@pytest.mark.parametrize(
    ('zooms', 'dim_info', 'axis'),
    [
        ((2, 2, 5), None, 2),
        ((5, 1, 1), None, 0),
        ((1, 4, 1), None, 1),
        ((2, 2, 2.1), None, 2),
        ((2.1, 2, 2), None, 2),
        ((5, 5, 2), None, 2),
        ((5, 1, 1), 1, 1),
    ],
)
def test_slice_axis(zooms, dim_info, axis):
    """The header decides, then a clearly thicker axis, then habit."""
    assert slice_axis(zooms, dim_info) == axis


@CASES
@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize('spacing', [0.7, 1.0, 3.0])
def test_inplane_grid_keeps_corners_and_directions(affine, axis, spacing):
    """The outer corners of the field of view stay where they are."""
    shape, finer = inplane_grid(SHAPE, affine, axis, spacing)
    for corner in np.ndindex(2, 2, 2):
        before = affine @ [*(np.array(corner) * SHAPE - 0.5), 1]
        after = finer @ [*(np.array(corner) * shape - 0.5), 1]
        np.testing.assert_allclose(after, before, atol=1e-9)
    zooms, finer_zooms = (np.linalg.norm(a[:3, :3], axis=0) for a in (affine, finer))
    np.testing.assert_allclose(finer[:3, :3] / finer_zooms, affine[:3, :3] / zooms, atol=1e-12)
    assert shape[axis] == SHAPE[axis]
    in_plane = [ax for ax in range(3) if ax != axis]
    np.testing.assert_allclose(finer_zooms[in_plane], spacing, rtol=0.06)


@pytest.mark.parametrize('order', [1, 3])
@pytest.mark.parametrize('shape', [(7, 9), (14, 9), (5, 20), (3, 3)])
def test_resample_agrees_with_scipy(rng, order, shape):
    """Axis by axis is the same as all axes at once."""
    data = rng.normal(size=(7, 9))
    zoom = np.array(shape) / data.shape
    expected = ndimage.zoom(data, zoom, order=order, mode='nearest', grid_mode=True)
    found = resample_to_shape(data, shape, order=order)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize('order', [0, 1, 3])
def test_resample_keeps_constants(order):
    """Interpolation neither adds nor takes."""
    found = resample_to_shape(np.full((4, 5, 6), 3.0), (9, 5, 2), order=order)
    np.testing.assert_allclose(found, 3, rtol=1e-6)


def test_resample_keeps_world_positions():
    """A ramp stays the same ramp of the world on a finer grid, away from the border."""
    affine = AFFINES['oblique']
    shape, finer = inplane_grid(SHAPE, affine, 2, 1.0)
    ramp = world(SHAPE, affine)[..., 1]
    found = resample_to_shape(ramp, shape)[4:-4, 4:-4]
    np.testing.assert_allclose(found, world(shape, finer)[4:-4, 4:-4, :, 1], atol=1e-4)


def test_resample_refuses_other_axes():
    """A 2-D grid for 3-D data is a mistake."""
    with pytest.raises(ValueError, match='2 axes for data of 3 axes'):
        resample_to_shape(np.zeros((2, 2, 2)), (2, 2))
