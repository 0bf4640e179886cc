"""The shells of a series are averaged as they pass, and shown."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.shells import ShellMeans, ShowSeries, weighted_shells
from tests import tiny_dataset

BVALS = np.array([0.0, 1000, 5, 2000, 990, 2010])


@pytest.fixture
def inputs(tmp_path):
    """Write a tiny run, its mask and the means of its two shells."""
    root = tiny_dataset.write_dataset(tmp_path / 'raw')
    stem = str(tiny_dataset.write_run(root, 'sub-01')).removesuffix('.nii.gz')
    head = tiny_dataset.head().astype(np.float32)
    means = np.stack([head[..., 0], head[..., 1:].mean(axis=-1)], axis=-1)
    mask = (head[..., 0] > 250).astype(np.uint8)
    for name, data in (('shells', means), ('mask', mask)):
        nb.save(nb.Nifti1Image(data, tiny_dataset.affine()), tmp_path / f'{name}.nii.gz')
    return {
        **{f'{name}_file': str(tmp_path / f'{name}.nii.gz') for name in ('shells', 'mask')},
        **{f'{kind}_file': f'{stem}.{kind}' for kind in ('bval', 'bvec')},
        'b0_ixs': [0],
    }


def test_b0_comes_first_whatever_its_b_value():
    """What counts as b=0 was decided elsewhere."""
    found = weighted_shells(BVALS, [0, 2])
    assert [(shell.b, shell.ixs.tolist()) for shell in found] == [
        (2.5, [0, 2]), (995.0, [1, 4]), (2005.0, [3, 5]),
    ]  # fmt: skip
    assert BVALS[2] == 5  # as it was


def test_volumes_pass_unchanged_and_are_averaged():
    """nan counts as 0 in the mean, and stays nan in the file."""
    volumes = [np.full((2, 1, 1), value) for value in (1.0, 10.0, 3.0, 100.0, 30.0, 300.0)]
    volumes[1][0] = np.nan
    seen = ShellMeans(BVALS, [0, 2])
    passed = list(seen.watch(volumes))
    assert all(np.array_equal(a, b, equal_nan=True)
               for a, b in zip(passed, volumes, strict=True))  # fmt: skip
    assert seen.means()[:, 0, 0].tolist() == [[2.0, 15.0, 200.0], [2.0, 20.0, 200.0]]


def test_both_pictures_are_drawn_the_same_twice(inputs, tmp_path):
    """Named after what they show."""
    content = []
    for turn in ('first', 'second'):
        (tmp_path / turn).mkdir()
        files = ShowSeries(**inputs).run(cwd=tmp_path / turn).outputs.figure_files
        names = [file.rsplit('/', 1)[1] for file in files]
        assert names == ['shells.png', 'gradients.png']
        content.append([(tmp_path / turn / name).read_bytes() for name in names])
    assert content[0] == content[1]
