"""Lay out slices: which to show, cut how, at which window, and where words stand on them.

Slices come as ``(n, H, W)`` ready for display: rows run from anterior to posterior, columns put
the subject's left on the right of the picture (radiological convention).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from bidsharmony.viz.figure import (
    AFTER_ON_BLACK,
    BEFORE_ON_BLACK,
    DPI,
    figure_text,
    new_figure,
)

OUTLINE = '#ffe033'  # of a lesion
ZOOM = 2  # screen pixels per slice pixel, an integer so that no pixel is blurred
GAP = 3  # slice pixels between tiles
MARGIN = 8  # slice pixels kept around the brain
HEADER = 40  # screen pixels of the title strip
FONT_SIZE = 16  # points: 22 screen pixels, legible when a phone halves the picture
CHANNELS = ('b0', 'trace')
CHANNEL_TITLES = {'b0': 'b = 0', 'trace': 'trace, b = 1000', 'adc': 'ADC, \u00b5m\u00b2/ms'}
ADC_WINDOW = 2.5  # um2/ms: tissue in its lower half, as on a reading room's screen


class Box(NamedTuple):
    """Rows and columns that hold the brain in every slice."""

    top: int
    bottom: int
    left: int
    right: int

    def crop(self, slices: np.ndarray) -> np.ndarray:
        """Cut (n, H, W) slices to the box."""
        return slices[:, self.top : self.bottom, self.left : self.right]


def brain_box(mask: np.ndarray, margin: int = MARGIN) -> Box:
    """Find the smallest box that holds the mask of every slice, plus a margin.

    Parameters
    ----------
    mask : (n, H, W) bool
    margin : int, pixels

    Examples
    --------
    >>> mask = np.zeros((2, 20, 20), bool)
    >>> mask[0, 8:10, 9:12] = True
    >>> brain_box(mask, margin=1)
    Box(top=7, bottom=11, left=8, right=13)
    """
    flat = np.asarray(mask, bool).any(axis=0)
    if not flat.any():
        return Box(0, flat.shape[0], 0, flat.shape[1])
    rows, cols = np.flatnonzero(flat.any(axis=1)), np.flatnonzero(flat.any(axis=0))
    return Box(
        max(int(rows[0]) - margin, 0),
        min(int(rows[-1]) + 1 + margin, flat.shape[0]),
        max(int(cols[0]) - margin, 0),
        min(int(cols[-1]) + 1 + margin, flat.shape[1]),
    )


def pick_slices(mask: np.ndarray, count: int) -> np.ndarray:
    """Choose evenly spaced slices, away from the ends of the stack where there are enough.

    Slices with less than a quarter of the largest slice's brain are left out when possible.

    Examples
    --------
    >>> pick_slices(np.ones((12, 4, 4), bool), 3).tolist()
    [2, 6, 10]
    >>> pick_slices(np.ones((2, 4, 4), bool), 6).tolist()
    [0, 1]
    """
    area = np.asarray(mask, bool).reshape(len(mask), -1).sum(axis=1)
    full = np.flatnonzero(area >= max(area.max(initial=0) / 4, 1))
    candidates = full if len(full) else np.arange(len(mask))
    if len(candidates) <= count:
        return candidates
    return candidates[((np.arange(count) + 0.5) * len(candidates) / count).astype(int)]


def shared_window(*images: np.ndarray, mask: np.ndarray, percentile: float = 99.0) -> float:
    """Upper end of a grey window from 0 that suits all images at once.

    Parameters
    ----------
    images : (n, H, W) arrays in comparable units
    mask : (n, H, W) bool
    percentile : float
        pooled over the images, in the mask

    Returns
    -------
    float
        1 where there is nothing positive to look at

    Examples
    --------
    >>> mask = np.ones((1, 2, 2), bool)
    >>> shared_window(np.full((1, 2, 2), 2.), np.full((1, 2, 2), 4.), mask=mask, percentile=100)
    4.0
    """
    inside = np.asarray(mask, bool)
    pooled = np.concatenate([np.asarray(image, np.float64)[inside] for image in images])
    pooled = pooled[np.isfinite(pooled) & (pooled > 0)]
    return float(np.percentile(pooled, percentile)) if pooled.size else 1.0


def tile(slices: np.ndarray, n_columns: int, fill: float = 0.0) -> np.ndarray:
    """Place (n, H, W) slices in a grid, row by row, with a gap between them.

    Examples
    --------
    >>> tile(np.ones((3, 10, 10)), 2).shape
    (23, 23)
    """
    n, height, width = slices.shape
    n_rows = -(-n // n_columns)
    canvas = np.full(
        (n_rows * (height + GAP) - GAP, n_columns * (width + GAP) - GAP), fill, np.float64
    )
    for index, image in enumerate(slices):
        row, col = divmod(index, n_columns)
        top, left = row * (height + GAP), col * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    return canvas


def window_of(channel: str, before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float:
    """Upper end of the window of a channel: fluid may saturate at b=0, a lesion on trace may not.

    An ADC has a unit, and so one window for every run.

    Examples
    --------
    >>> one = np.ones((1, 2, 2))
    >>> window_of('b0', one, one, one > 0), window_of('adc', one, one, one > 0)
    (1.0, 2.5)
    """
    if channel == 'adc':
        return ADC_WINDOW
    if channel == 'b0':
        return shared_window(before, after, mask=mask, percentile=98)
    return 1.15 * shared_window(before, after, mask=mask, percentile=99.5)


def checked(
    before: np.ndarray, after: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make float64 slices and a bool mask of one shape; what is not finite is drawn as 0.

    Raises
    ------
    ValueError
        If there is no slice, or the shapes differ.
    """
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    mask = np.asarray(mask, bool)
    if before.ndim != 3 or not before.size:
        message = f'expected at least one slice as (n, H, W), got shape {before.shape}'
        raise ValueError(message)
    if not before.shape == after.shape == mask.shape:
        message = f'before {before.shape}, after {after.shape}, mask {mask.shape}: shapes differ'
        raise ValueError(message)
    return np.nan_to_num(before), np.nan_to_num(after), mask


