"""The API on arrays and images gives what the command gives, and says what it cannot take."""

from __future__ import annotations

import doctest
import json
import struct
import subprocess
import sys
import tracemalloc
from dataclasses import FrozenInstanceError
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

import bidsharmony
from bidsharmony import Harmonized, ScanHarmonizer, harmonize
from bidsharmony.api import estimator
from bidsharmony.network.weights import load_weights, save_weights
from bidsharmony.numerics.diffusion import brain_mask, mean_b0
from bidsharmony.numerics.gradients import B_CANONICAL
from bidsharmony.numerics.tensor import fit_tensors
from bidsharmony.numerics.trace import trace_weighted
from tests import tiny_dataset
from tests.ratios import ratio_change
from tests.test_end_to_end import ROOT
from tests.test_end_to_end import bidsharmony as command

MAPS = {
    'b0': 'desc-harmonized_dwiref',
    'trace': 'desc-harmonized_trace',
    'adc': 'desc-harmonized_ADC',
    'uncertainty': 'desc-uncertainty_dwimap',
    'blend': 'desc-blend_dwimap',
    'canonical_mask': 'res-canonical_desc-brain_mask',
    'gain': 'desc-gain_dwimap',
    'bias_field': 'desc-biasfield_dwimap',
    'mask': 'desc-brain_mask',
}
OF_SERIES = {'gain', 'bias_field', 'mask'}
SIDECAR = {**tiny_dataset.SIDECAR, 'DiffusionBValue': 1000}
BVALS = np.array([0.0, *tiny_dataset.N_DIRECTIONS * [1000.0]])
BVECS = np.vstack([np.zeros(3), tiny_dataset.DIRECTIONS])
AFFINE = tiny_dataset.affine()


@pytest.fixture(scope='module')
def weights(tmp_path_factory) -> Path:
    """Write a tiny network whose gain depends on place, image and facts, as a trained one's."""
    import torch

    path = tiny_dataset.write_weights(tmp_path_factory.mktemp('weights') / 'w.safetensors')
    loaded, generator = load_weights(path), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=generator)
    save_weights(loaded.model, path, loaded.recipe)
    return path


