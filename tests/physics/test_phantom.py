"""The phantom: a tensor of known anisotropy in, the same out; and files that hold together."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from bidsharmony.physics.heads import Head, template_head, warped_head
from bidsharmony.physics.phantom import (
    axial_excess,
    fibre_directions,
    gradient_directions,
    phantom_scanners,
    scan_volume,
    write_phantom,
)
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES
from tests.physics.heads import ball

SCANNER = phantom_scanners()[0]
QUIET = replace(
    SCANNER,
    fov=96,
    coil=0.0,
    protocol=replace(SCANNER.protocol, pixel=2.0, snr=1e6, spacing=8.0, readout_decay=0.0),
)


def test_tensor_comes_back(rng):
    codes = np.full((96, 96, 40), TISSUE_NAMES.index('white matter'), np.uint8)
    series, affine, bvals, bvecs = scan_volume(Head('block', codes), QUIET, rng)
    assert np.linalg.det(affine[:3, :3]) < 0
    middle = series[16:32, 16:32, 2:4]
    fit = TensorModel(gradient_table(bvals, bvecs=bvecs)).fit(middle)
    expected = TISSUES['white matter'].anisotropy
    assert np.median(fit.fa) == pytest.approx(expected, abs=0.02)
    assert np.median(fit.md) == pytest.approx(TISSUES['white matter'].diffusivity, rel=0.02)
    # voxel axes: first to the left (x flipped), then anterior and up
    i, j, k = (np.arange(n) for n in (16, 16, 2))
    x, y, z = ((affine @ [i[8] + 16, j[8] + 16, k[0] + 2, 1])[:3]).tolist()
    fibre = fibre_directions((96, 96), z)[round(y + 47.5), round(x + 47.5)] * [-1, 1, 1]
    assert abs(fit.evecs[8, 8, 0, :, 0] @ fibre) > 0.95


@pytest.mark.parametrize('fa', [0.0, 0.3, 0.8])
def test_axial_excess_inverts_the_definition_of_fa(fa):
    a = axial_excess(np.array(fa))
    along, across = 1 + 2 * a, 1 - a
    spread = (along - 1) ** 2 + 2 * (across - 1) ** 2
    assert np.sqrt(1.5 * spread / (along**2 + 2 * across**2)) == pytest.approx(fa)


@pytest.mark.parametrize('n', [3, 6, 12])
def test_directions_are_unit_and_spread(n):
    directions = gradient_directions(n)
    assert directions.shape == (n, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / n, np.eye(3) / 3, atol=0.08)


def test_dataset_is_whole(tmp_path):
    small = [replace(s, fov=96, protocol=replace(s.protocol, spacing=20.0)) for s in (SCANNER,)]
    images = write_phantom(tmp_path / 'bids', [ball(), ball()], small)
    assert [p.relative_to(tmp_path / 'bids').as_posix() for p in images] == [
        f'sub-0{i}/ses-siemens3t/dwi/sub-0{i}_ses-siemens3t_dwi.nii.gz' for i in (1, 2)
    ]
    image = nib.load(images[0])
    assert nib.aff2axcodes(image.affine) == ('L', 'A', 'S')
    bvals = np.loadtxt(images[0].with_name(images[0].name.replace('.nii.gz', '.bval')))
    assert image.shape[3] == len(bvals)
    sidecar = json.loads(
        images[0].with_name(images[0].name.replace('.nii.gz', '.json')).read_text()
    )
    assert sidecar['EchoTime'] == 0.071
    with pytest.raises(FileExistsError, match='not empty'):
        write_phantom(tmp_path / 'bids', [ball()], small)


def test_scanners_differ_in_vendor_and_field():
    scanners = phantom_scanners()
    assert len({s.sidecar['Manufacturer'] for s in scanners[:3]}) == 3
    assert len({s.protocol.contrast.field_strength for s in scanners[:3]}) == 2


def test_template_head_has_every_layer(rng):
    codes = ball(80, 24).codes
    grey = (codes == TISSUE_NAMES.index('cortex')).astype(float)
    white = (codes == TISSUE_NAMES.index('white matter')).astype(float)
    brain = (grey + white > 0) | (codes == TISSUE_NAMES.index('cerebrospinal fluid'))
    head = template_head('t', grey, white, brain)
    present = {TISSUE_NAMES[code] for code in np.unique(head.codes)}
    assert {'cortex', 'white matter', 'ventricle', 'bone', 'skin', 'air'} <= present
    moved = warped_head(head, 'm', rng, amplitude=1.0)
    changed = np.mean(moved.codes != head.codes)
    assert 0.005 < changed < 0.3
