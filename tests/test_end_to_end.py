"""The command on a tiny dataset: one good run among damaged ones, and what is left on disk."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.inputs import NO_DIRECTIONS, NO_GRADIENTS
from bidsharmony.workflows.outputs import expected_endings
from tests import tiny_dataset
from tests.validator import errors_of

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
BAD = {
    'sub-02': ('bvec', 'Add|Re-export|Export'),
    'sub-03': ('5 b-values', 'Re-export'),
    'sub-04': ('b=0', r'\. '),
    'sub-05': ('damaged', 'Copy it again'),
}


def bidsharmony(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """Run the command as a user would."""
    return subprocess.run(
        [sys.executable, '-m', 'bidsharmony.cli.participant', *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def tree(folder: Path) -> dict[str, str]:
    """Hash what the tree hash of an output counts."""
    files = (path for path in folder.rglob('*') if path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in files}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in names.items()
        if not name.startswith(('.bidsharmony/', 'logs/')) and name != 'dataset_description.json'
    }


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """Run the command once on one good and four bad participants."""
    folder = tmp_path_factory.mktemp('end_to_end')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    tiny_dataset.write_run(raw, 'sub-01_dir-AP')
    tiny_dataset.write_run(raw, 'sub-02', bvecs=False)
    tiny_dataset.write_run(raw, 'sub-03', bvals='0 1000 1000 1000 1000\n')
    tiny_dataset.write_run(raw, 'sub-04', bvals=' '.join(['1000'] * 7))
    damaged = tiny_dataset.write_run(raw, 'sub-05')
    content = bytearray(damaged.read_bytes())
    content[-6] ^= 1
    damaged.write_bytes(content)
    home = folder / 'home'
    # a file, since root may write into any folder
    home.touch()
    call = (raw, folder / 'out 5%', 'participant', '--weights', weights)
    before = {path: path.read_bytes() for path in raw.rglob('*') if path.is_file()}
    done = bidsharmony(*call, HOME=str(home))
    assert {path: path.read_bytes() for path in raw.rglob('*') if path.is_file()} == before
    return done, raw, folder / 'out 5%', call


def test_exit_code_says_that_some_failed(finished):
    """Four of five were refused; nothing crashed."""
    done, *_ = finished
    assert done.returncode == 1, done.stderr
    assert 'Traceback' not in done.stdout + done.stderr


@pytest.mark.parametrize(('subject', 'words'), BAD.items())
def test_each_bad_run_has_its_line(finished, subject, words):
    """The line names file, cause and remedy."""
    import re

    done, *_ = finished
    lines = [line for line in done.stderr.splitlines() if f'{subject}/dwi/{subject}_dwi' in line]
    assert len(lines) == 1
    for word in words:
        assert re.search(word, lines[0])


def test_nothing_of_a_refused_run_has_a_final_name(finished):
    """No folder, page or marker of the bad participants."""
    _, _, out, _ = finished
    assert not [name for name in tree(out) if name.startswith(tuple(BAD))]
    done = sorted(path.name for path in (out / '.bidsharmony' / 'done').iterdir())
    assert done == ['sub-01.json']
    for folder in ('staging', 'work'):
        place = out / '.bidsharmony' / folder
        assert not [path for path in place.rglob('*') if path.is_file()]


def test_good_run_has_every_file(finished):
    """Names as the output contract has them, and a page."""
    _, raw, out, _ = finished
    folder = out / 'sub-01' / 'dwi'
    expected = {f'sub-01_dir-AP{ending}' for ending in expected_endings()}
    assert {path.name for path in folder.iterdir()} == expected
    assert (out / 'sub-01.html').is_file()
    for ending in ('.bval', '.bvec'):
        copied = folder / f'sub-01_dir-AP_desc-harmonized_dwi{ending}'
        original = raw / 'sub-01' / 'dwi' / f'sub-01_dir-AP_dwi{ending}'
        assert copied.read_bytes() == original.read_bytes()


def test_methods_are_ready_to_cite(finished):
    """Beside the logs, about the run that is done."""
    _, _, out, _ = finished
    text = (out / 'logs' / 'CITATION.md').read_text()
    assert 'one smooth positive gain (weights ' in text
    assert 'logs' not in (out / 'logs' / 'CITATION.html').read_text()
    assert (out / 'logs' / 'CITATION.bib').read_text().startswith('@article{bids2016,')
    figures = {path.name for path in (out / 'sub-01' / 'figures').iterdir()}
    for desc in ('adcbefore', 'uncertainty', 'shells', 'gradients'):
        assert f'sub-01_dir-AP_desc-{desc}_dwi.png' in figures


def test_series_keeps_ratios_and_geometry(finished):
    """S_b/S_0 is what the scanner measured."""
    _, raw, out, _ = finished
    before = nb.load(raw / 'sub-01' / 'dwi' / 'sub-01_dir-AP_dwi.nii.gz')
    after = nb.load(out / 'sub-01' / 'dwi' / 'sub-01_dir-AP_desc-harmonized_dwi.nii.gz')
    old, new = before.get_fdata(), after.get_fdata()
    use = (old > 0).all(axis=-1)
    ratio = (new[use] / new[use][:, :1]) / (old[use] / old[use][:, :1])
    assert np.abs(ratio - 1).max() < 1e-6
    assert after.get_data_dtype() == np.float32
    np.testing.assert_array_equal(after.get_qform(), before.get_qform())
    np.testing.assert_array_equal(after.get_sform(), before.get_sform())
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()


def test_sidecars_and_figures_in_numbers(finished):
    """Canonical sidecars hold canonical values; qc.json has the schema's keys."""
    _, _, out, _ = finished
    stem = out / 'sub-01' / 'dwi' / 'sub-01_dir-AP'
    canonical = json.loads(Path(f'{stem}_desc-harmonized_dwiref.json').read_text())
    assert (canonical['EchoTime'], canonical['AcquiredEchoTime']) == (0.08, 0.071)
    assert canonical['Sources'][0] == 'bids:raw:sub-01/dwi/sub-01_dir-AP_dwi.nii.gz'
    series = json.loads(Path(f'{stem}_desc-harmonized_dwi.json').read_text())
    assert series['EchoTime'] == 0.071
    qc = json.loads(Path(f'{stem}_desc-harmonized_qc.json').read_text())
    schema = json.loads((ROOT / 'bidsharmony' / 'data' / 'qc.schema.json').read_text())
    _same_keys(qc, schema)
    assert qc['guarantee']['max_ratio_change'] < 1e-6


