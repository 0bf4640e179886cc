"""Pairs of scanner and truth: what must agree when the scanner is the canonical one."""

from dataclasses import replace

import numpy as np
import pytest

from bidsharmony.physics.heads import draw_slab, smooth_field
from bidsharmony.physics.pairs import (
    brain_scale,
    canonical_truth,
    draw_pair,
    scan,
    trace_at_canonical_b,
)
from bidsharmony.physics.scanner import Protocol
from bidsharmony.physics.signal import CANONICAL_CONTRAST, nominal_table
from tests.physics.heads import ball

FOV = 128
HEAD = ball()
IDEAL = Protocol(CANONICAL_CONTRAST, pixel=1.0, snr=1e6, readout_decay=0.0, thickness=2.0)


@pytest.fixture(scope='module')
def slab():
    return draw_slab(HEAD, 2.0, FOV, np.random.default_rng(1), lesion_chance=1.0)


def test_the_canonical_scanner_needs_no_change(slab, rng):
    pair = scan(HEAD, slab, nominal_table(), IDEAL, rng, bias_sd=0, scale_jitter=0)
    inside = pair.brain > 0.99
    # the gain turns the robust scale into the canonical unit and nothing else
    assert np.ptp(pair.log_gain[inside]) < 1e-3
    gain = np.exp(pair.log_gain[inside].mean())
    sharp = slab.images(nominal_table(), CANONICAL_CONTRAST, (0.0, 1000.0))
    ratio = pair.source[0][inside] / sharp[0][inside]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.02)
    deep = slab.mean(np.eye(17)[1]) > 0.99  # away from the rim, whose brightness the blur spreads
    mean = [gain * pair.source[c][deep].mean() / pair.target[c][deep].mean() for c in (0, 1)]
    np.testing.assert_allclose(mean, 1, rtol=0.02)


def test_a_longer_echo_asks_for_more_gain_in_short_t2(slab, rng):
    contrast = replace(CANONICAL_CONTRAST, echo_time=0.11)
    pair = scan(
        HEAD, slab, nominal_table(), Protocol(contrast, pixel=1.0, snr=1e6), rng, bias_sd=0
    )
    white = slab.mean(np.eye(17)[1]) > 0.99
    fluid = slab.mean(np.eye(17)[9]) > 0.9
    assert pair.log_gain[white].mean() > pair.log_gain[fluid].mean() + 0.2


def test_the_gain_keeps_the_ratio_of_the_images(slab, rng):
    pair = scan(HEAD, slab, nominal_table(), IDEAL, rng, bias_sd=0.1)
    inside = pair.brain > 0.99
    both = np.exp(pair.log_gain) * pair.source
    np.testing.assert_allclose(
        (both[1] / both[0])[inside], (pair.source[1] / pair.source[0])[inside], rtol=1e-5
    )


def test_lesions_change_what_they_say(slab):
    lesion = max(slab.lesions, key=lambda part: part.weight.sum())
    bare = replace(slab, lesions=())
    core = lesion.weight > 0.99
    for part in slab.lesions:
        if part is not lesion:
            core &= part.weight == 0

    def attenuation(cut):
        b0, trace = cut.images(nominal_table(), CANONICAL_CONTRAST, (0.0, 1000.0))
        return np.log(b0[core] / trace[core])

    assert core.any()
    ratio = (attenuation(slab) / attenuation(bare)).mean()
    assert ratio == pytest.approx(lesion.diffusivity_scale, abs=0.03)


def test_truth_has_the_canonical_unit(slab):
    truth = canonical_truth(slab, nominal_table(), fwhm=0.01)
    white = (slab.mean(np.eye(17)[1]) > 0.99) & (sum(p.weight for p in slab.lesions) == 0)
    assert np.median(truth[0][white]) == pytest.approx(1, abs=0.05)


def test_pairs_are_seeded_finite_and_in_shape():
    first, again = (draw_pair([HEAD], np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first.source, again.source)
    for name in ('source', 'target', 'log_gain', 'brain', 'head'):
        assert np.isfinite(getattr(first, name)).all(), name
    assert first.source.shape == first.target.shape == (2, *first.brain.shape)
    assert (first.source >= 0).all()


@pytest.mark.parametrize('b_value', [700.0, 1000.0, 2000.0])
def test_gaussian_diffusion_is_carried_exactly(b_value):
    b0, adc = np.array([1.0, 2.0]), np.array([0.7e-3, 3e-3])
    weighted = b0 * np.exp(-b_value * adc)
    np.testing.assert_allclose(
        trace_at_canonical_b(b0, weighted, b_value), b0 * np.exp(-1000 * adc)
    )


def test_brain_scale_is_the_median(rng):
    values, counts = np.array([3.0, 1.0, 2.0]), np.array([5, 7, 9])
    assert brain_scale(counts, values) == np.median(np.repeat(values, counts))


@pytest.mark.parametrize('order', [1, 3])
def test_smooth_fields_are_smooth_and_scaled(order, rng):
    field = smooth_field((64, 64), 16, rng, order)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
