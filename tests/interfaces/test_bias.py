"""N4 finds a known field, and where it cannot help the image is left alone."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces import bias
from bidsharmony.interfaces.bias import EstimateBias, estimate_bias, variation
from tests.tiny_dataset import SHAPE, ZOOMS


@pytest.fixture
def shaded(rng):
    """Give a uniform ball under a smooth field, its mask and the field (mean 1 in the mask)."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing='ij'), axis=-1)
    mask = np.linalg.norm(grid, axis=-1) < 0.9
    field = np.exp(0.5 * grid[..., 0] - 0.3 * grid[..., 1])
    field /= field[mask].mean()
    image = np.where(mask, 400 * field + rng.normal(0, 4, SHAPE), 1).astype(np.float32)
    return image, mask, field


def test_known_field_is_found(shaded):
    """The variation falls, the mean in the brain is 1 and the shape is right."""
    image, mask, field = shaded
    found = estimate_bias(image, mask, ZOOMS, 2)
    assert found.facts['applied']
    assert found.facts['shrink_factor'] in (4, 2)
    assert found.facts['cv_after'] < 0.5 * found.facts['cv_before']
    assert found.field[mask].mean() == pytest.approx(1, abs=1e-5)
    assert found.field.min() > 0
    assert np.corrcoef(found.field[mask], field[mask])[0, 1] > 0.98


def test_bits_repeat(shaded):
    """The same image gives the same bits."""
    image, mask, _ = shaded
    first, second = (estimate_bias(image, mask, ZOOMS, 2).field for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ('n_slices', 'field', 'note'),
    [
        (1, None, 'One slice only'),
        (12, 'worse', 'raised the variation'),
        (12, None, 'no usable field'),
    ],
)
def test_flat_field_where_n4_does_not_help(shaded, monkeypatch, n_slices, field, note):
    """One slice, a field that makes things worse and none at all leave the image as it was."""
    image, mask, true_field = shaded
    worse = None if field is None else (1 / true_field).astype(np.float32)
    monkeypatch.setattr(bias, '_n4', lambda *_: worse)
    kept = slice(6, 6 + n_slices) if n_slices == 1 else slice(None)
    found = estimate_bias(image[..., kept], mask[..., kept], ZOOMS, 2)
    assert not found.facts['applied']
    assert note in found.facts['note']
    assert (found.field == 1).all()
    assert found.facts['cv_after'] == found.facts['cv_before']


@pytest.mark.parametrize('apply', [True, False])
def test_interface_divides_both_images(shaded, tmp_path, apply):
    """b=0 and trace are divided by the one field that is written."""
    image, mask, _ = shaded
    for name, data in (('b0', image), ('trace', image / 2), ('mask', mask.astype(np.uint8))):
        nb.save(nb.Nifti1Image(data, np.diag([*ZOOMS, 1])), tmp_path / f'{name}.nii.gz')
    files = {f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in ('b0', 'trace', 'mask')}
    found = EstimateBias(**files, slice_axis=2, apply=apply).run(cwd=tmp_path).outputs
    field = nb.load(found.field_file).get_fdata()
    assert found.facts['applied'] is apply
    assert variation(field, mask) > 0.05 if apply else (field == 1).all()
    for name, factor in (('b0', 1), ('trace', 0.5)):
        result = nb.load(getattr(found, f'{name}_file')).get_fdata()
        np.testing.assert_allclose(result * field, image * factor, rtol=1e-5)
