"""Draw how fast an autoencoder learns the images before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bidsharmony.viz.figure import AFTER, BEFORE, PANEL_WIDTH, new_figure, styled

SIDES = (('before', BEFORE, '--'), ('after', AFTER, '-'))


@styled
def autoencoder_panel(
    iterations: Sequence[float],
    before: Sequence[Sequence[float]],
    after: Sequence[Sequence[float]],
    *,
    loss: float | None = None,
    reached: tuple[float | None, float | None] = (None, None),
) -> Figure:
    """Draw the validation loss of every seed over iterations, before and after.

    Parameters
    ----------
    iterations : (I,) int
    before, after : (seeds, I) float
    loss : float, optional
        the loss to be reached, marked by a line
    reached : pair of float, optional
        median iterations at which it was reached, before and after

    Examples
    --------
    >>> figure = autoencoder_panel([1, 2], [[4.0, 2.0]], [[3.0, 1.0]], loss=2.0, reached=(2, 1))
    >>> len(figure.axes[0].lines)
    5
    """
    figure = new_figure(PANEL_WIDTH, 3.8)
    axes = figure.add_axes((0.14, 0.15, 0.83, 0.75))
    for (name, color, style), curves in zip(SIDES, (before, after), strict=True):
        for index, curve in enumerate(curves):
            values = np.array([np.nan if value is None else value for value in curve], float)
            axes.plot(iterations[: len(values)], values[: len(iterations)], color=color, ls=style,
                      lw=1.3, label=name if index == 0 else None)  # fmt: skip
    if loss is not None:
        axes.axhline(loss, color='#555555', lw=1, ls=(0, (2, 2)), label='loss to be reached')
        for (_, color, _), place in zip(SIDES, reached, strict=True):
            if place is not None:
                axes.plot([place], [loss], marker='o', ms=7, mec='white', color=color, ls='',
                          zorder=5)  # fmt: skip
    drawn = np.concatenate([np.ravel(line.get_ydata()) for line in axes.lines] or [[np.nan]])
    drawn = np.array(drawn, float)
    if np.isfinite(drawn).any() and np.nanmin(drawn) > 0:
        axes.set_yscale('log')
        # the default labels are formulas, which the house style does not interpret
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f'{value:g}'))
        # a range of less than two decades has too few labels otherwise
        few = np.nanmax(drawn) / np.nanmin(drawn) < 100
        axes.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: f'{value:g}' if _leads(value) else '')
            if few
            else NullFormatter()
        )
    axes.set_title('validation loss')
    axes.set_xlabel('iterations')
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc='upper right')
    return figure


def _leads(value: float) -> bool:
    """Tell whether a tick of a logarithmic axis begins with 2 or 5, and so has a label.

    Examples
    --------
    >>> [_leads(value) for value in (0.02, 0.03, 0.5)]
    [True, False, True]
    """
    return f'{value:e}'[0] in '25'