def _same_keys(value: object, schema: dict) -> None:
    """Hold a document against the closed objects of a schema."""
    if value is None:
        assert 'null' in schema['type']
        return
    if schema.get('additionalProperties') is False:
        assert set(value) == set(schema['required'])
    for key, part in schema.get('properties', {}).items():
        if isinstance(value, dict) and key in value:
            _same_keys(value[key], part)


def test_outputs_name_no_person_place_or_time(finished):
    """Planted tokens and absolute paths are nowhere but in the user's own dataset."""
    _, raw, out, _ = finished
    tokens = ('SERIAL4711', 'INSTITUTION4711', '13:46:51', '134651', str(raw.parent))
    for name in tree(out):
        content = (out / name).read_bytes()
        if name.endswith('.nii.gz'):
            content = nb.load(out / name).header.binaryblock
        assert not [token for token in tokens if token.encode() in content], name


def test_second_call_runs_nothing_and_a_damaged_output_is_made_again(finished):
    """Unchanged: no work. A changed output: the same bytes as before."""
    _, _, out, call = finished
    first = tree(out)
    again = bidsharmony(*call, '--participant-label', '01')
    assert again.returncode == 0, again.stderr
    assert 'unchanged' in again.stderr
    assert tree(out) == first
    (out / 'sub-01' / 'dwi' / 'sub-01_dir-AP_desc-harmonized_qc.json').write_text('{}')
    again = bidsharmony(*call, '--participant-label', '01', '--nprocs', '2')
    assert again.returncode == 0, again.stderr
    assert 'unchanged' not in again.stderr
    assert tree(out) == first


def test_validator_finds_no_error(finished):
    """The output is a BIDS derivative."""
    _, _, out, _ = finished
    assert errors_of(out) == []


@pytest.fixture(scope='module')
def clinical(tmp_path_factory):
    """Run the command once on trace images without directions: in one file, in two, elsewhere."""
    folder = tmp_path_factory.mktemp('clinical')
    raw = tiny_dataset.write_dataset(folder / 'raw')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    tiny_dataset.drop_directions(tiny_dataset.write_run(raw, 'sub-01'))
    tiny_dataset.keep_b0(tiny_dataset.write_run(raw, 'sub-02_acq-b0'))
    tiny_dataset.write_trace(raw, 'sub-02_acq-b1000')
    tiny_dataset.write_trace(raw, 'sub-02_acq-moved', shift=5.0)
    call = (raw, folder / 'out', 'participant', '--weights', weights)
    return bidsharmony(*call, '-v'), folder / 'out', call


def test_trace_images_without_directions_make_no_series(clinical):
    """Every other file is there, and nobody failed."""
    done, out, _ = clinical
    assert done.returncode == 0, done.stderr
    endings = expected_endings(series=False)
    for subject, stem in (('sub-01', 'sub-01'), ('sub-02', 'sub-02_acq-b1000')):
        names = {path.name for path in (out / subject / 'dwi').iterdir()}
        assert names == {stem + ending for ending in endings}
        assert not [name for name in names if 'harmonized_dwi.' in name]


