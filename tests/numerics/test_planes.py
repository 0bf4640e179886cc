"""Planes show the world, not the voxels."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.planes import audit_grid, audit_planes, axial_slices, planes_of_most
from tests.numerics.affines import AFFINES, world

CASES = pytest.mark.parametrize('affine', AFFINES.values(), ids=AFFINES)
SHAPE = (20, 18, 12)


@CASES
def test_axial_slices_show_the_world(affine):
    """Whatever the voxel axes: columns go to the left, rows to posterior, planes up."""
    positions = world(SHAPE, affine)
    mask = np.ones(SHAPE, bool)
    grid = audit_grid(mask, affine)
    assert len(grid) >= 3
    shown = [axial_slices(positions[..., ax], affine, grid=grid) for ax in range(3)]
    # where the eight neighbours all exist, linear interpolation of a ramp is exact
    inner = ndimage.binary_erosion(mask, border_value=0)
    sure = axial_slices(inner.astype(float), affine, grid=grid) > 0.99
    assert sure.sum() > 50
    rows, columns = np.indices((160, 160))
    for index, plane in enumerate(grid):
        for ax in range(3):
            expected = plane[ax, 0] * rows + plane[ax, 1] * columns + plane[ax, 3]
            np.testing.assert_allclose(
                shown[ax][index][sure[index]], expected[sure[index]], atol=1e-3
            )
        assert plane[0, 1] == plane[1, 0] == -1.25
    assert np.allclose(np.diff([plane[2, 3] for plane in grid]), 5)


@CASES
def test_audit_grid_is_the_same_for_every_orientation_of_a_head(affine):
    """Planes are centred on the mask: x and y in the middle of the picture."""
    mask = np.zeros(SHAPE, bool)
    mask[4:16, 3:15, 2:10] = True
    positions = world(SHAPE, affine)[mask]
    middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
    for plane in audit_grid(mask, affine):
        centre = plane @ [79.5, 79.5, 0, 1]
        np.testing.assert_allclose(centre[:2], middle[:2], atol=1e-9)


@pytest.mark.parametrize(
    ('n_slices', 'thickness', 'count'),
    [(40, 3.0, 20), (3, 5.0, 3), (1, 4.0, 1), (10, 1.0, 2), (50, 5.0, 20)],
)
def test_number_of_planes(n_slices, thickness, count):
    """The middle 100 mm at most, every 5 mm; a thin slab has as many as fit."""
    mask = np.ones((4, 4, n_slices), bool)
    grid = audit_grid(mask, np.diag([10.0, 10.0, thickness, 1.0]))
    assert len(grid) == count
    heights = [plane[2, 3] for plane in grid]
    assert np.mean(heights) == pytest.approx(thickness * (n_slices - 1) / 2)


def test_planes_beside_the_mask_are_left_out():
    """A brain in two parts has no plane between them."""
    mask = np.ones((8, 8, 9), bool)
    mask[..., 3:6] = False
    heights = [plane[2, 3] for plane in audit_grid(mask, np.diag([5.0, 5.0, 5.0, 1.0]))]
    assert heights == [0, 5, 10, 30, 35, 40]


def test_outside_the_volume_is_zero():
    """Up to the outer faces of the voxels there is signal, beyond there is none."""
    shown = axial_slices(np.ones((8, 8, 3)), np.diag([5.0, 5.0, 5.0, 1.0]), np.ones((8, 8, 3)))
    assert shown.dtype == np.float32
    assert set(np.unique(shown)) == {0, 1}
    np.testing.assert_array_equal(shown.sum(axis=(1, 2)), 32**2)


def test_empty_mask_is_refused():
    """There is no middle of nothing."""
    with pytest.raises(ValueError, match='mask is empty'):
        audit_grid(np.zeros((2, 2, 2)), np.eye(4))
    with pytest.raises(ValueError, match='need a mask or a grid'):
        axial_slices(np.zeros((2, 2, 2)), np.eye(4))
    assert axial_slices(np.zeros((2, 2, 2)), np.eye(4), grid=[]).shape == (0, 160, 160)


@CASES
def test_planes_show_most_of_a_lesion(affine):
    """However the stack lies, planes cut what there is most of, apart and in order."""
    shape = (40, 40, 30)
    place, middle = world(shape, affine), affine[:3, :3] @ [19.5, 19.5, 14.5] + affine[:3, 3]
    brain = np.linalg.norm(place - middle, axis=-1) < 34
    lesions = [middle + offset for offset in ([8, 0, -9], [0, 5, 8])]
    data = sum((np.linalg.norm(place - lesion, axis=-1) < 6.5) * 1.0 for lesion in lesions)
    planes = planes_of_most(data, affine, brain, 2)
    heights = [plane[2, 3] for plane in planes]
    assert heights == pytest.approx([lesion[2] for lesion in lesions], abs=2.6)
    assert (axial_slices(data, affine, grid=planes) >= 0.5).any(axis=(1, 2)).all()
    assert planes_of_most(np.zeros(shape), affine, brain, 2) == []
    many = [plane[2, 3] for plane in planes_of_most(data, affine, brain, 9)]
    assert many == sorted(many)
    assert np.diff(many).min() >= 5


@CASES
def test_the_mask_is_cut_along_its_planes(affine):
    """As any other image is."""
    mask = np.zeros(SHAPE, bool)
    mask[4:16, 3:15, 2:10] = True
    planes, cuts = audit_planes(mask, affine)
    np.testing.assert_array_equal(planes, audit_grid(mask, affine))
    np.testing.assert_array_equal(
        cuts, axial_slices(mask.astype(float), affine, grid=planes) >= 0.5
    )
