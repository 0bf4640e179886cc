"""The restoration benchmark knows a perfect restoration from none, and coarse from fine."""

import json
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
import torch

from bidsharmony.network.model import Output
from bidsharmony.physics.heads import Head
from bidsharmony.physics.signal import CANONICAL_CONTRAST, nominal_table, tissue_signal
from tests.physics.heads import ball

SLICES = 2


class Untouched(torch.nn.Module):
    """A network that returns what it is given."""

    def forward(self, images, condition):
        return Output(images, torch.zeros_like(images[:, :1]), torch.zeros_like(images))


WEIGHTS = SimpleNamespace(
    model=Untouched(), fwhm_mm=2.0, sha256='0' * 64, recipe={'name': 'individuals'}
)


@pytest.fixture(scope='module')
def bench(benchmark_script):
    """Return the script of the benchmark."""
    return benchmark_script('restoration')


@pytest.fixture(scope='module')
def head() -> Head:
    """Return a ball whose tissues have a grain."""
    codes = ball().codes
    grain = 1 + 0.1 * np.random.default_rng(2).standard_normal(codes.shape)
    return Head('ball', codes, grain.astype(np.float16))


@pytest.fixture(scope='module')
def crops(bench, head):
    return {f: bench.degraded(head, f'{f}x coarser, no noise', SLICES, seed=1) for f in (2, 3)}


def test_contrast_is_canonical_where_the_row_says_so(bench, head):
    pairs = bench.degraded(head, 'scanners, canonical contrast', 1, seed=1)
    assert len(pairs) == 7
    assert {pair.protocol.contrast for pair in pairs} == {CANONICAL_CONTRAST}
    assert len({pair.protocol.pixel for pair in pairs}) == 7
    # the gain is one number, the canonical unit's, but for what the two slice profiles share out
    for pair in pairs:
        assert pair.log_gain[bench.own_brain(pair)].std() < 0.05
    own = bench.degraded(head, 'scanners, own contrast', 1, seed=1)
    assert CANONICAL_CONTRAST not in {pair.protocol.contrast for pair in own}


def test_scans_repeat_with_the_seed(bench, head):
    first, again, other = (
        bench.degraded(head, 'scanners, own contrast', 1, seed)[0].source for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_the_truth_itself_scores_best_whatever_its_scale(bench, crops):
    pairs = crops[2]
    truths = [bench.truth_of(pair, 2.0) for pair in pairs]
    images = [{'perfect': 3 * truth + 1, 'scan': pair.source}
              for truth, pair in zip(truths, pairs, strict=True)]  # fmt: skip
    table = bench.scores(images, truths, [bench.own_brain(pair) for pair in pairs])
    assert table['perfect']['psnr_b0'] > 90
    assert table['perfect']['ssim_trace'] == pytest.approx(1, abs=1e-5)
    assert table['scan']['psnr_b0'] < 50


def test_coarser_is_worse_for_every_method(bench, crops):
    tables = {
        factor: bench.scores(
            [bench.restored(WEIGHTS, pair) for pair in pairs],
            [bench.truth_of(pair, 2.0) for pair in pairs],
            [bench.own_brain(pair) for pair in pairs],
        )
        for factor, pairs in crops.items()
    }
    for method in bench.METHODS:
        for figure in bench.FIGURES:
            assert tables[3][method][figure] < tables[2][method][figure]
    # a network that does nothing is the interpolation that it is given
    for figure in bench.FIGURES:
        assert tables[2]['network'][figure] == pytest.approx(
            tables[2]['bicubic'][figure], abs=1e-4
        )


@pytest.mark.parametrize('method', ['linear', 'bicubic', 'lanczos'])
def test_interpolations_lie_on_one_grid(bench, crops, method):
    """Half a pixel of shift would cost some of the correlation with the truth."""
    pair = crops[3][0]
    image, truth = bench.restored(WEIGHTS, pair)[method][0], pair.target[0]
    inside = bench.own_brain(pair)

    def agreement(*shift):
        return np.corrcoef(np.roll(image, shift, axis=(0, 1))[inside], truth[inside])[0, 1]

    assert all(agreement(0, 0) > agreement(*s) for s in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def test_the_mask_leaves_out_the_rim(bench, crops):
    pair = crops[2][0]
    brain, own = pair.brain > 0.5, bench.own_brain(pair)
    assert not (own & ~brain).any()
    radii = [np.sqrt(mask.sum() / np.pi) for mask in (brain, own)]
    assert radii[0] - radii[1] == pytest.approx(bench.RIM, abs=0.6)


def test_a_coarser_canonical_resolution_blurs_the_truth(bench, crops):
    pair = crops[2][0]
    assert bench.truth_of(pair, 2.0) is pair.target
    assert bench.truth_of(pair, 3.0)[0].std() < pair.target[0].std()


@pytest.mark.slow
def test_the_whole_benchmark_runs(bench, tmp_path, monkeypatch, capsys):
    """One command prints both parts, writes JSON and figure, and fails where nothing is gained."""
    codes = ball().codes
    signal = 200 * tissue_signal(nominal_table(), CANONICAL_CONTRAST)[0]
    solid = np.isin(codes, (1, 2))  # white matter and cortex
    fluid = codes == 9
    noise = np.random.default_rng(1).standard_normal(codes.shape)
    data = np.where(solid | fluid, np.maximum(signal[codes] + 2 * noise, 1), 0)
    file = tmp_path / 'sub-1_T2w.nii.gz'
    nib.Nifti1Image(data.astype(np.float32), np.eye(4)).to_filename(file)
    monkeypatch.setattr(bench, 'load_weights', lambda path: WEIGHTS)
    rows = ('scanners, canonical contrast', '2x coarser, no noise')
    monkeypatch.setattr(bench, 'DEGRADATIONS', {row: bench.DEGRADATIONS[row] for row in rows})
    out, figure = tmp_path / 'restoration.json', tmp_path / 'figures' / 'restoration.png'
    code = bench.main(
        ['--t2w', str(file), '--out', str(out), '--seeds', '1', '--slices', '1',
         '--figure', str(figure)]
    )  # fmt: skip
    assert code == 1
    document = json.loads(out.read_text())
    assert document['simulated'] is True
    assert set(document['parts']) == {'all', 'superior'}
    rows = document['parts']['superior']['rows']
    assert set(rows) == set(bench.DEGRADATIONS)
    assert set(rows['2x coarser, no noise']) == set(bench.METHODS)
    assert figure.read_bytes()[:4] == b'\x89PNG'
    printed = capsys.readouterr().out
    assert printed.startswith('simulated scans of sub-1_T2w.nii.gz')
    assert 'superior (individual never trained on)' in printed
