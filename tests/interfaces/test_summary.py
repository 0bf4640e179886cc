"""Whatever form a series comes in, its summary images hold the diffusivity that was planted."""

import struct

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import DwiRun, Scanner
from bidsharmony.interfaces.files import InputError
from bidsharmony.interfaces.harmonize import HarmonizeSummary
from bidsharmony.interfaces.inputs import check_run
from bidsharmony.interfaces.series import HarmonizeSeries
from bidsharmony.interfaces.summary import BrainMask, MeanB0, PairTrace, TraceWeighted
from bidsharmony.network.facts import scanner_facts
from tests import tiny_dataset
from tests.numerics.affines import AFFINES

WHITE, CORE = 0.8e-3, 1.6e-3  # mm2/s
KURTOSIS = 1.0
SHAPE = (24, 26, 22)
SPOT = np.array([18.0, 26.0, -16.0])  # where the core lies, mm in RAS
AXES = np.eye(3)
# keys are types; slope and intercept are of the header
STORED = {
    'int8': (8.0, 1000.0),
    'uint8': (8.0, 0.0),
    'int16': (0.5, 0.0),
    'uint16': (0.25, -10.0),
    'int32': (1e-4, 5.0),
    'float32': (3.0, -2.0),
    'float64': (0.1, 7.0),
}


