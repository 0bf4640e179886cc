"""Slices are shown as they are: place, orientation, window."""

import io

import numpy as np
import pytest
from PIL import Image

from bidsharmony.viz.canvas import (
    GAP,
    HEADER,
    ZOOM,
    brain_box,
    pick_slices,
    shared_window,
    tile,
    window_of,
)
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.mosaic import (
    before_after_channel,
    field_map,
    lesion_pair,
    mosaic,
    scanner_mosaic,
)


def pixels(figure) -> np.ndarray:
    """Decode a figure to (rows, columns) grey or (rows, columns, 3)."""
    return np.asarray(Image.open(io.BytesIO(save_png(figure))))


@pytest.fixture
def mask():
    """Brain in the middle of three 40 x 50 slices."""
    inside = np.zeros((3, 40, 50), bool)
    inside[:, 10:30, 10:40] = True
    return inside


def test_every_slice_pixel_becomes_a_block_of_screen_pixels():
    """A single bright pixel is a sharp ZOOM x ZOOM block at its row and column."""
    slices = np.zeros((3, 40, 40))
    slices[1, 30, 20] = 1
    shown = pixels(mosaic(slices, window=(0, 1), title=''))
    top, left = HEADER + 30 * ZOOM, (40 + GAP + 20) * ZOOM
    # side letters stand on the first slice only
    found = (
        np.argwhere(shown[HEADER:, (40 + GAP) * ZOOM : (80 + GAP) * ZOOM].max(axis=-1) > 250)
        if shown.ndim == 3
        else np.argwhere(shown[HEADER:, (40 + GAP) * ZOOM :] > 250)
    )
    assert found.min(axis=0).tolist() == [top - HEADER, left - (40 + GAP) * ZOOM]
    assert len(found) == ZOOM**2


def test_denser_pictures_are_larger_ones():
    """Pixels grow with the text around them."""
    slices = np.ones((1, 40, 40))
    shares = []
    for scale in (1, 2):
        content = save_png(mosaic(slices, window=(0, 1), title=''), scale=scale)
        shares.append((np.asarray(Image.open(io.BytesIO(content)).convert('L')) > 250).mean())
    assert shares[0] > 0.2
    assert shares[1] == pytest.approx(shares[0], rel=0.02)


def test_window_is_linear_from_black_to_white():
    """Half of the window is half of the grey scale."""
    slices = np.full((1, 30, 30), 0.5)
    shown = pixels(mosaic(slices, window=(0, 1), title=''))
    assert shown[HEADER + 8, 30, ...].max() in (127, 128)


def test_before_and_after_share_crop_slices_and_window(mask):
    """One brightness before is the same brightness after, and the pictures can be overlaid."""
    before, after = np.where(mask, 1.0, 0), np.where(mask, 2.0, 0)
    first, second = (pixels(figure) for figure in
                     before_after_channel(before, after, mask, channel='trace'))  # fmt: skip
    assert first.shape[:2] == second.shape[:2]
    row, col = HEADER + 36, 50
    assert int(second[row, col].max()) == pytest.approx(2 * int(first[row, col].max()), abs=2)


def test_right_and_left_are_marked(mask):
    """R on the left edge, L on the right edge of the first slice: radiological convention."""
    figure = mosaic(mask.astype(float), window=(0, 1), title='x')
    letters = {text.get_text(): text.get_position()[0] for text in figure.axes[0].texts}
    assert letters['R'] < letters['L']


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        ([1.0, 2.0, 3.0, 4.0], 4.0),
        ([0.0, 0.0, 0.0, 0.0], 1.0),
        ([np.nan, np.inf, 2.0, -5.0], 2.0),
    ],
)
def test_window_takes_what_can_be_shown(values, expected):
    """Zeros, negatives, nan and inf do not decide the window."""
    image = np.reshape(values, (1, 2, 2))
    assert shared_window(image, mask=np.ones((1, 2, 2)), percentile=100) == expected


def test_a_lesion_on_trace_is_not_saturated():
    """One bright percent of the brain keeps its grey value."""
    brain = np.full((1, 100, 100), 0.5)
    brain[0, :10, :10] = 1.0
    assert window_of('trace', brain, brain, brain > 0) > 1.0


@pytest.mark.parametrize(('n', 'count', 'expected'), [(1, 6, 1), (3, 6, 3), (20, 6, 6)])
def test_slices_are_picked_once_and_in_order(n, count, expected):
    """Thin slabs show all they have."""
    chosen = pick_slices(np.ones((n, 4, 4), bool), count).tolist()
    assert len(chosen) == expected == len(set(chosen))
    assert chosen == sorted(chosen)


def test_nearly_empty_slices_are_left_out():
    """A slice that touches the vertex only tells nothing."""
    mask = np.zeros((4, 10, 10), bool)
    mask[1:3], mask[0, 0, 0] = True, True
    assert pick_slices(mask, 6).tolist() == [1, 2]