@pytest.mark.parametrize(
    ('subject', 'stem', 'reason'),
    [
        ('sub-01', 'sub-01', NO_DIRECTIONS),
        ('sub-02', 'sub-02_acq-b1000', NO_GRADIENTS),
    ],
)
def test_the_page_and_the_qc_say_that_there_is_no_series(clinical, subject, stem, reason):
    """And why; the figures follow the schema."""
    _, out, _ = clinical
    page = (out / f'{subject}.html').read_text()
    assert 'No series was made.' in page
    assert f'{reason[0].upper()}{reason[1:]}.' in page
    assert 'Diffusion contrast' not in page
    qc = json.loads((out / subject / 'dwi' / f'{stem}_desc-harmonized_qc.json').read_text())
    schema = json.loads((ROOT / 'bidsharmony' / 'data' / 'qc.schema.json').read_text())
    jsonschema.validate(qc, schema)
    assert qc['guarantee'] is None
    assert qc['series'] is None
    assert qc['no_series'] == reason


def test_a_pair_is_that_of_its_two_files(clinical):
    """The ADC is the planted one, the sources are both files, the moved one says what is wrong."""
    done, out, _ = clinical
    stem = out / 'sub-02' / 'dwi' / 'sub-02_acq-b1000'
    qc = json.loads(Path(f'{stem}_desc-harmonized_qc.json').read_text())
    assert qc['adc']['before_median'] == pytest.approx(tiny_dataset.ADC, rel=0.01)
    assert qc['input']['b0_image'] == 'bids:raw:sub-02/dwi/sub-02_acq-b0_dwi.nii.gz'
    assert qc['input']['shape'] == [*tiny_dataset.SHAPE, 2]
    sources = json.loads(Path(f'{stem}_desc-harmonized_trace.json').read_text())['Sources']
    assert sources == [
        f'bids:raw:sub-02/dwi/sub-02_acq-{end}'
        for end in ('b1000_trace.nii.gz', 'b0_dwi.nii.gz', 'b0_dwi.bval')
    ]
    page = (out / 'sub-02.html').read_text()
    for said in ('sub-02_acq-b0_dwi.nii.gz lies up to 5.0 mm away', 'it holds b=0'):
        assert said in page
    assert '2 done, 0 refused, 0 failed, 2 skipped' in done.stdout


def test_second_call_on_trace_images_runs_nothing(clinical):
    """What was skipped or paired is judged the same again."""
    _, out, call = clinical
    first = tree(out)
    again = bidsharmony(*call)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count('unchanged') == 2
    assert tree(out) == first


def test_noise_is_taken_out_first_and_the_promise_holds_from_there(tmp_path):
    """Fourteen volumes are enough for MP-PCA; qc, sidecars and page say what was done."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    weights = tiny_dataset.write_weights(tmp_path / 'w.safetensors')
    image = tiny_dataset.write_run(raw, 'sub-01', bvals=' '.join(['0' + ' 1000' * 6] * 2))
    bvec = image.with_name('sub-01_dwi.bvec')
    bvec.write_text('\n'.join(f'{row} {row}' for row in bvec.read_text().splitlines()))
    twice = np.concatenate([tiny_dataset.head(0), tiny_dataset.head(1)], axis=-1)
    nb.save(nb.Nifti1Image(twice, tiny_dataset.affine()), image)
    noise = {}
    for name, options in (('plain', ()), ('clean', ('--denoise', 'mppca', '--rician'))):
        call = (raw, tmp_path / name, 'participant', '--weights', weights, *options)
        assert bidsharmony(*call).returncode == 0
        stem = tmp_path / name / 'sub-01' / 'dwi' / 'sub-01'
        qc = json.loads(Path(f'{stem}_desc-harmonized_qc.json').read_text())
        series = json.loads(Path(f'{stem}_desc-harmonized_dwi.json').read_text())
        page = (tmp_path / name / 'sub-01.html').read_text()
        clean = name == 'clean'
        assert (qc['denoising']['mppca'], qc['denoising']['rician']) == (clean, clean)
        # what tiny_dataset.head adds; rounding to integers adds a third
        assert qc['denoising']['sigma_volume'] == pytest.approx(5, rel=0.2)
        assert qc['guarantee']['max_ratio_change'] < 1e-6
        assert qc['b0_agreement']['shift_mm'] < 0.2
        assert ('Denoising' in series, 'RicianBiasCorrection' in series) == (clean, clean)
        assert ('after MP-PCA denoising and Rician bias correction' in page) is clean
        assert any('motion, eddy currents' in text for text in qc['warnings'])
        signal = nb.load(f'{stem}_desc-harmonized_dwi.nii.gz').get_fdata()
        noise[name] = np.median(np.abs(signal[..., 1] - signal[..., 8])[signal[..., 0] > 0])
        noise_map = nb.load(f'{stem}_desc-noise_dwimap.nii.gz')
        assert noise_map.shape == tiny_dataset.SHAPE
        assert (
            'harmonized series'
            in json.loads(Path(f'{stem}_desc-noise_dwimap.json').read_text())['Units']
        )
    assert noise['clean'] < 0.8 * noise['plain']


def test_dataset_without_diffusion_is_nothing_to_do(tmp_path):
    """Exit code 2, one line."""
    raw = tiny_dataset.write_dataset(tmp_path / 'raw')
    (raw / 'sub-01' / 'eeg').mkdir(parents=True)
    done = bidsharmony(raw, tmp_path / 'out', 'participant')
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
