"""The series carries the gain, and nothing else changes; on another grid one operator acts."""

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces import guarantee, series, volumes
from bidsharmony.interfaces.guarantee import measure_series
from bidsharmony.interfaces.series import HarmonizeSeries
from bidsharmony.numerics.resolution import series_operator
from tests import tiny_dataset

FACTS = {'canonical_fwhm_mm': 2.0, 'resolution_mm': [9.0, None, 10.0]}


@pytest.fixture
def node(tmp_path):
    """Make the folder that the interface writes into."""
    (tmp_path / 'node').mkdir()
    return tmp_path / 'node'


@pytest.fixture
def files(tmp_path, rng):
    """Write a run, a mask, a bias field and a gain."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    dwi = tiny_dataset.write_run(root, 'sub-01')
    arrays = {
        'mask': tiny_dataset.head()[..., 0] > 250,
        'gain': rng.uniform(1e-3, 4e-3, tiny_dataset.SHAPE).astype(np.float32),
        'field': rng.uniform(0.6, 1.5, tiny_dataset.SHAPE).astype(np.float32),
        'noise': np.full(tiny_dataset.SHAPE, 5, np.float32),
    }
    for name, data in arrays.items():
        data = data.astype(np.float32) if data.dtype != bool else data.astype(np.uint8)
        nb.save(nb.Nifti1Image(data, tiny_dataset.affine()), tmp_path / f'{name}.nii.gz')
    paths = {f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in arrays}
    stem = str(dwi).removesuffix('.nii.gz')
    gradients = {f'{kind}_file': f'{stem}.{kind}' for kind in ('bval', 'bvec')}
    fixed = {'b0_ixs': [0], 'slice_axis': 2, 'network_facts': FACTS}
    return {'dwi_file': str(dwi), **paths, **gradients, **fixed}, arrays


def test_series_is_gain_over_field_times_input(files, node):
    """Every volume is multiplied by the same map, and diffusion stays to the last digits."""
    inputs, arrays = files
    found = HarmonizeSeries(**inputs).run(cwd=node).outputs
    before, after = nb.load(inputs['dwi_file']), nb.load(found.dwi_file)
    expected = before.get_fdata() * (arrays['gain'] / arrays['field'].astype(float))[..., None]
    np.testing.assert_allclose(after.get_fdata(), expected, rtol=2e-7)
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(after.affine, before.affine)
    assert found.guarantee['max_ratio_change'] < 1e-6
    assert found.guarantee['limit'] == 1e-6
    assert found.n_not_finite == 0
    means = nb.load(found.shells_file)
    data = after.get_fdata()
    expected = np.stack([data[..., 0], data[..., 1:].mean(axis=-1)], axis=-1)
    np.testing.assert_allclose(means.get_fdata(), expected, rtol=1e-5)
    np.testing.assert_array_equal(means.affine, after.affine)
    diffusion = found.guarantee['diffusion']
    assert diffusion['method'] == 'tensor'
    assert diffusion['md_change'] < 1e-5
    assert diffusion['fa_change'] < 1e-5
    assert diffusion['v1_degrees'] < 0.01
    assert found.facts['fwhm_mm'] == {'before': [9.0, 8.0, 10.0], 'after': [9.0, 8.0, 10.0]}
    assert found.facts['noise_gain'] == 1


def test_noise_goes_with_the_signal(files, node):
    """Constant before, it follows gain over field after; medians are those of the brain."""
    inputs, arrays = files
    found = HarmonizeSeries(**inputs).run(cwd=node).outputs
    expected = 5 * arrays['gain'] / arrays['field'].astype(float)
    np.testing.assert_allclose(nb.load(found.noise_file).get_fdata(), expected, rtol=1e-6)
    assert found.noise_facts['sigma_volume'] == 5
    inside = np.median(expected[arrays['mask']])
    assert found.noise_facts['sigma_harmonized'] == pytest.approx(inside)


def test_a_smooth_gain_adds_no_noise(files, node):
    """The noise of volumes over their signal is what it was."""
    inputs, _ = files
    x = np.linspace(-1, 1, tiny_dataset.SHAPE[0], dtype=np.float32)
    smooth = np.broadcast_to(np.exp(0.3 * x)[:, None, None], tiny_dataset.SHAPE)
    for name in ('gain', 'field'):
        data = smooth if name == 'gain' else np.ones_like(smooth)
        nb.save(nb.Nifti1Image(data, tiny_dataset.affine()), inputs[f'{name}_file'])
    found = HarmonizeSeries(**inputs).run(cwd=node).outputs
    for before, after in found.guarantee['diffusion']['noise'].values():
        assert 0 < after == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize('strength', [0.0, 0.5])
def test_strength_is_the_exponent_of_the_gain(files, node, strength):
    """At 0 the series is the input, to the last digit."""
    inputs, arrays = files
    found = HarmonizeSeries(**inputs, strength=strength).run(cwd=node).outputs
    before, after = (nb.load(file).get_fdata() for file in (inputs['dwi_file'], found.dwi_file))
    factor = (arrays['gain'] / arrays['field'].astype(float)) ** strength
    np.testing.assert_allclose(after, before * factor[..., None], rtol=2e-7)
    for name in ('field', 'gain'):
        written = nb.load(getattr(found, f'{name}_file')).get_fdata()
        np.testing.assert_allclose(written, arrays[name], rtol=1e-6)


def test_another_grid_goes_through_one_operator(files, node):
    """Series, gain, field and mask share it; field of view and axes stay."""
    inputs, arrays = files
    found = HarmonizeSeries(**inputs, output_resolution=12.0).run(cwd=node).outputs
    before, after = nb.load(inputs['dwi_file']), nb.load(found.dwi_file)
    operator = series_operator(tiny_dataset.SHAPE, tiny_dataset.ZOOMS, [9.0, 8.0, 10.0], 12.0, 2.0)
    assert after.shape == (16, 16, 10, 7)
    assert after.header.get_zooms()[:3] == pytest.approx((12, 12, 12))
    gained = before.get_fdata() * (arrays['gain'] / arrays['field'].astype(float))[..., None]
    for ix in range(7):
        np.testing.assert_allclose(
            after.get_fdata()[..., ix], operator.apply(gained[..., ix]), rtol=1e-6, atol=1e-9
        )
    corners = [np.array([-0.5, -0.5, -0.5]), np.array(before.shape[:3]) - 0.5]
    ratio = np.array(after.shape[:3]) / before.shape[:3]
    for corner in corners:
        there = nb.affines.apply_affine(after.affine, (corner + 0.5) * ratio - 0.5)
        np.testing.assert_allclose(
            there, nb.affines.apply_affine(before.affine, corner), atol=1e-3
        )
    for name in ('gain', 'field', 'mask', 'noise'):
        image = nb.load(getattr(found, f'{name}_file'))
        assert image.shape == (16, 16, 10)
        np.testing.assert_array_equal(image.affine, after.affine)
    assert found.guarantee['max_ratio_change'] is None
    assert [ends[1] for ends in found.guarantee['diffusion']['noise'].values()] == [None, None]
    assert found.facts['noise_gain'] == pytest.approx(operator.noise_gain)
    assert found.facts['fwhm_mm']['after'] == pytest.approx(list(operator.fwhm_mm))
    md = found.guarantee['diffusion']['md']
    assert md[1] == pytest.approx(md[0], rel=0.03)


def test_broken_promise_is_an_error(files, node, monkeypatch):
    """A series whose ratios changed is not handed on."""
    inputs, _ = files
    broken = {'max_ratio_change': 1e-4, 'n_voxels': 1, 'limit': 1e-6}
    monkeypatch.setattr(series, 'measure_series', lambda *_, **named: (broken, 0))
    with pytest.raises(ValueError, match=r'changes S_b/S_0 by 1.0e-04'):
        HarmonizeSeries(**inputs).run(cwd=node)


def test_guarantee_sees_one_changed_voxel(tmp_path, rng):
    """It is measured on the files, with several b=0 volumes."""
    before = rng.uniform(10, 20, (4, 4, 4, 5))
    after = 3 * before
    after[1, 2, 3, 4] *= 1.01
    for name, data in (('before', before), ('after', after)):
        nb.save(nb.Nifti1Image(data, np.eye(4)), tmp_path / f'{name}.nii.gz')
    mask = np.ones((4, 4, 4), bool)
    found, _ = measure_series(
        tmp_path / 'before.nii.gz',
        tmp_path / 'after.nii.gz',
        (mask, mask),
        b0_ixs=[0, 3],
        bvals=np.array([0.0, 1000, 1000, 0, 1000]),
        bvecs=np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]),
        slice_axis=2,
    )
    assert found['max_ratio_change'] == pytest.approx(0.01, rel=1e-6)
    assert found['n_voxels'] == 64


def test_each_file_is_read_once_after_its_b0_volumes(files, node, monkeypatch):
    """However many voxels and volumes there are."""
    inputs, _ = files
    reads = []

    def counted(path, *ixs, **kind):
        reads.append((Path(path).parent, len(ixs)))
        return volumes.iterate_volumes(path, *ixs, **kind)

    monkeypatch.setattr(guarantee, 'iterate_volumes', counted)
    HarmonizeSeries(**inputs).run(cwd=node)
    assert len(reads) == 4
    assert len(set(reads)) == 4
