"""A lesion mask that does not fit is left out with a sentence, and never stops the run."""

import hashlib
from dataclasses import replace

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.inputs import check_run
from bidsharmony.interfaces.masks import load_lesion
from tests import tiny_dataset
from tests.interfaces.test_inputs import as_run, nothing, shifted, small, wrong_sum

PLACE = 'derivatives/lesions/sub-01/dwi'
MANUAL = f'{PLACE}/sub-01_label-lesion_desc-manual_mask.nii.gz'
OTHER = f'{PLACE}/sub-01_label-lesion_mask.nii.gz'


def marked(image, dtype=np.uint8, value=1):
    """Mark a cube."""
    data = np.zeros(image.shape[:3], dtype)
    data[10:14, 10:14, 5:8] = value
    return nb.Nifti1Image(data, image.affine)


def four_d(image):
    """Be a series."""
    mask = marked(image)
    return nb.Nifti1Image(np.asarray(mask.dataobj)[..., None], image.affine)


def not_finite(image):
    """Hold a nan."""
    return marked(image, np.float32, np.nan)


def complex_voxels(image):
    """Hold complex numbers."""
    return marked(image, np.complex64)


@pytest.fixture
def run(tmp_path):
    """Describe a run, and write masks for it by name."""
    image = tiny_dataset.write_run(tiny_dataset.write_dataset(tmp_path / 'raw'), 'sub-01')
    (tmp_path / 'raw' / PLACE).mkdir(parents=True)

    def make(masks, *, damage=None):
        paths = [tmp_path / 'raw' / name for name in masks]
        for path, how in zip(paths, masks.values(), strict=True):
            nb.save(how(nb.load(image)), path)
            if damage:
                damage(path)
        return replace(as_run(image), lesion_masks=tuple(paths))

    return make


@pytest.mark.parametrize(
    ('how', 'damage', 'said'),
    [
        (small, None, "is on another grid than the run. Resample it to the run's grid."),
        (shifted, None, "is on another grid than the run. Resample it to the run's grid."),
        (four_d, None, 'has 4 dimensions, a mask has 3.'),
        (not_finite, None, 'holds values that are not finite.'),
        (complex_voxels, None, 'holds complex64 voxels, not real numbers.'),
        (marked, wrong_sum, 'gzip CRC does not match, the file is damaged.'),
    ],
)
@pytest.mark.parametrize('beside', [False, True], ids=['alone', 'beside one that fits'])
def test_what_does_not_fit_is_left_out(run, how, damage, said, beside):
    """With a warning, or with a note where another mask is used; its bytes count all the same."""
    bad = run({MANUAL: how}, damage=damage)
    good = run({OTHER: marked})
    masks = (*bad.lesion_masks, *(good.lesion_masks if beside else ()))
    checked = check_run(replace(bad, lesion_masks=masks), 50.0)
    (sentence,) = checked.notes if beside else checked.warnings
    assert not (checked.warnings if beside else checked.notes)
    assert sentence.startswith(f'{MANUAL}: {said}')
    assert sentence.endswith('This lesion mask was left out.')
    assert checked.lesion_masks == (good.lesion_masks if beside else ())
    path = bad.lesion_masks[0]
    assert checked.inputs[MANUAL] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path not in checked.sources


def test_masks_that_fit_are_kept_and_no_image_is_made_of_them(run):
    """Each is hashed, so that one that changes, comes or goes is seen."""
    checked = check_run(run({MANUAL: marked, OTHER: marked}), 50.0)
    assert (checked.notes, checked.warnings) == ((), ())
    assert len(checked.lesion_masks) == 2
    assert not {*checked.lesion_masks} & {*checked.sources}
    assert {MANUAL, OTHER} < set(checked.inputs)
    assert len(check_run(run({}), 50.0).inputs) == len(checked.inputs) - 2


def test_a_mask_without_a_lesion_is_a_note(run):
    """Whoever drew it found none."""
    checked = check_run(run({MANUAL: nothing}), 50.0)
    assert checked.notes == (f'{MANUAL}: marks no lesion.',)
    assert (checked.lesion_masks, checked.warnings) == ((), ())


@pytest.mark.parametrize(
    ('dtype', 'value', 'counts'),
    [(np.uint8, 1, True), (np.int16, 7, True), (np.float32, 0.51, True), (np.float32, 0.5, False)],
)
def test_labels_count_and_small_probabilities_do_not(run, dtype, value, counts):
    """More than a half is lesion."""
    path = run({MANUAL: lambda image: marked(image, dtype, value)}).lesion_masks[0]
    assert load_lesion([path]).sum() == (48 if counts else 0)


def test_union(run):
    """A voxel that one of the masks marks is lesion."""

    def elsewhere(image):
        data = np.zeros(image.shape[:3], np.uint8)
        data[13:15, 10:14, 5:8] = 2
        return nb.Nifti1Image(data, image.affine)

    masks = run({MANUAL: marked, OTHER: elsewhere}).lesion_masks
    assert load_lesion(masks).sum() == 5 * 4 * 3
