"""Planted lesions: contrast, noise and overlap that are known, whatever grid and slice axis."""

import numpy as np
import pytest

from bidsharmony.evaluation.preservation import CHANNELS, LARGEST, lesion_figures
from bidsharmony.numerics.grids import inplane_grid, resample_to_shape

SHAPE = (100, 90, 7)
ZOOMS = (2.0, 2.0, 5.0)
PLACE = np.indices(SHAPE, dtype=float)


def ball(i, j, k, radius) -> np.ndarray:
    """Return a ball, centre in voxels and radius in mm."""
    centred = [(p - c) * zoom for p, c, zoom in zip(PLACE, (i, j, k), ZOOMS, strict=True)]
    return sum(part**2 for part in centred) <= radius**2


BRAIN = ball(50, 45, 3, 85)
LESION = ball(60, 40, 3, 12)


def images(lesion=LESION, *, b0=1.0, adc=0.75, noise=0.0, seed=0) -> dict[str, np.ndarray]:
    """Draw a uniform brain (b=0 1, ADC 0.75e-3) with a lesion; noise as a share of each image."""
    rng = np.random.default_rng(seed)
    signal = np.where(lesion, b0, 1.0) * BRAIN
    diffusion = np.where(lesion, adc, 0.75) * 1e-3 * BRAIN
    drawn = {'b0': signal, 'trace': signal * np.exp(-1000 * diffusion), 'adc': diffusion}
    return {name: data * (1 + noise * rng.standard_normal(SHAPE)) for name, data in drawn.items()}


def figures(before, after, lesion=LESION, brain=BRAIN, axis=2):
    """Measure with the slices along another axis."""
    turned = [{name: np.moveaxis(data, 2, axis) for name, data in side.items()}
              for side in (before, after)]  # fmt: skip
    zooms = list(ZOOMS[:2])
    zooms.insert(axis, ZOOMS[2])
    masks = (np.moveaxis(mask, 2, axis) for mask in (lesion, brain))
    return lesion_figures(*turned, *masks, zooms=zooms, axis=axis)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_identity_changes_nothing(axis):
    """Before and after are equal to the last digit, and overlap wholly."""
    scan = images(b0=1.2, adc=0.4, noise=0.05)
    found = figures(scan, scan, axis=axis)
    assert found == figures(scan, scan)
    for name in ('contrast_to_noise', 'contrast'):
        for channel in CHANNELS:
            sides = found[name][channel]
            assert sides['before'] == sides['after']
    for rule in found['dice'].values():
        assert rule['before'] == rule['after'] > 0.9
        assert rule['before_after'] == 1
    (patch,) = found['patches']
    assert patch['dice'] == {'trace_bright': 1, 'adc_dark': 1}
    assert patch['peak']['before'] == patch['peak']['after']


def test_known_contrast_and_noise():
    """(1.5 - 1) over a noise of 5 %; ADC 0.75 to 0.6."""
    found = figures(images(b0=1.5, adc=0.6, noise=0.05), images(b0=1.25, adc=0.6, noise=0.05))
    assert found['contrast_to_noise']['b0']['before'] == pytest.approx(10, rel=0.05)
    assert found['contrast_to_noise']['b0']['after'] == pytest.approx(5, rel=0.05)
    assert found['contrast_to_noise']['adc']['before'] == pytest.approx(-0.2 / 0.05, rel=0.05)
    assert found['contrast']['b0']['before'] == pytest.approx(0.5, abs=0.01)
    assert found['contrast']['b0']['after'] == pytest.approx(0.25, abs=0.01)
    assert found['contrast']['adc']['after'] == pytest.approx(-0.2, abs=0.01)
    bright = 1.5 * np.exp(0.15) * (1 + 1.645 * 0.05)  # the 95th percentile of the noise
    assert found['patches'][0]['peak']['before'] == pytest.approx(bright, rel=0.01)
    assert found['n_voxels'] == LESION.sum()
    assert found['volume_ml'] == pytest.approx(LESION.sum() * 0.02)
    assert (found['n_outside'], found['n_patches']) == (0, 1)


def test_slices_at_levels_of_their_own_are_no_noise():
    """Each slice is measured in itself."""
    levels = np.linspace(1, 3, SHAPE[2])
    scan = images(b0=1.5, noise=0.05)
    scan['b0'] = scan['b0'] * levels
    assert figures(scan, scan)['contrast_to_noise']['b0']['after'] == pytest.approx(10, rel=0.06)


