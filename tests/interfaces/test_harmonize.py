"""The network is told what it should be, and its images are written on their grid."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.harmonize import HarmonizeSummary
from bidsharmony.numerics.marks import MARKS, POWER_MARKS
from tests import tiny_dataset


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
