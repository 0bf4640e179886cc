"""Volumes: known signal, tensor, lesion and shift in, the same out."""

from dataclasses import replace

import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel
from scipy import ndimage

from bidsharmony.numerics.grids import inplane_grid
from bidsharmony.physics.heads import Head
from bidsharmony.physics.lesions import KINDS, lesion_properties
from bidsharmony.physics.pairs import CANONICAL_TISSUE_MEAN
from bidsharmony.physics.phantom import phantom_scanners
from bidsharmony.physics.signal import nominal_table, tissue_signal
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES
from bidsharmony.physics.volumes import (
    Focus,
    axial_excess,
    cut_slab,
    draw_focus,
    fibre_directions,
    gradient_directions,
    scan_head,
)
from tests.physics.heads import ball

SCANNER = phantom_scanners()[0]
QUIET = replace(
    SCANNER,
    fov=96,
    coil=0.0,
    protocol=replace(
        SCANNER.protocol,
        pixel=2.0,
        snr=1e6,
        spacing=8.0,
        readout_decay=0.0,
        partial_fourier=1.0,
        ghost=0.0,
        g_factor=1.0,
        warp_mm=0.0,
    ),
)
WHITE = TISSUE_NAMES.index('white matter')


def block(size: int = 96) -> Head:
    """Return a head that is white matter alone."""
    return Head('block', np.full((size, size, 40), WHITE, np.uint8))


def sinus() -> Head:
    """Return a ball with mucosa under the front of its brain."""
    codes = ball(96, 34).codes.copy()
    codes[40:56, 60:72, 12:24] = TISSUE_NAMES.index('mucosa')
    return Head('sinus', codes)


def test_signal_equation_holds_without_noise(rng):
    """b=0 is the unit, the directions' geometric mean attenuates as the equation says."""
    scan = scan_head(block(), QUIET, rng)
    protocol = QUIET.protocol
    b0, _ = tissue_signal(nominal_table(), protocol.contrast)
    trace, _ = tissue_signal(nominal_table(), protocol.contrast, protocol.b_value)
    inner = scan.series[12:36, 12:36]
    np.testing.assert_allclose(inner[..., 0], 1, rtol=1e-3)
    geometric = np.exp(np.log(inner[..., 1:]).mean(axis=-1))
    np.testing.assert_allclose(geometric, trace[WHITE] / b0[WHITE], rtol=0.02)


def test_texture_of_a_head_multiplies_its_signal(rng):
    """In the series and in the truth; diffusivity is none of its business."""
    texture = np.ones((96, 96, 40), np.float16)
    texture[48:] = 1.5
    scan = scan_head(replace(block(), texture=texture), QUIET, rng)
    # the head's right is where the first axis begins
    right, left = (scan.series[place, 24, 2, 0] for place in (12, 36))
    assert right / left == pytest.approx(1.5, rel=0.02)
    maps = scan.truth.maps
    assert maps['dwiref'][24, 48, 2] / maps['dwiref'][72, 48, 2] == pytest.approx(1.5, rel=1e-3)
    assert maps['ADC'][24, 48, 2] == pytest.approx(maps['ADC'][72, 48, 2], rel=1e-3)


def test_truth_of_one_tissue_is_the_table(rng):
    maps = scan_head(block(), QUIET, rng).truth.maps
    inner = (slice(20, 76),) * 2
    white = TISSUES['white matter']
    np.testing.assert_allclose(maps['dwiref'][inner], CANONICAL_TISSUE_MEAN, rtol=1e-4)
    np.testing.assert_allclose(maps['ADC'][inner], white.diffusivity, rtol=1e-3)
    np.testing.assert_allclose(maps['FA'][inner], white.anisotropy, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(maps['V1'][inner], axis=-1), 1, rtol=1e-5)
    assert maps['brain'].all()
    assert (maps['tissue'] == WHITE).all()
    assert (maps['shift'] == 0).all()


