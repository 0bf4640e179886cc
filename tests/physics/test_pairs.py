"""Pairs of scanner and truth: what must agree when the scanner is the canonical one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.network.inference import CANONICAL
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.numerics.slices import FWHM_PER_SD, throughplane_kernel
from bidsharmony.physics.fields import smooth_field
from bidsharmony.physics.heads import Head, draw_slab
from bidsharmony.physics.lesions import KINDS, RANGES, Lesion, draw_lesion, lesion_properties
from bidsharmony.physics.pairs import (
    CANONICAL_FWHM,
    CANONICAL_METADATA,
    CANONICAL_THICKNESS,
    CANONICAL_TISSUE_MEAN,
    brain_scale,
    canonical_images,
    canonical_profile,
    canonical_scan,
    draw_pair,
    draw_twins,
    scan,
    trace_at_canonical_b,
)
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.signal import CANONICAL_CONTRAST, nominal_table, tissue_signal
from bidsharmony.physics.slabs import REACH, profile_weights
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES
from tests.physics.heads import ball

FOV = 128
WHITE = TISSUE_NAMES.index('white matter')
HEAD = ball()
IDEAL = Protocol(
    CANONICAL_CONTRAST, pixel=1.0, snr=1e6, readout_decay=0.0, thickness=1.0, spacing=1.0
)


def tissue(slab, code):
    """Fraction of one tissue in each pixel of the canonical slice."""
    return slab.mean(canonical_profile(), np.eye(len(TISSUE_NAMES))[code])[0]


@pytest.fixture(scope='module')
def slab():
    return draw_slab(HEAD, FOV, np.random.default_rng(1), lesion_chance=1.0, position=60)


def test_the_canonical_scanner_needs_no_change(slab, rng):
    pair = scan(HEAD, slab, nominal_table(), IDEAL, rng, bias_sd=0, scale_jitter=0)
    inside = pair.brain > 0.99
    # the gain turns the robust scale into the canonical unit and nothing else
    assert np.ptp(pair.log_gain[inside]) < 5e-3
    gain = np.exp(pair.log_gain[inside].mean())
    sharp = slab.images(nominal_table(), CANONICAL_CONTRAST, (0.0, 1000.0), canonical_profile())
    ratio = pair.source[0][inside] / sharp[0][inside]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.02)
    deep = tissue(slab, 1) > 0.99  # away from the rim, whose brightness the blur spreads
    mean = [gain * pair.source[c][deep].mean() / pair.target[c][deep].mean() for c in (0, 1)]
    np.testing.assert_allclose(mean, 1, rtol=0.02)


def test_a_longer_echo_asks_for_more_gain_in_short_t2(slab, rng):
    contrast = replace(CANONICAL_CONTRAST, echo_time=0.11)
    pair = scan(
        HEAD, slab, nominal_table(), Protocol(contrast, pixel=1.0, snr=1e6), rng, bias_sd=0
    )
    white = tissue(slab, 1) > 0.99
    fluid = tissue(slab, 9) > 0.9
    assert pair.log_gain[white].mean() > pair.log_gain[fluid].mean() + 0.2


def test_the_gain_is_canonical_over_scanner_contrast(slab, rng):
    contrast = replace(CANONICAL_CONTRAST, field_strength=1.5, echo_time=0.1)
    table = nominal_table()
    pair = scan(HEAD, slab, table, replace(IDEAL, contrast=contrast), rng, 0.0, 0.0)
    deep = tissue(slab, WHITE) > 0.99
    for part in slab.lesions:
        deep &= part.weight == 0
    signal, _ = tissue_signal(table, contrast)
    canonical, _ = tissue_signal(table, CANONICAL_CONTRAST)
    target = CANONICAL_TISSUE_MEAN * canonical[WHITE] / brain_scale(HEAD, canonical)
    expected = np.log(target * brain_scale(HEAD, signal) / signal[WHITE])
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


def test_canonical_pairs_only_ask_for_the_unit(rng):
    pair = canonical_scan(draw_pair([HEAD], np.random.default_rng(2)), rng)
    np.testing.assert_allclose(np.exp(pair.log_gain) * pair.source, pair.target, rtol=1e-4)
    assert np.ptp(pair.log_gain) == 0
    assert pair.metadata['EchoTime'] == CANONICAL['EchoTime']
    assert {key: CANONICAL_METADATA[key] for key in CANONICAL} == CANONICAL


def test_twins_share_the_truth_and_differ_in_the_scan():
    first, second = draw_twins([HEAD], np.random.default_rng(4), canonical_chance=0.0)
    np.testing.assert_array_equal(first.target, second.target)
    assert first.protocol != second.protocol
    assert not np.allclose(first.source, second.source)


def test_thin_slices_get_the_canonical_profile_and_less_noise(rng):
    thin = replace(IDEAL, thickness=2.0, spacing=2.0)
    single = profile_weights(2.0, np.ones(1), 2.0)
    widened = profile_weights(2.0, throughplane_kernel(2.0, 2.0, CANONICAL_THICKNESS), 2.0)
    offsets = np.arange(-REACH, REACH + 1)
    variances = [float((w * offsets**2).sum()) for w in (single, widened, canonical_profile())]
    assert variances[0] < 0.6 * variances[2]
    assert variances[1] == pytest.approx(variances[2], rel=0.1)
    # noise of 1 mm images without object: two scans that differ in it alone
    slab = draw_slab(HEAD, FOV, np.random.default_rng(1), position=60)
    spread = []
    for protocol in (
        replace(thin, snr=20.0),
        replace(IDEAL, thickness=6.0, spacing=6.0, snr=20.0),
    ):
        one, two = (scan(HEAD, slab, nominal_table(), protocol, rng, 0, 0) for _ in range(2))
        inside = one.brain > 0.99
        spread.append(np.std((one.source[0] - two.source[0])[inside]))
    kernel = throughplane_kernel(2.0, 2.0, CANONICAL_THICKNESS)
    assert spread[0] / spread[1] == pytest.approx(np.sqrt(np.sum(kernel**2)), rel=0.05)


def test_what_susceptibility_piles_up_the_truth_does_not_show():
    codes = HEAD.codes.copy()
    codes[50:70, 70:80, 30:44] = 0  # a sinus
    head = Head('sinus', codes)
    straight, warped = (
        draw_slab(head, FOV, np.random.default_rng(1), position=46, lesion_chance=0, warp_mm=w)
        for w in (0.0, 8.0)
    )
    assert straight.squeeze is None
    assert np.abs(warped.squeeze).max() > 0.02
    assert (straight.codes != warped.codes).any()
    pair = scan(head, warped, nominal_table(), IDEAL, np.random.default_rng(0), 0.0, 0.0)
    deep = tissue(warped, WHITE) > 0.99
    undone = np.corrcoef(pair.log_gain[deep], warped.squeeze[deep])[0, 1]
    assert undone < -0.8


def test_real_texture_shows(rng):
    grain = np.ones(HEAD.codes.shape, np.float16)
    grain[:60] = 1.1
    head = replace(HEAD, texture=grain)
    slabs = [
        draw_slab(h, FOV, np.random.default_rng(1), position=60, lesion_chance=0)
        for h in (HEAD, head)
    ]
    plain, textured = (
        s.images(nominal_table(), CANONICAL_CONTRAST, (0.0,), canonical_profile())[0]
        for s in slabs
    )
    ratio = (textured / np.maximum(plain, 1e-6))[tissue(slabs[0], WHITE) > 0.99]
    assert ratio.min() == pytest.approx(1.0, abs=1e-3)
    assert ratio.max() == pytest.approx(1.1, abs=1e-3)


@pytest.mark.parametrize('kind', KINDS)
def test_lesions_keep_their_ranges(kind, rng):
    brain = np.zeros((64, 64))
    brain[10:54, 10:54] = 1
    lesion = draw_lesion(brain, rng, kind)
    values = (lesion.t2_scale, lesion.diffusivity_scale, lesion.fluid)
    for value, (low, high) in zip(values, RANGES[kind], strict=True):
        assert low <= value <= high
    assert 0 < lesion.weight.max() <= 1
    assert not lesion.weight[brain == 0].any()
    assert set(lesion_properties(kind)) == {'t2_scale', 'diffusivity_scale', 'fluid'}


def test_blood_is_dark_and_a_cavity_is_fluid(slab):
    deep = tissue(slab, WHITE) > 0.99
    weight = deep.astype(np.float32)

    def centre(lesions):
        cut = replace(slab, lesions=lesions)
        images = cut.images(
            nominal_table(), CANONICAL_CONTRAST, (0.0, 1000.0), canonical_profile()
        )
        return [float(np.median(image[deep])) for image in images]

    bare = centre(())
    blood = centre((Lesion('haemorrhage', weight, **lesion_properties('haemorrhage')),))
    cavity = centre((Lesion('resection', weight, 1.0, 1.0, 1.0),))
    assert blood[0] < 0.6 * bare[0]
    ventricle = TISSUE_NAMES.index('ventricle')
    fluid = [
        tissue_signal(nominal_table(), CANONICAL_CONTRAST, b)[0][ventricle] for b in (0.0, 1000.0)
    ]
    np.testing.assert_allclose(cavity, fluid, rtol=0.01)


def test_lesions_change_what_they_say(slab):
    lesion = max(slab.lesions, key=lambda part: part.weight.sum())
    bare = replace(slab, lesions=())
    core = lesion.weight > 0.99
    for part in slab.lesions:
        if part is not lesion:
            core &= part.weight == 0

    def attenuation(cut):
        b0, trace = cut.images(
            nominal_table(), CANONICAL_CONTRAST, (0.0, 1000.0), canonical_profile()
        )
        return np.log(b0[core] / trace[core])

    assert core.any()
    ratio = (attenuation(slab) / attenuation(bare)).mean()
    assert ratio == pytest.approx(lesion.diffusivity_scale, abs=0.03)


def test_truth_has_the_canonical_unit(slab):
    table = nominal_table()
    truth = canonical_images(HEAD, slab, table)
    white = (tissue(slab, WHITE) > 0.99) & (sum(p.weight for p in slab.lesions) == 0)
    signal, _ = tissue_signal(table, CANONICAL_CONTRAST)
    expected = CANONICAL_TISSUE_MEAN * signal[WHITE] / brain_scale(HEAD, signal)
    assert np.median(truth[0][white]) == pytest.approx(expected, abs=0.05)


def test_a_person_whose_all_is_brighter_has_the_same_truth(slab):
    table = nominal_table()
    brighter = replace(table, proton_density=1.2 * table.proton_density)
    np.testing.assert_allclose(
        canonical_images(HEAD, slab, table),
        canonical_images(HEAD, slab, brighter),
        rtol=1e-5,
        atol=1e-6,
    )


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
    sigma = np.array([CANONICAL_FWHM, CANONICAL_FWHM, CANONICAL_THICKNESS]) / FWHM_PER_SD
    b0, trace, brain = (
        ndimage.gaussian_filter(values[HEAD.codes].astype(float), sigma)
        for values in (signal, weighted, BRAIN_TISSUES)
    )
    scale = robust_scale(b0, trace, brain > 0.5)
    assert brain_scale(HEAD, signal) == pytest.approx(scale, rel=0.01)


@pytest.mark.parametrize('order', [1, 3])
def test_smooth_fields_are_smooth_and_scaled(order, rng):
    field = smooth_field((64, 64), 16, rng, order)
    assert field.std() == pytest.approx(1, abs=1e-3)
    assert np.abs(np.diff(field, axis=0)).max() < 0.5
