"""The picture of a residual: places, colours and outlines are where they belong."""

import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from bidsharmony.viz.canvas import GAP, HEADER, OUTLINE, ZOOM
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.residual import REACH, residual_mosaic

SIDE = 60


@pytest.fixture
def slices():
    """Return before, after and residual (3, 2, 60, 60), and the mask that fills them."""
    images = np.full((3, 2, SIDE, SIDE), 0.5)
    return images, images.copy(), np.zeros_like(images), np.ones((3, SIDE, SIDE), bool)


def drawn(*arrays, **options):
    """Draw, and return RGB (rows, columns, 3) without title and row names."""
    figure = residual_mosaic(*arrays, title='run', **options)
    return np.asarray(Image.open(io.BytesIO(save_png(figure))).convert('RGB'))[HEADER:, HEADER:]


def pixel(picture, row, column, y, x):
    """Read slice pixel (y, x) of the picture's row and column."""
    step = (SIDE + GAP) * ZOOM
    return picture[row * step + y * ZOOM + 1, column * step + x * ZOOM + 1].astype(int)


def test_six_rows_one_column_for_each_slice(slices):
    picture = drawn(*slices)
    assert picture.shape[:2] == ((6 * (SIDE + GAP) - GAP) * ZOOM, (3 * (SIDE + GAP) - GAP) * ZOOM)


@pytest.mark.parametrize(('value', 'strongest', 'weakest'), [(REACH, 0, 2), (-REACH, 2, 0)])
def test_brighter_is_red_and_darker_is_blue(slices, value, strongest, weakest):
    slices[2][1, 1, 40, 20] = value
    picture = drawn(*slices)
    color = pixel(picture, 5, 1, 40, 20)
    assert color[strongest] > color[weakest] + 60
    # no residual is nearly white, in this channel and in the other
    assert pixel(picture, 5, 1, 40, 22).min() > 240
    assert pixel(picture, 2, 1, 40, 20).min() > 240


def test_residual_is_black_outside_the_mask(slices):
    before, after, residual, mask = slices
    mask[:, :, 50:] = False
    picture = drawn(before, after, residual + REACH, mask)
    assert pixel(picture, 2, 0, 30, 55).max() == 0
    assert pixel(picture, 2, 0, 30, 40).max() > 60
    assert pixel(picture, 0, 0, 30, 55).max() > 60


def test_before_and_after_share_a_window(slices):
    before, after, residual, mask = slices
    picture = drawn(before, 2 * after, residual, mask)
    for row in (0, 3):
        dark, bright = (pixel(picture, row + i, 0, 30, 30)[0] for i in (0, 1))
        assert bright == pytest.approx(2 * dark, abs=2)


def test_outline_runs_around_what_it_marks(slices):
    outline = np.zeros((3, SIDE, SIDE), bool)
    outline[2, 20:30, 20:30] = True
    picture = drawn(*slices, outline=outline)
    rim = (np.array(to_rgb(OUTLINE)) * 255).astype(int)
    for row in (0, 1, 3, 4):
        np.testing.assert_allclose(pixel(picture, row, 2, 19, 25), rim, atol=1)
        assert np.ptp(pixel(picture, row, 2, 25, 25)) == 0
        assert np.ptp(pixel(picture, row, 1, 19, 25)) == 0


def test_slices_can_be_chosen(slices):
    slices[0][2] = 1.0
    picture = drawn(*slices, ixs=np.array([2]))
    assert picture.shape[1] == SIDE * ZOOM
    assert pixel(picture, 0, 0, 30, 30)[0] > 200


def test_without_a_slice_there_is_no_picture():
    nothing = np.zeros((0, 2, SIDE, SIDE))
    with pytest.raises(ValueError, match='at least one slice'):
        residual_mosaic(nothing, nothing, nothing, np.zeros((0, SIDE, SIDE), bool), title='')
