"""The scanner against what Fourier theory says of it."""

from dataclasses import replace

import numpy as np
import pytest

from bidsharmony.numerics.slices import slice_profile
from bidsharmony.physics.protocol import (
    HELD_OUT,
    Protocol,
    beyond_scanners,
    draw_protocol,
    held_out_scanners,
)
from bidsharmony.physics.scanner import (
    FWHM_PER_SD,
    KSpace,
    acquire,
    blur,
    window_1d,
)
from bidsharmony.physics.signal import Contrast

FOV = 96
PLAIN = Protocol(Contrast(3.0, 0.08, 8.0), pixel=3.0, readout_decay=0.0)


def wave(n: int, cycles: int) -> np.ndarray:
    """A cosine along the readout, sampled at the centres of `n` pixels; (n, n)."""
    place = (np.arange(n) + 0.5) / n
    return np.tile(np.cos(2 * np.pi * cycles * place), (n, 1))


@pytest.mark.parametrize('zero_filling', [1.0, 1.5, 2.0])
def test_what_is_below_nyquist_survives_in_its_place(zero_filling):
    kspace = KSpace(replace(PLAIN, zero_filling=zero_filling), FOV)
    image = kspace.reconstruct(kspace.sample(wave(FOV, 5)[None]))[0]
    np.testing.assert_allclose(image.real, wave(kspace.recon, 5), atol=1e-4)
    np.testing.assert_allclose(image.imag, 0, atol=1e-4)


def test_what_is_above_nyquist_is_gone():
    kspace = KSpace(PLAIN, FOV)
    image = kspace.reconstruct(kspace.sample(wave(FOV, 20)[None]))
    np.testing.assert_allclose(image, 0, atol=1e-4)


def test_noise_has_the_stated_deviation(rng):
    kspace = KSpace(PLAIN, FOV)
    images = kspace.reconstruct(kspace.noise(0.5, 64, rng))
    assert images.real.std() == pytest.approx(0.5, rel=0.02)
    assert images.imag.std() == pytest.approx(0.5, rel=0.02)


