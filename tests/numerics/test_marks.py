"""Marks of a scanner in its images, known on paper."""

from itertools import pairwise

import numpy as np
import pytest

from bidsharmony.numerics.marks import (
    BANDS,
    MARKS,
    POWER_MARKS,
    SMALLEST,
    band_powers,
    measured_marks,
)

SIZE = 160
MM = np.arange(SIZE)


def stripes(cycles):
    """Waves down the image, the same in every column."""
    return np.cos(2 * np.pi * cycles * MM)[:, None] * np.ones(SIZE)


@pytest.mark.parametrize('band', range(1, len(BANDS) - 1))
@pytest.mark.parametrize('axis', [0, 1])
def test_a_wave_shows_in_its_band_and_its_direction(band, axis):
    """A tenth of the amplitude is a hundredth of the power, spread over as wide a band."""
    image = stripes(0.055) + 0.1 * stripes((BANDS[band] + BANDS[band + 1]) / 2)
    found = band_powers(image if axis == 0 else image.T, axis)
    bins = [np.count_nonzero((a <= MM / SIZE) & (b > MM / SIZE)) for a, b in pairwise(BANDS)]
    expected = -2 + np.log10(bins[0] / bins[band])
    assert found[band - 1] == pytest.approx(expected, abs=0.05)
    assert max(found[: band - 1] + found[band:], default=-9) < expected - 1


def test_across_the_waves_there_is_nothing(rng):
    image = stripes(0.055) + stripes(0.2)
    along, across = (
        band_powers(image + 1e-3 * rng.standard_normal(image.shape), a) for a in (0, 1)
    )
    assert along[2] == pytest.approx(0, abs=0.2)
    assert len(across) == len(along) == len(POWER_MARKS) // 4


def test_white_noise_is_as_strong_in_every_band(rng):
    found = np.mean([band_powers(rng.standard_normal((SIZE, SIZE)), 0) for _ in range(60)], axis=0)
    np.testing.assert_allclose(found, 0, atol=0.12)


def test_scale_tells_nothing_of_sharpness(rng):
    images = 1 + 0.2 * rng.standard_normal((2, SIZE, SIZE))
    once, twice = measured_marks(images), measured_marks(2 * images)
    assert list(once) == list(MARKS)
    for key in MARKS:
        shift = np.log10(2) if 'Noise' in key else 0
        assert twice[key] == pytest.approx(once[key] + shift, abs=1e-3)


def test_rows_and_columns_change_places_with_the_image(rng):
    images = 1 + 0.2 * rng.standard_normal((2, SIZE, SIZE)).cumsum(axis=1) / 9
    marks, turned = measured_marks(images), measured_marks(images.transpose(0, 2, 1))
    for key in POWER_MARKS:
        other = key.replace('Rows', '?').replace('Columns', 'Rows').replace('?', 'Columns')
        assert turned[other] == pytest.approx(marks[key], abs=1e-3)


def test_a_small_picture_has_no_bands():
    marks = measured_marks(np.ones((2, SMALLEST - 1, 80)))
    assert list(marks) == [key for key in MARKS if key not in POWER_MARKS]
