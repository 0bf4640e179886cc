"""Weights are numbers in a file of known size: nothing in it is run, and none fills the memory."""

import json
import pickle
import resource
import struct

import pytest
import torch
from safetensors.torch import save_file

from bidsharmony.network.model import CONDITIONS, Harmonizer
from bidsharmony.network.weights import MAX_BYTES, WeightsError, load_weights, save_weights

RECIPE = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'thickness_mm': 4.0, 'spacing_mm': 1.0}
MEMORY_KB = 200_000
"""What a refusal may add to the peak of the process."""


class Planted:
    """Run code as soon as it is unpickled."""

    def __reduce__(self):
        return exec, ('raise SystemExit("a pickle was obeyed")',)


def state(dtype=torch.float16) -> dict[str, torch.Tensor]:
    """Give the tensors of a small network."""
    torch.manual_seed(0)
    model = Harmonizer((8, 8, 8))
    return {name: tensor.to(dtype).contiguous() for name, tensor in model.state_dict().items()}


def saved(path, tensors, **changes):
    """Write tensors with a recipe."""
    recipe = {**RECIPE, 'conditions': [list(row) for row in CONDITIONS], **changes}
    save_file(tensors, path, metadata={'recipe': json.dumps(recipe)})


def too_large(path):
    """Be larger than any file of this program."""
    path.write_bytes(bytes(MAX_BYTES + 1))


def a_pickle(path):
    """Be a pickle under another name."""
    path.write_bytes(pickle.dumps(Planted()))


def a_checkpoint(path):
    """Be a checkpoint of torch's, which holds a pickle."""
    torch.save({'model': Planted()}, path)


def huge_header(path):
    """Announce a header of 2^62 bytes."""
    path.write_bytes(struct.pack('<Q', 2**62) + b'{}')


def long_header(path):
    """Announce a header that is longer than the file."""
    path.write_bytes(struct.pack('<Q', 10**6) + b'{}')


def offsets_outside(path):
    """Have a tensor whose bytes lie behind the end."""
    entry = {'a': {'dtype': 'F32', 'shape': [2**40], 'data_offsets': [0, 2**42]}}
    header = json.dumps(entry).encode()
    path.write_bytes(struct.pack('<Q', len(header)) + header + bytes(16))


def other_shape(path):
    """Have one tensor of another shape."""
    tensors = state()
    tensors['enter.weight'] = torch.zeros(8, 8, 5, 5, dtype=torch.float16)
    saved(path, tensors)


def tensor_too_many(path):
    """Have a tensor that the network does not know."""
    saved(path, state() | {'more': torch.zeros(1)})


def whole_numbers(path):
    """Hold integers."""
    saved(path, state(torch.int32))


def complex_numbers(path):
    """Hold one complex tensor, which not every version of safetensors writes."""
    saved(path, state() | {'enter.bias': torch.zeros(16)})
    content = path.read_bytes()
    end = 8 + struct.unpack_from('<Q', content)[0]
    header = json.loads(content[8:end])
    header['enter.bias'] |= {'dtype': 'C64', 'shape': [8]}
    changed = json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(changed)) + changed + content[end:])


def not_a_number(path):
    """Hold one NaN."""
    tensors = state()
    tensors['enter.weight'][0, 0, 0, 0] = float('nan')
    saved(path, tensors)


def infinite(path):
    """Hold one infinity."""
    tensors = state()
    tensors['enter.bias'][0] = float('inf')
    saved(path, tensors)


def huge_network(path):
    """State the widths of a network that no memory holds."""
    saved(path, state(), widths=[10**6, 10**6, 10**6])


def widths_no_numbers(path):
    """State widths that are text."""
    saved(path, state(), widths=['8', '8', '8'])


def tiny_grid(path):
    """State a grid of a nanometre, on which no image fits."""
    saved(path, state(), spacing_mm=1e-6)


def scale_no_number(path):
    """State a unit that is NaN."""
    saved(path, state(), tissue_mean=float('nan'))


def recipe_a_list(path):
    """Have a list for a recipe."""
    save_file(state(), path, metadata={'recipe': '[]'})


def recipe_deep(path):
    """Nest the recipe deeper than the parser goes."""
    save_file(state(), path, metadata={'recipe': '[' * 100_000})


HARMS = (
    *(too_large, a_pickle, a_checkpoint, huge_header, long_header, offsets_outside),
    *(other_shape, tensor_too_many, whole_numbers, complex_numbers, not_a_number, infinite),
    *(huge_network, widths_no_numbers, tiny_grid, scale_no_number, recipe_a_list, recipe_deep),
)


@pytest.mark.parametrize('harm', HARMS, ids=lambda harm: harm.__name__)
@pytest.mark.parametrize('widen', [False, True])
def test_refused_in_one_line_without_a_trace_in_memory(tmp_path, harm, widen):
    """The message names the file; nothing was run."""
    path = tmp_path / 'w.safetensors'
    harm(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError) as caught:
        load_weights(path, widen=widen)
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert str(caught.value).startswith(f'{path}: ')
    assert '\n' not in str(caught.value)
    assert added < MEMORY_KB


def test_unspoiled_weights_are_taken(tmp_path):
    """What is spoiled above is good before."""
    saved(tmp_path / 'w.safetensors', state())
    save_weights(Harmonizer((8, 8, 8)), tmp_path / 'x.safetensors', RECIPE)
    for name in ('w', 'x'):
        assert len(load_weights(tmp_path / f'{name}.safetensors').sha256) == 64