@pytest.fixture(scope='module')
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Give the b=0 and the trace image of a shaded head, in whole numbers, (I, J, K)."""
    series = tiny_dataset.head().astype(float)
    trace = np.exp(np.log(np.maximum(series[..., 1:], 1)).mean(axis=-1))
    return series[..., 0], np.rint(trace)


@pytest.fixture(scope='module')
def harmonized(pair, weights) -> Harmonized:
    """Harmonize that head, bias and all."""
    return harmonize(*pair, SIDECAR, affine=AFFINE, weights=weights)


@pytest.fixture(scope='module')
def run(pair, weights):
    """Harmonize that head without N4, with other arguments."""
    b0, trace = pair
    plain = {'affine': AFFINE, 'weights': weights, 'bias_correction': False}

    def call(b0=b0, trace=trace, metadata=SIDECAR, **changed) -> Harmonized:
        given = {**plain, **changed}
        return harmonize(b0, trace, metadata, **{k: v for k, v in given.items() if v is not None})

    return call


def same(one: Harmonized, other: Harmonized) -> None:
    """Hold every map of two results against each other, bit for bit."""
    for name in MAPS:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)
    assert one.facts == other.facts
    assert one.warnings == other.warnings


@pytest.fixture(scope='module', params=[1.0, 0.4])
def finished(request, tmp_path_factory, weights):
    """Run the command on a series and on a clinical pair of images."""
    folder = tmp_path_factory.mktemp('api')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    tiny_dataset.write_run(raw, 'sub-01')
    tiny_dataset.keep_b0(tiny_dataset.write_run(raw, 'sub-02'))
    tiny_dataset.write_trace(raw, 'sub-02')
    options = ('--weights', weights, '--strength', request.param)
    done = command(raw, folder / 'out', 'participant', *options)
    assert done.returncode == 0, done.stderr
    return raw, folder / 'out', request.param


def compare(found: Harmonized, folder: Path, stem: str, space: int) -> dict:
    """Hold a result against the files of a run, bit for bit, and return its qc file.

    ``space`` is the code of the header that was given, which the images have.
    """
    images = found.images()
    for name, ending in MAPS.items():
        written = nb.load(folder / f'{stem}_{ending}.nii.gz')
        data = np.asarray(written.dataobj)
        np.testing.assert_array_equal(data, getattr(found, name), name)
        np.testing.assert_array_equal(data, np.asarray(images[name].dataobj), name)
        np.testing.assert_allclose(images[name].affine, written.affine, atol=1e-4)
        assert images[name].get_data_dtype() == written.get_data_dtype(), name
        codes = [int(images[name].header[key]) for key in ('sform_code', 'qform_code')]
        assert codes == [space, space], name
    qc = json.loads((folder / f'{stem}_desc-harmonized_qc.json').read_text())
    for section, content in found.facts.items():
        assert content == qc[section], section
    raw_input = [text for text in qc['warnings'] if 'preprocessed' in text]
    assert list(found.warnings) == [text for text in qc['warnings'] if text not in raw_input]
    assert len(raw_input) == 1
    return qc


@pytest.mark.slow
def test_a_series_gives_what_the_command_gives(finished, weights):
    """Summary images by the numerics, then every map, every figure and the series itself."""
    raw, out, strength = finished
    image = nb.load(raw / 'sub-01/dwi/sub-01_dwi.nii.gz')
    series = np.asarray(image.dataobj)
    b0 = mean_b0(series, [0])
    mask = brain_mask(b0, zooms=image.header.get_zooms()[:3])
    trace = trace_weighted(series, BVALS, BVECS, b0_ixs=[0], mask=mask)
    sidecar = raw / 'sub-01/dwi/sub-01_dwi.json'
    found = harmonize(b0, trace, sidecar, affine=image.affine, strength=strength, weights=weights)
    compare(found, out / 'sub-01/dwi', 'sub-01', space=1)
    written = nb.load(out / 'sub-01/dwi/sub-01_desc-harmonized_dwi.nii.gz')
    np.testing.assert_array_equal(found.apply(series), np.asarray(written.dataobj))
    np.testing.assert_array_equal(
        np.asarray(found.apply(image).dataobj), np.asarray(written.dataobj)
    )


@pytest.mark.slow
def test_a_clinical_pair_gives_what_the_command_gives(finished, weights):
    """From the same two files and the same sidecar."""
    raw, out, strength = finished
    folder = raw / 'sub-02/dwi'
    found = harmonize(
        folder / 'sub-02_dwi.nii.gz',
        folder / 'sub-02_trace.nii.gz',
        folder / 'sub-02_trace.json',
        strength=strength,
        weights=weights,
    )
    qc = compare(found, out / 'sub-02/dwi', 'sub-02', space=1)
    assert qc['summary']['trace_method'] == found.facts['summary']['trace_method'] == 'geometric'


@pytest.mark.parametrize('kind', ['int16', 'uint16', 'int32', 'float32', 'float64', '>f4', 'list'])
def test_any_real_type(pair, run, kind):
    """Whole numbers are the same numbers in every type, and in whatever order they lie."""
    b0, trace = pair
    if kind == 'list':
        given = (b0.tolist(), trace.tolist())
    else:
        given = (np.asfortranarray(b0.astype(kind)), trace.astype(kind)[..., None])
    kept = [np.array(image) for image in given]
    same(run(*given), run())
    for image, before in zip(given, kept, strict=True):
        np.testing.assert_array_equal(image, before)


def test_images_and_paths_are_arrays_with_an_affine(pair, run, tmp_path):
    """In memory, scaled on disk, and with a sidecar on disk."""
    b0, trace = pair
    images = [nb.Nifti1Image(data.astype(np.float32), AFFINE) for data in (b0, trace)]
    found = run(*images, affine=None)
    same(found, run())
    for data, name in ((b0, 'b0'), (trace, 'trace')):
        path = tmp_path / f'{name}.nii'
        nb.save(nb.Nifti1Image((2 * (data - 3)).astype(np.int16), AFFINE), path)
        content = bytearray(path.read_bytes())
        content[112:120] = struct.pack('<2f', 0.5, 3)  # slope and intercept
        path.write_bytes(content)
    (tmp_path / 'trace.json').write_text(json.dumps(SIDECAR))
    paths = (tmp_path / 'b0.nii', str(tmp_path / 'trace.nii'), tmp_path / 'trace.json')
    same(run(*paths, affine=None), run())


@pytest.mark.parametrize(
    ('order', 'atol'), [([0, 1, 2], 0.0), ([1, 0, 2], 1e-5), ([2, 0, 1], 1e-5), ([1, 2, 0], 1e-5)]
)
@pytest.mark.parametrize('flips', [[1, 1, 1], [-1, 1, 1], [1, -1, -1], [-1, -1, -1]])
def test_the_order_of_axes_is_a_matter_of_storage(pair, run, order, atol, flips):
    """Flipped and permuted, the scan gives the same maps, flipped and permuted."""
    if order == [0, 1, 2] and flips != [1, 1, 1]:
        atol = 1e-5
    turn = np.stack([np.argsort(order), flips], axis=1)
    turned = [apply_orientation(data, turn) for data in pair]
    affine = AFFINE @ inv_ornt_aff(turn, pair[0].shape)
    upright, found = run(), run(*turned, affine=affine)
    assert found.grid.axis == int(turn[2, 0])
    for name in MAPS:
        expected = apply_orientation(getattr(upright, name), turn)
        if expected.dtype == bool:
            np.testing.assert_array_equal(getattr(found, name), expected)
        else:
            scale = float(np.abs(expected).max())
            np.testing.assert_allclose(getattr(found, name), expected, atol=atol * scale, rtol=0)
    canonical = upright.affine @ inv_ornt_aff(turn, upright.b0.shape)
    np.testing.assert_allclose(found.affine, canonical, atol=1e-6)
    series = np.stack(pair, axis=-1)
    after = found.apply(np.stack(turned, axis=-1))
    np.testing.assert_allclose(after, apply_orientation(upright.apply(series), turn), rtol=1e-4)


def test_a_given_mask_is_taken(pair, run):
    """As booleans, as labels, as an image; a smaller one gives another scale."""
    mask = run().mask
    smaller = mask.copy()
    smaller[..., ::2] = False
    found = run(mask=smaller)
    np.testing.assert_array_equal(found.mask, smaller)
    same(run(mask=3 * smaller.astype(np.int16)), found)
    same(run(mask=nb.Nifti1Image(smaller.astype(np.uint8), AFFINE)), found)
    assert found.facts['summary']['robust_scale'] != run().facts['summary']['robust_scale']
    same(run(mask=mask), run())


def test_strength_is_a_dial_and_zero_leaves_the_series(pair, run):
    """At 0 not a bit moves; half-way the factor is the root of the whole one."""
    series = np.stack(pair, axis=-1).astype(np.float32)
    whole, half, none = (run(strength=strength) for strength in (1.0, 0.5, 0.0))
    np.testing.assert_array_equal(none.apply(series), series)
    np.testing.assert_allclose(half.factor, np.sqrt(whole.factor), rtol=1e-12)
    assert np.abs(np.log(whole.factor)).min() > 0.1
    np.testing.assert_allclose(half.b0, (whole.b0 + none.b0) / 2, atol=1e-5)


def test_a_tensor_keeps_its_numbers(weights):
    """FA and MD that are known on paper, under the gain of a scan with shading."""
    eigenvalues = 1e-3 * np.array([1.6, 0.4, 0.4])
    fa = np.sqrt(0.5 * ((1.2**2) * 2) / (1.6**2 + 2 * 0.4**2))
    adc = np.einsum('di,i,di->d', BVECS, eigenvalues, BVECS)
    b0 = tiny_dataset.head()[..., 0].astype(float)
    series = b0[..., None] * np.exp(-BVALS * adc)
    mask = brain_mask(b0, zooms=tiny_dataset.ZOOMS)
    trace = trace_weighted(series, BVALS, BVECS, b0_ixs=[0], mask=mask)
    found = harmonize(b0, trace, SIDECAR, affine=AFFINE, weights=weights)
    after = found.apply(series)
    assert np.ptp(found.factor[mask]) > 0.1 * np.median(found.factor[mask])
    change = ratio_change(series, after, [0], mask)
    assert change.max_relative < 1e-6
    assert change.n_voxels > 0.95 * mask.sum()
    bright = mask & (b0 > 100)
    signal = after[bright].astype(float)
    fitted = fit_tensors(signal[:, 1:] / signal[:, :1], BVALS[1:], BVECS[1:])
    np.testing.assert_allclose(fitted.fa, fa, atol=2e-6)
    np.testing.assert_allclose(fitted.md, eigenvalues.mean(), rtol=2e-6)


def test_apply_writes_where_it_is_told(pair, harmonized, tmp_path):
    """Into a memory map or into the series itself, with no more than one volume in hand."""
    b0, _ = pair
    series = np.repeat(b0[..., None], 40, axis=-1).astype(np.float32)
    expected = harmonized.apply(series)
    assert expected.dtype == np.float32
    out = np.memmap(tmp_path / 'out', np.float32, 'w+', shape=series.shape)
    factor = harmonized.factor.nbytes
    tracemalloc.start()
    assert harmonized.apply(series, out=out) is out
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # the factor and what it is made of, a volume in double precision and its float32
    assert peak < 6 * factor < series.nbytes / 2
    np.testing.assert_array_equal(out, expected)
    double = series.astype(np.float64)
    np.testing.assert_array_equal(harmonized.apply(double, out=double), expected)
    np.testing.assert_array_equal(harmonized.apply(series[..., 0]), expected[..., 0])


def test_apply_to_an_image_reads_it_once(pair, harmonized, tmp_path, monkeypatch):
    """A compressed file is opened a single time; the header says where voxels lie, and when."""
    series = np.stack([*pair, *pair, *pair], axis=-1).astype(np.int16)
    image = nb.Nifti1Image(series, AFFINE)
    image.header.set_zooms((*tiny_dataset.ZOOMS, 7.5))
    image.header.set_xyzt_units('mm', 'sec')
    nb.save(image, tmp_path / 'dwi.nii.gz')
    stored, opened = nb.load(tmp_path / 'dwi.nii.gz'), []
    original = nb.openers.ImageOpener.__init__

    def count(self, file_like, *args, **kwargs):
        opened.append(file_like)
        original(self, file_like, *args, **kwargs)

    monkeypatch.setattr(nb.openers.ImageOpener, '__init__', count)
    after = harmonized.apply(stored)
    assert len(opened) == 1
    np.testing.assert_array_equal(np.asarray(after.dataobj), harmonized.apply(series))
    np.testing.assert_array_equal(after.affine, stored.affine)
    assert after.header.get_zooms()[3] == 7.5
    assert after.get_data_dtype() == np.float32
    nb.save(after, tmp_path / 'after.nii.gz')
    np.testing.assert_array_equal(
        nb.load(tmp_path / 'after.nii.gz').get_fdata(dtype=np.float32), harmonized.apply(series)
    )


def test_an_image_says_along_which_axis_slices_were_taken(pair, run):
    """Its header before its voxel sizes, and the argument before its header."""
    images = [nb.Nifti1Image(data, AFFINE) for data in pair]
    assert run(*images, affine=None).grid.axis == 2
    images[0].header.set_dim_info(slice=1)
    coronal = run(*images, affine=None)
    assert coronal.grid.axis == 1
    same(coronal, run(slice_axis=1))
    assert coronal.b0.shape[1] == pair[0].shape[1]


@pytest.mark.parametrize(
    ('changed', 'moved'),
    [
        ({'bias_correction': True}, 'bias_field'),
        ({'canonical_resolution': 6.0}, 'b0'),
        ({'b_value': 2000.0}, 'trace'),
        ({'metadata': {**SIDECAR, 'EchoTime': 0.12}}, 'gain'),
    ],
)
def test_each_argument_matters(run, changed, moved):
    """What it is there for is another one; the network's first layer sees the facts."""
    one, other = getattr(run(), moved), getattr(run(**changed), moved)
    assert np.abs(one - other).max() > 1e-6 * np.abs(one).max()


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'metadata': {**SIDECAR, 'EchoTime': 71}}, 'EchoTime is 71 in the sidecar'),
        ({'metadata': {**SIDECAR, 'RepetitionTime': '5 s'}}, 'RepetitionTime is no number'),
        ({'metadata': {}}, 'does not state the b-value'),
        ({'b_value': 3000.0}, 'extrapolated to b=1000 s/mm2'),
        ({'affine': None, 'voxel_mm': tiny_dataset.ZOOMS}, 'Only the voxel size was given'),
    ],
)
def test_what_is_assumed_is_a_warning(run, changed, words):
    """In the words of the command where it has them; what is as it should be has none."""
    assert not any(words in text for text in run().warnings)
    assert sum(words in text for text in run(**changed).warnings) == 1


