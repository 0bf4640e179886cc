"""Lay axial slices side by side: before, after and smooth maps, always at one stated window.

Slices come as ``(n, H, W)`` ready for display: rows run from anterior to posterior, columns put
the subject's left on the right of the picture (radiological convention).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure

from bidsharmony.viz.figure import (
    AFTER_ON_BLACK,
    BEFORE_ON_BLACK,
    DPI,
    figure_text,
    new_figure,
    styled,
)

OUTLINE = '#ffe100'
ZOOM = 2  # screen pixels per slice pixel, an integer so that no pixel is blurred
GAP = 3  # slice pixels between tiles
MARGIN = 8  # slice pixels kept around the brain
HEADER = 40  # screen pixels of the title strip
FONT_SIZE = 16  # points: 22 screen pixels, legible when a phone halves the picture
TINT = '#ff9d2e'  # orange: none of the greys, and told from blue and red
CHANNELS = ('b0', 'trace')
CHANNEL_TITLES = {'b0': 'b = 0', 'trace': 'trace, b = 1000'}


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


@styled
def mosaic(
    slices: np.ndarray,
    *,
    window: tuple[float, float],
    title: str,
    color: str = 'white',
    note: str = '',
    n_columns: int = 3,
    tint: np.ndarray | None = None,
) -> Figure:
    """Draw slices in grey on black under a title strip.

    Parameters
    ----------
    slices : (n, H, W)
    window : (low, high), units of the slices
    title : str
        left of the strip
    color : str
        of the title
    note : str
        right of the strip, for instance the window
    n_columns : int
    tint : (n, H, W), optional
        opacity, 0 to 1, of a colour laid over the slices

    Examples
    --------
    >>> fig = mosaic(np.ones((3, 40, 40)), window=(0, 1), title='before')
    >>> [int(round(inches * 100)) for inches in fig.get_size_inches()]
    [252, 120]
    """
    canvas = tile(np.nan_to_num(np.asarray(slices, np.float64)), n_columns, fill=window[0])
    figure, axes = _pixel_figure(canvas.shape)
    axes.imshow(
        canvas, cmap='gray', vmin=window[0], vmax=window[1], interpolation='nearest', aspect='auto'
    )
    if tint is not None:
        opacity = np.clip(tile(np.nan_to_num(tint), n_columns), 0, 1)
        axes.imshow(
            np.broadcast_to(to_rgb(TINT), (*opacity.shape, 3)), alpha=0.7 * opacity,
            interpolation='nearest', aspect='auto',
        )  # fmt: skip
    _header(figure, title, color=color, note=note)
    _sides(axes, slices.shape[1:])
    return figure


def overruled(
    after: np.ndarray, blend: np.ndarray, mask: np.ndarray, *, n_slices: int = 6
) -> Figure:
    """Show where the scan overrules the network: the slices with most of it, in order.

    Parameters
    ----------
    after : (n, H, W)
        canonical b=0
    blend : (n, H, W)
        weight of the scan, 0 to 1
    mask : (n, H, W) bool
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    after, blend, mask = _checked(after, blend, mask)
    most = np.argsort(-blend.sum(axis=(1, 2)), kind='stable')[:n_slices]
    ixs, box = np.sort(most), brain_box(mask)
    high = window_of('b0', after, after, mask)
    return mosaic(
        box.crop(after[ixs]),
        window=(0.0, high),
        title='the scan overrules the network',
        note=f'b = 0 after, 0 \u2013 {high:.2f}',
        tint=box.crop(np.where(mask, blend, 0)[ixs]),
    )


