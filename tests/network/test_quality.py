"""The shipped network on simulated scans: it must beat the scan it was given, clearly."""

import numpy as np
import pytest

from bidsharmony.network.training import (
    TESTING,
    TRAINING,
    VALIDATION,
    draw_pairs,
    evaluate,
    load_individuals,
)
from bidsharmony.network.weights import load_weights
from bidsharmony.physics.phantom import icbm_heads


def test_individuals_are_kept_apart():
    assert not {*TRAINING} & {*VALIDATION, *TESTING}
    assert not {*VALIDATION} & {*TESTING}


@pytest.mark.slow
def test_three_decibels_over_identity_on_individuals_never_seen(shared_data):
    heads = load_individuals(shared_data / 'anatomy', TESTING)
    figures = evaluate(load_weights().model, draw_pairs(heads, 4, 77))
    for image in ('b0', 'trace'):
        gain = figures['network'][f'psnr_{image}'] - figures['identity'][f'psnr_{image}']
        assert gain >= 3, (image, figures)
        assert figures['network'][f'ssim_{image}'] > figures['bicubic'][f'ssim_{image}']


@pytest.mark.slow
def test_better_than_identity_on_the_average_head_too():
    """The template that comes with nilearn is here on every machine."""
    heads = icbm_heads(1, np.random.default_rng(0))
    figures = evaluate(load_weights().model, draw_pairs(heads, 12, 78))
    for image in ('b0', 'trace'):
        gain = figures['network'][f'psnr_{image}'] - figures['identity'][f'psnr_{image}']
        assert gain >= 2, (image, figures)
