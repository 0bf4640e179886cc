"""N4 finds a known field, and where it cannot help the image is left alone."""

import os
import subprocess
import sys

import numpy as np
import pytest

from bidsharmony.numerics import bias
from bidsharmony.numerics.bias import estimate_bias
from tests.numerics.shaded import shaded_ball
from tests.tiny_dataset import ZOOMS


@pytest.fixture
def shaded(rng):
    """Give a shaded ball, its mask and the field."""
    return shaded_ball(rng)


def test_known_field_is_found(shaded):
    """The variation falls, the mean in the brain is 1 and the shape is right."""
    image, mask, field = shaded
    found = estimate_bias(image, mask, ZOOMS, 2)
    assert found.facts['applied']
    assert found.facts['shrink_factor'] in (4, 2)
    assert found.facts['cv_after'] < 0.5 * found.facts['cv_before']
    assert found.field[mask].mean() == pytest.approx(1, abs=1e-5)
    assert found.field.min() > 0
    assert np.corrcoef(found.field[mask], field[mask])[0, 1] > 0.98


def test_bits_repeat(shaded):
    """The same image gives the same bits."""
    image, mask, _ = shaded
    first, second = (estimate_bias(image, mask, ZOOMS, 2).field for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.skipif(not hasattr(os, 'sched_setaffinity'), reason='processors cannot be chosen')
def test_bits_do_not_depend_on_the_number_of_processors(shaded, tmp_path):
    """N4 has two threads on one processor too, whatever the environment asks for."""
    image, mask, _ = shaded
    np.savez(tmp_path / 'given.npz', image=image, mask=mask)
    code = (
        'import os, sys\n'
        'os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n'
        'import numpy as np\n'
        'from bidsharmony.numerics.bias import estimate_bias\n'
        'given = np.load(sys.argv[1])\n'
        f'found = estimate_bias(given["image"], given["mask"], {ZOOMS!r}, 2).field\n'
        'sys.stdout.buffer.write(found.tobytes())'
    )
    environment = {**os.environ, 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': '7'}
    command = [sys.executable, '-c', code, tmp_path / 'given.npz']
    alone = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout
    assert alone == estimate_bias(image, mask, ZOOMS, 2).field.tobytes()


@pytest.mark.parametrize(
    ('n_slices', 'field', 'note'),
    [
        (1, None, 'One slice only'),
        (12, 'worse', 'raised the variation'),
        (12, None, 'no usable field'),
    ],
)
def test_flat_field_where_n4_does_not_help(shaded, monkeypatch, n_slices, field, note):
    """One slice, a field that makes things worse and none at all leave the image as it was."""
    image, mask, true_field = shaded
    worse = None if field is None else (1 / true_field).astype(np.float32)
    monkeypatch.setattr(bias, 'n4_field', lambda *_: worse)
    kept = slice(6, 6 + n_slices) if n_slices == 1 else slice(None)
    found = estimate_bias(image[..., kept], mask[..., kept], ZOOMS, 2)
    assert not found.facts['applied']
    assert note in found.facts['note']
    assert (found.field == 1).all()
    assert found.facts['cv_after'] == found.facts['cv_before']
