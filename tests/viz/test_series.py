"""A series is shown by shell and by direction, each at its place."""

import io

import numpy as np
import pytest
from PIL import Image

from bidsharmony.viz.canvas import GAP, HEADER, ZOOM, brain_box
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.series import (
    MOST_SHELLS,
    gradient_spheres,
    half_sphere,
    shell_mosaic,
    thinned,
)

HALF = 2**-0.5


@pytest.fixture
def mask():
    """Brain in the middle of three slices."""
    inside = np.zeros((3, 40, 50), bool)
    inside[:, 10:30, 10:40] = True
    return inside


@pytest.mark.parametrize(
    ('direction', 'point', 'superior'),
    [
        ((0, 0, 1), (0, 0), True),
        ((0, 0, -1), (0, 0), False),
        ((-1, 0, 0), (1, 0), True),  # the subject's left is on the right
        ((1, 0, 0), (-1, 0), True),
        ((0, 1, 0), (0, 1), True),  # the front is on top
        ((0, -1, 0), (0, -1), True),
        ((0, HALF, -HALF), (0, HALF / (1 + HALF) ** 0.5), False),
    ],
)
def test_six_axes_and_one_between(direction, point, superior):
    """Poles in the middle, the rest where a reader of axial slices looks for it."""
    points, above = half_sphere([direction])
    np.testing.assert_allclose(points, [point], atol=1e-12)
    assert above.tolist() == [superior]


def test_equal_areas_stay_equal():
    """Half of the directions of half a sphere lie within 60 degrees of its pole."""
    height = np.linspace(0, 1, 1001)
    points, _ = half_sphere(np.stack([np.sqrt(1 - height**2), 0 * height, height], axis=1))
    inside = (points**2).sum(axis=1) <= 0.5
    assert np.mean(inside) == pytest.approx(0.5, abs=0.001)


def test_each_direction_is_drawn_with_its_opposite():
    """Filled where it was measured, hollow on the other side, one marker for each shell."""
    up, down = np.array([[0, 0, 1.0]]), np.array([[0, HALF, -HALF], [HALF, 0, -HALF]])
    figure = gradient_spheres([(1000.0, up, 90.0), (2000.0, down, 60.2)])
    drawn = [
        {
            (line.get_marker(), line.get_markerfacecolor() == 'white'): len(line.get_xdata())
            for line in axes.lines
            if len(line.get_xdata())
        }
        for axes in figure.axes
    ]
    assert drawn[0] == {('o', False): 1, ('s', True): 2}
    assert drawn[1] == {('o', True): 1, ('s', False): 2}
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        'b = 1000: 1 direction, no gap over 90°',
        'b = 2000: 2 directions, no gap over 61°',
    ]


def test_no_direction_is_no_error():
    """A series of trace images has none."""
    assert save_png(gradient_spheres([])).startswith(b'\x89PNG')


def test_shells_have_their_rows_and_windows(mask):
    """The second shell is as bright as the first one to the eye, and the numbers say why."""
    b0 = np.where(mask, 4.0, 0.0)
    figure = shell_mosaic([b0, b0 / 4, b0 / 8], mask, [(0, 2), (1000, 30), (2000, 64)])
    words = [text.get_text() for text in figure.texts]
    assert words[:3] == [
        'b = 0, 2 vol.\n0 \u2013 4', 'b = 1000, 30 vol.\n0 \u2013 1.15',
        'b = 2000, 64 vol.\n0 \u2013 0.575',
    ]  # fmt: skip
    shown = np.asarray(Image.open(io.BytesIO(save_png(figure))))
    assert shown.ndim == 2  # grey
    box = brain_box(mask)
    step = (box.bottom - box.top + GAP) * ZOOM
    middle = [shown[HEADER + row * step + step // 2, 2 * HEADER + step // 2] for row in range(3)]
    assert middle == [255, pytest.approx(255 / 1.15, abs=1), pytest.approx(255 / 1.15, abs=1)]


@pytest.mark.parametrize('count', [1, 2, 6, 7, 30])
def test_many_shells_are_thinned_and_it_is_said(mask, count):
    """First and last stay."""
    shown = thinned(count, MOST_SHELLS)
    assert (shown[0], shown[-1]) == (0, count - 1)
    assert len(set(shown)) == len(shown) == min(count, MOST_SHELLS)
    image = mask.astype(float)
    figure = shell_mosaic([image] * count, mask, [(100.0 * n, 1) for n in range(count)])
    said = f'{count - MOST_SHELLS} more not shown'
    assert (said in [text.get_text() for text in figure.texts]) is (count > MOST_SHELLS)


def test_shells_without_slices_are_refused():
    """As every mosaic does."""
    with pytest.raises(ValueError, match='at least one slice'):
        shell_mosaic([np.ones((0, 4, 4))], np.ones((0, 4, 4), bool), [(0, 1)])
