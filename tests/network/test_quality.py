"""The benchmark knows a perfect harmonization from none, and the shipped network from the scan."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from bidsharmony.network.model import Output
from bidsharmony.network.training import (
    TESTING,
    TRAINING,
    VALIDATION,
    evaluate,
    load_individuals,
)
from bidsharmony.network.weights import load_weights
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.physics.heads import Head
from bidsharmony.physics.pairs import draw_pair
from bidsharmony.physics.phantom import icbm_heads
from bidsharmony.physics.protocol import held_out_scanners
from tests.physics.heads import ball

SLICES = 4


class Untouched(torch.nn.Module):
    """A network that returns what it is given."""

    contrast = resolution = True

    def forward(self, images, condition):
        nothing = torch.zeros_like(images[:, :1])
        return Output(images, nothing, torch.zeros_like(images))


WEIGHTS = SimpleNamespace(
    model=Untouched(),
    fwhm_mm=2.0,
    spacing_mm=1.0,
    thickness_mm=4.0,
    tissue_mean=None,
    spectrum=None,
    sha256='0' * 64,
)


@pytest.fixture(scope='module')
def bench(benchmark_script):
    """Return the scripts of the benchmark."""
    return SimpleNamespace(
        **{name: benchmark_script(name) for name in ('cohort', 'measures', 'quality', 'blending')}
    )


@pytest.fixture(scope='module')
def heads():
    """Return two balls of different size."""
    return [Head('one', ball().codes), Head('two', ball(radius=52).codes)]


@pytest.fixture(scope='module')
def travelling(bench, heads):
    """Return both heads on the seven test scanners, not harmonized."""
    protocols = held_out_scanners(np.random.default_rng(3))
    return bench.cohort.simulate(heads, protocols, SLICES, seed=1)


def setting(bench, heads, seeds=1):
    return bench.quality.Setting(WEIGHTS, heads, SLICES, seeds, 2.0, trees=20)


def test_individuals_are_kept_apart():
    assert not {*TRAINING} & {*VALIDATION, *TESTING}
    assert not {*VALIDATION} & {*TESTING}


def test_scans_repeat_and_sessions_differ_in_noise_alone(bench, heads, travelling):
    first, again, other = (
        bench.cohort.simulate(heads[:1], travelling.protocols[:1], 2, seed=1, repeat=repeat)
        for repeat in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.images['bicubic'], again.images['bicubic'])
    np.testing.assert_array_equal(first.truth, other.truth)
    assert np.abs(first.images['bicubic'] - other.images['bicubic']).max() > 0.01


def test_slabs_with_and_without_lesions_take_turns(travelling):
    assert travelling.lesion.any(axis=(2, 3)).tolist() == [[True, False, True, False]] * 2
    assert not (travelling.white & travelling.lesion[:, :]).any()
    assert travelling.ischaemia.sum() > 100


@pytest.mark.parametrize('method', ['input', 'bicubic', 'lanczos'])
def test_interpolations_lie_on_one_grid(travelling, method):
    """Half a pixel of shift would cost some of the correlation with the truth."""
    image, truth = travelling.images[method][0, 0, 1, 0], travelling.truth[0, 1, 0]
    inside = travelling.brain[0, 1]

    def agreement(rows, columns):
        moved = np.roll(image, (rows, columns), axis=(0, 1))
        return np.corrcoef(moved[inside], truth[inside])[0, 1]

    here = agreement(0, 0)
    assert all(here > agreement(*shift) for shift in ((1, 0), (-1, 0), (0, 1), (0, -1)))


def harmonized_to(bench, cohort, images):
    """Return the cohort with the images of a network that would give these."""
    cohort = replace(cohort, images={**cohort.images, 'network': images})
    cohort.images['destroyer'] = bench.cohort.destroyed(cohort, np.random.default_rng(5))
    return cohort


def measured(bench, heads, cohort, images):
    """Return the rows of targets, and all figures, of a network that would give these images."""
    cohort = harmonized_to(bench, cohort, images)
    asked = setting(bench, heads)
    figures = bench.quality.main_figures(asked, [cohort])
    kept = bench.quality.lesion_summary(asked, [cohort])
    guessed = bench.quality.probes(asked, [cohort])
    changed = {channel: {'value': 0.0} for channel in ('b0', 'trace')}
    return {
        row['row']: row for row in bench.quality.targets(figures, kept, guessed, changed)
    }, figures


def test_the_truth_reaches_every_target(bench, heads, travelling):
    """All scanners alike and right: no distance, no scanner found, no lesion lost."""
    truth = np.broadcast_to(travelling.truth[:, None], travelling.images['bicubic'].shape)
    rows, figures = measured(bench, heads, travelling, truth.copy())
    assert {name for name, row in rows.items() if row['reached'] is False} == set()
    assert rows['PSNR b0 (dB)']['value'] > 90
    assert rows['between-scanner CV trace']['value'] == pytest.approx(0, abs=1e-6)
    assert rows['PSD distance reduction (%)']['value'] == pytest.approx(100, abs=1e-3)
    assert rows['GLCM eta^2 reduction (%)']['value'] == pytest.approx(100, abs=1e-3)
    assert rows['forest, retrained']['value'] == pytest.approx(1 / 7)
    assert rows['lesion Dice ADC-dark, worst decile']['value'] == 1
    assert figures['destroyer']['psnr_b0']['value'] < 25


@pytest.mark.slow
def test_no_harmonization_reaches_no_more_than_it_was_given(bench, heads, travelling):
    rows, _ = measured(bench, heads, travelling, travelling.images['input'])
    assert rows['PSNR b0 (dB)']['value'] == rows['PSNR b0 (dB)']['before'] < 30
    assert rows['GLCM eta^2 reduction (%)']['value'] == pytest.approx(0, abs=1e-9)
    assert rows['PSD distance reduction (%)']['value'] == pytest.approx(0, abs=1e-9)
    probe = rows['forest, retrained']
    assert probe['value'] == probe['before'] > 0.4
    assert not any(rows[name]['reached'] for name in ('PSNR b0 (dB)', 'forest, retrained'))


def test_scanners_that_only_scale_have_the_variation_of_their_factors(bench, heads, travelling):
    factors = np.array([0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3], np.float32)
    truth = travelling.truth[:, None] * factors[:, None, None, None, None]
    cohort = harmonized_to(bench, travelling, truth)
    network = bench.quality.main_figures(setting(bench, heads), [cohort])['network']
    expected = factors.std(ddof=1) / factors.mean()
    for channel in ('b0', 'trace'):
        assert network[f'cv_{channel}']['value'] == pytest.approx(expected, rel=1e-4)
    assert network['adc_bias_absolute_percent']['value'] == pytest.approx(0, abs=1e-3)
    # a spectrum of unit area knows no scale
    assert network['psd_reduction_percent']['value'] == pytest.approx(100, abs=0.1)


def test_a_trace_too_dark_is_an_adc_too_high(bench, heads, travelling):
    truth = np.repeat(travelling.truth[:, None], 7, axis=1)
    truth[..., 1, :, :] *= np.exp(-0.07, dtype=np.float32)
    found = bench.measures.batch_figures(harmonized_to(bench, travelling, truth), 'network', 0.25)
    untouched = [
        bench.measures.log_ratio(*pair)
        for pair in zip(travelling.truth, travelling.white, strict=True)
    ]
    expected = np.add(untouched, 0.07)[:, None].repeat(7, axis=1)
    np.testing.assert_allclose(found['adc'], expected, atol=1e-4)


@pytest.mark.parametrize(
    ('before', 'training', 'counts'), [(0.95, 0.99, True), (0.93, 0.99, False), (0.95, 0.9, False)]
)
def test_a_probe_that_was_not_trained_well_does_not_count(bench, before, training, counts):
    found = {'value': before, 'training_accuracy': training, 'low': 0.0, 'high': 1.0, 'n': 9}
    guessed = dict.fromkeys(('before', 'after', 'frozen'), found)
    reasons = [bench.quality.badly_trained(guessed, name) for name in ('retrained', 'frozen')]
    assert [reason is None for reason in reasons] == [counts, counts]
    said = bench.quality.not_run(guessed)
    assert len(said) == (1 if counts else 3)


def test_repetition_sees_the_unit_that_a_network_does_not_restore(bench, heads, travelling):
    """An output in the canonical unit is brought to the robust unit and left there."""
    truth = np.repeat(travelling.truth[:, None], 7, axis=1)
    cohort = replace(travelling, images={**travelling.images, 'network': truth})
    found = bench.cohort.repeated(WEIGHTS, cohort)
    for head, images in enumerate(travelling.truth):
        unit = robust_scale(images[:, 0], images[:, 1], travelling.brain[head])
        np.testing.assert_allclose(found[head], 1 - 1 / unit, atol=1e-3)


def test_known_faults_stand_where_they_are_said_to(bench, travelling, rng):
    """A lesion becomes its surroundings; a spot comes to slices without one, and into tissue."""
    truth = travelling.truth[0].swapaxes(0, 1)
    brain, lesion = travelling.brain[0], travelling.lesion[0] & travelling.brain[0]
    smooth = bench.blending.wiped(truth, lesion, brain)
    assert np.abs(smooth - truth)[:, ~lesion.any(axis=(1, 2))].max() == 0
    for n in np.flatnonzero(lesion.any(axis=(1, 2))):
        core = ndimage.binary_erosion(lesion[n], iterations=4)
        assert smooth[1, n][core].std() < 0.2 * max(truth[1, n][core].std(), 0.05)
    spotted, spots = bench.blending.spotted(truth, lesion, brain, truth, rng)
    assert spots.any(axis=(1, 2)).tolist() == (~lesion.any(axis=(1, 2))).tolist()
    assert (spotted[1] - truth[1])[spots].min() > 0
    np.testing.assert_array_equal(spotted[0], truth[0])


@pytest.mark.slow
def test_the_forward_check_finds_known_faults_on_individuals_never_seen(bench, shared_data):
    """And leaves the truth alone: docs/how.rst lists all individuals and scanners."""
    heads = load_individuals(shared_data / 'anatomy', TESTING[:1])
    protocols = held_out_scanners(np.random.default_rng(77))[:3]
    cohort = bench.cohort.simulate(heads, protocols, 4, seed=77)
    found = bench.blending.summarise(bench.blending.check(load_weights(), cohort, 77))
    assert found['truth']['blended_fraction'] < 0.01
    assert found['network']['blended_fraction'] < 0.02
    assert found['wiped']['in_place'] > 0.8
    assert found['invented']['in_place'] > 0.8
    wiped = found['wiped']['psnr_trace']
    assert wiped[1] > wiped[0] + 1


@pytest.mark.slow
def test_the_whole_benchmark_runs(bench, heads, tmp_path, monkeypatch, capsys):
    """One command prints the table, writes it, and fails where targets are missed."""
    monkeypatch.setattr(bench.quality, 'load_weights', lambda path: WEIGHTS)
    monkeypatch.setattr(bench.quality, 'load_individuals', lambda folder, numbers: heads)
    out, figure = tmp_path / 'quality.json', tmp_path / 'tradeoff.png'
    code = bench.quality.main(
        ['--anatomy', str(tmp_path), '--out', str(out), '--slices', '2', '--seeds', '1',
         '--trees', '10', '--figure', str(figure)]
    )  # fmt: skip
    assert code == 1
    document = json.loads(out.read_text())
    assert document['simulated'] is True
    assert document['weights_sha256'] == WEIGHTS.sha256
    rows = {row['row']: row for row in document['targets']}
    assert not rows['PSNR b0 (dB)']['reached']
    assert all(row['simulated'] and row['target'] for row in rows.values())
    assert rows['PSNR b0 over bicubic (dB)']['value'] == pytest.approx(0, abs=1e-6)
    assert document['controls']['destroyer']['fails_fidelity']
    assert document['not_run'][0]['reason']
    assert len(document['per_scanner']) == 7
    for part in ('causes', 'beyond', 'ablation', 'tradeoff', 'lesions', 'probe'):
        assert document[part]
    # what hides nothing and switches nothing off changes nothing here
    ablation = document['ablation']
    assert len({json.dumps(row) for row in ablation.values()}) == 1
    assert figure.read_bytes().startswith(b'\x89PNG')
    printed = capsys.readouterr().out
    assert 'What must be reached (simulated)' in printed
    assert 'not run: scanner identity by ResNet-50' in printed


@pytest.mark.slow
def test_the_shipped_network_beats_interpolation_on_individuals_never_seen(bench, shared_data):
    heads = load_individuals(shared_data / 'anatomy', TESTING[:2])
    weights = load_weights()
    cohort = bench.cohort.simulate(heads, held_out_scanners(np.random.default_rng(77)), 3, seed=77)
    cohort.images['network'] = bench.cohort.harmonized(weights, cohort)
    bicubic, network = (
        bench.measures.fidelity([cohort], method) for method in ('bicubic', 'network')
    )
    for image in ('b0', 'trace'):
        gain = (network[f'psnr_{image}'] - bicubic[f'psnr_{image}']).mean()
        assert gain >= 2, (image, gain)
        assert network[f'ssim_{image}'].mean() > bicubic[f'ssim_{image}'].mean()


@pytest.mark.slow
def test_better_than_identity_on_the_average_head_too():
    """The template that comes with nilearn is here on every machine."""
    heads = icbm_heads(1, np.random.default_rng(0))
    pairs = [draw_pair(heads, np.random.default_rng([78, i])) for i in range(12)]
    figures, _ = evaluate(load_weights().model, pairs)
    for image in ('b0', 'trace'):
        gain = figures['network'][f'psnr_{image}'] - figures['identity'][f'psnr_{image}']
        assert gain >= 2, (image, figures)