@pytest.mark.parametrize('shape', [(1, 12, 12), (4, 30, 20)])
def test_box_of_an_empty_mask_is_everything(shape):
    """A run without brain is still drawn."""
    assert brain_box(np.zeros(shape, bool)) == (0, shape[1], 0, shape[2])


def test_tile_fills_row_by_row():
    """The fourth of five slices starts the second row."""
    canvas = tile(np.arange(1, 6)[:, None, None] * np.ones((5, 4, 4)), 3)
    assert canvas[0, 4 + GAP] == 2
    assert canvas[4 + GAP, 0] == 4
    assert canvas[-1, -1] == 0


def test_field_map_is_coloured_inside_and_black_outside(mask):
    """A field above 1 is red, below 1 blue, and nothing is claimed outside the brain."""
    field = np.ones(mask.shape)
    field[:, :, 25:] = 1.5
    field[:, :, :25] = 0.5
    shown = pixels(field_map(field, mask, title='bias field', center=1.0)).astype(int)
    low, high = shown[HEADER + 40, 26], shown[HEADER + 40, 66]
    assert low[2] > low[0]
    assert high[0] > high[2]
    assert shown[HEADER + 4, 40].max() == 0


def test_flat_field_is_drawn_flat(mask):
    """Rounding of a field of ones is not blown up to a pattern."""
    field = 1 + 1e-7 * np.random.default_rng(0).normal(size=mask.shape)
    shown = pixels(field_map(field, mask, title='', center=1.0))
    brain = shown[HEADER + 30 : HEADER + 40, 40:60].reshape(-1, 3)
    assert np.ptp(brain, axis=0).max() <= 2


@pytest.mark.parametrize('n', [1, 3])
def test_a_lesion_is_outlined_before_and_after(mask, n):
    """A thin line around it, the same in both rows, and nothing of it inside or elsewhere."""
    lesion = np.zeros((n, 40, 50))
    lesion[0, 18:26, 20:30] = 1
    image = np.where(mask[:n], 1.0, 0)
    shown = pixels(lesion_pair(image, image, lesion, mask[:n])).astype(int)[HEADER:, HEADER:]
    yellow = (shown[..., 0] > 180) & (shown[..., 2] < 100)
    assert not yellow[:, 46 * ZOOM :].any()
    yellow = yellow[:, 20:80]  # between the letters
    top, bottom = yellow[: 40 * ZOOM - 20], yellow[36 * ZOOM + GAP * ZOOM :]
    assert top.any()
    assert bottom.any()
    rows = np.nonzero(top)[0]
    assert (rows.min() // ZOOM, rows.max() // ZOOM) == pytest.approx((16, 24), abs=1)
    assert not top[20 * ZOOM, 22 * ZOOM - 20]


@pytest.mark.parametrize('n', [1, 2, 3, 4, 7])
def test_each_scanner_has_its_label(mask, n):
    """However many scanners, none is lost."""
    images, labels = np.ones((n, 40, 50)), [f'scanner {index}' for index in range(n)]
    inside = np.repeat(mask[:1], n, axis=0)
    figure = scanner_mosaic(images, images, inside, labels, channel='b0')
    assert [
        text.get_text().replace('\n', ' ')
        for text in figure.axes[0].texts
        if 'scanner' in text.get_text()
    ] == labels
    save_png(figure)


@pytest.mark.parametrize(
    ('before', 'after', 'words'),
    [
        (np.ones((0, 4, 4)), np.ones((0, 4, 4)), 'at least one slice'),
        (np.ones((4, 4)), np.ones((4, 4)), 'at least one slice'),
        (np.ones((1, 4, 4)), np.ones((1, 5, 4)), 'differ'),
    ],
)
def test_what_cannot_be_compared_is_refused(before, after, words):
    """The message shows the shapes."""
    with pytest.raises(ValueError, match=words):
        before_after_channel(before, after, np.ones(before.shape), channel='b0')


def test_what_has_no_middle_begins_at_zero(mask):
    """The colours of an uncertainty run from 0 to its upper end, dark to bright."""
    error = np.where(mask, 0.01, 0.0)
    error[:, :, 25:] *= 10
    figure = field_map(error, mask, title='error', from_zero=True)
    assert figure.axes[1].get_xlim() == pytest.approx((0, 0.1))
    shown = pixels(figure).astype(int)
    low, high = shown[HEADER + 40, 26].sum(), shown[HEADER + 40, 66].sum()
    assert low < 150 < high


def test_an_adc_has_one_window_for_every_run(mask):
    """1 um2/ms is the same grey on every page."""
    image = np.where(mask, 1.0, 0)
    for scale in (1, 2):
        (figure, _) = before_after_channel(image, scale * image, mask, channel='adc')
        assert int(pixels(figure)[HEADER + 36, 50].max()) == pytest.approx(255 / 2.5, abs=1)
        assert '0 \u2013 2.50' in [text.get_text() for text in figure.texts]
