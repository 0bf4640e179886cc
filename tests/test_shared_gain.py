"""Runs of one session share their gain, from files to files, whatever happens to one of them."""

import json
import subprocess
import sys
from pathlib import Path

import jsonschema
import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import collect_dwi
from bidsharmony.interfaces.harmonize import HarmonizeSummary
from bidsharmony.interfaces.series import HarmonizeSeries
from bidsharmony.numerics.intensity import FLUID_ADC
from bidsharmony.settings import Settings
from bidsharmony.supervise import child
from bidsharmony.supervise.marker import marker_path, read_marker
from bidsharmony.supervise.records import Job
from tests import tiny_dataset
from tests.test_end_to_end import ROOT, bidsharmony, tree

pytestmark = pytest.mark.slow

DIFFUSIVITY = 0.8e-3
"""Of the planted tensors across the fibre; along it twice as much (mm2/s)."""

SHELLS = {'sub-01_acq-b1000': 1000.0, 'sub-01_acq-b3000': 3000.0}
BOTH = ('sub-01_dir-AP', 'sub-01_dir-PA')


def tensor_signal(bval: float) -> np.ndarray:
    """Give b=0 and six directions of a shaded head with one tensor, (I, J, K, 7)."""
    b0 = tiny_dataset.head()[..., 0].astype(float)
    tensor = DIFFUSIVITY * np.diag([1.0, 1.0, 2.0])
    directions = tiny_dataset.DIRECTIONS
    diffusivities = np.einsum('di,ij,dj->d', directions, tensor, directions)
    return b0[..., None] * np.exp(-bval * np.concatenate([[0.0], diffusivities]))


def write_shells(root: Path) -> None:
    """Write a head's shells in files of their own, without noise."""
    for stem, bval in SHELLS.items():
        image = tiny_dataset.write_run(root, stem, bvals=f'0{f" {bval:g}" * 6}\n')
        header = nb.load(image).header
        series = tensor_signal(bval).astype(np.float32)
        header.set_data_dtype(np.float32)
        nb.save(nb.Nifti1Image(series, tiny_dataset.affine(), header), image)


def write_pair(root: Path, factor: float = 1.07) -> None:
    """Write two runs of a head, the one shifted along the phase encoding and scaled."""
    for ix, stem in enumerate(BOTH):
        image = tiny_dataset.write_run(root, stem, seed=ix)
        if ix:
            whole = nb.load(image)
            series = np.roll(np.asarray(whole.dataobj), 1, axis=1) * factor
            nb.save(nb.Nifti1Image(series.astype(np.int16), None, whole.header), image)


class Study:
    """Hold a tiny dataset, and call on it what a participant's process does."""

    def __init__(self, folder: Path) -> None:
        self.raw = tiny_dataset.write_dataset(folder / 'raw')
        self.out = folder / 'out'
        self.out.mkdir(exist_ok=True)
        self.weights = tiny_dataset.write_weights(folder / 'w.safetensors')

    def work(self, **selection) -> dict[str, tuple[str, str]]:
        """Give stem to status and reason of each run."""
        settings = Settings(bids_dir=self.raw, output_dir=self.out, weights=self.weights)
        found = collect_dwi(self.raw, **selection)
        pairs = [
            tuple((item.relative, item.reason) for item in items)
            for items in (found.refused, found.skipped)
        ]
        outcomes = child.work(Job('sub-01', found.runs, *pairs, settings, '1'))
        return {
            Path(outcome.run).name.removesuffix('_dwi.nii.gz'): (outcome.status, outcome.reason)
            for outcome in outcomes
        }

    def image(self, stem: str, name: str) -> np.ndarray:
        """Read an output."""
        return nb.load(self.out / f'sub-01/dwi/{stem}_desc-{name}.nii.gz').get_fdata()

    def qc(self, stem: str) -> dict:
        """Read the figures of a run."""
        path = self.out / f'sub-01/dwi/{stem}_desc-harmonized_qc.json'
        return json.loads(path.read_text())

    @property
    def inputs(self) -> dict[str, list[str]]:
        """List from which images each run was made, by the marker."""
        marker = read_marker(marker_path(self.out, 'sub-01'))
        return {
            stem: sorted(Path(n).name.split('_dwi')[0] for n in files if n.endswith('.nii.gz'))
            for stem, files in marker['inputs'].items()
            if stem in marker['runs']
        }


@pytest.fixture
def study(tmp_path):
    """Make an empty dataset."""
    return Study(tmp_path)


def crash_on(monkeypatch, interface: type, word: str) -> None:
    """Let a node of one run fail."""
    original = interface._run_interface

    def run(self, runtime):
        if word in str(self.inputs):
            raise RuntimeError('injected')
        return original(self, runtime)

    monkeypatch.setattr(interface, '_run_interface', run)


