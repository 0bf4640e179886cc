"""Show what the forward check leaves: before, after and the residual in units of sigma."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from bidsharmony.viz.canvas import (
    CHANNELS,
    FONT_SIZE,
    GAP,
    HEADER,
    OUTLINE,
    ZOOM,
    brain_box,
    mark_sides,
    paint,
    pick_slices,
    pixel_figure,
    tile,
    window_of,
)
from bidsharmony.viz.figure import (
    AFTER_ON_BLACK,
    BEFORE_ON_BLACK,
    DPI,
    figure_text,
    styled,
)

REACH = 6.0
"""Residuals are drawn from -REACH to +REACH sigma."""

_COLORS = 'RdBu_r'
_ROWS = ('before', 'after', 'residual')


@styled
def residual_mosaic(
    before: np.ndarray,
    after: np.ndarray,
    residual: np.ndarray,
    mask: np.ndarray,
    *,
    title: str,
    outline: np.ndarray | None = None,
    ixs: np.ndarray | None = None,
    n_slices: int = 4,
) -> Figure:
    """Draw six rows: b=0 before, after and its residual, then the same of the trace.

    Before and after of a channel share one window. Residuals are red where the output, degraded,
    is brighter than the input, and blue where it is darker.

    Parameters
    ----------
    before : (n, 2, H, W), units of the robust b=0 scale, channels b=0 and trace
    after : (n, 2, H, W), canonical unit
    residual : (n, 2, H, W), sigma
    mask : (n, H, W) bool
    title : str
    outline : (n, H, W) bool, optional
        drawn around on grey rows, for instance a lesion
    ixs : (m,) int, optional
        slices to show; spread over the brain by default
    n_slices : int
        how many, without `ixs`

    Raises
    ------
    ValueError
        if there is no slice
    """
    mask = np.asarray(mask, bool)
    if not mask.size:
        message = f'expected at least one slice as (n, H, W), got shape {mask.shape}'
        raise ValueError(message)
    ixs = pick_slices(mask, n_slices) if ixs is None else np.asarray(ixs)
    box = brain_box(mask)
    rows, windows = [], []
    for position, channel in enumerate(CHANNELS):
        old, new, left = (
            np.nan_to_num(np.asarray(images[:, position], np.float64))
            for images in (before, after, residual)
        )
        high = window_of(channel, old, new, mask)
        windows += [f'0 \u2013 {high:.2f}', f'0 \u2013 {high:.2f}', f'\u00b1{REACH:g} sigma']
        for images in (old, new):
            grey = np.repeat(np.clip(box.crop(images[ixs]) / high, 0, 1)[..., None], 3, axis=-1)
            if outline is not None:
                grey[_rim(box.crop(np.asarray(outline, bool)[ixs]))] = to_rgb(OUTLINE)
            rows.append(grey)
        drawn = colormaps[_COLORS](0.5 + box.crop(left[ixs]) / (2 * REACH))[..., :3]
        rows.append(np.where(box.crop(mask[ixs])[..., None], drawn, 0))
    stacked = np.concatenate(rows)
    canvas = np.stack([tile(stacked[..., color], len(ixs)) for color in range(3)], axis=-1)
    return _draw(canvas, stacked.shape[1:3], windows, title)


def _rim(mask: np.ndarray) -> np.ndarray:
    """Return the pixels just outside of a mask on each slice, so that what it holds is seen."""
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    near = padded[:, 2:, 1:-1] | padded[:, :-2, 1:-1] | padded[:, 1:-1, 2:] | padded[:, 1:-1, :-2]
    return near & ~mask


def _draw(
    canvas: np.ndarray, slice_shape: tuple[int, int], windows: list[str], title: str
) -> Figure:
    """Lay an RGB canvas under a title, with the rows named on the left."""
    figure, axes = pixel_figure(canvas.shape, left=HEADER)
    total_width, total_height = figure.get_size_inches() * DPI
    paint(axes, np.dstack([canvas, np.ones(canvas.shape[:2])]))
    step = (slice_shape[0] + GAP) * ZOOM
    colors = {'before': BEFORE_ON_BLACK, 'after': AFTER_ON_BLACK, 'residual': 'white'}
    for row, window in enumerate(windows):
        name = _ROWS[row % 3]
        figure.text(
            HEADER / 2 / total_width,
            1 - (HEADER + row * step + slice_shape[0] * ZOOM / 2) / total_height,
            f'{("b = 0", "trace")[row // 3]} {name}\n{window}',
            color=colors[name], fontsize=FONT_SIZE * 0.7, rotation=90, ha='center', va='center',
            linespacing=1.2,
        )  # fmt: skip
    figure.text(
        (HEADER + 4) / total_width, 1 - HEADER / 2 / total_height, figure_text(title, 80),
        color='white', fontsize=FONT_SIZE, fontweight='bold', va='center',
    )  # fmt: skip
    mark_sides(axes, slice_shape)
    return figure
