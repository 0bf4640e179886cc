"""Draw slices as points, two dimensions for many features, coloured by scanner."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bidsharmony.viz.figure import PANEL_WIDTH, SCANNER_COLORS, figure_text, new_figure, styled
from bidsharmony.viz.psd import scanner_line

MARKERS = 'os^DvPX<>*'
"""Shapes beside the colours, for those who see few of these."""
SQUARE = 4.6  # inches, of the points' panel
SIZES = {'*': 62, 'P': 38, 'X': 38}
"""Points squared, where 28 would look smaller than other shapes."""
SHORT_NAME = 30  # characters: two such names stand side by side under the panel


@styled
def embedding_panel(
    points: np.ndarray,
    scanner: Sequence[int],
    labels: Sequence[str],
    *,
    title: str,
    order: Sequence[int] | None = None,
) -> Figure:
    """Draw an embedding of slices, each in the colour and shape of its scanner.

    Parameters
    ----------
    points : (n, 2) float
        without unit, as t-SNE gives them
    scanner : (n,) int
        position in ``labels`` of each point's scanner
    labels : sequence of str
    title : str
    order : sequence of int, optional
        place of each label among the colours (:func:`scanner_line`); default its position

    Examples
    --------
    >>> figure = embedding_panel([[0, 0], [1, 1]], [0, 1], ['A', 'B'], title='before')
    >>> len(figure.axes[0].collections)
    2
    """
    points, scanner = np.asarray(points, np.float64).reshape(-1, 2), np.asarray(scanner, int)
    order = range(len(labels)) if order is None else order
    looks = [point_look(index) for index in order]
    columns = 2 if len(labels) > 3 and max(map(len, labels)) <= SHORT_NAME else 1
    legend_inches = 0.17 * -(-len(labels) // columns) + 0.2
    height = SQUARE + 0.45 + legend_inches
    figure = new_figure(PANEL_WIDTH, height)
    axes = figure.add_axes(
        ((PANEL_WIDTH - SQUARE) / 2 / PANEL_WIDTH, legend_inches / height,
         SQUARE / PANEL_WIDTH, SQUARE / height)
    )  # fmt: skip
    for index, look in enumerate(looks):
        chosen = points[scanner == index]
        # a white rim keeps points apart where they crowd
        axes.scatter(chosen[:, 0], chosen[:, 1], s=SIZES.get(look['marker'], 28),
                     linewidths=0.4, edgecolors='white', **look)  # fmt: skip
    axes.set_title(title)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(True)
    handles = [Line2D([], [], ls='', ms=6, marker=look['marker'], color=look['color'])
               for look in looks]  # fmt: skip
    if handles:
        figure.legend(handles, [figure_text(label, 44) for label in labels], loc='lower left',
                      bbox_to_anchor=(0.04, 0.0), ncols=columns, labelspacing=0.35,
                      handletextpad=0.3, columnspacing=1.2, fontsize=8.5)  # fmt: skip
    return figure


def point_look(index: int) -> dict[str, str]:
    """Colour and shape of the n-th scanner's points; the colour is that of its lines.

    Examples
    --------
    >>> point_look(0), point_look(10)['color'] == point_look(0)['color']
    ({'color': '#1d6fd1', 'marker': 'o'}, True)
    """
    shift = index // len(SCANNER_COLORS)
    marker = MARKERS[(index + shift) % len(MARKERS)]
    return {'color': scanner_line(index)['color'], 'marker': marker}