def pixel_figure(
    canvas_shape: tuple[int, ...], header: int = HEADER, left: int = 0, footer: int = 0
) -> tuple[Figure, Axes]:
    """Open a black figure in which one canvas pixel covers exactly ZOOM x ZOOM screen pixels."""
    height, width = canvas_shape[0] * ZOOM, canvas_shape[1] * ZOOM
    total_height, total_width = height + header + footer, width + left
    figure = new_figure(total_width / DPI, total_height / DPI, facecolor='black')
    figure.pixel_exact = True
    axes = figure.add_axes(
        (left / total_width, footer / total_height, width / total_width, height / total_height)
    )
    axes.set_axis_off()
    return figure, axes


class Pixels(Artist):
    """Colours that fill axes of a `pixel_figure`, copied as they are.

    matplotlib's own images are resampled and coloured when they are enlarged, which takes a third
    of a figure's time.

    Parameters
    ----------
    colors : (h, w, 4)
        red, green, blue and opacity, 0 to 1
    """

    def __init__(self, colors: np.ndarray) -> None:
        super().__init__()
        self.set_zorder(0)
        self._from_below = np.rint(255 * colors[::-1]).astype(np.uint8)

    def draw(self, renderer: RendererBase) -> None:
        """Copy them to the lower left corner of the axes."""
        times = round(ZOOM * self.axes.figure.dpi / DPI)
        enlarged = self._from_below.repeat(times, axis=0).repeat(times, axis=1)
        context, corner = renderer.new_gc(), self.axes.bbox
        renderer.draw_image(context, round(corner.x0), round(corner.y0), enlarged)
        context.restore()


def paint(axes: Axes, colors: np.ndarray) -> None:
    """Fill axes of a `pixel_figure` with (h, w, 4) colours of 0 to 1, whose pixels they count."""
    height, width = colors.shape[:2]
    axes.add_artist(Pixels(colors))
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def paint_grey(axes: Axes, canvas: np.ndarray, low: float, high: float) -> None:
    """Fill axes of a `pixel_figure` with (h, w) values in grey, from black at `low` to white."""
    paint(axes, colormaps['gray'](Normalize(low, high, clip=True)(canvas)))


def row_names(figure: Figure, names: Sequence[str], n_pixels: int, header: int = 0) -> None:
    """Write names on the left of rows of slices; those of before and after have their colours."""
    width, height = figure.get_size_inches() * DPI
    row = (n_pixels + GAP) / len(names)
    for index, name in enumerate(names):
        figure.text(
            HEADER / 2 / width,
            1 - (header + ZOOM * (index * row + (row - GAP) / 2)) / height,
            name,
            color=BEFORE_ON_BLACK if 'before' in name else AFTER_ON_BLACK,
            fontsize=FONT_SIZE * 0.8, rotation=90, ha='center', va='center',
        )  # fmt: skip


def header_strip(figure: Figure, title: str, *, color: str = 'white', note: str = '') -> None:
    """Write a title on the left of the strip on top, and a note on its right."""
    width, height = figure.get_size_inches() * DPI
    middle = 1 - HEADER / 2 / height
    # narrow mosaics (one or two slices of a slab) get smaller letters instead of clipped ones
    size = min(FONT_SIZE, width / max(len(title) + len(note) + 2, 1) * 1.15)
    figure.text(8 / width, middle, figure_text(title, 60), color=color, fontsize=size,
                fontweight='bold', va='center')  # fmt: skip
    figure.text(1 - 8 / width, middle, note, color='#bbbbbb', fontsize=size * 0.85, va='center',
                ha='right')  # fmt: skip


def mark_sides(axes: Axes, shape: tuple[int, ...]) -> None:
    """Mark the subject's right and left on the first slice."""
    height, width = shape
    for x, letter, align in ((2, 'R', 'left'), (width - 3, 'L', 'right')):
        axes.text(x, height / 2, letter, color='#bbbbbb', fontsize=FONT_SIZE * 0.7, ha=align,
                  va='center')  # fmt: skip
