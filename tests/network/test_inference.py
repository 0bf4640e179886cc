"""Inference over volumes: grids, orientations, units."""

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from bidsharmony.interfaces.sidecars import canonical_sidecar, public_sidecar
from bidsharmony.network.facts import scanner_facts
from bidsharmony.network.inference import (
    CANONICAL,
    harmonize_summary,
    slice_thickness,
)
from bidsharmony.network.model import Harmonizer, band_limit
from bidsharmony.network.scan import hold_to_scan, smooth_gain
from bidsharmony.network.weights import load_weights, save_weights
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.numerics.marks import MARKS, POWER_MARKS, measured_marks
from bidsharmony.numerics.slices import FWHM_PER_SD, throughplane_kernel

RECIPE = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'thickness_mm': 4.0, 'spacing_mm': 1.0}
AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.5, 0, -30], [0, 0, 5, 10], [0, 0, 0, 1]])
SHAPE = (20, 24, 4)
THIN = np.diag([2.0, 2.0, 2.0, 1.0])


@pytest.fixture
def identity(tmp_path):
    path = tmp_path / 'identity.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, RECIPE)
    return path


@pytest.fixture
def restless(tmp_path):
    """Weights that change images, the same in every test."""
    model = Harmonizer((8, 8, 8))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    path = tmp_path / 'restless.safetensors'
    save_weights(model, path, RECIPE)
    return path


@pytest.fixture
def volumes(rng):
    b0 = rng.uniform(50, 150, SHAPE).astype(np.float32)
    return b0, b0 * 0.5


def run(volumes, weights, affine=AFFINE, axis=2, mask=None, fwhm_mm=None, **facts):
    return harmonize_summary(
        *volumes,
        affine,
        axis=axis,
        scale=100.0,
        metadata=facts,
        mask=mask,
        fwhm_mm=fwhm_mm,
        weights=weights,
    )


def test_identity_weights_only_scale(volumes, identity):
    out = run(volumes, identity)
    np.testing.assert_allclose(out.gain, 0.01, rtol=1e-6)
    assert out.b0.shape == (40, 60, 4)
    np.testing.assert_allclose(out.trace, out.b0 / 2, rtol=1e-4, atol=1e-5)
    # five fine voxels over two coarse ones: the mean survives cubic interpolation
    assert out.b0.mean() == pytest.approx(volumes[0].mean() / 100, rel=0.01)
    assert out.fwhm_mm == 2.0


def test_corners_of_the_field_of_view_stay(volumes, identity):
    out = run(volumes, identity)
    for corner in ((0, 0, 0), (1, 1, 1), (1, 0, 1)):
        before = AFFINE @ [*(np.array(corner) * SHAPE - 0.5), 1]
        after = out.affine @ [*(np.array(corner) * out.b0.shape - 0.5), 1]
        np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize('codes', ['LAS', 'LPS', 'PSR', 'SAL', 'ARI'])
def test_storage_order_does_not_matter(volumes, restless, codes):
    straight = run(volumes, restless, EchoTime=0.09)
    turn = ornt_transform(axcodes2ornt('RAS'), axcodes2ornt(codes))
    turned = [apply_orientation(v, turn) for v in volumes]
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    axis = int(np.flatnonzero([c in 'SI' for c in codes])[0])
    out = run(turned, restless, affine, axis, EchoTime=0.09)
    assert nib.aff2axcodes(out.affine) == tuple(codes)
    np.testing.assert_allclose(out.b0, apply_orientation(straight.b0, turn), atol=2e-5)
    np.testing.assert_allclose(out.gain, apply_orientation(straight.gain, turn), rtol=1e-4)


def test_an_oblique_affine_keeps_its_axes(volumes, identity):
    angle = np.deg2rad(20)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    out = run(volumes, identity, rotation @ AFFINE)
    before, after = (
        m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (rotation @ AFFINE, out.affine)
    )
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_threads_and_repetition_change_nothing(volumes, restless):
    first = run(volumes, restless)
    two = harmonize_summary(
        *volumes, AFFINE, axis=2, scale=100.0, metadata={}, weights=restless, threads=2
    )
    np.testing.assert_array_equal(first.b0, two.b0)
    np.testing.assert_array_equal(first.b0, run(volumes, restless).b0)


