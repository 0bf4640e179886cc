"""Headers that are no headers, claim the impossible, or hold something else than magnitudes."""

import nibabel as nb
import numpy as np

from tests.corpus.case import Table

TABLE = Table('header')


# 540 is the size of the other kind of NIfTI, whose fields lie elsewhere
@TABLE.refused('Convert it again from DICOM')
def size_wrong(run):
    """State another size of the header."""
    run.header(sizeof_hdr=540)


@TABLE.refused('broken NIfTI header')
def no_magic(run):
    """Leave out the word that makes it NIfTI."""
    run.header(magic=b'')


@TABLE.refused('broken NIfTI header')
def half_of_a_pair(run):
    """Say that the voxels are in a second file."""
    run.header(magic=b'ni1')


@TABLE.refused('has 3 dimensions')
def one_volume(run):
    """Be one volume."""
    run.set_array(run.array()[..., 0])


@TABLE.refused('has 5 dimensions')
def five_dimensions(run):
    """Put the directions along a fifth axis."""
    run.set_array(run.array()[:, :, :, None])


@TABLE.refused('claims a shape of (0,)')
def no_dimensions(run):
    """State that there are no axes."""
    run.header_items('dim', {0: 0})


@TABLE.refused('Convert it again from DICOM')
def nine_dimensions(run):
    """State nine axes, of seven that can be."""
    run.header_items('dim', {0: 9})


@TABLE.refused('claims a shape of (24, -24, 12, 7)')
def negative_dimension(run):
    """State a negative number of rows."""
    run.header_items('dim', {2: -24})


@TABLE.refused('claims a shape of (30000, 30000, 10000, 7)')
def too_large(run):
    """Claim 6e13 voxels."""
    run.header_items('dim', {1: 30000, 2: 30000, 3: 10000})


@TABLE.refused('holds complex64 voxels, not real numbers. Export magnitude images')
def complex_numbers(run):
    """Hold complex numbers."""
    run.set_array(run.array().astype(np.complex64))


@TABLE.refused('not real numbers')
def colours(run):
    """Hold a colour in each voxel, as a screenshot does."""
    colour = np.dtype([(name, 'u1') for name in 'RGB'])
    run.set_array(np.zeros(run.array().shape, colour))


@TABLE.refused('broken NIfTI header')
def unknown_type(run):
    """State a type of voxels that there is not."""
    run.header(datatype=9999)


# All programs go by the type; the bits only repeat it.
@TABLE.processed('"shape": [24, 24, 12, 7]')
def bits_wrong(run):
    """State bits that are not those of the type."""
    run.header(bitpix=64)


@TABLE.processed('scales by nan, which is taken as no scaling')
def slope_nan(run):
    """Scale by a number that is none."""
    run.header(scl_slope=np.nan, scl_inter=0)


# 0 is how NIfTI says that nothing is scaled
@TABLE.processed('"notes": []')
def slope_zero(run):
    """Scale by 0."""
    run.header(scl_slope=0, scl_inter=5)


@TABLE.refused('broken NIfTI header')
def intercept_infinite(run):
    """Add infinity to each voxel."""
    run.header(scl_slope=1, scl_inter=np.inf)


@TABLE.refused('no b=0 volume has a value above 0')
def slope_negative(run):
    """Turn white to black."""
    run.header(scl_slope=-1, scl_inter=0)


@TABLE.refused('broken NIfTI header')
def offset_nan(run):
    """State that the voxels begin nowhere."""
    run.header(vox_offset=np.nan)


@TABLE.refused('the file is cut short')
def offset_beyond(run):
    """State that the voxels begin behind the end of the file."""
    run.header(vox_offset=1e7)


# The time between volumes is used nowhere; what is written says that it is unknown.
@TABLE.processed('"notes": []')
def repetition_time_negative(run):
    """State a negative time from volume to volume."""
    run.header_items('pixdim', {4: -1})


@TABLE.processed('"orientation": "LAS"')
def big_endian(run):
    """Be written by another kind of processor."""
    image = nb.load(run.image)
    header = image.header.as_byteswapped('>')
    nb.save(nb.Nifti1Image(np.asarray(image.dataobj), None, header), run.image)
    assert nb.load(run.image).header.endianness == '>'


@TABLE.processed('"orientation": "LAS"')
def nifti_2(run):
    """Be NIfTI-2."""
    image = nb.load(run.image)
    nb.save(nb.Nifti2Image(np.asarray(image.dataobj), image.affine), run.image)