def done(*stems: str) -> dict[str, tuple[str, str]]:
    """Write what `Study.work` gives where all is well."""
    return dict.fromkeys(stems, ('done', ''))


def test_split_shells_stay_one_measurement(study):
    """S_b of the one file over S_0 of the other is what the scanner measured."""
    write_shells(study.raw)
    assert study.work() == done(*SHELLS)
    b0, weighted = (
        [image(stem) for image in (before(study), lambda s: study.image(s, 'harmonized_dwi'))]
        for stem in SHELLS
    )
    use = (b0[0][..., 0] > 0) & (weighted[0] > 0).all(axis=-1)
    ratios = [
        second[use][:, 1:] / first[use][:, :1] for first, second in zip(b0, weighted, strict=True)
    ]
    assert np.abs(ratios[1] / ratios[0] - 1).max() < 1e-6
    for stem, other in zip(SHELLS, reversed(SHELLS), strict=True):
        shared = study.qc(stem)['shared']
        assert shared['with'] == shared['same_map'] == [other]
    schema = json.loads((ROOT / 'bidsharmony/data/qc.schema.json').read_text())
    jsonschema.validate(study.qc(stem), schema)
    assert '>gain shared with</th><td>sub-01_acq-b3000</td>' in page(study)


def before(study):
    """Give what reads a raw series by its stem."""
    return lambda stem: nb.load(study.raw / f'sub-01/dwi/{stem}_dwi.nii.gz').get_fdata()


def page(study) -> str:
    """Read the participant's page."""
    return (study.out / 'sub-01.html').read_text()


def medians(study, read, stems=BOTH) -> list[float]:
    """Take the median b=0 of each run in its brain."""
    return [
        float(np.median(read(stem)[..., 0][study.image(stem, 'brain_mask') > 0])) for stem in stems
    ]


@pytest.mark.parametrize('moved', [False, True], ids=['one grid', 'two grids'])
def test_opposite_directions_keep_their_ratio(study, moved):
    """One level, and on one grid one map; the maps that are written are those used."""
    write_pair(study.raw)
    if moved:
        path = study.raw / f'sub-01/dwi/{BOTH[1]}_dwi.nii.gz'
        image = nb.load(path)
        affine = image.affine.copy()
        affine[2, 3] += 4.0
        nb.save(nb.Nifti1Image(np.asarray(image.dataobj), affine), path)
    assert study.work() == done(*BOTH)
    levels, factors = [], []
    for stem in BOTH:
        gain, field = (study.image(stem, f'{name}_dwimap') for name in ('gain', 'biasfield'))
        levels.append(np.median(np.log(gain / field)[study.image(stem, 'brain_mask') > 0]))
        factors.append(gain / field)
        after, old = study.image(stem, 'harmonized_dwi'), before(study)(stem)
        np.testing.assert_allclose(after, old * (gain / field)[..., None], rtol=1e-6)
        assert bool(study.qc(stem)['shared']['same_map']) is not moved
    assert np.array_equal(*factors) is not moved
    assert levels[0] == pytest.approx(levels[1], abs=1e-6 if moved else 0.02)
    assert ('(level only)' in page(study)) is moved
    old = medians(study, before(study))
    new = medians(study, lambda stem: study.image(stem, 'harmonized_dwi'))
    assert new[0] / new[1] == pytest.approx(old[0] / old[1], rel=0.01)


@pytest.mark.parametrize('interface', [HarmonizeSummary, HarmonizeSeries], ids=['early', 'late'])
def test_a_crash_leaves_the_partner_as_if_it_were_alone(tmp_path, monkeypatch, interface):
    """It is done, says so, and has the bytes of a run without partner; mended, both share."""
    pair, alone = Study(tmp_path / 'pair'), Study(tmp_path / 'alone')
    write_pair(pair.raw)
    tiny_dataset.write_run(alone.raw, BOTH[0])
    with monkeypatch.context() as patch:
        crash_on(patch, interface, 'sub_01_dir_PA_wf')
        found = pair.work()
    assert found[BOTH[0]] == ('done', '')
    assert found[BOTH[1]] == ('failed', 'injected. See logs/sub-01.log.')
    assert pair.qc(BOTH[0])['shared'] is None
    assert any(f'{BOTH[1]} of the same session' in w for w in pair.qc(BOTH[0])['warnings'])
    assert 'harmonized without it' in page(pair)
    assert not list((pair.out / 'sub-01').rglob(f'{BOTH[1]}*'))
    assert pair.inputs == {BOTH[0]: [BOTH[0]]}
    assert alone.work() == done(BOTH[0])
    for name in ('harmonized_dwi', 'gain_dwimap', 'biasfield_dwimap'):
        np.testing.assert_array_equal(pair.image(BOTH[0], name), alone.image(BOTH[0], name))
    assert pair.work() == done(*BOTH)
    assert pair.qc(BOTH[0])['shared']['with'] == [BOTH[1]]
    assert not [w for w in pair.qc(BOTH[0])['warnings'] if 'same session' in w]


