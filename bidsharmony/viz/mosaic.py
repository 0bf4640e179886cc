"""Lay axial slices side by side: before, after and smooth maps, always at one stated window.

Slices come as ``(n, H, W)`` ready for display: rows run from anterior to posterior, columns put
the subject's left on the right of the picture (radiological convention).
"""

from __future__ import annotations

import textwrap

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, TwoSlopeNorm, to_rgb
from matplotlib.figure import Figure

from bidsharmony.viz.canvas import (
    CHANNEL_TITLES,
    FONT_SIZE,
    GAP,
    HEADER,
    OUTLINE,
    ZOOM,
    brain_box,
    checked,
    header_strip,
    mark_sides,
    paint,
    paint_grey,
    pick_slices,
    pixel_figure,
    row_names,
    tile,
    window_of,
)
from bidsharmony.viz.figure import AFTER_ON_BLACK, BEFORE_ON_BLACK, DPI, figure_text, styled

TINT = '#ff9d2e'  # orange: none of the greys, and told from blue and red


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
    figure, axes = pixel_figure(canvas.shape)
    paint_grey(axes, canvas, *window)
    if tint is not None:
        opacity = np.clip(tile(np.nan_to_num(tint), n_columns), 0, 1)
        orange = np.broadcast_to(to_rgb(TINT), (*opacity.shape, 3))
        paint(axes, np.dstack([orange, 0.7 * opacity]))
    header_strip(figure, title, color=color, note=note)
    mark_sides(axes, slices.shape[1:])
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
    after, blend, mask = checked(after, blend, mask)
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
    n_slices: int = 9,
) -> tuple[Figure, Figure]:
    """Draw one channel before and after: same slices, same crop, same window.

    Parameters
    ----------
    before, after : (n, H, W)
    mask : (n, H, W) bool
    channel : 'b0', 'trace' or 'adc'
    n_slices : int

    Returns
    -------
    tuple of two figures of one size, fit to be laid over each other

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    before, after, mask = checked(before, after, mask)
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
def lesion_pair(
    before: np.ndarray,
    after: np.ndarray,
    lesion: np.ndarray,
    mask: np.ndarray,
    *,
    channel: str = 'trace',
) -> Figure:
    """Draw one channel before and after in two rows at one window, lesions in a thin outline.

    Parameters
    ----------
    before, after : (n, H, W), comparable units
    lesion : (n, H, W) float
        share of each pixel that is marked
    mask : (n, H, W) bool
    channel : 'b0', 'trace' or 'adc'

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    before, after, mask = checked(before, after, mask)
    box, high = brain_box(mask), window_of(channel, before, after, mask)
    canvas = tile(np.concatenate([box.crop(before), box.crop(after)]), len(before))
    marked = tile(np.concatenate([box.crop(lesion)] * 2), len(before))
    figure, axes = pixel_figure(canvas.shape, left=HEADER)
    paint_grey(axes, canvas, 0, high)
    if (marked >= 0.5).any():
        axes.contour(marked, levels=[0.5], colors=OUTLINE, linewidths=0.9)
    header_strip(figure, CHANNEL_TITLES[channel], note=f'0 \u2013 {high:.2f}')
    row_names(figure, ('before', 'after'), canvas.shape[0], header=HEADER)
    mark_sides(axes, box.crop(before).shape[1:])
    return figure


@styled
def field_map(
    slices: np.ndarray,
    mask: np.ndarray,
    *,
    title: str,
    center: float | None = None,
    from_zero: bool = False,
    n_slices: int = 6,
) -> Figure:
    """Draw a positive map (bias field, gain, uncertainty) in colour, black outside the mask.

    Parameters
    ----------
    slices : (n, H, W)
        for instance the bias field, cut by ``numerics.planes.axial_slices``
    mask : (n, H, W) bool
    title : str
    center : float, optional
        value drawn white (1 for a bias field); default the median in the mask
    from_zero : bool
        whether colours begin at 0, for what has no middle, such as an uncertainty
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    slices, _, mask = checked(slices, slices, mask)
    ixs, box = pick_slices(mask, n_slices), brain_box(mask)
    inside = slices[mask]
    inside = inside[np.isfinite(inside)]
    if not inside.size:
        inside = np.ones(1)
    middle = float(np.median(inside)) if center is None else center
    low, high = (float(value) for value in np.percentile(inside, (2, 98)))
    # a flat field is drawn flat, not as amplified rounding
    reach = max(high - middle, middle - low, abs(middle) * 0.05, 1e-6)
    ends = (0.0, max(high, 1e-6)) if from_zero else (middle - reach, middle + reach)
    middle = ends[1] / 2 if from_zero else middle
    shown = np.where(mask, np.nan_to_num(slices, nan=middle), np.nan)
    cropped = box.crop(shown[ixs])
    canvas = tile(cropped, 3, fill=np.nan)
    figure, axes = pixel_figure(canvas.shape, footer=2 * HEADER)
    norm: Normalize = TwoSlopeNorm(middle, *ends)
    colors = ScalarMappable(norm, 'inferno' if from_zero else 'RdYlBu_r')
    paint(axes, colors.to_rgba(np.ma.masked_invalid(canvas)))
    height = figure.get_size_inches()[1] * DPI
    bar = figure.add_axes((0.12, 46 / height, 0.76, 18 / height))
    figure.colorbar(
        colors, cax=bar, orientation='horizontal',
        ticks=[ends[0], middle, ends[1]], format='{x:.3g}',
    )  # fmt: skip
    bar.tick_params(colors='white', labelsize=FONT_SIZE * 1.1, length=5, color='white')
    bar.grid(visible=False)
    header_strip(figure, title)
    mark_sides(axes, cropped.shape[1:])
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
    before, after, mask = checked(before, after, mask)
    high, box = window_of(channel, before, after, mask), brain_box(mask)
    before, after = box.crop(before), box.crop(after)
    n_columns = 2 if len(labels) in (2, 4) else min(3, len(labels))
    height, width = before.shape[1:]
    strip = 24  # slice pixels for two lines of label above each pair
    n_rows = -(-len(labels) // n_columns)
    block = strip + 2 * height + GAP
    canvas = np.zeros((n_rows * block, n_columns * (width + GAP) - GAP))
    figure, axes = pixel_figure(canvas.shape)
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
    paint_grey(axes, canvas, 0, high)
    header_strip(figure, CHANNEL_TITLES[channel], note=f'0 \u2013 {high:.2f}')
    return figure