@pytest.mark.parametrize('signal', [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize('change', [{}, {'window': 'hamming'}, {'partial_fourier': 0.65}])
def test_averages_match_true_averages(signal, change, rng):
    kspace, n = KSpace(replace(PLAIN, **change), FOV), 30
    k = kspace.sample(np.full((1, FOV, FOV), signal))
    magnitudes = np.abs(
        np.stack([kspace.reconstruct(k + kspace.noise(1.0, 1, rng))[0] for _ in range(n)])
    )
    mean, trace = acquire(np.full((2, FOV, FOV), signal), kspace, 1.0, (n, n), rng)
    assert mean.mean() == pytest.approx(magnitudes.mean(), rel=0.02)
    geometric = np.exp(np.log(magnitudes).mean(axis=0))
    assert trace.mean() == pytest.approx(geometric.mean(), rel=0.02)
    if signal >= 2:  # below, a mean of magnitudes keeps more spread than the complex mean
        assert mean.std() == pytest.approx(magnitudes.mean(axis=0).std(), rel=0.35)


@pytest.mark.parametrize(
    'change',
    [
        {'partial_fourier': 0.65},
        {'readout_decay': 1.5},
        {'window': 'hamming'},
        {'phase_resolution': 0.7},
    ],
)
def test_each_setting_blurs(change):
    point = np.zeros((1, FOV, FOV))
    point[0, 48, 48] = 1
    sharp, soft = (
        np.abs(KSpace(p, FOV).reconstruct(KSpace(p, FOV).sample(point))).max()
        for p in (PLAIN, replace(PLAIN, **change))
    )
    assert soft < 0.95 * sharp


def test_acquire_without_noise_keeps_a_flat_image(rng):
    flat = np.full((2, FOV, FOV), 7.0)
    image = acquire(flat, KSpace(PLAIN, FOV), 0.0, (1, 3), rng)
    np.testing.assert_allclose(image, 7.0, rtol=1e-4)


def test_unknown_filter_lists_the_choices():
    with pytest.raises(ValueError, match='choose one of none, fermi, tukey, hamming'):
        window_1d('hann', 8)


@pytest.mark.parametrize('thickness', [1.5, 3.0, 5.0])
def test_slice_profile_has_its_width(thickness):
    offsets = np.arange(-8, 8, 0.05)
    profile = slice_profile(thickness, offsets)
    assert np.ptp(offsets[profile >= profile.max() / 2]) == pytest.approx(thickness, abs=0.15)
    assert profile.sum() * 0.05 == pytest.approx(1, rel=1e-3)
    # that of a box, and of the Gaussian that rounds its edges
    variance = (profile * offsets**2).sum() * 0.05
    expected = thickness**2 / 12 + (0.2 * thickness / FWHM_PER_SD) ** 2
    assert variance == pytest.approx(expected, rel=0.01)


def test_blur_has_the_stated_width():
    point = np.zeros((1, 65, 65))
    point[0, 32, 32] = 1
    line = blur(point, 6.0)[0, 32]
    variance = (line * (np.arange(65) - 32) ** 2).sum() / line.sum()
    assert np.sqrt(variance) * FWHM_PER_SD == pytest.approx(6.0, rel=0.01)


def test_protocols_are_seeded_and_span_field_strengths():
    draws = [draw_protocol(np.random.default_rng(i)) for i in range(60)]
    assert draws[0] == draw_protocol(np.random.default_rng(0))
    assert {p.contrast.field_strength for p in draws} == {1.5, 3.0, 7.0}


def test_training_never_draws_what_tests_draw():
    bands = HELD_OUT

    def inside(value, ranges):
        return any(low <= value <= high for low, high in ranges)

    for seed in range(200):
        p = draw_protocol(np.random.default_rng(seed))
        assert not inside(p.pixel, bands['pixel'])
        assert not inside(p.snr, bands['snr'])
        times = bands['echo_time'][p.contrast.field_strength]
        assert not inside(p.contrast.echo_time, times)
    for p in held_out_scanners(np.random.default_rng(1)):
        assert inside(p.pixel, bands['pixel'])
        assert inside(p.snr, bands['snr'])
        assert inside(p.contrast.echo_time, bands['echo_time'][p.contrast.field_strength])


def test_seven_scanners_of_four_vendors():
    for draw in (held_out_scanners, beyond_scanners):
        seven = draw(np.random.default_rng(3))
        assert len({(p.vendor, p.contrast.field_strength) for p in seven}) == 7
        assert len({p.vendor for p in seven}) == 4


def test_a_ghost_appears_half_a_field_of_view_away(rng):
    bar = np.zeros((1, FOV, FOV))
    bar[0, 10:16] = 1.0
    kspace = KSpace(replace(PLAIN, ghost=0.05), FOV)
    image = acquire(bar, kspace, 0.0, (1,), rng)[0]
    place = round((FOV // 2 + 13) * kspace.recon / FOV)
    assert image[place].mean() == pytest.approx(0.05, abs=0.01)
    plain = acquire(bar, KSpace(PLAIN, FOV), 0.0, (1,), rng)[0]
    assert plain[place].mean() < 0.01


def test_parallel_imaging_is_noisiest_in_the_middle(rng):
    kspace = KSpace(replace(PLAIN, g_factor=2.0), FOV)
    images = np.stack(
        [acquire(np.full((1, FOV, FOV), 50.0), kspace, 1.0, (1,), rng)[0] for _ in range(40)]
    )
    spread = images.std(axis=0)
    middle, n = kspace.recon // 2, kspace.recon
    assert spread[middle - 4 : middle + 4, middle - 4 : middle + 4].mean() == pytest.approx(
        2, rel=0.1
    )
    assert spread[: n // 16, : n // 16].mean() == pytest.approx(1, rel=0.1)


@pytest.mark.parametrize('coils', [2, 4])
def test_the_floor_of_many_coils_is_noncentral_chi(coils, rng):
    kspace = KSpace(replace(PLAIN, coils=coils), FOV)
    black = np.zeros((1, FOV, FOV))
    image = np.stack([acquire(black, kspace, 1.0, (1,), rng)[0] for _ in range(10)])
    # mean square of a chi variable of 2 coils degrees of freedom
    assert np.mean(image**2) == pytest.approx(2 * coils, rel=0.03)
    true = np.sqrt((rng.standard_normal((2 * coils, FOV, FOV)) ** 2).sum(axis=0))
    assert image.mean() == pytest.approx(true.mean(), rel=0.02)
    assert image.std() == pytest.approx(true.std(), rel=0.1)


def test_vendors_store_integers(rng):
    kspace = KSpace(replace(PLAIN, levels=100), FOV)
    image = acquire(rng.random((2, FOV, FOV)), kspace, 0.0, (1, 1), rng)
    step = image.max() / 100
    np.testing.assert_allclose(image / step, np.rint(image / step), atol=1e-3)