def test_facts_are_named_as_in_the_qc_file(run):
    """Used, missing, and what the grid gave instead of the sidecar."""
    told = run(metadata={'EchoTime': 0.07, 'SliceThickness': 9.0}, b_value=900).facts['sidecar']
    assert told['used'] == {
        'EchoTime': 0.07, 'BValue': 900.0, 'SliceThickness': 9.0, 'AcquiredPixel': 8.0
    }  # fmt: skip
    assert told['missing'] == ['MagneticFieldStrength', 'RepetitionTime']
    assert told['derived'] == ['AcquiredPixel']


@pytest.mark.parametrize(
    ('changed', 'words'),
    [
        ({'trace': np.ones((3, 4, 5))}, r'trace has \(3, 4, 5\) voxels, b0 has \(24, 24, 12\)'),
        ({'affine': None}, 'neither affine nor voxel_mm is given'),
        ({'voxel_mm': (8, 8, 10)}, 'affine and voxel_mm both say'),
        ({'affine': np.eye(3)}, r'affine has shape \(3, 3\)'),
        ({'affine': np.diag([8.0, 8.0, np.nan, 1.0])}, 'leads nowhere'),
        ({'affine': np.diag([8.0, 8.0, 0.0, 1.0])}, 'voxel sizes'),
        ({'affine': AFFINE + np.diag([5.0, 5, 5, 0], 1)[:4, :4]}, 'shear|collapse'),
        ({'affine': None, 'voxel_mm': (8, 8)}, r'voxel_mm has shape \(2,\)'),
        ({'affine': None, 'voxel_mm': (0.008, 0.008, 0.01)}, 'another unit'),
        ({'b0': np.full(tiny_dataset.SHAPE, np.nan)}, 'b0 holds 6912 values that are not finite'),
        ({'b0': np.full(tiny_dataset.SHAPE, 1e39)}, 'b0 holds 6912 values that are not finite'),
        ({'b0': np.ones((*tiny_dataset.SHAPE, 7))}, 'b0 has 4 dimensions'),
        ({'b0': np.ones((0, 24, 12))}, 'b0 is empty'),
        ({'b0': np.ones(tiny_dataset.SHAPE, complex)}, 'b0 holds complex128 values'),
        ({'b0': np.full(tiny_dataset.SHAPE, 7.0)}, 'no brain was found in the mean b=0'),
        ({'b0': np.zeros(tiny_dataset.SHAPE), 'mask': np.ones(tiny_dataset.SHAPE)},
         'b0 has a median of 0 in the brain'),
        ({'b0': '/nowhere/b0.nii.gz', 'affine': None}, 'b0: /nowhere/b0.nii.gz cannot be read'),
        ({'mask': np.zeros(tiny_dataset.SHAPE)}, 'mask is empty'),
        ({'mask': np.ones((2, 2, 2))}, r'mask has \(2, 2, 2\) voxels'),
        ({'mask': nb.Nifti1Image(np.ones(tiny_dataset.SHAPE), np.diag([8, 8, 10, 1]))},
         'mask lies up to .* mm away'),
        ({'trace': nb.Nifti1Image(np.ones(tiny_dataset.SHAPE), np.diag([8, 8, 10, 1]))},
         'trace lies up to .* mm away'),
        ({'metadata': None}, 'metadata is a NoneType'),
        ({'metadata': '/nowhere/dwi.json'}, 'metadata: /nowhere/dwi.json is not there'),
        ({'b_value': 1.0}, 'b_value is 1, not above 50'),
        ({'b_value': float('nan')}, 'b_value is nan'),
        ({'slice_axis': 3}, 'slice_axis is 3'),
        ({'strength': 1.1}, 'strength is 1.1'),
        ({'canonical_resolution': 1.0}, 'finer than the 2 mm'),
        ({'canonical_resolution': float('inf')}, 'canonical_resolution is inf'),
        ({'threads': 0}, 'threads is 0'),
        ({'weights': '/nowhere/w.safetensors'}, 'No such file'),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_line(run, changed, words):
    """With the argument, the cause and the remedy."""
    with pytest.raises(ValueError, match=words) as caught:
        run(**changed)
    text = str(caught.value)
    assert '\n' not in text
    assert text.endswith('.') or 'finer than' in text


def test_swapped_images_are_noticed(pair, run):
    """A trace image that is brighter than b=0 is none."""
    with pytest.raises(ValueError, match=r'trace is as bright as b0 or brighter.*Swap them'):
        run(*reversed(pair))


def test_a_trace_image_has_a_b_value_of_its_own(pair, run):
    """It is not said twice, and its grid is looked at."""
    series = np.stack(pair, axis=-1)
    bvals, bvecs = np.array([0.0, 800.0]), np.zeros((2, 3))
    made = trace_weighted(series, bvals, bvecs, b0_ixs=[0], mask=run().mask)
    same(run(trace=made), run(b_value=800))
    with pytest.raises(ValueError, match='b_value is given, and the TraceImage has its own'):
        run(trace=made, b_value=B_CANONICAL)
    cut = trace_weighted(series[1:], bvals, bvecs, b0_ixs=[0], mask=run().mask[1:])
    with pytest.raises(ValueError, match=r'trace has \(23, 24, 12\) voxels'):
        run(trace=cut)


@pytest.mark.parametrize(
    ('series', 'out', 'words'),
    [
        (np.ones((24, 24, 11, 2)), None, r'series has \(24, 24, 11\) voxels'),
        (np.ones((24, 24)), None, 'series has 2 dimensions'),
        (np.ones((*tiny_dataset.SHAPE, 2), complex), None, 'series holds complex128'),
        (np.ones((*tiny_dataset.SHAPE, 2)), np.ones(tiny_dataset.SHAPE), 'out holds float64'),
        (np.ones(tiny_dataset.SHAPE), np.ones(tiny_dataset.SHAPE, np.int16), 'out holds int16'),
        (nb.Nifti1Image(np.ones((*tiny_dataset.SHAPE, 2)), AFFINE), np.ones(tiny_dataset.SHAPE),
         'out has shape'),
        (nb.Nifti1Image(np.ones(tiny_dataset.SHAPE), np.diag([8, 8, 10, 1])), None,
         'series lies up to'),
    ],
)  # fmt: skip
def test_apply_refuses_another_grid(harmonized, series, out, words):
    """And what is no magnitude, and a place that does not fit."""
    with pytest.raises(ValueError, match=words):
        harmonized.apply(series, out=out)


def test_a_result_does_not_change_and_is_short_to_read(harmonized):
    """Frozen; its repr fits a line."""
    with pytest.raises(FrozenInstanceError):
        harmonized.strength = 0.5
    assert repr(harmonized).startswith('<Harmonized (24, 24, 12) to (48, 48, 12), strength 1, ')
    assert len(repr(harmonized)) < 99


def test_the_package_is_light_until_it_is_used():
    """Nothing but itself is imported; its names are there; another name is not."""
    code = (
        'import sys, bidsharmony\n'
        'heavy = {"numpy", "nibabel", "torch", "ants", "sklearn"}\n'
        'assert not heavy & set(sys.modules)\n'
        'assert {"harmonize", "Harmonized", "ScanHarmonizer"} <= set(dir(bidsharmony))\n'
        'assert not heavy & set(sys.modules)\n'
        'from bidsharmony import harmonize\n'
        'assert callable(harmonize) and "torch" in sys.modules and "ants" not in sys.modules\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'harmonise'"):
        _ = bidsharmony.harmonise
    assert all(getattr(bidsharmony, name) is not None for name in bidsharmony.__all__)


class TestScanHarmonizer:
    """What scikit-learn expects of a transformer, and what scans get from it."""

    @pytest.fixture
    def scans(self, pair):
        """Describe one scan twice, the second time on a scanner of another unit."""
        b0, trace = pair
        place = {'metadata': SIDECAR, 'affine': AFFINE}
        return [{'b0': k * b0, 'trace': k * trace, **place} for k in (1, 2)]

    def test_scans_are_harmonized_one_by_one(self, scans, weights, monkeypatch):
        """As by the function, from weights that are read once."""
        read = []
        monkeypatch.setattr(
            estimator, 'load_weights', lambda path: read.append(path) or load_weights(path)
        )
        method = {'bias_correction': False, 'strength': 0.7}
        found = ScanHarmonizer(weights=weights, **method).fit_transform(scans)
        assert read == [weights]
        for scan, one in zip(scans, found, strict=True):
            same(one, harmonize(**scan, weights=weights, **method))
        np.testing.assert_allclose(found[0].b0, found[1].b0, atol=1e-5)

    def test_it_is_cloned_and_set(self, weights):
        """Parameters are those of the constructor, and unknown ones are refused."""
        first = ScanHarmonizer(weights=weights, strength=0.3).fit()
        second = clone(first)
        assert second.get_params() == first.get_params()
        assert not hasattr(second, 'weights_')
        assert not [n for n in dir(second) if n.startswith('set_') and n.endswith('_request')]
        assert second.set_params(strength=0.9).strength == 0.9
        with pytest.raises(ValueError, match='Invalid parameter'):
            second.set_params(strenght=0.9)

    def test_it_is_a_step_of_a_pipeline(self, scans, weights):
        """Before features and whatever comes then."""

        def features(found: list[Harmonized]) -> np.ndarray:
            return np.array([[one.adc[one.canonical_mask].mean()] for one in found])

        steps = [
            ('harmonize', ScanHarmonizer(weights=weights, bias_correction=False)),
            ('features', FunctionTransformer(features)),
        ]
        table = clone(Pipeline(steps)).fit_transform(scans)
        assert table.shape == (2, 1)
        assert 0.5e-3 < table[0, 0] < 1.6e-3

    def test_a_bad_scan_is_named(self, scans, weights):
        """By its number."""
        del scans[1]['affine']
        harmonizer = ScanHarmonizer(weights=weights, bias_correction=False)
        with pytest.raises(ValueError, match='scan 1: b0 is an array, and neither affine'):
            harmonizer.transform(scans)


@pytest.mark.slow
def test_the_documented_examples_run():
    """Every line of the worked examples, with the shipped weights."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    page = ROOT / 'docs' / 'api.rst'
    result = doctest.testfile(str(page), module_relative=False, optionflags=flags)
    assert result.attempted > 15
    assert result.failed == 0
