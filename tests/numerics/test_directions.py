"""A gradient points where the scanner's did, however the image is stored."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.numerics.directions import largest_gap, world_directions

TURN = nb.eulerangles.euler2mat(0.2, -0.3, 0.5)
STORED = {'RAS': (1, 1, 1), 'LAS': (-1, 1, 1), 'LPS': (-1, -1, 1), 'RAI': (1, 1, -1)}
SIX = np.array([[1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]]) / 2**0.5


@pytest.mark.parametrize(
    ('stored', 'bvec', 'direction'),
    [
        ('RAS', (1, 0, 0), (-1, 0, 0)),  # FSL turns the first axis round
        ('RAS', (0, 1, 0), (0, 1, 0)),
        ('LAS', (1, 0, 0), (-1, 0, 0)),  # as it is
        ('LAS', (0, 0, 1), (0, 0, 1)),
        ('LPS', (1, 0, 0), (1, 0, 0)),
        ('LPS', (0, 1, 0), (0, -1, 0)),
        ('RAI', (1, 0, 0), (1, 0, 0)),
        ('RAI', (0, 0, 1), (0, 0, -1)),
    ],
)
def test_axes_of_known_images(stored, bvec, direction):
    """Along an axis of the voxels, one can say where it points."""
    affine = np.diag([*(2.5 * np.array(STORED[stored])), 1.0])
    np.testing.assert_allclose(world_directions([bvec], affine), [direction], atol=1e-12)


@pytest.mark.parametrize('stored', STORED)
def test_an_oblique_image_turns_its_gradients(stored):
    """Voxels of any size, turned in space: what is written for them gives the direction back."""
    axes = TURN @ np.diag(STORED[stored])
    affine = nb.affines.from_matvec(axes @ np.diag([1.7, 2.0, 5.0]), (3, -80, 20))
    written = SIX @ axes  # along the voxels' axes
    if np.linalg.det(axes) > 0:
        written = written * (-1, 1, 1)
    np.testing.assert_allclose(world_directions(written, affine), SIX, atol=1e-12)


@pytest.mark.parametrize('bvec', [(0, 0, 0), (np.nan, np.nan, np.nan), (1e-9, 0, 0)])
def test_what_has_no_direction_gets_none(bvec):
    """No division by zero, no direction out of rounding."""
    assert not world_directions([bvec], np.eye(4)).any()


@pytest.mark.parametrize(
    ('directions', 'gap'),
    [
        (np.zeros((0, 3)), 90.0),
        ([[0, 0, 1]], 90.0),  # its equator
        (np.eye(3), 54.74),  # the diagonals of the cube
        (np.concatenate([np.eye(3), -np.eye(3)]), 54.74),  # opposites add nothing
        (SIX, 45.0),  # the axes, from the middles of the cube's edges
    ],
)
def test_gaps_known_on_paper(directions, gap):
    """Never more than there is, and at most a degree less."""
    assert gap - 1 < largest_gap(directions) <= gap + 0.01
