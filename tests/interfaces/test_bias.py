"""Both summary images are divided by the field that is written."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.bias import CorrectBias, EstimateBias
from bidsharmony.numerics.bias import variation
from tests.numerics.shaded import shaded_ball
from tests.tiny_dataset import ZOOMS


@pytest.mark.parametrize('apply', [True, False])
def test_interface_divides_both_images(rng, tmp_path, apply):
    """b=0 and trace are divided by the one field that is written."""
    image, mask, _ = shaded_ball(rng)
    for name, data in (('b0', image), ('trace', image / 2), ('mask', mask.astype(np.uint8))):
        nb.save(nb.Nifti1Image(data, np.diag([*ZOOMS, 1])), tmp_path / f'{name}.nii.gz')
    files = {f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in ('b0', 'trace', 'mask')}
    trace_file = files.pop('trace_file')
    found = EstimateBias(**files, slice_axis=2, apply=apply).run(cwd=tmp_path).outputs
    correct = CorrectBias(in_file=trace_file, field_file=found.field_file)
    trace = correct.run(cwd=tmp_path).outputs.out_file
    field = nb.load(found.field_file).get_fdata()
    assert found.facts['applied'] is apply
    assert variation(field, mask) > 0.05 if apply else (field == 1).all()
    for file, factor in ((found.b0_file, 1), (trace, 0.5)):
        result = nb.load(file).get_fdata()
        np.testing.assert_allclose(result * field, image * factor, rtol=1e-5)
