"""PNG bytes depend on the picture alone, and any label can be drawn."""

import io
import struct

import matplotlib as mpl
import pytest
from PIL import Image

from bidsharmony.viz.figure import figure_text, new_figure, save_png, styled

LABELS = [
    '_hidden',
    '$x^2$',
    '$\\frac{',
    '<b>&"\'',
    '\u78c1\u6c14 3 T',
    'a' * 300,
    '',
    '\ud800',
    '%s {x}',
]


@styled
def labelled(text: str = 'before'):
    """Draw a line with a legend."""
    figure = new_figure(3, 2)
    axes = figure.add_subplot()
    axes.plot([0, 1], [1, 2], label=figure_text(text))
    axes.legend()
    axes.set_title(figure_text(text))
    return figure


def chunks(png: bytes) -> list[bytes]:
    """List the chunk types of a PNG."""
    found, position = [], 8
    while position < len(png):
        (length,) = struct.unpack('>I', png[position : position + 4])
        found.append(png[position + 4 : position + 8])
        position += length + 12
    return found


def test_same_figure_gives_same_bytes():
    """Nothing of the moment gets into the file."""
    assert save_png(labelled()) == save_png(labelled())


def test_png_holds_no_metadata():
    """Pixels only: no text, time or software chunk."""
    assert set(chunks(save_png(labelled()))) <= {b'IHDR', b'IDAT', b'IEND', b'PLTE'}


def test_the_users_style_does_not_matter():
    """A matplotlibrc with other colours or sizes leaves the bytes alone."""
    expected = save_png(labelled())
    with mpl.rc_context({'font.size': 30, 'lines.linewidth': 9, 'savefig.dpi': 10}):
        assert save_png(labelled()) == expected


@pytest.mark.parametrize('label', LABELS)
def test_any_label_is_drawn(label):
    """Markup, formulas, missing glyphs and lone surrogates are drawn without a warning."""
    assert save_png(labelled(label)).startswith(b'\x89PNG')


@pytest.mark.parametrize(
    ('color', 'exact', 'mode'),
    [('black', True, 'L'), ('#ff0000', True, 'RGB'), ('#ff0000', False, 'P')],
)
def test_pictures_take_no_more_space_than_they_need(color, exact, mode):
    """A grey mosaic is stored as grey, a chart with a palette, and a colour map as it is."""
    figure = new_figure(1, 1, facecolor=color)
    figure.pixel_exact = exact
    png = save_png(figure)
    assert Image.open(io.BytesIO(png)).mode == mode


def test_scale_sets_the_size_in_pixels():
    """Charts are drawn at twice the density."""
    assert Image.open(io.BytesIO(save_png(new_figure(2, 1)))).size == (400, 200)
    assert Image.open(io.BytesIO(save_png(new_figure(2, 1), scale=1))).size == (200, 100)
