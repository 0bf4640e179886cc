"""Weights on disk: what is written is read, what is wrong is refused in one line."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bidsharmony.network.model import CONDITIONS, Harmonizer
from bidsharmony.network.weights import (
    MAX_BYTES,
    WeightsError,
    load_weights,
    save_weights,
    shipped_weights,
)

RECIPE = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'thickness_mm': 4.0, 'spacing_mm': 1.0}


@pytest.fixture
def weights_file(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / 'w.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, RECIPE)
    return path


def test_round_trip(weights_file):
    weights = load_weights(weights_file)
    torch.manual_seed(0)
    for ours, theirs in zip(
        Harmonizer((8, 8, 8)).parameters(), weights.model.parameters(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)  # half precision
    assert weights.fwhm_mm == 2.0
    assert not weights.model.training
    assert len(weights.sha256) == 64


def test_the_shipped_weights_load_and_are_small():
    weights = load_weights()
    assert shipped_weights().stat().st_size <= MAX_BYTES
    assert weights.recipe['steps'] > 0


def absent(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:200])


def not_weights(path):
    path.write_text('hello')


def huge(path):
    path.write_bytes(bytes(MAX_BYTES + 1))


def other_shape(path):
    save_weights(Harmonizer((8, 8, 16)), path, RECIPE)


def other_facts(path):
    save_file({'a': torch.zeros(1)}, path)


def no_grid(path):
    save_weights(Harmonizer((8, 8, 8)), path, {**RECIPE, 'spacing_mm': 0})


def wordy(path):
    save_weights(Harmonizer((8, 8, 8)), path, {**RECIPE, 'fwhm_mm': 'two'})


def other_conditions(path):
    """A first layer narrower than the conditions it is said to know."""
    model = Harmonizer((8, 8, 8))
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    state['facts.0.weight'] = state['facts.0.weight'][:, :4].contiguous()
    known = [list(row) for row in CONDITIONS]
    save_file(state, path, metadata={'recipe': json.dumps({**RECIPE, 'conditions': known})})


def two_widths(path):
    save_weights(Harmonizer((8, 8, 8)), path, {**RECIPE, 'widths': [8, 8]})


def test_weights_of_fewer_conditions_can_be_widened(tmp_path, weights_file):
    """A condition that they do not know counts for nothing; those they know count as before."""
    model = load_weights(weights_file).model
    model.facts[0].weight.data.normal_(generator=torch.Generator().manual_seed(2))
    known = [list(row) for row in CONDITIONS[:5]]
    columns = [*range(5), *(len(CONDITIONS) + i for i in range(5))]
    state = {name: tensor.half() for name, tensor in model.state_dict().items()}
    state['facts.0.weight'] = state['facts.0.weight'][:, columns].contiguous()
    narrow = tmp_path / 'narrow.safetensors'
    save_file(state, narrow, metadata={'recipe': json.dumps({**RECIPE, 'conditions': known})})
    with pytest.raises(WeightsError, match='other scanner facts'):
        load_weights(narrow)
    wide = load_weights(narrow, widen=True).model.facts[0].weight
    torch.testing.assert_close(wide[:, columns], state['facts.0.weight'].float())
    rest = sorted({*range(2 * len(CONDITIONS))} - {*columns})
    assert not wide[:, rest].any()


@pytest.mark.parametrize(
    'harm',
    [
        absent,
        cut,
        not_weights,
        huge,
        other_shape,
        other_facts,
        no_grid,
        wordy,
        two_widths,
        other_conditions,
    ],
)
@pytest.mark.parametrize('widen', [False, True])
def test_unusable_weights_are_refused_in_one_line(weights_file, harm, widen):
    harm(weights_file)
    with pytest.raises(WeightsError) as caught:
        load_weights(weights_file, widen=widen)
    message = str(caught.value)
    assert str(weights_file) in message
    assert '\n' not in message
