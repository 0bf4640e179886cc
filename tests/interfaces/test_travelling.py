"""The phantom's dataset: files hold together, the validator agrees, failure leaves nothing."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bidsharmony.interfaces import travelling
from bidsharmony.interfaces.travelling import TRUTH, write_phantom
from bidsharmony.physics.lesions import KINDS
from bidsharmony.physics.phantom import phantom_scanners
from bidsharmony.physics.tissue import TISSUE_NAMES
from tests.physics.heads import ball


def small(n: int) -> list:
    """Return scanners with a narrow field of view and few slices."""
    return [
        replace(s, fov=96, protocol=replace(s.protocol, spacing=12.0, directions=3))
        for s in phantom_scanners()[:n]
    ]


def files(root: Path) -> list[str]:
    """List the files of a folder."""
    return sorted(p.relative_to(root).as_posix() for p in root.rglob('*') if p.is_file())


@pytest.fixture(scope='module')
def dataset(tmp_path_factory) -> Path:
    """Return three heads with lesions on two scanners."""
    root = tmp_path_factory.mktemp('phantom') / 'bids'
    write_phantom(root, [ball(96, 38)] * 3, small(2), lesions=True)
    return root


def test_every_head_visits_every_scanner(dataset):
    series = sorted(dataset.glob('sub-*/ses-*/dwi/*_dwi.nii.gz'))
    assert [p.relative_to(dataset).as_posix() for p in series] == [
        f'sub-0{i}/ses-{s}/dwi/sub-0{i}_ses-{s}_dwi.nii.gz'
        for i in (1, 2, 3)
        for s in ('ge15t', 'siemens3t')
    ]


def test_each_head_on_one_scanner(tmp_path):
    images = write_phantom(tmp_path / 'bids', [ball(96, 38)] * 3, small(2), travelling=False)
    assert [p.relative_to(tmp_path / 'bids').as_posix() for p in images] == [
        f'sub-0{i}/dwi/sub-0{i}_dwi.nii.gz' for i in (1, 2, 3)
    ]
    makers = [
        json.loads(p.with_name(p.name[:-7] + '.json').read_text())['Manufacturer'] for p in images
    ]
    assert makers == ['Siemens', 'GE', 'Siemens']
    rows = (tmp_path / 'bids' / 'participants.tsv').read_text().splitlines()
    assert rows == [
        'participant_id\tlesion\tscanner',
        'sub-01\tnone\tsiemens3t',
        'sub-02\tnone\tge15t',
        'sub-03\tnone\tsiemens3t',
    ]
    assert not [name for name in files(tmp_path / 'bids') if 'lesion' in name]


def test_series_are_as_scanners_store_them(dataset):
    for scanner in small(2):
        stem = f'sub-01/ses-{scanner.label}/dwi/sub-01_ses-{scanner.label}_dwi'
        image = nib.load(dataset / f'{stem}.nii.gz')
        assert nib.aff2axcodes(image.affine) == ('L', 'A', 'S')
        assert image.get_data_dtype() == np.int16
        stored = np.asarray(image.dataobj.get_unscaled())
        assert (stored.min() >= 0, stored.max()) == (True, scanner.protocol.levels)
        assert image.header.get_dim_info() == (0, 1, 2)
        bvals = np.loadtxt(dataset / f'{stem}.bval')
        bvecs = np.loadtxt(dataset / f'{stem}.bvec')
        assert image.shape[3] == len(bvals) == bvecs.shape[1]
        sidecar = json.loads((dataset / f'{stem}.json').read_text())
        assert sidecar['EchoTime'] == scanner.protocol.contrast.echo_time
        assert len(sidecar.get('SliceTiming', range(image.shape[2]))) == image.shape[2]


def test_truth_lies_beside_every_run(dataset):
    truth = dataset / 'derivatives' / 'truth'
    description = json.loads((truth / 'dataset_description.json').read_text())
    assert description['DatasetType'] == 'derivative'
    assert description['GeneratedBy'][0]['Name'] == 'bidsharmony-phantom'
    stem = truth / 'sub-02/ses-ge15t/dwi/sub-02_ses-ge15t'
    images = {key: nib.load(f'{stem}_{name}.nii.gz') for key, (name, _) in TRUTH.items()}
    for name, _ in TRUTH.values():
        assert json.loads((truth / f'{name}.json').read_text())['Simulated'] is True
    series = nib.load(dataset / 'sub-02/ses-ge15t/dwi/sub-02_ses-ge15t_dwi.nii.gz')
    for image in images.values():
        assert image.shape[:3] == (96, 96, series.shape[2])
        np.testing.assert_allclose(image.header.get_zooms()[:3], (1, 1, 12))
        np.testing.assert_allclose(image.affine[2], series.affine[2])
    values = images['V1'].get_fdata()
    length = np.linalg.norm(values, axis=-1)
    np.testing.assert_allclose(length[length > 0.5], 1, atol=1e-3)
    rows = (truth / 'desc-tissue_dseg.tsv').read_text().splitlines()
    assert rows[0] == 'index\tname'
    assert rows[1:] == [f'{i}\t{name}' for i, name in enumerate(TISSUE_NAMES)]
    canonical = json.loads((truth / 'desc-truth_dwiref.json').read_text())
    assert canonical['CanonicalResolutionFWHM'] == 2.0
    assert canonical['CanonicalSliceProfileFWHM'] == 4.0


def test_lesions_take_their_kinds_in_turn(dataset):
    header, *rows = (
        line.split('\t') for line in (dataset / 'participants.tsv').read_text().splitlines()
    )
    assert list(json.loads((dataset / 'participants.json').read_text())) == header
    assert [row[1] for row in rows] == list(KINDS[:3])
    masks = sorted((dataset / 'derivatives' / 'lesions').glob('sub-*/ses-*/dwi/*_mask.nii.gz'))
    assert len(masks) == 6
    assert masks[0].name == 'sub-01_ses-ge15t_label-lesion_mask.nii.gz'
    for mask in masks:
        name = mask.name.replace('_label-lesion_mask', '_dwi')
        series = nib.load(
            dataset / mask.relative_to(dataset / 'derivatives/lesions').parent / name
        )
        image = nib.load(mask)
        assert image.shape == series.shape[:3]
        np.testing.assert_allclose(image.affine, series.affine)
        assert set(np.unique(image.dataobj)) <= {0, 1}


def test_a_head_keeps_its_lesion_on_its_travels(dataset):
    """One place, whatever the scanner."""
    truth = dataset / 'derivatives' / 'truth'
    for subject in ('sub-01', 'sub-02', 'sub-03'):
        name = f'{subject}/ses-*/dwi/*_label-lesion_desc-truth_mask.nii.gz'
        images = [nib.load(path) for path in sorted(truth.glob(name))]
        voxels = [np.argwhere(image.get_fdata()) for image in images]
        assert len(images) == 2
        assert len(voxels[0]) > 50
        np.testing.assert_allclose(len(voxels[0]), len(voxels[1]), rtol=0.02)
        places = [
            v.mean(axis=0) @ image.affine[:3, :3].T + image.affine[:3, 3]
            for v, image in zip(voxels, images, strict=True)
        ]
        np.testing.assert_allclose(*places, atol=0.2)


def test_seed_decides_everything(tmp_path):
    heads, scanners = [ball(96, 38)], small(1)
    a, b, c = (
        write_phantom(tmp_path / name, heads, scanners, seed=seed)[0]
        for name, seed in (('a', 1), ('b', 1), ('c', 2))
    )
    arrays = [np.asarray(nib.load(path).dataobj) for path in (a, b, c)]
    np.testing.assert_array_equal(arrays[0], arrays[1])
    assert (arrays[0] != arrays[2]).any()


def test_a_folder_that_holds_something_is_refused(tmp_path):
    (tmp_path / 'note').touch()
    with pytest.raises(FileExistsError, match='not empty'):
        write_phantom(tmp_path, [ball(96, 38)], small(1))
    assert files(tmp_path) == ['note']


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / 'bids').mkdir()
    write_phantom(tmp_path / 'bids', [ball(96, 38)], small(1))
    assert (tmp_path / 'bids' / 'dataset_description.json').is_file()
    assert [p.name for p in tmp_path.iterdir()] == ['bids']


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    """Neither the dataset nor its draft."""
    scans = iter([travelling.scan_head(ball(96, 38), small(1)[0], np.random.default_rng(0))])
    monkeypatch.setattr(travelling, 'scan_head', lambda *_, **__: next(scans))
    with pytest.raises(StopIteration):
        write_phantom(tmp_path / 'bids', [ball(96, 38)], small(2))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('part', ['.', 'derivatives/truth', 'derivatives/lesions'])
def test_validator_finds_no_error(dataset, part):
    folder = Path(sys.executable).parent
    validator = shutil.which('bids-validator-deno', path=folder) or shutil.which(
        'bids-validator-deno'
    )
    if not validator:
        pytest.skip('bids-validator-deno is not installed')
    run = subprocess.run(
        [validator, str(dataset / part), '--format', 'json'],
        capture_output=True,
        text=True,
        check=False,
    )
    issues = json.loads(run.stdout)['issues']['issues']
    assert not [issue for issue in issues if issue['severity'] == 'error']