@pytest.mark.parametrize('name', ['white matter', 'cortex'])
def test_truth_of_tissues_in_a_head(rng, name):
    """Where a tissue is alone within reach of the profile and the blur."""
    codes = ball(96, 40).codes.copy()
    depth = ndimage.distance_transform_edt(codes > 0)
    if name == 'cortex':
        codes[depth > 12] = TISSUE_NAMES.index(name)
    maps = scan_head(Head('h', codes), QUIET, rng).truth.maps
    alone = ndimage.binary_erosion(maps['tissue'] == TISSUE_NAMES.index(name), iterations=2)
    alone = alone & (np.indices(alone.shape)[2] == alone.shape[2] // 2)
    alone = ndimage.binary_erosion(alone, np.ones((9, 9, 1)))
    assert alone.sum() > 100
    np.testing.assert_allclose(maps['ADC'][alone], TISSUES[name].diffusivity, rtol=5e-3)
    np.testing.assert_allclose(maps['FA'][alone], TISSUES[name].anisotropy, rtol=5e-3)


def test_tensor_comes_back(rng):
    """Fitted FA, MD and direction are those of the truth, on axes of a negative determinant."""
    scan = scan_head(block(), QUIET, rng)
    assert np.linalg.det(scan.affine[:3, :3]) < 0
    fit = TensorModel(gradient_table(scan.bvals, bvecs=scan.bvecs)).fit(scan.series[16:32, 16:32])
    assert np.median(fit.fa) == pytest.approx(TISSUES['white matter'].anisotropy, abs=0.02)
    assert np.median(fit.md) == pytest.approx(TISSUES['white matter'].diffusivity, rel=0.02)
    # the truth has two pixels for one
    truth = scan.truth.maps['V1'][32:64:2, 32:64:2]
    cosine = np.abs((fit.evecs[..., 0] * truth).sum(axis=-1))
    assert np.median(cosine) > 0.98
    # and lies where the affine says: voxel axes are those of RAS but for the first
    x, y, z = (scan.truth.affine @ [40, 50, 2, 1])[:3]
    expected = fibre_directions(np.array([[x]]), np.array([[y]]), z)[0, 0] * [-1, 1, 1]
    np.testing.assert_allclose(scan.truth.maps['V1'][40, 50, 2], expected, atol=0.05)


@pytest.mark.parametrize('scanner', phantom_scanners(), ids=lambda scanner: scanner.label)
def test_truth_lies_on_the_canonical_grid(scanner):
    """Nothing needs to be resampled to compare the network's images with it."""
    few = replace(scanner, protocol=replace(scanner.protocol, spacing=60.0, directions=3))
    scan = scan_head(block(), few, np.random.default_rng(0))
    shape, affine = inplane_grid(scan.series.shape[:3], scan.affine, 2, 1.0)
    assert scan.truth.maps['dwiref'].shape == shape
    np.testing.assert_allclose(scan.truth.affine, affine, atol=1e-9)


@pytest.mark.parametrize('fa', [0.0, 0.3, 0.8])
def test_axial_excess_inverts_the_definition_of_fa(fa):
    a = axial_excess(np.array(fa))
    along, across = 1 + 2 * a, 1 - a
    spread = (along - 1) ** 2 + 2 * (across - 1) ** 2
    assert np.sqrt(1.5 * spread / (along**2 + 2 * across**2)) == pytest.approx(fa)


@pytest.mark.parametrize('n', [3, 6, 12])
def test_directions_are_unit_and_spread(n):
    directions = gradient_directions(n)
    assert directions.shape == (n, 3)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    np.testing.assert_allclose(directions.T @ directions / n, np.eye(3) / 3, atol=0.08)


@pytest.mark.parametrize('kind', KINDS)
def test_lesion_is_a_sphere_that_does_what_its_kind_does(rng, kind):
    thin = replace(QUIET, protocol=replace(QUIET.protocol, thickness=2.0, spacing=2.0))
    properties = lesion_properties(kind)
    focus = Focus(kind, (5.0, -7.0, 1.5), 10.0, **properties)
    scan = scan_head(block(), thin, rng, focus=focus)
    sphere = 4 / 3 * np.pi * focus.radius**3
    shell = 4 * np.pi * focus.radius**2  # mm3 per mm that the surface may be off
    for mask, affine in (
        (scan.lesion, scan.affine),
        (scan.truth.maps['lesion'], scan.truth.affine),
    ):
        voxels = np.argwhere(mask)
        volume = len(voxels) * abs(np.linalg.det(affine[:3, :3]))
        assert abs(volume - sphere) < 0.5 * shell
        centre = (voxels.mean(axis=0) @ affine[:3, :3].T) + affine[:3, 3]
        np.testing.assert_allclose(centre, focus.centre, atol=1.0)
    i, j, k = np.rint(np.linalg.inv(scan.truth.affine) @ [*focus.centre, 1])[:3].astype(int)
    maps = scan.truth.maps
    ratio = maps['ADC'][i, j, k] / TISSUES['white matter'].diffusivity
    fluid = properties['fluid']
    if not fluid:
        assert ratio == pytest.approx(properties['diffusivity_scale'], rel=0.02)
    else:
        assert ratio > 2
    expected = TISSUES['white matter'].anisotropy * (1 - fluid)
    assert maps['FA'][i, j, k] == pytest.approx(expected, rel=1e-4)
    # T2 is longer or shorter in the series too: compare with the tissue beside it
    a, b, c = np.rint(np.linalg.inv(scan.affine) @ [*focus.centre, 1])[:3].astype(int)
    inside, beside = scan.series[a, b, c, 0], scan.series[a + 10, b, c, 0]
    brighter = properties['t2_scale'] > 1 or fluid > 0
    assert (inside > 1.05 * beside) if brighter else (inside < 0.95 * beside)


def test_focus_lies_in_deep_white_matter(rng):
    head = ball(96, 40)
    for _ in range(5):
        focus = draw_focus(head, 'oedema', rng)
        assert np.linalg.norm(focus.centre) < 40 - 12  # the core is white matter
        assert 6 <= focus.radius <= 12


@pytest.mark.parametrize('warp_mm', [5.0, -5.0])
def test_shift_map_tells_where_content_came_from(rng, warp_mm):
    head = sinus()
    position = 30.0
    straight, shifted = (cut_slab(head, position, 96, w) for w in (0.0, warp_mm))
    assert abs(shifted.shift).max() > 1.5
    assert (np.sign(shifted.shift[abs(shifted.shift) > 0.1]) == np.sign(warp_mm)).all()
    row, column = np.indices((96, 96))
    source = np.clip(np.rint(row + shifted.shift).astype(int), 0, 95)
    np.testing.assert_array_equal(shifted.slab.codes[6], straight.slab.codes[6][source, column])
    # signal is moved, not made: what piles up here is missing there
    white = np.exp(shifted.slab.squeeze)
    assert white.mean() == pytest.approx(1, abs=0.01)


def test_travel_maps_are_shifted_alike(rng):
    """The truth is in the scan's own distorted geometry."""
    moved = replace(QUIET, protocol=replace(QUIET.protocol, warp_mm=6.0))
    brains = [scan_head(sinus(), s, rng).truth.maps['brain'] for s in (QUIET, moved)]
    assert 0.9 < (brains[0] & brains[1]).sum() / brains[0].sum() < 0.999


@pytest.mark.parametrize(
    ('effect', 'where'), [({'ghost': 0.05}, 'beside'), ({'coils': 4, 'snr': 20.0}, 'outside')]
)
def test_effects_of_the_scanner_act_in_the_series(rng, effect, where):
    """A ghost appears half a field of view away, many channels lift the floor."""
    head = ball(60, 18)
    still = replace(QUIET, protocol=replace(QUIET.protocol, snr=20.0 if 'snr' in effect else 1e6))
    loud = replace(still, protocol=replace(still.protocol, **effect))
    means = []
    for scanner in (still, loud):
        series = scan_head(head, scanner, np.random.default_rng(1)).series[..., 0]
        middle = series.shape[2] // 2
        region = (slice(20, 28), slice(0, 4)) if where == 'beside' else (slice(0, 4),) * 2
        means.append(series[*region, middle].mean())
    assert means[1] > 1.3 * means[0]
    assert means[1] < 0.5
