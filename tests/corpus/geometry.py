"""Grids that contradict themselves, or lie nowhere."""

import numpy as np

from tests import tiny_dataset
from tests.corpus.case import Table

TABLE = Table('geometry')
AFFINE = tiny_dataset.affine()


@TABLE.refused('has voxel sizes [0.0')
def voxel_size_zero(run):
    """State voxels of no size: nibabel takes 1 mm for them."""
    run.header_items('pixdim', {1: 0})


@TABLE.refused('Convert it again from DICOM')
def voxel_size_negative(run):
    """State a negative voxel size."""
    run.header_items('pixdim', {2: -8})


@TABLE.refused('Convert it again from DICOM')
def voxel_size_nan(run):
    """State a voxel size that is no number."""
    run.header_items('pixdim', {3: np.nan})


@TABLE.refused('has voxel sizes')
def voxel_size_infinite(run):
    """State a voxel size without end."""
    run.header_items('pixdim', {3: np.inf})


@TABLE.refused('says [8.0, 8.0, 10.0] mm in pixdim but [2.0, 2.0, 2.0] mm in its affine')
def two_sizes(run):
    """Have an affine of 2 mm and voxel sizes of 8 mm."""
    run.sform(np.diag([-2, 2, 2, 1]))


@TABLE.refused('in its affine')
def singular(run):
    """Put every slice in the same place."""
    matrix = AFFINE.copy()
    matrix[:3, 2] = 0
    run.sform(matrix)


@TABLE.refused('whose axes collapse')
def axes_alike(run):
    """Let rows run along columns."""
    matrix = AFFINE.copy()
    matrix[:3, 1] = matrix[:3, 0]
    run.sform(matrix)


@TABLE.refused('with shear, two axes are 80.0 degrees apart')
def shear(run):
    """Lean the slices over by ten degrees."""
    matrix = AFFINE.copy()
    angle = np.radians(10)
    matrix[:3, 2] = 10 * np.array([0, np.sin(angle), np.cos(angle)])
    run.sform(matrix)


@TABLE.refused('has an affine that leads nowhere')
def affine_nan(run):
    """Put the image at a place that is no number."""
    matrix = AFFINE.copy()
    matrix[1, 3] = np.nan
    run.sform(matrix)


@TABLE.refused('has an affine that leads nowhere')
def too_far(run):
    """Put the image a thousand kilometres away."""
    matrix = AFFINE.copy()
    matrix[1, 3] = 1e9
    run.sform(matrix)


@TABLE.refused('says in its sform that left is where its qform says that right is')
def left_and_right(run):
    """Mirror the sform, and not the qform."""
    matrix = AFFINE.copy()
    matrix[0] *= -1
    run.sform(matrix)


# Programs that align images write the one and leave the other.
@TABLE.processed('sform and qform put voxels up to 3.0 mm apart; the sform is taken.')
def shifted_forms(run):
    """Shift the sform by 3 mm."""
    matrix = AFFINE.copy()
    matrix[1, 3] += 3
    run.sform(matrix)


@TABLE.processed('gives no orientation (qform and sform codes are 0)')
def no_forms(run):
    """Leave out both forms."""
    run.header(qform_code=0, sform_code=0)


@TABLE.refused('broken NIfTI header')
def quaternion_wrong(run):
    """Leave a rotation that is none in the only form."""
    run.header(sform_code=0, quatern_b=1, quatern_c=1, quatern_d=1)


@TABLE.refused('has a sform_code of 9, which is none')
def unknown_space(run):
    """State a space that there is not."""
    run.header(sform_code=9)


@TABLE.refused('they are in another unit. Correct the header')
def metres(run):
    """Give lengths in metres."""
    run.header(xyzt_units=1)
    run.header_items('pixdim', {1: 0.008, 2: 0.008, 3: 0.01})
    run.sform(AFFINE / [[1000], [1000], [1000], [1]])