def test_bits_of_the_shipped_network_do_not_depend_on_threads(rng):
    """Convolutions of its width are summed in another order by two threads."""
    b0 = rng.uniform(50, 150, (80, 88, 9)).astype(np.float32)
    one, two = (
        harmonize_summary(
            b0, 0.4 * b0, THIN, axis=2, scale=100.0, metadata={'EchoTime': 0.08}, threads=threads
        )
        for threads in (1, 2)
    )
    for name in ('b0', 'trace', 'uncertainty', 'gain'):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_facts_reach_the_network(volumes, restless):
    assert not np.allclose(run(volumes, restless).b0, run(volumes, restless, EchoTime=0.06).b0)
    assert (run(volumes, restless).gain > 0).all()
    assert (run(volumes, restless).b0 >= 0).all()


@pytest.mark.parametrize('shape', [(9, 9, 1), (64, 17, 3)])
def test_small_and_odd_volumes_pass(shape, identity):
    volumes = (np.ones(shape, np.float32), np.ones(shape, np.float32))
    out = run(volumes, identity, np.diag([3.3, 3.3, 4.0, 1.0]))
    assert np.isfinite(out.b0).all()
    assert out.gain.shape == shape


@pytest.mark.parametrize('axis', [0, 1, 2])
@pytest.mark.parametrize(('stated', 'taken'), [(None, 2.0), (1.5, 1.5), (20.0, 2.0)])
def test_thin_slices_reach_the_canonical_profile(identity, axis, stated, taken):
    """One bright slice spreads by the kernel along the slice axis, the gain does not."""
    volume = np.zeros((15, 15, 15), np.float32)
    np.moveaxis(volume, axis, 0)[7] = 100
    out = run((volume, volume), identity, THIN, axis, SliceThickness=stated)
    kernel = throughplane_kernel(taken, 2.0, 4.0)
    profile = np.moveaxis(out.b0, axis, 0).mean(axis=(1, 2))
    touched = 7 + np.arange(len(kernel)) - len(kernel) // 2
    np.testing.assert_allclose(profile[touched], kernel, atol=1e-5)
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(out.trace, out.b0, atol=1e-6)
    np.testing.assert_allclose(out.gain, 0.01, rtol=1e-6)
    assert (out.acquired_mm, out.profile_mm, out.thickness_mm) == (taken, 4.0, 4.0)


@pytest.mark.parametrize(
    ('facts', 'zoom', 'thickness'),
    [
        ({'SliceThickness': 6.0}, 6.6, 6.0),
        ({'SliceThickness': 6.0}, 6.0, 6.0),
        ({'SliceThickness': 4.0, 'CanonicalSliceProfileFWHM': 4.0}, 2.0, 4.0),
    ],
)
def test_what_is_thick_already_is_left_alone(volumes, identity, facts, zoom, thickness):
    """Thick slices, and those of a canonical image, are not averaged again."""
    out = run(volumes, identity, np.diag([1.0, 1.0, zoom, 1.0]), **facts)
    limited = band_limit(SHAPE[0]), band_limit(SHAPE[1])
    expected = np.einsum('ai,bj,ijk->abk', *limited, volumes[0]) / 100
    np.testing.assert_allclose(out.b0[2:-2, 2:-2], expected[2:-2, 2:-2], atol=2e-3)
    assert out.thickness_mm == thickness