def test_a_refused_partner_does_not_count(study):
    """The page says so; once it is mended, both are made again."""
    write_pair(study.raw)
    bval = study.raw / f'sub-01/dwi/{BOTH[1]}_dwi.bval'
    whole = bval.read_text()
    bval.write_text('0 1000\n')
    found = study.work()
    assert (found[BOTH[0]][0], found[BOTH[1]][0]) == ('done', 'refused')
    assert any(f'{BOTH[1]} of the same session' in w for w in study.qc(BOTH[0])['warnings'])
    bval.write_text(whole)
    assert study.work() == done(*BOTH)
    assert study.qc(BOTH[0])['shared']['with'] == [BOTH[1]]


def test_what_becomes_of_a_partner_makes_a_run_again(study):
    """A partner that comes, changes or goes; nothing is made twice for nothing."""
    tiny_dataset.write_run(study.raw, BOTH[0])
    study.work()
    assert study.qc(BOTH[0])['shared'] is None
    write_pair(study.raw)
    assert study.work() == done(*BOTH)
    assert study.inputs == {stem: sorted(BOTH) for stem in BOTH}
    first = tree(study.out)
    assert {reason for _, reason in study.work().values()} == {child.UNCHANGED}
    write_pair(study.raw, factor=1.3)
    assert study.work() == done(*BOTH)
    second = tree(study.out)
    name = f'sub-01/dwi/{BOTH[0]}_desc-harmonized_dwi.nii.gz'
    assert first[name] != second[name]
    for path in (study.raw / 'sub-01' / 'dwi').glob(f'{BOTH[1]}*'):
        path.unlink()
    assert study.work() == done(BOTH[0])
    assert study.inputs == {BOTH[0]: [BOTH[0]]}
    assert study.qc(BOTH[0])['shared'] is None


def test_a_run_made_again_alone_leaves_no_partner_behind(study):
    """What says that it shares a gain, and does so no more, is not vouched for."""
    write_pair(study.raw)
    study.work()
    assert study.work(filters={'direction': 'AP'}) == done(BOTH[0])
    assert study.inputs == {BOTH[0]: [BOTH[0]]}
    assert study.qc(BOTH[0])['shared'] is None
    assert study.work(filters={'direction': 'PA'}) == done(BOTH[1])
    assert study.inputs == {stem: [stem] for stem in BOTH}
    assert study.work() == done(*BOTH)
    assert study.inputs == {stem: sorted(BOTH) for stem in BOTH}


def test_threads_do_not_change_a_byte(tmp_path):
    """Two calls of the command with one and two threads."""
    study = Study(tmp_path)
    write_pair(study.raw)
    found = []
    for threads in (1, 2):
        out = tmp_path / f'out{threads}'
        call = (study.raw, out, 'participant', '--weights', study.weights)
        answer = bidsharmony(*call, '--omp-nthreads', threads)
        assert answer.returncode == 0, answer.stderr
        found.append(tree(out))
    assert found[0] == found[1]


def test_sessions_share_no_gain_and_have_one_unit(tmp_path):
    """A virtual head on two scanners: the canonical b=0 of its tissue agrees (simulated)."""
    raw, out = tmp_path / 'raw', tmp_path / 'out'
    module = [sys.executable, '-m', 'bidsharmony.cli.phantom']
    subprocess.run(
        [*module, str(raw), '--heads', '1', '--scanners', '2'], check=True, capture_output=True
    )
    answer = bidsharmony(raw, out, 'participant')
    assert answer.returncode == 0, answer.stderr
    means = []
    for qc_file in sorted(out.rglob('*_qc.json')):
        assert json.loads(qc_file.read_text())['shared'] is None
        b0, adc, mask = (
            nb.load(str(qc_file).replace('_desc-harmonized_qc.json', ending)).get_fdata()
            for ending in (
                '_desc-harmonized_dwiref.nii.gz',
                '_desc-harmonized_ADC.nii.gz',
                '_res-canonical_desc-brain_mask.nii.gz',
            )
        )
        means.append(b0[(mask > 0) & (adc > 0) & (adc < FLUID_ADC)].mean())
    assert len(means) == 2
    assert means[0] == pytest.approx(means[1], rel=0.03)
