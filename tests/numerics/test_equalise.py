"""The filter that evens out spectra: known waves, a known blur, bounds."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.equalise import (
    CELL,
    CELLS,
    LEFT_ALONE,
    LEVEL,
    MOST,
    cell_spectrum,
    equalised,
)

SIDE, SLICES = 128, 12
MIDDLE = (np.arange(CELLS) + 0.5) * CELL
RADIUS = np.hypot(MIDDLE[:, None], MIDDLE)


def noise(seed, side=SIDE, slices=SLICES, blur=(1.0, 1.0)):
    """Positive texture of a resolution, (S, H, W)."""
    rng = np.random.default_rng(seed)
    white = rng.standard_normal((slices, side, side))
    smooth = ndimage.gaussian_filter(white, (0, *blur), mode='wrap')
    return (1 + 0.2 * smooth / smooth.std()).astype(np.float32)


@pytest.fixture
def masks():
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    return np.repeat((np.hypot(y, x) < 55)[None], SLICES, axis=0)


@pytest.mark.parametrize(('row', 'column'), [(0.11, 0.0), (0.0, 0.11), (0.21, 0.33)])
def test_a_wave_lies_in_its_cell(row, column):
    y, x = np.indices((200, 200))
    wave = 1 + np.cos(2 * np.pi * row * y) * np.cos(2 * np.pi * column * x)
    cells = cell_spectrum(wave[None], np.ones((1, 200, 200), bool))
    found = np.unravel_index(cells.argmax(), cells.shape)
    assert found == (int(row / CELL), int(column / CELL))


def test_neither_unit_nor_position_in_the_field_of_view_counts(masks):
    images = noise(0)
    cells = cell_spectrum(images, masks)
    seen = RADIUS < 0.3  # beyond, so smooth a texture is near the floor
    np.testing.assert_allclose(cell_spectrum(3 * images, masks)[seen], cells[seen], atol=0.02)
    moved = np.roll(images, 5, axis=1), np.roll(masks, 5, axis=1)
    np.testing.assert_allclose(cell_spectrum(*moved), cells, atol=5e-3)


def test_frequencies_are_those_of_the_world():
    """The same wave on pixels of 2 mm lies at the same cycles per mm."""
    y, _ = np.indices((128, 100))
    wave = 1 + np.cos(2 * np.pi * 0.15 * 2 * y)
    cells = cell_spectrum(wave[None], np.ones((1, 128, 100), bool), (2.0, 1.0))
    assert np.unravel_index(cells.argmax(), cells.shape)[0] == int(0.15 / CELL)


def test_white_noise_is_white(masks):
    rng = np.random.default_rng(3)
    cells = cell_spectrum(rng.standard_normal((SLICES, SIDE, SIDE)), masks)
    assert np.abs(cells).mean() < 0.12  # some hundred waves in each cell


def test_a_blur_along_one_axis_is_undone(masks):
    """Within the bound, the filter is the inverse of the blur, frequency by frequency."""
    sharp, blurred = noise(1), noise(1, blur=(1.08, 1.0))
    reference = cell_spectrum(sharp, masks)[None]
    before = np.abs(cell_spectrum(blurred, masks) - reference[0])
    images, gain = equalised(blurred[None], masks, reference)
    after = np.abs(cell_spectrum(images[0], masks) - reference[0])
    # blurred by exp(-2 (pi f sigma)^2): the difference of variances is what is missing
    missing = 2 * (np.pi * MIDDLE) ** 2 * (1.08**2 - 1)
    band = (RADIUS > 0.13) & (RADIUS < 0.3)
    np.testing.assert_allclose(
        gain[0][band], np.repeat(missing[:, None], CELLS, 1)[band], atol=0.08
    )
    assert after[band].mean() < 0.25 * before[band].mean()
    inside = ndimage.binary_erosion(masks[0], iterations=8)
    error = [np.std(i[:, inside] - sharp[:, inside]) for i in (blurred, images[0])]
    assert error[1] < 0.7 * error[0]


def test_the_spectrum_that_is_wanted_changes_nothing(masks):
    images = noise(2)
    once, gain = equalised(images[None], masks, cell_spectrum(images, masks)[None])
    assert np.abs(gain).max() < 1e-4
    np.testing.assert_allclose(once[0], images, atol=1e-4)


def test_twice_is_as_once(masks):
    reference = cell_spectrum(noise(5), masks)[None]
    once, _ = equalised(noise(6, blur=(1.05, 1.0))[None], masks, reference)
    twice, _ = equalised(once, masks, reference)
    assert np.sqrt(np.mean((twice - once) ** 2)) < 0.02 * once.std()


@pytest.mark.parametrize('wanted', [-30.0, 30.0])
def test_no_amplitude_changes_by_more_than_the_bound(masks, wanted):
    y, _ = np.indices((SIDE, SIDE))
    wave = np.repeat((1 + 0.1 * np.sin(2 * np.pi * 0.2 * y))[None], SLICES, axis=0)
    images, gain = equalised(
        wave.astype(np.float32)[None], masks, np.full((1, CELLS, CELLS), wanted)
    )
    assert np.abs(gain).max() <= MOST + 1e-9
    middle, before = images[0, 0, 40:90, 64], wave[0, 40:90, 64]
    assert np.ptp(middle) / np.ptp(before) == pytest.approx(
        np.exp(np.sign(wanted) * MOST), rel=0.02
    )


def test_what_is_coarse_is_left_alone(masks):
    y, x = np.indices((SIDE, SIDE))
    coarse = 2 + np.sin(2 * np.pi * 5 / SIDE * y) + np.cos(2 * np.pi * 4 / SIDE * x)
    assert 5 / SIDE < LEFT_ALONE
    slices = np.repeat(coarse[None].astype(np.float32), SLICES, axis=0)
    images, _ = equalised(slices[None], masks, np.full((1, CELLS, CELLS), 30.0))
    np.testing.assert_allclose(images[0, :, 20:108, 20:108], slices[:, 20:108, 20:108], atol=0.02)


def test_nothing_is_shifted(masks):
    """The filter has no phase: a symmetric spot stays symmetric, and where it was."""
    y, x = np.indices((SIDE, SIDE)) - 60
    spot = np.exp(-(y**2 + x**2) / (2 * 1.5**2)).astype(np.float32) + 1
    slices = np.repeat(spot[None], SLICES, axis=0)
    images, _ = equalised(slices[None], masks, np.full((1, CELLS, CELLS), 2.0))
    part = images[0, 0, 40:81, 40:81]
    np.testing.assert_allclose(part, part[::-1, ::-1], atol=1e-5)
    assert np.unravel_index(part.argmax(), part.shape) == (20, 20)


def test_a_bright_lesion_in_a_few_slices_does_not_steer_the_filter(masks):
    healthy = noise(7)
    y, x = np.indices((SIDE, SIDE)) - np.array([50, 70])[:, None, None]
    lesion = np.where(np.hypot(y, x) < 8, 2.0, 0.0)
    ill = healthy.copy()
    ill[4:6] += lesion.astype(np.float32)
    reference = cell_spectrum(noise(8), masks)[None]
    one, other = (equalised(i[None], masks, reference)[1] for i in (healthy, ill))
    band = (RADIUS > 0.12) & (RADIUS < 0.3)
    # a sixth of the slices carry it: geometric means move by a sixth of its logarithm
    assert np.abs(one - other)[0][band].mean() < 0.1


def test_levels_are_read_where_a_head_has_signal():
    assert LEVEL[0] < LEFT_ALONE < LEVEL[1]


def test_slices_without_brain_do_not_count(masks):
    images = noise(9)
    partly = masks.copy()
    partly[:3] = False
    expected = cell_spectrum(images[3:], masks[3:])
    np.testing.assert_allclose(cell_spectrum(images, partly), expected)
    assert not cell_spectrum(images, masks & False).any()
