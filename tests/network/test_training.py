"""Training: loss with known answers, data that is seeded, a whole run that learns and resumes."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from bidsharmony.cli.train import main
from bidsharmony.network.loss import PEAKS, hann_window, log_spectrum, loss_of, similarity
from bidsharmony.network.model import FACTS, N_CONDITIONS, Harmonizer
from bidsharmony.network.recipe import Recipe
from bidsharmony.network.training import (
    evaluate,
    load_individuals,
    train,
    training_heads,
    travelling_pairs,
    twin_tensors,
    validate,
    with_repetition,
)
from bidsharmony.network.weights import load_weights
from bidsharmony.physics.pairs import draw_twins
from bidsharmony.physics.protocol import Protocol, held_out_scanners
from bidsharmony.physics.signal import CANONICAL_CONTRAST
from bidsharmony.physics.tissue import TISSUE_NAMES
from tests.physics.heads import ball

SMALL = Recipe(steps=2, batch=2, patch=64, validation_slices=1)
BARE = replace(SMALL, consistency=0.0, repeat=False, spectrum=0.0, similarity=0.0, lesion=0.0)
LABELS = {'white matter': 2, 'cortex': 3, 'cerebrospinal fluid': 24, 'bone': 515}


@pytest.fixture(scope='module')
def anatomy(tmp_path_factory):
    """Twelve label maps of balls, as the individuals 1 to 12."""
    folder = tmp_path_factory.mktemp('anatomy')
    codes = ball().codes
    labels = np.full(codes.shape, 507, np.int16) * (codes > 0)
    for name, label in LABELS.items():
        labels[codes == TISSUE_NAMES.index(name)] = label
    for number in range(1, 13):
        nib.save(nib.Nifti1Image(labels, np.eye(4)), folder / f'training_seg_{number:02d}.nii.gz')
    return folder


def batch(twins, rng, recipe=SMALL):
    return twin_tensors(twins, recipe, rng)


@pytest.fixture(scope='module')
def twins():
    return draw_twins([ball()], np.random.default_rng(0), canonical_chance=0.0)


def perfect(tensors):
    return {**tensors, 'source': tensors['target'], 'log_gain': 0 * tensors['log_gain']}


def test_the_loss_of_the_truth_is_only_its_own_doubt(twins, rng):
    tensors = batch(twins, rng)
    model = Harmonizer((8, 8, 8))
    alone = loss_of(model, perfect(tensors), BARE).item()
    wrong = loss_of(model, tensors, BARE).item()
    # an untrained network expects exp(-3) and errs by nothing: only .02 * weight * (-3) is left
    assert -0.15 < alone < 0
    assert wrong > 0.02


def test_twins_that_disagree_cost(twins, rng):
    tensors = batch(twins, rng)
    two = {name: torch.cat([tensor, tensor]) for name, tensor in tensors.items()}
    model = Harmonizer((8, 8, 8))
    agreeing = {**two, 'source': two['source'][[0, 0, 2, 2]]}
    costs = [
        loss_of(model, part, replace(BARE, consistency=1.0)).item()
        - loss_of(model, part, BARE).item()
        for part in (two, agreeing)
    ]
    assert costs[0] > 0.01
    assert costs[1] == pytest.approx(0, abs=1e-6)


def test_an_output_shall_come_back_unchanged(twins, rng):
    tensors = perfect(batch(twins, rng))
    model = Harmonizer((8, 8, 8))
    repeated = with_repetition(model, tensors, SMALL)
    torch.testing.assert_close(repeated['source'][0], tensors['source'][0])
    with torch.no_grad():
        own = model(tensors['source'], tensors['condition']).images[1].clamp_min(0)
    torch.testing.assert_close(repeated['target'][1], own)
    gain = torch.exp(repeated['log_gain'][1])
    torch.testing.assert_close(gain * repeated['source'][1], repeated['target'][1])
    # without the change in unit an untrained network scales it down
    assert loss_of(model, repeated, BARE).item() > loss_of(model, tensors, BARE).item() + 0.01


def test_patches_hold_brain_and_hide_facts(twins):
    rng = np.random.default_rng(0)
    flags = []
    for _ in range(40):
        tensors = twin_tensors(twins, SMALL, rng)
        assert tensors['source'].shape == (2, 2, 64, 64)
        assert tensors['brain'].any()
        assert torch.equal(tensors['target'][0], tensors['target'][1])
        missing = tensors['condition'][:, N_CONDITIONS // 2 :]
        flags.append(missing[:, : len(FACTS)].mean().item())
    assert np.mean(flags) == pytest.approx(0.1 + 0.9 * SMALL.missing, abs=0.08)


def test_identity_scores_are_those_of_an_untrained_network():
    scanners = held_out_scanners(np.random.default_rng(0))[:2]
    runs = travelling_pairs([ball()], scanners, 1, 7)
    figures, outputs = evaluate(Harmonizer((8, 8, 8)), [pair for run in runs for pair in run])
    assert figures['network'] == pytest.approx(figures['bicubic'], rel=1e-4)
    assert figures['identity']['psnr_b0'] != figures['bicubic']['psnr_b0']
    assert len(outputs['network']) == 2


def test_scanners_as_unlike_as_day_and_night_are_told_apart():
    sharp = Protocol(CANONICAL_CONTRAST, pixel=1.2, snr=100.0)
    scanners = [sharp, replace(sharp, pixel=3.4, snr=8.0)]
    runs = travelling_pairs([ball(), ball(radius=42)], scanners, 2, 3)
    np.testing.assert_array_equal(runs[0][0].target, runs[1][0].target)
    assert validate(Harmonizer((8, 8, 8)), runs, 2)['network']['probe'] == 1.0


def test_the_volume_of_one_individual_is_missed_by_name(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no \*_T2w\.nii\.gz'):
        training_heads(tmp_path, 'one-individual')


def test_a_missing_individual_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no label map training_seg_13\.nii\.gz'):
        load_individuals(tmp_path, (13,))


@pytest.mark.slow
def test_training_writes_weights_and_resumes(anatomy, tmp_path):
    out = tmp_path / 'w.safetensors'
    first = train(anatomy, out, SMALL, workers=0, every=2)
    assert [row['step'] for row in first['curve']] == [2]
    state = out.with_suffix('.state')
    assert torch.load(state, weights_only=True)['step'] == 2
    longer = replace(SMALL, steps=3)
    second = train(anatomy, out, longer, workers=0, every=2)
    assert [row['step'] for row in second['curve']] == [2, 3]
    assert load_weights(out).recipe['best_step'] in (2, 3)
    figures = json.loads(out.with_suffix('.json').read_text())['validation']
    assert set(figures) == {'identity', 'bicubic', 'network'}


def test_command_line_refuses_another_format(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        main(['--anatomy', str(tmp_path), '--out', str(tmp_path / 'w.pt')])
    assert caught.value.code == 2
    assert 'weights end in .safetensors' in capsys.readouterr().err


@pytest.mark.slow
def test_a_time_instead_of_steps(anatomy, tmp_path):
    out = tmp_path / 'w.safetensors'
    brief = replace(SMALL, hours=1e-5)
    assert train(anatomy, out, brief, workers=0, every=50)['curve'][-1]['step'] >= 1
    again = train(anatomy, tmp_path / 'x.safetensors', SMALL, workers=0, every=2, start_from=out)
    assert again['curve'][-1]['step'] == 2


@pytest.mark.parametrize('axis', [0, 1])
def test_spectra_show_what_is_there_and_along_which_axis(rng, axis):
    size, cycles = 64, 11
    window = torch.ones(1, 1, size, size) * hann_window(size)
    wave = torch.cos(2 * np.pi * cycles * torch.arange(size) / size)[:, None].expand(size, size)
    wave = (wave if axis == 0 else wave.T).expand(1, 2, size, size)
    rings, rows, columns = log_spectrum(wave, window)[0, 0].chunk(3)
    place = (cycles - 3) // 2  # bins of two cycles, from the third on
    along, across = (rows, columns) if axis == 0 else (columns, rows)
    assert rings.argmax().item() == along.argmax().item() == place
    assert across[place] < along[place] - 5
    halved = log_spectrum(0.5 * wave, window) - log_spectrum(wave, window)
    assert halved[0, 0, place].item() == pytest.approx(-np.log(4), rel=1e-2)


def test_white_noise_has_its_variance_at_every_frequency(rng):
    window = (torch.ones(1, 1, 64, 64) * hann_window(64)).expand(40, -1, -1, -1)
    noise = torch.from_numpy(rng.normal(0, 0.3, (40, 2, 64, 64)).astype(np.float32))
    level = log_spectrum(noise, window).exp().mean(dim=(0, 1))
    np.testing.assert_allclose(level, 0.09, rtol=0.25)


def test_similarity_is_that_of_scikit_image(rng):
    truth = rng.random((2, 40, 30)).astype(np.float32)
    image = truth + 0.1 * rng.standard_normal(truth.shape).astype(np.float32)
    ours = similarity(torch.from_numpy(image[None]), torch.from_numpy(truth[None]))[0]
    for channel, peak in enumerate(PEAKS):
        _, theirs = structural_similarity(
            truth[channel], image[channel], data_range=peak, full=True
        )
        np.testing.assert_allclose(ours[channel], theirs[3:-3, 3:-3], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('weight', ['spectrum', 'similarity', 'lesion', 'ratio'])
def test_every_weight_costs_an_output_that_is_wrong(twins, rng, weight):
    """And not, or hardly, one that is right."""
    tensors = batch(twins, rng)
    tensors['lesion'] = tensors['brain']
    model = Harmonizer((8, 8, 8))
    asked, dropped = (replace(BARE, **{weight: value}) for value in (1.0, 0.0))
    costs = [
        loss_of(model, part, asked).item() - loss_of(model, part, dropped).item()
        for part in (tensors, perfect(tensors))
    ]
    assert costs[0] > 0.005
    # (what is left is the network's doubt of itself, and the spectrum beyond its own limit)
    assert costs[1] < 0.1 * costs[0]