@pytest.mark.parametrize('stated', [2.0, None])
@pytest.mark.parametrize('spacing', [1.0, 2.0, 3.9])
def test_canonical_images_stay_when_harmonized_again(identity, rng, spacing, stated):
    """Their sidecar says that their slices were averaged, which happens once."""
    # smooth in plane: what the canonical resolution cannot hold goes the first time
    volumes = [
        np.stack([gaussian(plane, 3.0) for plane in rng.uniform(50, 150, (12, 16, 16))], axis=2)
        for _ in range(2)
    ]
    facts = {} if stated is None else {'SliceThickness': min(stated, spacing)}
    once = run(volumes, identity, np.diag([1.0, 1.0, spacing, 1.0]), **facts)
    made = canonical_sidecar(
        facts,
        [],
        canonical={**CANONICAL, 'SliceThickness': once.thickness_mm},
        fwhm_mm=once.fwhm_mm,
        profile_mm=once.profile_mm,
        extrapolated=False,
    )
    zooms = tuple(np.linalg.norm(once.affine[:3, :3], axis=0))
    read = scanner_facts(public_sidecar(made), once.b0.shape, zooms, 2)
    assert not read.warnings

    def again(metadata):
        return harmonize_summary(
            once.b0,
            once.trace,
            once.affine,
            axis=2,
            scale=1.0,
            metadata=metadata,
            weights=identity,
        )

    twice = again(read.metadata)
    assert (twice.acquired_mm, twice.thickness_mm) == (4.0, 4.0)
    np.testing.assert_array_equal(twice.affine, once.affine)
    for name in ('b0', 'trace'):
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name), rtol=3e-3)
    # without a word of it they would be averaged again
    del read.metadata['CanonicalSliceProfileFWHM']
    assert np.abs(again(read.metadata).b0 - once.b0).max() > 0.01


@pytest.mark.parametrize(
    ('stated', 'taken'),
    [(2.0, 2.0), (2.05, 2.05), (2.2, 2.0), (0.0, 2.0), (-3, 2.0), (np.nan, 2.0), ('2', 2.0)],
)
def test_a_slice_is_no_thicker_than_it_is_far_from_the_next(stated, taken):
    """What cannot be true gives way to the header."""
    assert slice_thickness({'SliceThickness': stated}, 2.0) == taken
    assert slice_thickness({}, 2.0) == 2.0


def test_the_network_hears_of_the_slices_as_acquired(volumes, restless):
    """The profile is made canonical, but what was scanned is still told."""
    thick = np.diag([2.0, 2.0, 8.0, 1.0])
    first, second = (run(volumes, restless, thick, SliceThickness=t) for t in (5.0, 8.0))
    assert not np.allclose(first.b0, second.b0)


@pytest.mark.parametrize('axis', [0, 2])
def test_a_coarser_resolution_is_a_blur_of_known_width(restless, rng, axis):
    """Variances add up; images, ADC and uncertainty follow, gain and slices do not."""
    volumes = [rng.uniform(50, 150, (32, 32, 32)).astype(np.float32) for _ in range(2)]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    sharp = run(volumes, restless, affine, axis)
    soft = run(volumes, restless, affine, axis, fwhm_mm=3.5)
    assert (sharp.fwhm_mm, soft.fwhm_mm) == (2.0, 3.5)
    np.testing.assert_array_equal(soft.gain, sharp.gain)
    added = np.sqrt(3.5**2 - 2.0**2) / FWHM_PER_SD  # mm
    for name in ('b0', 'trace', 'uncertainty'):
        before, after = (np.moveaxis(getattr(o, name), axis, 0) for o in (sharp, soft))
        for old, new in zip(before[::9], after[::9], strict=True):
            expected = gaussian(old, added)[12:20, 12:20]
            np.testing.assert_allclose(new[12:20, 12:20], expected, atol=1e-4)


def gaussian(image, sigma):
    """Blur an image with a sampled Gaussian, written out."""
    places = np.arange(len(image))
    weights = np.exp(-((places[:, None] - places) ** 2) / 2 / sigma**2)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights @ image @ weights.T


def test_the_weights_own_resolution_changes_nothing(volumes, restless):
    np.testing.assert_array_equal(
        run(volumes, restless).b0, run(volumes, restless, fwhm_mm=2.0).b0
    )


def test_nothing_finer_than_the_weights(volumes, identity):
    with pytest.raises(ValueError, match=r'1\.9 mm is finer than the 2 mm of the weights'):
        run(volumes, identity, fwhm_mm=1.9)


