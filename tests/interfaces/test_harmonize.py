"""The series carries the gain, and nothing else changes."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces import harmonize
from bidsharmony.interfaces.harmonize import ApplyGain, HarmonizeSummary, measure_guarantee
from bidsharmony.numerics.marks import MARKS, POWER_MARKS
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


@pytest.fixture
def summarised(tmp_path, rng):
    """Write summary images of 2 mm slices, a brain that fills them, and a network that scales."""
    shape, affine = (24, 24, 12), np.diag([4.0, 4.0, 2.0, 1.0])
    b0 = rng.uniform(90, 110, shape)
    arrays = {
        'b0': b0.astype(np.float32),
        'trace': (b0 * rng.uniform(0.3, 0.6, shape)).astype(np.float32),
        'mask': np.ones(shape, np.uint8),
    }
    for name, data in arrays.items():
        nb.save(nb.Nifti1Image(data, affine), tmp_path / f'{name}.nii.gz')
    return {
        **{f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in arrays},
        'metadata': {'SliceThickness': 2.0},
        'trace_facts': {'b_acquired': 1000.0},
        'slice_axis': 2,
        'weights': str(tiny_dataset.write_weights(tmp_path / 'w.safetensors')),
    }


@pytest.mark.parametrize(('wanted', 'fwhm'), [({}, 2.0), ({'canonical_resolution': 5.0}, 5.0)])
def test_the_adc_is_that_of_the_canonical_images(summarised, tmp_path, wanted, fwhm):
    """At whatever resolution, and the facts say at which, in plane and through it."""
    found = HarmonizeSummary(**summarised, **wanted).run(cwd=tmp_path).outputs
    b0, trace, adc = (
        nb.load(getattr(found, f'{name}_file')).get_fdata() for name in ('b0', 'trace', 'adc')
    )
    np.testing.assert_allclose(adc, np.log(b0 / trace) / 1000, rtol=1e-3)
    assert found.facts['canonical_fwhm_mm'] == fwhm
    assert found.facts['canonical_profile_mm'] == 4.0
    assert found.facts['thickness_mm'] == {'before': 2.0, 'after': 4.0}
    # the picture is too small for bands of frequencies
    assert set(found.facts['measured']) == set(MARKS) - set(POWER_MARKS)


def test_a_coarser_resolution_smooths_the_images_and_not_the_gain(summarised, tmp_path):
    """Images, ADC and uncertainty become smoother; what multiplies the series does not move."""
    outputs = []
    for wanted in ({}, {'canonical_resolution': 5.0}):
        folder = tmp_path / str(len(wanted))
        folder.mkdir()
        found = HarmonizeSummary(**summarised, **wanted).run(cwd=folder).outputs
        names = ('b0', 'trace', 'adc', 'uncertainty', 'gain')
        outputs.append({n: nb.load(getattr(found, f'{n}_file')).get_fdata() for n in names})
    sharp, soft = outputs
    for name in ('b0', 'trace', 'adc'):
        assert soft[name].std() < 0.8 * sharp[name].std()
        assert soft[name].mean() == pytest.approx(sharp[name].mean(), rel=0.02)
    np.testing.assert_array_equal(soft['gain'], sharp['gain'])
