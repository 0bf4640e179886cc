"""The command on a run with a lesion mask: figures, page and table; another mask, another run."""

import json

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from tests import tiny_dataset
from tests.test_end_to_end import ROOT, bidsharmony

pytestmark = pytest.mark.slow

MASK = 'derivatives/manual/sub-01/dwi/sub-01_label-lesion_mask.nii.gz'


def mark(raw, *, depth: int) -> None:
    """Draw a lesion of so many slices."""
    data = np.zeros(tiny_dataset.SHAPE, np.uint8)
    data[14:17, 10:13, 5 : 5 + depth] = 1
    (raw / MASK).parent.mkdir(parents=True, exist_ok=True)
    nb.save(nb.Nifti1Image(data, tiny_dataset.affine()), raw / MASK)


def test_masks_are_found_used_and_watched(tmp_path):
    """Marked, marked again, and no more: each time the page is of the mask that is there."""
    raw, out = tiny_dataset.write_dataset(tmp_path / 'raw'), tmp_path / 'out'
    tiny_dataset.write_run(raw, 'sub-01')
    weights = tiny_dataset.write_weights(tmp_path / 'w.safetensors')
    folder = out / 'sub-01' / 'dwi'
    schema = json.loads((ROOT / 'bidsharmony' / 'data' / 'qc.schema.json').read_text())

    def lesions():
        call = (raw, out, 'participant', 'group', '--weights', weights)
        done = bidsharmony(*call)
        assert done.returncode == 0, done.stderr
        assert 'unchanged' not in done.stderr
        qc = json.loads((folder / 'sub-01_desc-harmonized_qc.json').read_text())
        jsonschema.validate(qc, schema)
        return qc['lesions']

    def row():
        lines = (out / 'group_runs.tsv').read_text().splitlines()
        return dict(zip(*(line.split('\t') for line in lines), strict=True))

    mark(raw, depth=2)
    found = lesions()
    assert found['masks'] == [f'bids:raw:{MASK}']
    assert (found['n_voxels'], found['n_patches']) == (18, 1)
    assert row()['lesion_volume'] == f'{18 * 0.64:.6g}'
    assert float(row()['lesion_trace_cnr_after']) == found['contrast_to_noise']['trace']['after']
    sidecar = json.loads((folder / 'sub-01_desc-harmonized_trace.json').read_text())
    assert f'bids:raw:{MASK}' not in sidecar['Sources']  # no image is made of it
    assert '>Lesions</h3>' in (out / 'sub-01.html').read_text()
    picture = out / 'sub-01' / 'figures' / 'sub-01_desc-lesion_dwi.png'
    assert picture.is_file()

    mark(raw, depth=3)
    assert lesions()['n_voxels'] == 27

    (raw / MASK).unlink()
    assert lesions() is None
    assert row()['lesion_volume'] == 'n/a'
    assert '>Lesions</h3>' not in (out / 'sub-01.html').read_text()
    assert not picture.exists()