def test_marks_are_medians_over_slices_with_brain(identity, rng):
    """Slices that the mask leaves out do not count; the noise that was put in is found."""
    volume = np.full((64, 64, 6), 100, np.float32)
    noise = rng.normal(0, 2, volume.shape) * np.array([1, 1, 1, 1, 9, 9])
    mask = np.ones(volume.shape, bool)
    mask[..., 4:] = False
    volume = (volume + noise).astype(np.float32)
    affine = np.diag([1.0, 1.0, 7.0, 1.0])
    out = run((volume, volume), identity, affine, mask=mask)
    assert set(out.marks) == set(MARKS)
    assert out.marks['MeasuredNoiseB0'] == pytest.approx(np.log10(0.02), abs=0.05)
    slices = [np.stack([volume[..., k]] * 2) / 100 for k in range(4)]
    expected = np.median([measured_marks(s)['MeasuredSlopeTrace'] for s in slices])
    assert out.marks['MeasuredSlopeTrace'] == pytest.approx(expected, rel=0.05)
    assert run((volume, volume), identity, affine).marks != out.marks


def test_marks_reach_the_network(volumes, restless, monkeypatch):
    """What is measured is told, and cannot be overruled by a sidecar."""
    told = []
    encode = 'bidsharmony.network.inference.encode_metadata'
    from bidsharmony.network.model import encode_metadata

    monkeypatch.setattr(encode, lambda facts: told.append(facts) or encode_metadata(facts))
    out = run(volumes, restless, EchoTime=0.08, MeasuredNoiseB0=7.0)
    assert told[0] == {'EchoTime': 0.08, **out.marks}
    # the picture is too small for bands of frequencies
    assert set(out.marks) == set(MARKS) - set(POWER_MARKS)


def test_an_empty_volume_has_no_marks(identity):
    empty = np.zeros(SHAPE, np.float32)
    out = run((empty, empty), identity, mask=np.zeros(SHAPE, bool))
    assert out.marks == {}
    assert np.isfinite(out.b0).all()


def test_the_scale_is_that_of_averaged_slices(identity):
    """Thin slices that alternate between tissue and less are one brightness when averaged."""
    volume = np.full((24, 24, 20), 100, np.float32)
    volume[..., ::2] = 60
    mask = np.ones(volume.shape, bool)
    out = run((volume, 0.5 * volume), identity, THIN, mask=mask)
    middle = slice(6, -6)
    assert np.median(out.b0[..., middle]) == pytest.approx(1, abs=0.02)
    # the gain turns the scanner's unit into the canonical one
    np.testing.assert_allclose(out.gain[..., middle] * 80, 1, atol=0.02)


def test_the_unit_is_read_off_the_output_again(tmp_path, identity, rng):
    """Whatever the scale that came in, tissue has the mean that the weights promise."""
    path = tmp_path / 'unit.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, {**RECIPE, 'tissue_mean': 1.17})
    b0 = 100 + 5 * np.stack([gaussian(p, 3.0) for p in rng.standard_normal((4, 32, 32))], axis=2)
    mask = np.zeros(b0.shape, bool)
    mask[4:-4, 4:-4] = True
    affine = np.diag([1.0, 1.0, 7.0, 1.0])
    plain, made = (run((b0, 0.5 * b0), w, affine, mask=mask) for w in (identity, path))
    assert robust_scale(made.b0, made.trace, mask) == pytest.approx(1.17, rel=1e-5)
    factor = made.b0[mask] / plain.b0[mask]
    np.testing.assert_allclose(factor, factor.mean(), rtol=1e-5)
    np.testing.assert_allclose(made.trace[mask], factor.mean() * plain.trace[mask], rtol=1e-5)
    np.testing.assert_allclose(made.gain, factor.mean() * plain.gain, rtol=1e-4)