def before_after_channel(
    before: np.ndarray,
    after: np.ndarray,
    mask: np.ndarray,
    *,
    channel: str,
    n_slices: int = 6,
) -> tuple[Figure, Figure]:
    """Draw one channel before and after: same slices, same crop, same window.

    Parameters
    ----------
    before, after : (n, H, W)
    mask : (n, H, W) bool
    channel : 'b0' or 'trace'
    n_slices : int

    Returns
    -------
    tuple of two figures of one size, fit to be laid over each other

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    before, after, mask = _checked(before, after, mask)
    ixs, box = pick_slices(mask, n_slices), brain_box(mask)
    high = window_of(channel, before, after, mask)
    note = f'0 \u2013 {high:.2f}'
    name = CHANNEL_TITLES[channel]
    return (
        mosaic(box.crop(before[ixs]), window=(0, high), title=f'BEFORE  {name}',
               color=BEFORE_ON_BLACK, note=note),
        mosaic(box.crop(after[ixs]), window=(0, high), title=f'AFTER  {name}',
               color=AFTER_ON_BLACK, note=note),
    )  # fmt: skip


@styled
def before_after(
    before: np.ndarray, after: np.ndarray, mask: np.ndarray | None = None, *, n_slices: int = 5
) -> Figure:
    """Draw four rows, b=0 before and after, trace before and after, each pair at one window.

    Parameters
    ----------
    before : (n, 2, H, W), units of the robust b=0 scale, channels b=0 and trace
    after : (n, 2, H, W), canonical unit
    mask : (n, H, W) bool, optional
        default: wherever ``before`` has signal
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    if mask is None:
        mask = np.asarray(before)[:, 0] > 0
    rows = []
    for position, channel in enumerate(CHANNELS):
        old, new, inside = _checked(before[:, position], after[:, position], mask)
        ixs, box = pick_slices(inside, n_slices), brain_box(inside)
        high = window_of(channel, old, new, inside)
        rows += [box.crop(old[ixs]) / high, box.crop(new[ixs]) / high]
    canvas = tile(np.concatenate(rows), len(rows[0]))
    figure, axes = _pixel_figure(canvas.shape, header=0, left=HEADER)
    axes.imshow(canvas, cmap='gray', vmin=0, vmax=1, interpolation='nearest', aspect='auto')
    names = ('b = 0 before', 'b = 0 after', 'trace before', 'trace after')
    _row_names(figure, names, canvas.shape[0])
    _sides(axes, rows[0].shape[1:])
    return figure


@styled
def lesion_pair(
    before: np.ndarray, after: np.ndarray, lesion: np.ndarray, mask: np.ndarray
) -> Figure:
    """Draw the trace before and after in two rows at one window, lesions in a thin outline.

    Parameters
    ----------
    before, after : (n, H, W), comparable units
    lesion : (n, H, W) float
        share of each pixel that is marked
    mask : (n, H, W) bool

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    before, after, mask = _checked(before, after, mask)
    box, high = brain_box(mask), window_of('trace', before, after, mask)
    canvas = tile(np.concatenate([box.crop(before), box.crop(after)]), len(before))
    marked = tile(np.concatenate([box.crop(lesion)] * 2), len(before))
    figure, axes = _pixel_figure(canvas.shape, left=HEADER)
    axes.imshow(canvas, cmap='gray', vmin=0, vmax=high, interpolation='nearest', aspect='auto')
    if (marked >= 0.5).any():
        axes.contour(marked, levels=[0.5], colors=OUTLINE, linewidths=0.9)
    _header(figure, CHANNEL_TITLES['trace'], note=f'0 \u2013 {high:.2f}')
    _row_names(figure, ('before', 'after'), canvas.shape[0], header=HEADER)
    _sides(axes, box.crop(before).shape[1:])
    return figure


@styled
def field_map(
    slices: np.ndarray,
    mask: np.ndarray,
    *,
    title: str,
    center: float | None = None,
    n_slices: int = 6,
) -> Figure:
    """Draw a smooth positive map (bias field, gain) in colour, black outside the mask.

    Parameters
    ----------
    slices : (n, H, W)
        for instance the bias field, cut by ``numerics.grids.axial_slices``
    mask : (n, H, W) bool
    title : str
    center : float, optional
        value drawn white (1 for a bias field); default the median in the mask
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    slices, _, mask = _checked(slices, slices, mask)
    ixs, box = pick_slices(mask, n_slices), brain_box(mask)
    inside = slices[mask]
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        inside = np.ones(1)
    middle = float(np.median(inside)) if center is None else center
    low, high = (float(value) for value in np.percentile(inside, (2, 98)))
    # a flat field is drawn flat, not as amplified rounding
    reach = max(high - middle, middle - low, abs(middle) * 0.05, 1e-6)
    shown = np.where(mask, np.nan_to_num(slices, nan=middle), np.nan)
    cropped = box.crop(shown[ixs])
    canvas = tile(cropped, 3, fill=np.nan)
    figure, axes = _pixel_figure(canvas.shape, footer=2 * HEADER)
    norm: Normalize = TwoSlopeNorm(middle, middle - reach, middle + reach)
    image = axes.imshow(
        np.ma.masked_invalid(canvas), cmap='RdYlBu_r', norm=norm, interpolation='nearest',
        aspect='auto',
    )  # fmt: skip
    height = figure.get_size_inches()[1] * DPI
    bar = figure.add_axes((0.12, 46 / height, 0.76, 18 / height))
    figure.colorbar(
        image, cax=bar, orientation='horizontal',
        ticks=[middle - reach, middle, middle + reach], format='{x:.3g}',
    )  # fmt: skip
    bar.tick_params(colors='white', labelsize=FONT_SIZE * 0.85, length=5, color='white')
    bar.grid(visible=False)
    _header(figure, title)
    _sides(axes, cropped.shape[1:])
    return figure