def draw(affine, bvals, bvecs, kurtosis=0.0):
    """Draw an ellipsoid of one diffusivity about a core of another, (I, J, K, N)."""
    place = np.moveaxis(np.indices(SHAPE), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    brain = ((place / (60.0, 70.0, 55.0)) ** 2).sum(axis=-1) < 1
    core = np.linalg.norm(place - SPOT, axis=-1) < 16
    adc = np.where(core, CORE, WHITE)[..., None]
    bvals = np.asarray(bvals, float)
    exponent = -bvals * adc + (bvals * adc) ** 2 * kurtosis / 6
    return np.where(brain, 900.0, 0.0)[..., None] * np.exp(exponent), brain, core


def centred(affine):
    """Scale an affine to voxels of 6 to 7.5 mm and put the volume's middle at the origin."""
    scaled = np.array(affine, float)
    scaled[:3, :3] *= 3
    scaled[:3, 3] = -scaled[:3, :3] @ (np.array(SHAPE) - 1) / 2
    return scaled


def write(folder, series, affine, bvals, bvecs, *, stored='float32', scaling=(1.0, 0.0)):
    """Write a series in a type and with a header's scaling, and describe it as a run."""
    slope, intercept = scaling
    dtype = np.dtype(stored)
    values = (series - intercept) / slope
    image = folder / 'sub-01' / 'dwi' / 'sub-01_dwi.nii'
    image.parent.mkdir(parents=True)
    nifti = nb.Nifti1Image((np.rint(values) if dtype.kind in 'iu' else values).astype(dtype), None)
    nifti.header.set_data_dtype(dtype)
    nifti.header.set_sform(affine, code=1)
    nifti.header.set_zooms((*nb.affines.voxel_sizes(affine), 5.0))
    nb.save(nb.Nifti1Image(np.asarray(nifti.dataobj), affine, nifti.header), image)
    content = bytearray(image.read_bytes())
    content[112:120] = struct.pack('<2f', slope, intercept)  # nibabel scales no floats
    image.write_bytes(content)
    gradients = {'bval': [bvals], 'bvec': np.transpose(bvecs)}
    for kind, rows in gradients.items():
        text = '\n'.join(' '.join(f'{value:g}' for value in row) for row in rows)
        image.with_name(f'sub-01_dwi.{kind}').write_text(text)
    return DwiRun(
        image=image,
        bval=image.with_name('sub-01_dwi.bval'),
        bvec=image.with_name('sub-01_dwi.bvec'),
        sidecar=tiny_dataset.SIDECAR,
        sidecar_files=(),
        entities={'subject': '01'},
        scanner=Scanner(),
    )


def summarise(run, folder, b0_threshold=50.0):
    """Take a run through the interfaces that come before the network."""
    checked = check_run(run, b0_threshold)
    b0_ixs = list(checked.b0_ixs)
    files = {'dwi_file': str(run.image)}
    b0 = MeanB0(**files, b0_ixs=b0_ixs).run(cwd=folder).outputs.b0_file
    mask = BrainMask(b0_file=b0).run(cwd=folder).outputs.mask_file
    trace = TraceWeighted(
        **files,
        bval_file=str(run.bval),
        bvec_file=str(run.bvec),
        b0_ixs=b0_ixs,
        b0_threshold=b0_threshold,
        mask_file=mask,
    )
    found = trace.run(cwd=folder).outputs
    return checked, b0, mask, found


def table(b0=0.0, b=1000.0):
    """Return b-values and b-vectors of one b=0 and three orthogonal directions."""
    return np.array([b0, b, b, b]), np.concatenate([np.zeros((1, 3)), AXES])


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """Write a tiny network."""
    return str(tiny_dataset.write_weights(tmp_path_factory.mktemp('weights') / 'w.safetensors'))


def as_expected(found, brain, core, *, rtol):
    """Hold an ADC map against what was drawn."""
    adc = nb.load(found.adc_file).get_fdata()
    np.testing.assert_allclose(adc[brain & ~core], WHITE, rtol=rtol)
    np.testing.assert_allclose(adc[brain & core], CORE, rtol=rtol)


@pytest.mark.parametrize('affine', AFFINES.values(), ids=AFFINES.keys())
def test_any_orientation(tmp_path, weights, affine):
    """The ADC is the planted one, and the core stays where it is in the scanner's space."""
    affine, (bvals, bvecs) = centred(affine), table()
    series, brain, core = draw(affine, bvals, bvecs)
    run = write(tmp_path, series, affine, bvals, bvecs)
    checked, b0, mask, found = summarise(run, tmp_path)
    assert checked.orientation == ''.join(nb.aff2axcodes(affine))
    as_expected(found, brain, core, rtol=1e-4)
    np.testing.assert_allclose(nb.load(found.trace_file).affine, affine, atol=1e-4)
    canonical = HarmonizeSummary(
        b0_file=b0,
        trace_file=found.trace_file,
        mask_file=mask,
        metadata=scanner_facts(run.sidecar, checked.shape, checked.zooms, 2).metadata,
        trace_facts=found.facts,
        slice_axis=checked.slice_axis,
        weights=weights,
    )
    adc = nb.load(canonical.run(cwd=tmp_path).outputs.adc_file)
    inside = np.argwhere(adc.get_fdata() > (WHITE + CORE) / 2)
    weight = adc.get_fdata()[tuple(inside.T)] - WHITE
    middle = nb.affines.apply_affine(adc.affine, inside)
    expected = nb.affines.apply_affine(affine, np.argwhere(brain & core)).mean(axis=0)
    np.testing.assert_allclose(np.average(middle, axis=0, weights=weight), expected, atol=2.5)


@pytest.mark.parametrize(('stored', 'scaling'), STORED.items())
def test_any_type_and_scaling(tmp_path, stored, scaling):
    """ADC and series are those of the scaled values, to the step of the stored ones."""
    affine, (bvals, bvecs) = centred(np.diag([-2.0, 2.0, 2.0, 1.0])), table()
    series, brain, core = draw(affine, bvals, bvecs)
    run = write(tmp_path, series, affine, bvals, bvecs, stored=stored, scaling=scaling)
    read = nb.load(run.image)
    assert read.get_data_dtype() == stored
    step = scaling[0] if np.dtype(stored).kind in 'iu' else 1e-3
    np.testing.assert_allclose(read.get_fdata(), series, atol=step)
    _, _, mask, found = summarise(run, tmp_path)
    # an error of half a step in the darkest signal, over b and the ADC
    rtol = step / series[brain].min() / (1000 * WHITE) + 1e-4
    as_expected(found, brain, core, rtol=rtol)
    for name, value in (('gain', 3.0), ('field', 1.5), ('noise', 0.0)):
        volume = nb.Nifti1Image(np.full(SHAPE, value, np.float32), affine)
        nb.save(volume, tmp_path / f'{name}.nii.gz')
    applied = HarmonizeSeries(
        dwi_file=str(run.image),
        bval_file=str(run.bval),
        bvec_file=str(run.bvec),
        field_file=str(tmp_path / 'field.nii.gz'),
        gain_file=str(tmp_path / 'gain.nii.gz'),
        noise_file=str(tmp_path / 'noise.nii.gz'),
        mask_file=mask,
        b0_ixs=[0],
        slice_axis=2,
        network_facts={'canonical_fwhm_mm': 2.0, 'resolution_mm': [None] * 3},
    )
    outputs = applied.run(cwd=tmp_path).outputs
    after = nb.load(outputs.dwi_file)
    np.testing.assert_allclose(after.get_fdata(), 2 * read.get_fdata(), rtol=1e-6)
    assert outputs.guarantee['max_ratio_change'] < 1e-6


@pytest.mark.parametrize('b0', [1.25, 5.0])
def test_a_b0_that_is_not_quite_zero(tmp_path, b0):
    """It counts as b=0, with a note; the ADC is that of the difference."""
    affine, (bvals, bvecs) = centred(np.eye(4) * 2), table(b0, 1000.0)
    series, brain, core = draw(affine, bvals, bvecs)
    run = write(tmp_path, series, affine, bvals, bvecs)
    checked, _, _, found = summarise(run, tmp_path)
    assert checked.notes == (f'1 volume with b up to {b0:g} s/mm2 counts as b=0.',)
    as_expected(found, brain, core, rtol=1e-4)
    with pytest.raises(InputError, match=r'no b=0 volume, the smallest b-value is') as caught:
        check_run(run, 1.0)
    assert '\n' not in str(caught.value)


def test_several_shells(tmp_path):
    """The shell nearest b=1000 gives the ADC; with kurtosis every other one would show."""
    affine, shells = centred(np.eye(4) * 2), (500.0, 1000.0, 2500.0)
    bvals = np.concatenate([[0.0], np.repeat(shells, 3)])
    bvecs = np.concatenate([np.zeros((1, 3)), np.tile(AXES, (3, 1))])
    series, brain, _ = draw(affine, bvals, bvecs, kurtosis=KURTOSIS)
    run = write(tmp_path, series, affine, bvals, bvecs)
    checked, _, _, found = summarise(run, tmp_path)
    assert checked.shells == tuple((b, 3) for b in shells)
    assert found.facts['b_acquired'] == 1000
    adc = nb.load(found.adc_file).get_fdata()[brain]
    expected = {WHITE - 1000 * WHITE**2 * KURTOSIS / 6, CORE - 1000 * CORE**2 * KURTOSIS / 6}
    assert np.abs(adc[:, None] - sorted(expected)).min(axis=1).max() < 1e-7


def test_parts_change_nothing(tmp_path, monkeypatch, rng):
    """A series that is too large to be held is read several times, and gives the same images."""
    directions = rng.normal(size=(12, 3))
    bvals = np.array([0.0, *[1000.0] * 12])
    bvecs = np.concatenate(
        [np.zeros((1, 3)), directions / np.linalg.norm(directions, axis=1)[:, None]]
    )
    affine = centred(np.eye(4))
    series, *_ = draw(affine, bvals, bvecs)
    series = series * rng.uniform(0.9, 1.1, series.shape)
    run = write(tmp_path, series, affine, bvals, bvecs)
    images = []
    for held in (128, 0.05):
        monkeypatch.setattr('bidsharmony.interfaces.summary.HELD_MB', held)
        folder = tmp_path / str(held)
        folder.mkdir()
        *_, found = summarise(run, folder)
        assert found.facts['trace_method'] == 'tensor'
        images.append([nb.load(file).get_fdata() for file in (found.trace_file, found.adc_file)])
    for whole, parted in zip(*images, strict=True):
        np.testing.assert_allclose(parted, whole, rtol=1e-6)


@pytest.mark.parametrize('field_strength', [1.5, 7.0])
def test_fields_beside_3_tesla_are_told(field_strength):
    """The network is told the field as it is."""
    facts = scanner_facts({'MagneticFieldStrength': field_strength}, SHAPE, (2.0, 2.0, 2.0), 2)
    assert facts.metadata['MagneticFieldStrength'] == field_strength
    assert facts.warnings == ()


@pytest.mark.parametrize('dimensions', [3, 4])
@pytest.mark.parametrize('b0', [0.0, 5.0])
def test_a_pair_of_images_is_a_series_of_both(tmp_path, dimensions, b0):
    """The b=0 volumes come first, wherever they stood, and the ADC is the planted one."""
    affine = centred(np.diag([-2.0, 2.0, 2.0, 1.0]))
    bvals = np.array([700.0, b0, 1000.0, b0])
    series, brain, core = draw(affine, bvals, np.zeros((4, 3)))
    trace = series[..., 2] if dimensions == 3 else series[..., 2:3]
    for name, data in (('source', series), ('trace', trace)):
        nb.save(nb.Nifti1Image(data.astype(np.float32), affine), tmp_path / f'{name}.nii.gz')
    pair = PairTrace(
        trace_file=str(tmp_path / 'trace.nii.gz'),
        b0_source=str(tmp_path / 'source.nii.gz'),
        b0_ixs=[1, 3],
        bvals=[b0, b0, 1000.0],
    )
    made = pair.run(cwd=tmp_path).outputs
    np.testing.assert_allclose(
        nb.load(made.dwi_file).get_fdata(), series[..., [1, 3, 2]], rtol=1e-6
    )
    np.testing.assert_allclose(nb.load(made.dwi_file).affine, affine)
    mask = BrainMask(b0_file=MeanB0(dwi_file=made.dwi_file, b0_ixs=[0, 1]).run(
        cwd=tmp_path).outputs.b0_file).run(cwd=tmp_path).outputs.mask_file  # fmt: skip
    found = TraceWeighted(**made.get(), b0_ixs=[0, 1], mask_file=mask).run(cwd=tmp_path).outputs
    as_expected(found, brain, core, rtol=1e-4)
    assert found.facts['n_directions'] == 0
