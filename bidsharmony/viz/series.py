"""Show a harmonized series: one row of slices for each shell, and where its gradients point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle

from bidsharmony.viz.canvas import (
    FONT_SIZE,
    GAP,
    HEADER,
    ZOOM,
    brain_box,
    checked,
    header_strip,
    mark_sides,
    paint_grey,
    pick_slices,
    pixel_figure,
    shared_window,
    tile,
)
from bidsharmony.viz.figure import DPI, PANEL_WIDTH, SCANNER_COLORS, new_figure, styled

MOST_SHELLS = 6
"""Rows of the mosaic; more shells are thinned out evenly."""

MARKERS = 'osD^vP'
OPPOSITES = 'filled: as acquired; hollow: its opposite, which measures the same'
HALVES = ('superior half', 'inferior half')


@styled
def shell_mosaic(
    means: Sequence[np.ndarray],
    mask: np.ndarray,
    shells: Sequence[tuple[float, int]],
    *,
    n_slices: int = 4,
) -> Figure:
    """Draw the mean of each shell in a row of its own, each at its own window.

    Parameters
    ----------
    means : sequence of (n, H, W)
        b=0 first
    mask : (n, H, W) bool
    shells : sequence of (b-value in s/mm2, number of volumes)
    n_slices : int

    Raises
    ------
    ValueError
        if there is no slice, or the shapes differ
    """
    shown = thinned(len(means), MOST_SHELLS)
    rows, names = [], []
    for place in shown:
        image, _, inside = checked(means[place], means[place], mask)
        ixs, box = pick_slices(inside, n_slices), brain_box(inside)
        high = shared_window(image, mask=inside, percentile=98 if place == 0 else 99.5)
        high *= 1.0 if place == 0 else 1.15
        rows.append(box.crop(image[ixs]) / high)
        b, count = shells[place]
        names.append(f'b = {b:.0f}, {count} vol.\n0 \u2013 {high:.3g}')
    canvas = tile(np.concatenate(rows), len(rows[0]))
    figure, axes = pixel_figure(canvas.shape, left=2 * HEADER)
    paint_grey(axes, canvas, 0, 1)
    width, height = figure.get_size_inches() * DPI
    step = (rows[0].shape[1] + GAP) * ZOOM
    for row, name in enumerate(names):
        middle = HEADER + row * step + rows[0].shape[1] * ZOOM / 2
        figure.text(
            HEADER / width, 1 - middle / height, name, color='white', fontsize=FONT_SIZE,
            rotation=90, ha='center', va='center', linespacing=1.3,
        )  # fmt: skip
    left_out = len(means) - len(shown)
    header_strip(
        figure,
        'harmonized series, mean of each shell',
        note=f'{left_out} more not shown' if left_out else '',
    )
    mark_sides(axes, rows[0].shape[1:])
    return figure


def thinned(count: int, most: int) -> list[int]:
    """Pick at most so many of a row of things, first and last among them.

    Examples
    --------
    >>> thinned(3, 6), thinned(11, 6)
    ([0, 1, 2], [0, 2, 4, 6, 8, 10])
    """
    if count <= most:
        return list(range(count))
    return [round(place) for place in np.linspace(0, count - 1, most)]


def half_sphere(directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project directions onto two discs, equal areas staying equal (Lambert).

    Both are seen from above, as an axial slice is shown: the subject's left on the right, the
    front on top.

    Parameters
    ----------
    directions : (N, 3)
        RAS+ unit vectors.

    Returns
    -------
    points : (N, 2)
        Right and up on the disc, whose radius is 1.
    superior : (N,) bool
        Whether they lie on the upper half.

    Examples
    --------
    >>> points, superior = half_sphere(np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, 1.0, 0]]))
    >>> points.tolist(), superior.tolist()
    ([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]], [True, True, True])
    """
    directions = np.asarray(directions, np.float64).reshape(-1, 3)
    flat = directions[:, :2] * (-1.0, 1.0) / np.sqrt(1 + np.abs(directions[:, 2:]))
    return flat + 0.0, directions[:, 2] >= 0


@styled
def gradient_spheres(shells: Sequence[tuple[float, np.ndarray, float]]) -> Figure:
    """Draw the directions of each shell on the two halves of a sphere.

    Filled as acquired; a gradient and its opposite measure the same, so the opposite is drawn
    too, hollow.

    Parameters
    ----------
    shells : sequence of (b-value in s/mm2, (n, 3) RAS+ unit vectors, largest gap in degrees)

    Examples
    --------
    >>> figure = gradient_spheres([(1000.0, np.eye(3), 54.7)])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['b = 1000: 3 directions, no gap over 55°']
    """
    rows = max(len(shells), 1)
    height = PANEL_WIDTH / 2 + 0.35 + 0.24 * (rows + 1)
    figure = new_figure(PANEL_WIDTH, height)
    discs = [
        figure.add_axes(
            (0.03 + 0.48 * half, 1 - (PANEL_WIDTH / 2 + 0.2) / height, 0.46,
             (PANEL_WIDTH / 2 - 0.2) / height)
        )
        for half in range(2)
    ]  # fmt: skip
    for axes, name in zip(discs, HALVES, strict=True):
        _disc(axes, name)
    handles, labels = [], []
    for place, (b, directions, gap) in enumerate(shells):
        look = {
            'marker': MARKERS[place % len(MARKERS)], 'linestyle': '', 'markersize': 5,
            'markeredgecolor': SCANNER_COLORS[place % len(SCANNER_COLORS)],
        }  # fmt: skip
        for vectors, color in ((directions, look['markeredgecolor']), (-directions, 'white')):
            points, superior = half_sphere(vectors)
            for axes, here in zip(discs, (superior, ~superior), strict=True):
                axes.plot(*points[here].T, color=color, zorder=3 - (color == 'white'), **look)
        handles.append(Line2D([], [], color=look['markeredgecolor'], **look))
        few = 'direction' if len(directions) == 1 else 'directions'
        labels.append(
            f'b = {b:.0f}: {len(directions)} {few}, no gap over {np.ceil(gap):.0f}\u00b0'
        )
    figure.legend(handles, labels, loc='lower left', bbox_to_anchor=(0.03, 0.24 / height),
                  handletextpad=0.2)  # fmt: skip
    figure.text(0.045, 0.1 / height, OPPOSITES, fontsize=9, color='#555555', va='center')
    return figure


def _disc(axes: Axes, name: str) -> None:
    """Draw the rim of a half sphere, circles at 30 and 60 degrees from its pole, and the sides."""
    axes.set_axis_off()
    axes.set_aspect('equal')
    axes.set(xlim=(-1.2, 1.2), ylim=(-1.2, 1.2))
    for degrees in (30, 60, 90):
        radius = np.sqrt(1 - np.cos(np.radians(degrees)))
        color = '#888888' if degrees == 90 else '#d5d5d5'
        axes.add_patch(Circle((0, 0), radius, fill=False, ec=color, lw=1, zorder=1))
    for x, y, letter in ((0, 1.1, 'A'), (0, -1.1, 'P'), (-1.1, 0, 'R'), (1.1, 0, 'L')):
        axes.text(x, y, letter, ha='center', va='center', fontsize=9, color='#555555')
    axes.set_title(name, fontsize=9.5)