@pytest.mark.parametrize('pixel', [1.0, 0.7, 3.1])
def test_another_grid_shows_the_same(pixel):
    """What is interpolated is interpolated, but neither contrast nor extent depend on the grid."""
    before = images(b0=1.5, adc=0.4)
    shape, _ = inplane_grid(SHAPE, np.diag([*ZOOMS, 1.0]), 2, pixel)
    after = {name: resample_to_shape(data, shape) for name, data in before.items()}
    found = figures(before, after)
    for channel in CHANNELS:
        sides = found['contrast'][channel]
        assert sides['after'] == pytest.approx(sides['before'], rel=0.12)
    for rule in found['dice'].values():
        assert rule['before_after'] == 1
        assert rule['after'] > 0.85


def test_a_lesion_that_shrinks_and_one_that_goes():
    """Dice by patch tells which; its value is that of two balls."""
    left, right = ball(30, 40, 3, 20), ball(70, 40, 3, 14)
    small = ball(30, 40, 3, 14)
    found = figures(images(left | right, adc=0.3), images(small, adc=0.3), left | right)
    assert found['n_patches'] == 2
    first, second = found['patches']
    assert first['volume_ml'] > second['volume_ml']
    expected = 2 * small.sum() / (small.sum() + left.sum())
    assert first['dice']['adc_dark'] == pytest.approx(expected, abs=0.03)
    assert second['dice']['adc_dark'] == 0
    whole = 2 * small.sum() / (small.sum() + (left | right).sum())
    assert found['dice']['adc_dark']['before_after'] == pytest.approx(whole, abs=0.03)
    assert found['dice']['adc_dark']['after'] == pytest.approx(whole, abs=0.03)
    assert np.isnan(second['contrast_to_noise']['before'])  # its surroundings are flat
    assert second['peak']['after'] == pytest.approx(1)


def test_what_is_found_elsewhere_does_not_count():
    """A bright thing 40 mm away, in one of the images only."""
    bright = images(LESION, adc=0.3)
    far = images(LESION | ball(30, 70, 3, 12), adc=0.3)
    assert figures(bright, far)['dice']['trace_bright']['before_after'] == 1


def test_a_rule_that_is_blind_to_a_lesion_does_not_judge_it():
    """It finds something beside it, before and after; the lesion itself is too faint."""
    spot = ball(70, 40, 3, 6)
    scan = images(spot & ~LESION, adc=0.3)
    found = figures(scan, scan)
    assert found['dice']['adc_dark']['before'] == 0
    assert np.isnan(found['dice']['adc_dark']['before_after'])
    assert np.isnan(found['patches'][0]['dice']['adc_dark'])


def test_fluid_is_no_surroundings():
    """A ventricle beside a lesion changes nothing."""
    near = ball(67, 40, 3, 12) & ~LESION
    scan = images(b0=1.5, noise=0.05)
    wet = {**scan, 'b0': np.where(near, 9.0, scan['b0']), 'adc': np.where(near, 3e-3, scan['adc'])}
    plain, beside = (figures(s, s)['contrast']['b0']['after'] for s in (scan, wet))
    assert beside == pytest.approx(plain, abs=0.02)


def test_outside_the_brain_there_is_nothing_to_measure():
    """Counts are 0, the rest is nan; a part outside is counted and left out."""
    far = np.zeros(SHAPE, bool)
    far[:3, :3, 0] = True
    scan = images()
    found = figures(scan, scan, far)
    assert (found['n_voxels'], found['n_outside'], found['n_patches']) == (0, 9, 0)
    assert found['patches'] == []
    assert np.isnan(found['contrast']['trace']['before'])
    assert np.isnan(found['dice']['adc_dark']['before_after'])
    assert figures(scan, scan, far | LESION)['n_outside'] == 9


def test_the_largest_patches_are_listed():
    """More than are listed are counted, largest first."""
    spots = np.zeros(SHAPE, bool)
    spots[20:80:6, 25:60:6, 3] = True
    spots[20:22, 25, 3] = True
    scan = images(spots, adc=0.4)
    found = figures(scan, scan, spots)
    assert found['n_patches'] == 60
    assert len(found['patches']) == LARGEST
    assert [patch['volume_ml'] for patch in found['patches'][:2]] == pytest.approx([0.04, 0.02])
