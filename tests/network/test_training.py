"""Training: loss with known answers, data that is seeded, a whole run that learns and resumes."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch

from bidsharmony.cli.train import main
from bidsharmony.network.model import Harmonizer
from bidsharmony.network.training import (
    Recipe,
    draw_pairs,
    evaluate,
    load_individuals,
    loss_of,
    patch_tensors,
    train,
)
from bidsharmony.network.weights import load_weights
from bidsharmony.physics.tissue import TISSUE_NAMES
from tests.physics.heads import ball

SMALL = Recipe(steps=2, batch=1, patch=64, validation_pairs=1)
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


def batch(pair, rng):
    tensors = patch_tensors(pair, SMALL, rng)
    return {name: tensor[None] for name, tensor in tensors.items()}


def test_the_loss_of_the_truth_is_only_its_own_doubt(rng):
    (pair,) = draw_pairs([ball()], 1, 0)
    tensors = batch(pair, rng)
    perfect = {**tensors, 'source': tensors['target'], 'log_gain': 0 * tensors['log_gain']}
    model = Harmonizer((8, 8, 8))
    alone, wrong = loss_of(model, perfect).item(), loss_of(model, tensors).item()
    # an untrained network expects exp(-3) and errs by nothing: only .02 * weight * (-3) is left
    assert -0.15 < alone < 0
    assert wrong > 0.02


def test_patches_hold_brain_and_hide_facts():
    rng = np.random.default_rng(0)
    (pair,) = draw_pairs([ball()], 1, 0)
    flags = []
    for _ in range(60):
        tensors = patch_tensors(pair, SMALL, rng)
        assert tensors['source'].shape == (2, 64, 64)
        assert tensors['brain'].any()
        flags.append(tensors['condition'][6:].mean().item())
    hidden = np.mean(flags)
    assert hidden == pytest.approx(0.1 + 0.9 * SMALL.missing, abs=0.08)


def test_identity_scores_are_those_of_an_untrained_network():
    figures = evaluate(Harmonizer((8, 8, 8)), draw_pairs([ball()], 2, 7))
    assert figures['network'] == pytest.approx(figures['bicubic'], rel=1e-4)
    assert figures['identity']['psnr_b0'] != figures['bicubic']['psnr_b0']


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
    longer = Recipe(**{**first['recipe'], 'steps': 3})
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
