"""Files that lead out of the dataset, never end, explode, or want to be obeyed or passed on."""

import gzip
import os

import nibabel as nb
import numpy as np

from tests.corpus.case import Table

TABLE = Table('security')
PRIVATE = ('NAME4711', 'SERIAL4711', 'INSTITUTION4711', '13:46:51', '1931-04-11', '/data/4711')


@TABLE.refused('is a link out of the dataset. Copy the file into the dataset')
def image_outside(run):
    """Link the image to a file outside of the dataset."""
    run.move_out('.nii.gz')


@TABLE.refused('sub-02_dwi.bval is a link out of the dataset')
def bvals_outside(run):
    """Link the b-values to a file outside of the dataset."""
    run.move_out('.bval')


@TABLE.refused('sub-02_dwi.json is a link out of the dataset')
def sidecar_outside(run):
    """Link the sidecar to a file of the system."""
    run.link('.json', '/etc/passwd')


@TABLE.refused('is a link out of the dataset')
def participant_outside(run):
    """Link the participant's folder to another place."""
    folder = run.root / run.participant
    folder.rename(run.outside / 'other')
    folder.symlink_to(run.outside / 'other')


@TABLE.refused('is a link out of the dataset')
def endless_device(run):
    """Link the image to a device that never ends."""
    run.link('.nii.gz', '/dev/zero')


@TABLE.refused('is not a regular file')
def image_pipe(run):
    """Put a pipe where the image should be: who reads it waits for ever."""
    run.image.unlink()
    os.mkfifo(run.image)


@TABLE.refused('sub-02_dwi.bvec is not a regular file')
def bvecs_pipe(run):
    """Put a pipe where the b-vectors should be."""
    run.beside('.bvec').unlink()
    os.mkfifo(run.beside('.bvec'))


@TABLE.refused('sub-02_dwi.json is not a regular file')
def sidecar_pipe(run):
    """Put a pipe where the sidecar should be."""
    run.beside('.json').unlink()
    os.mkfifo(run.beside('.json'))


@TABLE.refused('holds more than the')
def bomb(run):
    """Compress 500 million zeros behind the voxels."""
    run.image.write_bytes(
        gzip.compress(run.content(), 1) + 50 * gzip.compress(bytes(10_000_000), 1)
    )


@TABLE.refused('claims a shape of (24, 24, 12, 4611686018427387904)')
def volumes_without_end(run):
    """Claim 4e18 volumes, as NIfTI-2 can."""
    header = nb.Nifti2Header()
    header['dim'][:5] = 4, 24, 24, 12, 2**62
    run.save(header.binaryblock + bytes(4 + 2 * 24 * 24 * 12))


@TABLE.refused("its name ends in 'acq-', not in a suffix")
def climbing_label(run):
    """Have a label that climbs out of its folder."""
    return run.rename('*_acq-.._dwi')


@TABLE.refused('Rename it')
def line_break(run):
    """Have a line break in the name, to forge a line of the log."""
    return run.rename('*_acq-a\nINFO all is well_dwi')


@TABLE.refused('Rename it')
def escape_sequence(run):
    """Have a name that clears the screen of who lists it."""
    return run.rename('*_acq-\x1b[2J_dwi')


# The label is shown; pages write markup as text, which tests/reports holds them to.
@TABLE.processed('"scanner": "Siemens <b id=x>A</b> 3 T"')
def markup(run):
    """Have markup for a model."""
    run.sidecar(ManufacturersModelName='<b id=x>A</b>')


@TABLE.processed('"EchoTime": 0.071', absent=PRIVATE)
def private_entries(run):
    """Have names, dates, serial numbers and paths in sidecar and header."""
    run.header(descrip=b'NAME4711', db_name=b'NAME4711', aux_file=b'/data/4711')
    run.sidecar(
        PatientName='NAME4711',
        PatientBirthDate='1931-04-11',
        StationName='NAME4711',
        ImageComments='NAME4711',
        ParallelAcquisitionTechnique='/data/4711/grappa',
        SequenceVariant=['SK', '/data/4711'],
    )


@TABLE.processed('is a link out of the dataset. Copy the file into the dataset. This lesion mask')
def lesion_outside(run):
    """Link a lesion mask to a file outside of the dataset."""
    folder = run.root / 'derivatives' / 'lesions' / run.participant / 'dwi'
    folder.mkdir(parents=True)
    image = nb.load(run.image)
    mask = nb.Nifti1Image(np.ones(image.shape[:3], np.uint8), image.affine)
    nb.save(mask, run.outside / 'mask.nii.gz')
    path = folder / f'{run.participant}_label-lesion_mask.nii.gz'
    path.symlink_to(run.outside / 'mask.nii.gz')
