"""Images that are all alike are learned sooner than images of many kinds."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.audit.convergence import Convergence, build_autoencoder, convergence, matched
from bidsharmony.audit.sample import Sample


@pytest.fixture(scope='module')
def sample():
    """Before: smooth heads under the noise of two scanners. After: the same heads, smooth."""
    rng = np.random.default_rng(0)
    subjects, scanners = (index.ravel() for index in np.indices((6, 2)))
    smooth = ndimage.gaussian_filter(rng.normal(size=(6, 2, 160, 160)), (0, 0, 12, 12))[subjects]
    smooth /= smooth.std()
    before = smooth + (0.5 + scanners[:, None, None, None]) * rng.normal(size=smooth.shape)
    n = len(subjects)
    return Sample(
        before.astype(np.float16),
        smooth.astype(np.float16),
        np.ones((n, 160, 160), bool),
        scanners,
        subjects,
        np.arange(n),
        ('A', 'B'),
        tuple('abcdef'),
        tuple(map(str, range(n))),
    )


def test_smooth_heads_are_learned_sooner(sample):
    """The same seeds give the same curves; losses start near the variance of 1."""
    first, again = (convergence(sample, seeds=1, budget=40) for _ in range(2))
    np.testing.assert_array_equal(first.after, again.after)
    assert first.before[0, 0] == pytest.approx(1, abs=0.3)
    found = first.summary()
    assert first.after[0, -1] < first.before[0, -1]
    assert found['iterations']['after'] < found['iterations']['before']
    assert found['ratio'] < 1
    assert found['not_reached'] == {'before': 0, 'after': 0}


def test_identical_sides_have_ratio_one(sample):
    """Nothing was harmonized: nothing is learned sooner."""
    same = Sample(**{**vars(sample), 'after': sample.before})
    assert convergence(same, seeds=1, budget=30).summary()['ratio'] == 1.0


def test_never_reached_counts_as_the_budget():
    """The ratio is then a lower bound, and says so."""
    found = Convergence(
        np.array([0, 10, 20]), np.array([[1.0, 0.5, 0.0]]), np.array([[1.0, 0.9, 0.8]])
    ).summary()
    assert found['not_reached'] == {'before': 0, 'after': 1}
    assert found['iterations'] == {'before': 18.0, 'after': 20.0}


def test_sides_have_one_variance():
    """Scale and offset do not set the loss."""
    rng = np.random.default_rng(0)
    images, mask = rng.normal(size=(3, 2, 160, 160)), np.ones((3, 160, 160), bool)
    np.testing.assert_allclose(matched(7 + 3 * images, mask), matched(images, mask), atol=1e-5)


def test_network_has_a_bottleneck():
    """2 x 96 x 96 numbers pass through 16 x 12 x 12."""
    import torch

    network = build_autoencoder()
    inner = network[:7](torch.zeros(1, 2, 96, 96))
    assert inner.shape == (1, 16, 12, 12)
    assert network(torch.zeros(1, 2, 96, 96)).shape == (1, 2, 96, 96)
