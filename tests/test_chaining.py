"""Programs that come before and after: QSIPrep's input, and MRtrix3, DIPY, QSIRecon's names."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.volumes import geometry_header, write_volumes
from bidsharmony.numerics.gain import apply_gain
from bidsharmony.workflows.outputs import expected_endings
from tests import tiny_dataset
from tests.test_end_to_end import bidsharmony, tree
from tests.validator import errors_of

MRTRIX = all(shutil.which(name) for name in ('dwi2tensor', 'tensor2metric'))
EIGENVALUES = np.array([1.7e-3, 0.4e-3, 0.2e-3])  # mm2/s
S0 = 900.0
ROTATION = np.array([[0.96, -0.28, 0.0], [0.28 * 0.8, 0.96 * 0.8, -0.6], [0.168, 0.576, 0.8]])
AFFINES = {
    'RAS': nb.affines.from_matvec(np.diag([2.0, 2.0, 3.0]), [-8, -6, 4]),
    'LAS': nb.affines.from_matvec(np.diag([-2.0, 2.0, 3.0]), [8, -6, 4]),
    'oblique': nb.affines.from_matvec(ROTATION @ np.diag([2.0, 2.0, 3.0]), [1, 2, 3]),
}


def fractional_anisotropy(values: np.ndarray) -> float:
    """FA of three eigenvalues (Basser and Pierpaoli 1996)."""
    spread = values - values.mean()
    return float(np.sqrt(1.5 * (spread**2).sum() / (values**2).sum()))


def phantom(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Simulate tensors of one FA and many directions, without noise.

    Returns
    -------
    series (6, 5, 4, 26) float32, bvals (26,) s/mm2, bvecs (26, 3), v1 (6, 5, 4, 3)
        vectors in FSL's frame, that of bvecs
    """
    frames, _ = np.linalg.qr(rng.normal(size=(6, 5, 4, 3, 3)))
    tensors = np.einsum('...ij,j,...kj->...ik', frames, EIGENVALUES, frames)
    bvecs = rng.normal(size=(26, 3))
    bvecs /= np.linalg.norm(bvecs, axis=1, keepdims=True)
    bvals = np.repeat([0.0, 1000.0], [2, 24])
    bvecs[bvals == 0] = 0
    exponent = np.einsum('n,ni,...ij,nj->...n', bvals, bvecs, tensors, bvecs)
    return (S0 * np.exp(-exponent)).astype(np.float32), bvals, bvecs, frames[..., 0]


def write_series(path: Path, series: np.ndarray, header: nb.Nifti1Header) -> Path:
    """Write a series as the program does."""
    header = geometry_header(header, series.shape)
    write_volumes(path, header, np.moveaxis(series, -1, 0))
    return path


