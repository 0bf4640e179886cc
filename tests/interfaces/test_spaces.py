"""Templates are held against what registration needs before any work."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids.templates import find_template, parse_space
from bidsharmony.interfaces.files import InputError
from bidsharmony.interfaces.spaces import check_template
from tests import templates


def cut(path):
    """Leave half of a file, as a download that was interrupted does."""
    path.write_bytes(path.read_bytes()[:-200])


def elsewhere(path):
    """Move an image by a voxel."""
    image = nb.load(path)
    affine = image.affine.copy()
    affine[0, 3] += templates.ZOOM
    nb.save(nb.Nifti1Image(np.asarray(image.dataobj), affine), path)


def series(path):
    """Make a series of it."""
    image = nb.load(path)
    nb.save(nb.Nifti1Image(np.stack([image.dataobj] * 2, axis=-1), image.affine), path)


def sheared(path):
    """Give it axes that ITK does not know."""
    image = nb.load(path)
    affine = image.affine.copy()
    affine[0, 1] = templates.ZOOM / 2
    nb.save(nb.Nifti1Image(np.asarray(image.dataobj), affine), path)


@pytest.mark.parametrize(
    ('spoil', 'part', 'words'),
    [
        (cut, 'T2w', 'ends early'),
        (elsewhere, 'mask', 'not on the grid of tpl-Tiny/tpl-Tiny_res-01_T2w.nii.gz'),
        (series, 'T2w', 'has a shape of'),
        (sheared, 'mask', 'tpl-Tiny_res-01_desc-brain_mask'),
    ],
)
def test_what_cannot_be_used_is_told(tmp_path, spoil, part, words):
    """In one line that names the file."""
    templates.write_template(tmp_path)
    template = find_template(parse_space(templates.NAME), tmp_path)
    check_template(template)
    spoil(next(tmp_path.rglob(f'*{part}.nii.gz')))
    with pytest.raises(InputError, match=words) as caught:
        check_template(template)
    assert '\n' not in str(caught.value)