@pytest.mark.parametrize('strength', [0.0, 0.25])
def test_strength_dials_the_images(volumes, restless, strength):
    """At 0 the images are the scan, and between they lie between; the gain is the whole one."""
    whole, none = (
        harmonize_summary(
            *volumes, AFFINE, axis=2, scale=100.0, metadata={}, weights=restless, strength=part
        )
        for part in (1.0, 0.0)
    )
    np.testing.assert_array_equal(none.gain, whole.gain)
    assert np.median(none.b0) == pytest.approx(1, abs=0.1)
    found = harmonize_summary(
        *volumes, AFFINE, axis=2, scale=100.0, metadata={}, weights=restless, strength=strength
    )
    for name in ('b0', 'trace'):
        mixed = strength * getattr(whole, name) + (1 - strength) * getattr(none, name)
        np.testing.assert_allclose(getattr(found, name), mixed, atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, strength * whole.uncertainty, atol=1e-6)


@pytest.mark.parametrize('codes', ['RAS', 'LPS', 'SAR', 'ASL'])
def test_resolution_is_told_by_axis(identity, rng, codes):
    """Pixels of 3 by 2 mm, slices of 5: each width stays with its axis in any storage."""
    shape, zooms = (40, 60, 6), (3.0, 2.0, 5.0)
    waves = np.sqrt(sum(f**2 for f in np.ix_(*(np.fft.fftfreq(n) for n in shape[:2]))))
    spectrum = 1 / np.maximum(waves, 1 / 60) ** 1.5
    noise = np.fft.fft2(rng.standard_normal(shape), axes=(0, 1))
    scan = np.fft.ifft2(noise * spectrum[..., None], axes=(0, 1)).real
    scan = 100 * (1 + 0.2 * scan / scan.std())
    affine = np.diag([*zooms, 1.0])
    to = ornt_transform(axcodes2ornt('RAS'), axcodes2ornt(codes))
    turned = apply_orientation(scan, to)
    axis = int(np.argmin(turned.shape))
    found = harmonize_summary(
        turned,
        turned / 2,
        affine @ inv_ornt_aff(to, shape),
        axis=axis,
        scale=100.0,
        metadata={},
        mask=np.ones(turned.shape, bool),
        weights=identity,
    ).resolution_mm
    # the identity's output is the scan, of which 2 mm are claimed: about that, and no less than
    # the pixel
    expected = {40: 3.0, 60: 2.0, 6: 5.0}
    assert found == pytest.approx([expected[n] for n in turned.shape], rel=0.12)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_where_the_scan_overrules_images_are_the_scan_times_the_gain(rng, identity, axis):
    """A lesion that the network lost comes back with its ADC, the rest stays the network's."""
    rows, columns = np.indices((48, 48)) - 23.5
    inside = np.hypot(rows, columns) < 20
    fine = rng.uniform(0.3, 1.7, (2, 5, 24, 24)).repeat(4, axis=2).repeat(4, axis=3)
    log_gain = np.full(fine.shape[1:], np.log(1.5))
    out = 1.5 * fine
    out[1, 2, 40:52, 40:52] *= 0.5
    scan = fine.reshape(2, 5, 48, 2, 48, 2).mean(axis=(3, 5))
    mask = np.repeat(inside[None], 5, axis=0)
    zooms = np.insert([2.0, 2.0], axis, 5.0)
    turned = [np.moveaxis(i, -3, axis - 3) for i in (out, log_gain, fine, scan, mask)]
    network = load_weights(identity)
    turned.insert(2, smooth_gain(turned[1], axis, network))
    images, blend, _ = hold_to_scan(
        *turned, axis=axis, affine=np.diag([*zooms, 1.0]), network=network, zero_filling=1
    )
    images, blend = (np.moveaxis(i, axis - 3, -3) for i in (images, blend))
    lesion = (slice(None), 2, slice(42, 50), slice(42, 50))
    np.testing.assert_allclose(images[lesion], 1.5 * fine[lesion], rtol=1e-6)
    elsewhere = np.arange(5) != 2
    assert blend[elsewhere].mean() < 0.005
    left = (blend == 0) & elsewhere[:, None, None]
    np.testing.assert_array_equal(images[:, left], out[:, left].astype(images.dtype))


def test_identity_is_never_overruled(volumes, identity):
    """Without a mask nothing is held to the scan; with one there is next to nothing to hold."""
    assert not run(volumes, identity).blend.any()
    assert run(volumes, identity, mask=np.ones(SHAPE, bool)).blend.mean() < 0.01
