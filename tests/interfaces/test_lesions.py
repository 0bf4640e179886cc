"""Lesions of stacks in every orientation are measured alike, and drawn where there are any."""

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from bidsharmony.evaluation.preservation import CHANNELS
from bidsharmony.interfaces.lesions import MeasureLesions
from bidsharmony.numerics.grids import inplane_grid, resample_to_shape
from bidsharmony.numerics.rounding import rounded
from tests.numerics.affines import AFFINES

SHAPE = (80, 76, 40)
URI = 'bids:raw:derivatives/lesions/sub-01/dwi/sub-01_label-lesion_mask.nii.gz'
SCHEMA = json.loads(files('bidsharmony.data').joinpath('qc.schema.json').read_text())


def measure(folder: Path, affine: np.ndarray, *, lesion_at=(50, 40, 22)) -> tuple:
    """Plant a lesion in a ball of brain, harmonize it into itself on a finer grid, measure."""
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    place = np.moveaxis(np.indices(SHAPE), 0, -1)

    def ball(centre, radius):
        return np.linalg.norm((place - centre) * zooms, axis=-1) <= radius

    brain, lesion = ball((40, 38, 20), 60), ball(lesion_at, 12)
    rng = np.random.default_rng(0)
    b0 = 400 * brain * np.where(lesion, 1.2, 1.0) * (1 + 0.03 * rng.standard_normal(SHAPE))
    adc = brain * np.where(lesion, 0.4e-3, 0.75e-3)
    before = {'b0': b0, 'trace': b0 * np.exp(-1000 * adc), 'adc': adc}
    shape, fine = inplane_grid(SHAPE, affine, 2, 1.0)
    unit = {'b0': 400, 'trace': 400, 'adc': 1}
    after = {name: resample_to_shape(data / unit[name], shape) for name, data in before.items()}
    named = {
        **{f'{name}_before': (data, affine) for name, data in before.items()},
        **{f'{name}_after': (data, fine) for name, data in after.items()},
        'mask_before': (brain, affine),
        'lesion_files': (lesion, affine),
    }
    for name, (data, matrix) in named.items():
        kept = data.astype(np.uint8 if data.dtype == bool else np.float32)
        nb.save(nb.Nifti1Image(kept, matrix), folder / f'{name}.nii.gz')
    inputs = {name: str(folder / f'{name}.nii.gz') for name in named}
    node = MeasureLesions(**inputs, uris=[URI], slice_axis=2)
    return node.run(cwd=folder).outputs, lesion & brain


@pytest.mark.parametrize('affine', AFFINES.values(), ids=AFFINES)
def test_orientation_does_not_matter(tmp_path, affine):
    """Lesion and contrast are the same in axial, sagittal, coronal and oblique stacks."""
    outputs, lesion = measure(tmp_path, affine)
    found = rounded(outputs.lesions)
    jsonschema.validate(found, SCHEMA['properties']['lesions'])
    assert found['masks'] == [URI]
    assert (found['n_voxels'], found['n_patches']) == (lesion.sum(), 1)
    assert found['volume_ml'] == pytest.approx(lesion.sum() / 100, rel=1e-4)
    assert found['contrast']['b0']['before'] == pytest.approx(0.2, abs=0.01)
    assert found['contrast_to_noise']['b0']['before'] == pytest.approx(0.2 / 0.03, rel=0.05)
    for channel in CHANNELS:
        sides = found['contrast'][channel]
        assert sides['after'] == pytest.approx(sides['before'], rel=0.1)
    for rule in found['dice'].values():
        assert min(rule.values()) > 0.9
    pictures = [Path(file) for file in outputs.figure_files]
    assert [file.name for file in pictures] == ['lesion.png', 'lesionadc.png']
    assert all(file.read_bytes().startswith(b'\x89PNG') for file in pictures)


def test_a_lesion_outside_the_brain_is_not_drawn(tmp_path):
    """Nothing is measured, nothing is shown, nothing is wrong."""
    outputs, _ = measure(tmp_path, AFFINES['LAS'], lesion_at=(6, 6, 2))
    assert isinstance(outputs.figure_files, type(MeasureLesions().inputs.mask_before))
    found = rounded(outputs.lesions)
    jsonschema.validate(found, SCHEMA['properties']['lesions'])
    assert (found['n_voxels'], found['patches']) == (0, [])
    assert found['dice']['trace_bright']['before_after'] is None