def fit_dipy(series: Path, bval: Path, bvec: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fit tensors; FA (I, J, K), and V1 (I, J, K, 3) in the frame of the b-vectors."""
    from dipy.core.gradients import gradient_table
    from dipy.io.gradients import read_bvals_bvecs
    from dipy.reconst.dti import TensorModel

    bvals, bvecs = read_bvals_bvecs(str(bval), str(bvec))
    fit = TensorModel(gradient_table(bvals, bvecs=bvecs)).fit(nb.load(series).get_fdata())
    return fit.fa, fit.evecs[..., 0]


def fit_mrtrix(
    series: Path, bval: Path, bvec: Path, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Fit tensors; FA (I, J, K), and V1 (I, J, K, 3) in scanner coordinates."""
    folder.mkdir()
    tensor, fa, v1 = (folder / f'{name}.nii.gz' for name in ('tensor', 'fa', 'v1'))
    for command in (
        ['dwi2tensor', '-fslgrad', bvec, bval, series, tensor],
        ['tensor2metric', '-fa', fa, '-vector', v1, '-modulate', 'none', tensor],
    ):
        subprocess.run(
            [*map(str, command), '-quiet', '-nthreads', '1'],
            check=True,
            capture_output=True,
            timeout=120,
        )
    return nb.load(fa).get_fdata(), nb.load(v1).get_fdata()


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of the angle of axes, which have no sign."""
    return np.abs((first * second).sum(axis=-1))


@pytest.fixture(params=AFFINES)
def chained(request, tmp_path, rng) -> dict:
    """Write a phantom's series, and the same under one positive field that varies ten-fold."""
    affine = AFFINES[request.param]
    series, bvals, bvecs, v1 = phantom(rng)
    image = nb.Nifti1Image(series, affine)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    field = np.exp(rng.uniform(np.log(0.01), np.log(0.1), series.shape[:3]))
    bval, bvec = tmp_path / 'x.bval', tmp_path / 'x.bvec'
    np.savetxt(bval, bvals[None], '%g')
    np.savetxt(bvec, bvecs.T, '%.8f')
    # FSL's frame has the image's axes, the first of them turned round unless it is turned already
    axes = affine[:3, :3] / nb.affines.voxel_sizes(affine)
    flip = np.array([-1 if np.linalg.det(affine[:3, :3]) > 0 else 1, 1, 1])
    return {
        'before': write_series(tmp_path / 'before.nii.gz', series, image.header),
        'after': write_series(tmp_path / 'after.nii.gz', apply_gain(series, field), image.header),
        'gradients': (bval, bvec),
        'v1': v1,
        'v1_scanner': (v1 * flip) @ axes.T,
        'folder': tmp_path,
    }


def test_dipy_finds_the_same_tensors(chained):
    """FA and V1 are those of the input, and the truth."""
    found = {when: fit_dipy(chained[when], *chained['gradients']) for when in ('before', 'after')}
    for fa, v1 in found.values():
        np.testing.assert_allclose(fa, fractional_anisotropy(EIGENVALUES), atol=1e-5)
        assert cosine(v1, chained['v1']).min() > 1 - 1e-6
    np.testing.assert_allclose(found['after'][0], found['before'][0], atol=1e-6)


@pytest.mark.skipif(not MRTRIX, reason='MRtrix3 (dwi2tensor, tensor2metric) is not installed')
def test_mrtrix_finds_the_same_tensors(chained):
    """FA and V1 are those of the input, and the truth in scanner coordinates."""
    found = {
        when: fit_mrtrix(chained[when], *chained['gradients'], chained['folder'] / when)
        for when in ('before', 'after')
    }
    for fa, v1 in found.values():
        np.testing.assert_allclose(fa, fractional_anisotropy(EIGENVALUES), atol=1e-5)
        assert cosine(v1, chained['v1_scanner']).min() > 1 - 1e-6
    np.testing.assert_allclose(found['after'][0], found['before'][0], atol=1e-6)


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Run the command on a series of QSIPrep's, with an output for QSIRecon."""
    folder = tmp_path_factory.mktemp('chaining')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    tiny_dataset.write_run(raw, 'sub-01', seed=1)
    qsiprep = tiny_dataset.write_dataset(folder / 'qsiprep')
    series = tiny_dataset.write_qsiprep(qsiprep)
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    call = (raw, folder / 'out', 'participant', '-d', f'qsiprep={qsiprep}', '--weights', weights)
    done = bidsharmony(*call, '--qsiprep-compat')
    assert done.returncode == 0, done.stderr
    return series, folder / 'out', call


@pytest.mark.slow
def test_qsiprep_series_is_harmonized_with_raw_facts(finished):
    """Names keep the space; facts, mask and sources are those of the datasets they came from."""
    series, out, _ = finished
    folder = out / 'sub-01' / 'dwi'
    stem = 'sub-01_space-ACPC'
    assert {path.name for path in folder.iterdir()} == {f'{stem}{e}' for e in expected_endings()}
    sidecar = json.loads((folder / f'{stem}_desc-harmonized_dwi.json').read_text())
    assert sidecar['EchoTime'] == tiny_dataset.SIDECAR['EchoTime']
    assert sidecar['Manufacturer'] == 'Siemens'
    base = 'bids:qsiprep:sub-01/dwi/sub-01_space-ACPC_desc'
    assert sidecar['Sources'] == [
        *(f'{base}-preproc_dwi{ending}' for ending in ('.nii.gz', '.bval', '.bvec')),
        f'{base}-brain_mask.nii.gz',
    ]
    assert sidecar['SpatialReference'] == f'{base}-preproc_dwi.nii.gz'
    described = json.loads((out / 'dataset_description.json').read_text())
    assert described['DatasetLinks'] == {'raw': '../raw', 'qsiprep': '../qsiprep'}
    given = series.with_name(f'{stem}_desc-brain_mask.nii.gz')
    mask = folder / f'{stem}_desc-brain_mask.nii.gz'
    np.testing.assert_array_equal(nb.load(mask).get_fdata(), nb.load(given).get_fdata())
    assert (
        'preprocessed'
        in json.loads(mask.with_suffix('').with_suffix('.json').read_text())['Description']
    )
    qc = json.loads((folder / f'{stem}_desc-harmonized_qc.json').read_text())
    assert qc['sidecar']['used']['EchoTime'] == tiny_dataset.SIDECAR['EchoTime']
    (note,) = (note for note in qc['notes'] if 'sidecar' in note)
    assert note.startswith('Taken from the sidecar of bids:raw:sub-01/dwi/sub-01_dwi.nii.gz: ')


@pytest.mark.slow
def test_qsirecon_finds_its_files(finished):
    """QSIRecon cuts names out of that of the series; the dataset describes itself."""
    series, out, _ = finished
    compat = out / 'qsiprep-compat'
    files = {p.relative_to(compat).as_posix() for p in compat.rglob('*') if not p.is_dir()}
    stem = 'sub-01/dwi/sub-01_space-ACPC_desc-preproc_dwi'
    mask, reference = f'{stem[:-11]}brain_mask', f'{stem[:-16]}dwiref'
    anatomy = {
        'sub-01/anat/sub-01_space-ACPC_desc-preproc_T1w.nii.gz',
        'sub-01/anat/sub-01_space-ACPC_desc-preproc_T1w.json',
        'sub-01/anat/sub-01_from-ACPC_to-anat_mode-image_xfm.mat',
    }
    assert files == {
        'dataset_description.json',
        '.bidsignore',
        *(f'{stem}{ending}' for ending in ('.nii.gz', '.bval', '.bvec', '.b', '.json')),
        *(f'{name}{ending}' for name in (mask, reference) for ending in ('.nii.gz', '.json')),
        *anatomy,
    }
    for name in anatomy:
        assert os.readlink(compat / name) == f'../../../../qsiprep/{name}'
        assert (compat / name).exists()
    for ending in ('.bval', '.bvec', '.b'):
        original = series.with_name(f'{Path(stem).name}{ending}')
        assert (compat / f'{stem}{ending}').read_bytes() == original.read_bytes()
    harmonized = out / 'sub-01' / 'dwi' / 'sub-01_space-ACPC_desc-harmonized_dwi.nii.gz'
    assert (compat / f'{stem}.nii.gz').read_bytes() == harmonized.read_bytes()
    b0 = nb.load(harmonized)
    np.testing.assert_array_equal(
        nb.load(compat / f'{reference}.nii.gz').get_fdata(), b0.get_fdata()[..., 0]
    )
    described = json.loads((compat / 'dataset_description.json').read_text())
    assert described['DatasetLinks'] == {'raw': '../../raw', 'qsiprep': '../../qsiprep'}


@pytest.mark.slow
@pytest.mark.parametrize('program', ['dipy', 'mrtrix'])
def test_real_output_gives_the_same_tensors(finished, tmp_path, program):
    """FA before and after, by programs that read the files as they are on disk."""
    if program == 'mrtrix' and not MRTRIX:
        pytest.skip('MRtrix3 (dwi2tensor, tensor2metric) is not installed')
    series, out, _ = finished
    after = out / 'qsiprep-compat' / 'sub-01' / 'dwi' / series.name
    found = []
    for image in (series, after):
        stem = image.name.removesuffix('.nii.gz')
        gradients = [image.with_name(f'{stem}{ending}') for ending in ('.bval', '.bvec')]
        if program == 'dipy':
            found.append(fit_dipy(image, *gradients))
        else:
            found.append(fit_mrtrix(image, *gradients, tmp_path / str(len(found))))
    brain = nb.load(series.with_name('sub-01_space-ACPC_desc-brain_mask.nii.gz')).get_fdata() > 0
    use = brain & (nb.load(series).get_fdata() > 0).all(axis=-1)
    (fa, v1), (fa_after, v1_after) = found
    assert use.sum() > 1000
    np.testing.assert_allclose(fa_after[use], fa[use], atol=1e-4)
    assert cosine(v1, v1_after)[use & (fa > 0.1)].min() > 1 - 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('folder', ['.', 'qsiprep-compat'])
def test_validator_finds_no_error(finished, folder):
    """The output is a BIDS derivative, and so is the dataset inside it."""
    _, out, _ = finished
    assert errors_of(out / folder) == []


@pytest.mark.slow
def test_later_calls(finished):
    """Unchanged is not run again; a lost file is made anew; without the option nothing stays."""
    _, out, call = finished
    first = tree(out)
    again = bidsharmony(*call, '--qsiprep-compat')
    assert (again.returncode, 'unchanged' in again.stderr) == (0, True), again.stderr
    assert tree(out) == first
    compat = out / 'qsiprep-compat' / 'sub-01'
    (compat / 'dwi' / 'sub-01_space-ACPC_dwiref.nii.gz').unlink()
    (compat / 'anat' / 'sub-01_space-ACPC_desc-preproc_T1w.nii.gz').unlink()
    again = bidsharmony(*call, '--qsiprep-compat')
    assert (again.returncode, 'unchanged' in again.stderr) == (0, False), again.stderr
    assert tree(out) == first
    again = bidsharmony(*call)
    assert again.returncode == 0, again.stderr
    outside = {name: sha for name, sha in first.items() if not name.startswith('qsiprep-compat/')}
    assert {name for name in tree(out) if name.startswith('qsiprep-compat/sub')} == set()
    assert {name: sha for name, sha in tree(out).items() if name in outside} == outside