@styled
def scanner_mosaic(
    before: np.ndarray,
    after: np.ndarray,
    mask: np.ndarray,
    labels: list[str],
    *,
    channel: str,
) -> Figure:
    """Draw one slice per scanner, before in the upper picture of each pair, after below it.

    Parameters
    ----------
    before, after : (n_scanners, H, W)
    mask : (n_scanners, H, W) bool
    labels : list of str, one per scanner
    channel : 'b0' or 'trace'

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    before, after, mask = _checked(before, after, mask)
    high, box = window_of(channel, before, after, mask), brain_box(mask)
    before, after = box.crop(before), box.crop(after)
    n_columns = 2 if len(labels) in (2, 4) else min(3, len(labels))
    height, width = before.shape[1:]
    strip = 24  # slice pixels for two lines of label above each pair
    n_rows = -(-len(labels) // n_columns)
    block = strip + 2 * height + GAP
    canvas = np.zeros((n_rows * block, n_columns * (width + GAP) - GAP))
    figure, axes = _pixel_figure(canvas.shape)
    for index, label in enumerate(labels):
        row, col = divmod(index, n_columns)
        top, left = row * block + strip, col * (width + GAP)
        canvas[top : top + height, left : left + width] = before[index]
        canvas[top + height : top + 2 * height, left : left + width] = after[index]
        lines = textwrap.wrap(
            figure_text(label, 60), max(8, int(width * ZOOM / 10.5)), max_lines=2, placeholder='…'
        )
        axes.text(left + 2, top - strip / 2, '\n'.join(lines), color='white',
                  fontsize=FONT_SIZE * 0.72, va='center', linespacing=1.1)  # fmt: skip
        for offset, word, color in (
            (0, 'before', BEFORE_ON_BLACK),
            (height, 'after', AFTER_ON_BLACK),
        ):
            axes.text(left + 2, top + offset + 2, word, color=color, fontsize=FONT_SIZE * 0.65,
                      va='top')  # fmt: skip
    axes.imshow(canvas, cmap='gray', vmin=0, vmax=high, interpolation='nearest', aspect='auto')
    _header(figure, CHANNEL_TITLES[channel], note=f'0 \u2013 {high:.2f}')
    return figure


def window_of(channel: str, before: np.ndarray, after: np.ndarray, mask: np.ndarray) -> float:
    """Upper end of the window of a channel: fluid may saturate at b=0, a lesion on trace may not.

    Examples
    --------
    >>> one = np.ones((1, 2, 2))
    >>> window_of('b0', one, one, one > 0)
    1.0
    """
    if channel == 'b0':
        return shared_window(before, after, mask=mask, percentile=98)
    return 1.15 * shared_window(before, after, mask=mask, percentile=99.5)


def _checked(
    before: np.ndarray, after: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    before, after = np.asarray(before, np.float64), np.asarray(after, np.float64)
    mask = np.asarray(mask, bool)
    if before.ndim != 3 or not before.size:
        message = f'expected at least one slice as (n, H, W), got shape {before.shape}'
        raise ValueError(message)
    if not before.shape == after.shape == mask.shape:
        message = f'before {before.shape}, after {after.shape}, mask {mask.shape}: shapes differ'
        raise ValueError(message)
    return np.nan_to_num(before), np.nan_to_num(after), mask


def _pixel_figure(canvas_shape: tuple[int, ...], header: int = HEADER, left: int = 0,
                  footer: int = 0):  # fmt: skip
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


def _row_names(figure: Figure, names: Sequence[str], n_pixels: int, header: int = 0) -> None:
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


def _header(figure: Figure, title: str, *, color: str = 'white', note: str = '') -> None:
    width, height = figure.get_size_inches() * DPI
    middle = 1 - HEADER / 2 / height
    # narrow mosaics (one or two slices of a slab) get smaller letters instead of clipped ones
    size = min(FONT_SIZE, width / max(len(title) + len(note) + 2, 1) * 1.15)
    figure.text(8 / width, middle, figure_text(title, 60), color=color, fontsize=size,
                fontweight='bold', va='center')  # fmt: skip
    figure.text(1 - 8 / width, middle, note, color='#bbbbbb', fontsize=size * 0.85, va='center',
                ha='right')  # fmt: skip


def _sides(axes, shape: tuple[int, ...]) -> None:
    """Mark the subject's right and left on the first slice."""
    height, width = shape
    for x, letter, align in ((2, 'R', 'left'), (width - 3, 'L', 'right')):
        axes.text(x, height / 2, letter, color='#ffe082', fontsize=FONT_SIZE * 0.7, ha=align,
                  va='center')  # fmt: skip
