"""The benchmark on real scans: it measures what it says, and the network stays near its input."""

import hashlib
import json
import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.network.weights import shipped_weights
from bidsharmony.numerics.grids import resample_to_shape
from tests.tiny_dataset import write_dataset, write_run, write_weights

NEAR = 0.07  # nRMSE of a real scan that came back, beside its noise


@pytest.fixture(scope='module')
def bench(benchmark_script):
    """Return the script as a module."""
    return benchmark_script('fidelity')


@pytest.fixture(scope='module')
def committed(repository):
    """Return the figures in the repository."""
    return json.loads((repository / 'benchmarks' / 'fidelity.json').read_text())


def scan_of(bench, b0, trace, lesion=None):
    """Make a scan of (I, J, K) images that is brain all over, at 2 x 2 x 5 mm."""
    return bench.Scan(
        name='sub-x',
        scanner='',
        b0=b0,
        trace=trace,
        adc=np.log(b0 / trace) / 1000,
        mask=np.ones(b0.shape, bool),
        affine=np.diag([2.0, 2.0, 5.0, 1.0]),
        zooms=(2.0, 2.0, 5.0),
        axis=2,
        metadata={},
        b_acquired=1000.0,
        extrapolated=False,
        directions=3,
        lesion=lesion,
    )


def tissue(rng, shape=(32, 32, 4)):
    """Return b=0 and trace of noisy white (left) and grey matter (right)."""
    grey = (np.indices(shape)[0] >= shape[0] // 2).astype(float)
    b0 = 1 + 0.3 * grey + rng.normal(0, 0.01, shape)
    return b0, b0 * np.exp(-1000 * (0.7e-3 + 0.1e-3 * grey))


def test_white_matter_is_told_by_its_dark_b0(bench, rng):
    b0, trace = tissue(rng)
    scan = scan_of(bench, b0, trace)
    same = bench.white_matter_adc(scan, SimpleNamespace(b0=b0, trace=trace))
    assert same['before'] == pytest.approx(0.7e-3, rel=0.01)
    assert same['change'] == pytest.approx(0, abs=1e-6)
    faster = bench.white_matter_adc(scan, SimpleNamespace(b0=b0, trace=trace * np.exp(-0.07)))
    assert faster['change'] == pytest.approx(0.1, abs=0.001)


def test_lesion_that_is_kept_and_one_that_is_erased(bench, rng):
    b0, trace = tissue(rng)
    lesion = np.zeros(b0.shape, bool)
    lesion[6:10, 14:18, 1:3] = True
    bright = np.where(lesion, 1.5 * trace, trace)
    scan = scan_of(bench, b0, bright, lesion)
    kept = bench.lesion_figures(scan, SimpleNamespace(b0=b0, trace=2 * bright))
    assert kept['half_height']['after_before'] == kept['half_height']['before_given'] == 1
    contrast = kept['contrast']['trace']
    assert contrast['before']['ratio'] > 1.4
    assert contrast['after'] == pytest.approx(contrast['before'], rel=1e-5)
    erased = bench.lesion_figures(scan, SimpleNamespace(b0=b0, trace=trace))
    assert erased['half_height']['after_before'] < 0.7
    assert erased['contrast']['trace']['after']['ratio'] == pytest.approx(1, abs=0.05)


def test_ringing_that_was_added_shows(bench, rng):
    step = np.ones((64, 64, 2)) + (np.indices((64, 64, 2))[0] >= 32)
    scan = scan_of(bench, step, step)
    mask = np.ones((128, 128, 2), bool)
    smooth = resample_to_shape(step, (128, 128, 2), order=1)
    place = np.arange(128)[:, None, None] - 63.5
    rings = 0.1 * np.sign(place) * np.exp(-((np.abs(place) - 4) ** 2) / 4)
    quiet = bench.ringing(step, smooth, mask, scan)
    loud = bench.ringing(step, smooth + rings, mask, scan)
    assert quiet['overshoot_after'] < 0.01
    assert loud['overshoot_after'] > 0.04
    assert loud['overshoot_before'] == quiet['overshoot_before']


def test_one_command_writes_figures_tables_and_numbers(bench, tmp_path, monkeypatch, capsys):
    write_run(write_dataset(tmp_path / 'bids'), 'sub-01')
    weights = write_weights(tmp_path / 'w.safetensors')
    arguments = {
        'bids': tmp_path / 'bids',
        'weights': weights,
        'out': tmp_path / 'fidelity.json',
        'figures': tmp_path / 'figures',
    }
    words = [word for key, value in arguments.items() for word in (f'--{key}', str(value))]
    monkeypatch.setattr(sys, 'argv', ['fidelity.py', *words])
    assert bench.main() == 0
    printed = capsys.readouterr().out
    document = json.loads((tmp_path / 'fidelity.json').read_text())
    (row,) = document['runs']
    assert document['weights_sha256'] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert 0 <= row['b0']['beyond_3_sigma'] <= 1
    assert 'Beyond 3 sigma' in printed
    assert '01' in printed
    written = {path.name for path in (tmp_path / 'figures').iterdir()}
    assert written == {'sub-01.webp', 'consistency.csv', 'detail.csv', 'blend.csv'}


def test_figures_are_those_of_the_weights_that_ship(committed):
    """New weights need new figures: run the command in benchmarks/README.md."""
    shipped = hashlib.sha256(shipped_weights().read_bytes()).hexdigest()
    assert committed['weights_sha256'] == shipped


def test_pictures_were_looked_at(repository, committed):
    """The words about the pictures name the weights that made them."""
    page = (repository / 'docs' / 'fidelity.rst').read_text(encoding='utf-8')
    (named,) = re.findall(r'weights\s+``([0-9a-f]{12})``', page)
    assert committed['weights_sha256'].startswith(named)
    for row in committed['runs']:
        assert f'_static/fidelity/{row["run"]}.webp' in page


def test_tables_of_the_page_are_the_committed_figures(bench, repository, committed):
    folder = repository / 'docs' / '_static' / 'fidelity'
    for name in bench.COLUMNS:
        lines = (folder / f'{name}.csv').read_text(encoding='utf-8').splitlines()
        assert [line.split(',')[0] for line in lines[1:]] == [
            row['run'].removeprefix('sub-') for row in committed['runs']
        ]
    assert all(path.stat().st_size < 250_000 for path in folder.iterdir())


@pytest.fixture(scope='module')
def real(bench, shared_data):
    """Return two real scans, small ones, with what the shipped network makes of them."""
    scans = bench.read_runs(shared_data / 'bids_multiscanner', 'uih02_dir-AP')
    scans.append(bench.read_stroke(shared_data / 'lesion' / 'ADS'))
    return [(scan, bench.harmonize(scan, None)) for scan in scans]


def beside_noise(nrmse, noise):
    """Return what of a residual the input's noise does not explain."""
    return np.sqrt(max(nrmse**2 - noise**2, 0))


@pytest.mark.slow
def test_shipped_network_stays_near_a_real_scan(bench, real):
    for scan, made in real:
        row, _ = bench.measure(scan, made)
        for channel in bench.CHANNELS:
            found = row[channel]
            # the stroke's trace is sharper than the canonical resolution, and evened out to it
            limit = 0.075 if 'lesion' in row and channel == 'trace' else NEAR
            assert beside_noise(found['nrmse'], found['nrmse_noise']) < limit, channel
            assert found['overshoot_after'] < found['overshoot_before'] + 0.03
        assert abs(row['adc_white_matter']['change']) < 0.05
    assert row['lesion']['half_height']['after_before'] > 0.6
    contrast = row['lesion']['contrast']['trace']
    assert contrast['after']['ratio'] > 1 + 0.6 * (contrast['before']['ratio'] - 1)


@pytest.mark.slow
def test_destroyed_output_does_not(bench, real, rng):
    """Texture that no scan has, of a tenth of the signal, must not pass."""
    for scan, made in real:
        texture = ndimage.gaussian_filter(rng.standard_normal(made.b0.shape), 2)
        texture = 1 + 0.1 * texture / texture.std()
        found, _ = bench.check(
            scan, replace(made, b0=made.b0 * texture, trace=made.trace * texture)
        )
        assert min(map(beside_noise, found.nrmse, found.nrmse_noise)) > NEAR
        plain, _ = bench.check(scan, made)
        assert min(np.array(found.beyond) / plain.beyond) > 1.5
