"""The series carries the gain, and nothing else changes."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces import harmonize
from bidsharmony.interfaces.harmonize import ApplyGain, measure_guarantee
from tests import tiny_dataset


@pytest.fixture
def files(tmp_path, rng):
    """Write a run, a mask, a bias field and a gain."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    dwi = tiny_dataset.write_run(root, 'sub-01')
    arrays = {
        'mask': np.ones(tiny_dataset.SHAPE, np.uint8),
        'gain': rng.uniform(1e-3, 4e-3, tiny_dataset.SHAPE).astype(np.float32),
        'field': rng.uniform(0.6, 1.5, tiny_dataset.SHAPE).astype(np.float32),
    }
    for name, data in arrays.items():
        nb.save(nb.Nifti1Image(data, tiny_dataset.affine()), tmp_path / f'{name}.nii.gz')
    paths = {f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in arrays}
    return {'dwi_file': str(dwi), **paths}, arrays


def test_series_is_gain_over_field_times_input(files, tmp_path):
    """Every volume is multiplied by the same map, and S_b/S_0 stays."""
    paths, arrays = files
    found = ApplyGain(**paths, b0_ixs=[0]).run(cwd=tmp_path).outputs
    before, after = nb.load(paths['dwi_file']), nb.load(found.dwi_file)
    expected = before.get_fdata() * (arrays['gain'] / arrays['field'].astype(float))[..., None]
    np.testing.assert_allclose(after.get_fdata(), expected, rtol=2e-7)
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(after.affine, before.affine)
    assert found.guarantee['max_ratio_change'] < 1e-6
    assert found.guarantee['limit'] == 1e-6
    assert found.n_not_finite == 0


def test_broken_promise_is_an_error(files, tmp_path, monkeypatch):
    """A series whose ratios changed is not handed on."""
    paths, _ = files
    broken = {'max_ratio_change': 1e-4, 'n_voxels': 1, 'limit': 1e-6}
    monkeypatch.setattr(harmonize, 'measure_guarantee', lambda *_: (broken, 0))
    with pytest.raises(ValueError, match=r'changes S_b/S_0 by 1.0e-04'):
        ApplyGain(**paths, b0_ixs=[0]).run(cwd=tmp_path)


def test_guarantee_sees_one_changed_voxel(tmp_path, rng):
    """It is measured on the files, with several b=0 volumes."""
    before = rng.uniform(10, 20, (4, 4, 4, 5))
    after = 3 * before
    after[1, 2, 3, 4] *= 1.01
    for name, data in (('before', before), ('after', after)):
        nb.save(nb.Nifti1Image(data, np.eye(4)), tmp_path / f'{name}.nii.gz')
    found, _ = measure_guarantee(
        tmp_path / 'before.nii.gz', tmp_path / 'after.nii.gz', [0, 3], np.ones((4, 4, 4), bool)
    )
    assert found['max_ratio_change'] == pytest.approx(0.01, rel=1e-6)
    assert found['n_voxels'] == 64
