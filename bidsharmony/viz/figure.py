"""Make figures that look the same for everyone: one style, one palette, fixed PNG bytes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from io import BytesIO
from typing import ParamSpec, TypeVar

import matplotlib.style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageChops

BEFORE = '#c2570c'
AFTER = '#1d6fd1'
BAND = '#d9d9d9'  # the range of canonical images, behind the curves
BAND_EDGE = '#8a8a8a'
BEFORE_ON_BLACK = '#ffb070'
AFTER_ON_BLACK = '#8cc2ff'

# Told apart without red against green, and on white as on the inverted background of dark pages.
SCANNER_COLORS = (
    '#1d6fd1', '#c2570c', '#14865f', '#a83f8f', '#7a6a00',
    '#5b5bd6', '#c22f44', '#0b8aa0', '#6b4a2f', '#66707a',
)  # fmt: skip
LINE_STYLES = ('-', '--', ':')

DPI = 100  # pixels per inch of every figure; panels are 5.2 inches so that text survives a phone
PANEL_WIDTH = 5.2  # inches
CHART_SCALE = 2  # charts are drawn at twice the density, for sharp text on dense screens
CHART_COLORS = 128  # of a chart's palette: a third of the bytes, and no difference to be seen

_STYLE = {
    'figure.dpi': DPI,
    'figure.facecolor': 'white',
    'font.family': 'DejaVu Sans',  # ships with matplotlib: the same glyphs on every machine
    'font.size': 10,
    'axes.titlesize': 10.5,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.titley': 1.0,  # where it would come to lie: nothing is measured to find that out
    'axes.labelsize': 10,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': '#888888',
    'axes.grid': True,
    'grid.color': '#e3e3e3',
    'grid.linewidth': 0.8,
    'xtick.labelsize': 9,
    'ytick.labelsize': 9,
    'legend.frameon': False,
    'legend.fontsize': 9.5,
    'lines.linewidth': 1.8,
    'text.parse_math': False,  # a scanner may be named '$x$'
}

P = ParamSpec('P')
T = TypeVar('T')


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Run a drawing function in the house style, whatever the user's matplotlibrc says."""

    @functools.wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with matplotlib.style.context(['default', _STYLE]):
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float, *, facecolor: str = 'white') -> Figure:
    """Open a figure without pyplot, so that nothing stays in memory after it is saved.

    Parameters
    ----------
    width, height : float, inches
    facecolor : str
        background of the whole figure

    Examples
    --------
    >>> new_figure(4, 3).get_size_inches().tolist()
    [4.0, 3.0]
    """
    figure = Figure(figsize=(width, height), facecolor=facecolor)
    FigureCanvasAgg(figure)
    return figure


@styled
def save_png(figure: Figure, *, scale: float | None = None) -> bytes:
    """Encode a figure as PNG whose bytes depend on its content only.

    No date, software name or alpha channel is written.

    Parameters
    ----------
    figure : Figure
    scale : float, optional
        pixels per pixel of :data:`DPI`; default 1 for images (whose pixels are counted) and
        :data:`CHART_SCALE` for charts

    Returns
    -------
    bytes

    Examples
    --------
    >>> save_png(new_figure(1, 1))[:4]
    b'\\x89PNG'
    """
    exact = getattr(figure, 'pixel_exact', False)
    if scale is None:
        scale = 1 if exact else CHART_SCALE
    figure.set_dpi(DPI * scale)
    canvas = figure.canvas
    canvas.draw()
    image = Image.frombuffer(
        'RGBA', canvas.get_width_height(), bytes(canvas.buffer_rgba()), 'raw', 'RGBA', 0, 1
    ).convert('RGB')
    if _is_grey(image):
        image = image.convert('L')
    elif not exact:
        image = image.quantize(
            CHART_COLORS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE
        )
    with BytesIO() as stream:
        image.save(stream, format='PNG', compress_level=6)
        return stream.getvalue()


def _is_grey(image: Image.Image) -> bool:
    """Tell whether the three channels are equal, so that one of them is enough."""
    red, green, blue = image.split()
    return all(ImageChops.difference(red, other).getextrema() == (0, 0) for other in (green, blue))


def figure_text(text: object, limit: int = 34) -> str:
    """Shorten text, and replace what the bundled font cannot draw.

    Examples
    --------
    >>> figure_text('_Prisma\\n\\u4e2d 3 T')
    '\\u2009_Prisma ? 3 T'
    >>> figure_text('abcdef', limit=4)
    'abc\\u2026'
    """
    clean = ''.join(
        char if char.isprintable() and ord(char) < 0x250 else ' ' if char.isspace() else '?'
        for char in str(text)
    )
    if len(clean) > limit:
        clean = clean[: limit - 1] + '\u2026'
    # matplotlib hides legend labels that are empty or start with an underscore
    return clean if clean and not clean.startswith('_') else f'\u2009{clean}'
