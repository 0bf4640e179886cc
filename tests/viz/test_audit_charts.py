"""The audit's charts show what they were given, and no word of theirs is cut or hidden."""

from itertools import pairwise

import numpy as np
import pytest

from bidsharmony.viz.autoencoder import autoencoder_panel
from bidsharmony.viz.confusion import confusion_matrix, short_name
from bidsharmony.viz.embedding import embedding_panel, point_look
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.psd import scanner_line
from tests.audit_document import SCANNERS

HOSTILE = ('_hidden', '$x^2$', '<b>&"', 'a' * 300, '')


def inside(figure, artist) -> bool:
    """Tell whether an artist lies within its figure."""
    box = artist.get_window_extent()
    width, height = figure.canvas.get_width_height()
    return box.x0 >= 0 and box.x1 <= width and box.y0 >= 0 and box.y1 <= height


def test_points_have_the_colours_of_the_lines():
    """Twenty scanners differ in colour or shape; the colour is that of the spectra."""
    looks = [point_look(index) for index in range(20)]
    assert len({tuple(look.values()) for look in looks}) == 20
    assert [look['color'] for look in looks] == [scanner_line(i)['color'] for i in range(20)]


def test_each_point_is_drawn_once_in_its_colour():
    """Also where the page's order of scanners differs from the probe's."""
    points = np.arange(10.0).reshape(5, 2)
    figure = embedding_panel(points, [1, 0, 1, 1, 0], ['A', 'B'], title='before', order=[4, 0])
    first, second = figure.axes[0].collections
    np.testing.assert_array_equal(first.get_offsets(), points[[1, 4]])
    np.testing.assert_array_equal(second.get_offsets(), points[[0, 2, 3]])
    assert figure.legends[0].get_texts()[1].get_text() == 'B'


@pytest.mark.parametrize('labels', [SCANNERS[:1], SCANNERS[:7], SCANNERS, HOSTILE])
def test_legend_stands_below_the_points(labels):
    """Inside the figure, and clear of the panel."""
    points = np.random.default_rng(0).normal(size=(len(labels), 2))
    figure = embedding_panel(points, range(len(labels)), labels, title='before')
    save_png(figure, scale=1)
    (legend,) = figure.legends
    assert inside(figure, legend)
    assert legend.get_window_extent().y1 <= figure.axes[0].get_window_extent().y0
    assert len(legend.get_texts()) == len(labels)


@pytest.mark.parametrize('labels', [SCANNERS[:2], SCANNERS[:7], SCANNERS, HOSTILE])
def test_names_of_rows_are_neither_cut_nor_on_each_other(labels):
    """Whatever their length and number."""
    figure = confusion_matrix(np.eye(len(labels)), labels, title='after, retrained')
    save_png(figure, scale=1)
    names = figure.axes[0].get_yticklabels()
    assert all(inside(figure, name) for name in names)
    boxes = sorted((name.get_window_extent() for name in names), key=lambda box: box.y0)
    assert all(low.y1 <= high.y0 for low, high in pairwise(boxes))


def test_rows_are_in_percent():
    """A scanner without slices has an empty row, not a division by zero."""
    figure = confusion_matrix([[1, 3], [0, 0]], ['A', 'B'], title='before')
    assert [text.get_text() for text in figure.axes[0].texts] == ['25', '75', '', '']


def test_long_names_keep_both_ends():
    """Two field strengths of one model stay apart."""
    names = {short_name(f'Siemens Magnetom Vida Fit {field} T') for field in ('1.5', '3')}
    assert len(names) == 2


def test_every_seed_has_a_curve_and_the_goal_a_line():
    """Before is dashed, after is not; the medians lie on the line."""
    figure = autoencoder_panel(
        [1, 2, 3], [[4.0, 3.0, 2.0]] * 2, [[3.0, 2.0, None]], loss=2.0, reached=(3, 2)
    )
    lines = figure.axes[0].lines
    assert [line.get_linestyle() for line in lines[:3]] == ['--', '--', '-']
    np.testing.assert_array_equal(lines[2].get_ydata(), [3.0, 2.0, np.nan])
    assert [tuple(np.ravel(line.get_data())) for line in lines[4:]] == [(3, 2.0), (2, 2.0)]


@pytest.mark.parametrize(
    'draw',
    [
        lambda: autoencoder_panel([], [], []),
        lambda: autoencoder_panel([1, 2], [[0.0, -1.0]], [[None, None]], loss=0.0),
        lambda: embedding_panel([], [], [], title=''),
        lambda: confusion_matrix([], [], title=''),
        lambda: confusion_matrix([[5]], ['A'], title=''),
    ],
)
def test_nothing_to_draw_is_no_error(draw):
    """A page of a poor study must come out too."""
    assert save_png(draw()).startswith(b'\x89PNG')
