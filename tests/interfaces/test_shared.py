"""The maps that are shared are written, and what sharing changed is said."""

from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.shared import ShareGain
from tests import tiny_dataset


@pytest.fixture
def files(tmp_path, rng):
    """Write gain, field and brain of three runs."""
    brain = tiny_dataset.head()[..., 0] > 250
    paths = {'gain_files': [], 'field_files': [], 'mask_files': []}
    for number in range(3):
        arrays = {
            'gain': rng.uniform(1e-3, 4e-3, tiny_dataset.SHAPE) * 1.2**number,
            'field': rng.uniform(0.8, 1.2, tiny_dataset.SHAPE),
            'mask': np.roll(brain, number, axis=1),
        }
        for name, data in arrays.items():
            path = tmp_path / f'{name}{number}.nii.gz'
            nb.save(nb.Nifti1Image(data.astype(np.float32), tiny_dataset.affine()), path)
            paths[f'{name}_files'].append(str(path))
    return paths


def share(files, folder, own, **changes):
    """Run the interface for one of the three."""
    folder.mkdir()
    mine = {key.removesuffix('s'): paths[own] for key, paths in files.items()}
    group = {'members': ['a', 'b', 'c'], 'maps': [0, 0, 1]}
    return ShareGain(**mine, **files, **(group | changes), own=own).run(cwd=folder).outputs


def test_levels_are_one_and_change_is_measured(files, tmp_path):
    """By the figures that are reported, the level before and the change give that after."""
    found = [share(files, tmp_path / str(own), own, maps=[0, 1, 2]) for own in range(3)]
    levels = []
    for own, outputs in enumerate(found):
        gain, field, mine, own_field, mask = (
            nb.load(path).get_fdata()
            for path in (
                outputs.gain_file,
                outputs.field_file,
                *(files[f'{name}_files'][own] for name in ('gain', 'field', 'mask')),
            )
        )
        inside = mask > 0
        levels.append(np.median(np.log(gain / field)[inside]))
        before = np.median(np.log(mine / own_field)[inside])
        assert before + outputs.facts['level_change'] == pytest.approx(levels[-1], abs=1e-6)
        assert outputs.facts['same_map'] == []
        assert outputs.facts['map_change_p95'] > 0
    np.testing.assert_allclose(levels, levels[0], atol=1e-6)


def test_same_map_same_bytes(files, tmp_path):
    """And the facts say with whom."""
    first, second, third = (share(files, tmp_path / str(own), own) for own in range(3))
    for port in ('gain_file', 'field_file'):
        content = [Path(getattr(found, port)).read_bytes() for found in (first, second)]
        assert content[0] == content[1]
    facts = {key: first.facts[key] for key in ('with', 'same_map')}
    assert facts == {'with': ['b', 'c'], 'same_map': ['b']}
    assert third.facts['same_map'] == []
