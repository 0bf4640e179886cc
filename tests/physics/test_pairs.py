"""Pairs of scanner and truth: what must agree when the scanner is the canonical one."""

from dataclasses import replace

import numpy as np
import pytest

from bidsharmony.network.inference import CANONICAL
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.physics.heads import draw_slab, smooth_field
from bidsharmony.physics.pairs import (
    CANONICAL_METADATA,
    brain_scale,
    canonical_images,
    draw_pair,
    scan,
    trace_at_canonical_b,
)
from bidsharmony.physics.scanner import Protocol
from bidsharmony.physics.signal import CANONICAL_CONTRAST, nominal_table, tissue_signal
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES
from tests.physics.heads import ball

FOV = 128
WHITE = TISSUE_NAMES.index('white matter')
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


def test_the_gain_is_canonical_over_scanner_contrast(slab, rng):
    contrast = replace(CANONICAL_CONTRAST, field_strength=1.5, echo_time=0.1)
    table = nominal_table()
    pair = scan(HEAD, slab, table, replace(IDEAL, contrast=contrast), rng, 0.0, 0.0)
    deep = slab.mean(np.eye(17)[WHITE]) > 0.99
    for part in slab.lesions:
        deep &= part.weight == 0
    signal, _ = tissue_signal(table, contrast)
    expected = np.log(brain_scale(HEAD, signal) / signal[WHITE])
    assert np.median(pair.log_gain[deep]) == pytest.approx(expected, abs=0.03)


def test_phase_encoding_may_run_across(slab):
    decay = replace(IDEAL, readout_decay=3.0, pixel=2.0)
    straight, turned = (
        scan(HEAD, slab, nominal_table(), p, np.random.default_rng(0), 0.0, 0.0).source[0]
        for p in (decay, replace(decay, turned=True))
    )
    edges = [[np.abs(np.diff(i, axis=axis)).sum() for axis in (0, 1)] for i in (straight, turned)]
    # blurred along rows, then along columns
    assert edges[0][0] < edges[1][0]
    assert edges[0][1] > edges[1][1]


def test_canonical_pairs_only_ask_for_the_unit():
    pair = draw_pair([HEAD], np.random.default_rng(2), canonical_chance=1.0)
    np.testing.assert_allclose(np.exp(pair.log_gain) * pair.source, pair.target, rtol=1e-4)
    assert np.ptp(pair.log_gain) == 0
    assert pair.metadata['EchoTime'] == CANONICAL['EchoTime']
    assert {key: CANONICAL_METADATA[key] for key in CANONICAL} == CANONICAL


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
    truth = canonical_images(slab, nominal_table())
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


def test_brain_scale_is_that_of_inference():
    signal, _ = tissue_signal(nominal_table(), CANONICAL_CONTRAST)
    weighted, _ = tissue_signal(nominal_table(), CANONICAL_CONTRAST, 1000.0)
    mask = BRAIN_TISSUES[HEAD.codes]
    scale = robust_scale(signal[HEAD.codes], weighted[HEAD.codes], mask)
    assert brain_scale(HEAD, signal) == pytest.approx(scale)


@pytest.mark.parametrize('order', [1, 3])
def test_smooth_fields_are_smooth_and_scaled(order, rng):
    field = smooth_field((64, 64), 16, rng, order)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
