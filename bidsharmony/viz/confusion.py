"""Draw which scanner a probe took each scanner's slices for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from bidsharmony.viz.figure import DPI, figure_text, new_figure, styled

WIDTH = 3.7  # inches: three matrices stand side by side on a wide page, one on a phone
NAMES = 1.7  # inches, for the names of the rows
NAME_LENGTH = 22  # characters
TAIL = 8  # characters of its end that a long name keeps: models differ there, and field strengths
SHADES = LinearSegmentedColormap.from_list('slate', ['#ffffff', '#9db3cc', '#24405f'])
DARK = 0.6  # share from which the number is written in white


@styled
def confusion_matrix(counts: np.ndarray, labels: Sequence[str], *, title: str) -> Figure:
    """Draw a confusion matrix in percent of each row, the right answers framed.

    Parameters
    ----------
    counts : (S, S) int
        rows are the slices' scanners, columns those guessed
    labels : (S,) str
        named at the rows; the columns have their numbers
    title : str

    Examples
    --------
    >>> figure = confusion_matrix([[3, 1], [0, 4]], ['A', 'B'], title='before')
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['75', '25', '0', '100']
    """
    counts = np.asarray(counts, np.float64).reshape(len(labels), len(labels))
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    size = WIDTH - NAMES - 0.08
    height = size + 0.85
    figure = new_figure(WIDTH, height)
    axes = figure.add_axes(
        (NAMES / WIDTH, 0.5 / height, size / WIDTH, size / height)
    )  # fmt: skip
    if not labels:
        axes.set_axis_off()
        return figure
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, aspect='auto', interpolation='nearest')
    n = len(labels)
    for row, col in np.ndindex(n, n):
        text = f'{100 * shares[row, col]:.0f}' if totals[row, 0] else ''
        axes.text(col, row, text, ha='center', va='center',
                  fontsize=max(5.0, min(9.0, 60 * size / 2.4 / max(n, 1))),
                  color='white' if shares[row, col] > DARK else '#222222')  # fmt: skip
    for place in range(n):
        axes.add_patch(Rectangle((place - 0.5, place - 0.5), 1, 1, fill=False, ec='#111111',
                                 lw=1.1))  # fmt: skip
    names = [f'{short_name(label)}  {place}' for place, label in enumerate(labels, start=1)]
    letters = min(9.0, 0.75 * 72 * size / max(n, 1))  # of points; a row's height holds a line
    written = axes.set_yticks(range(n), names, fontsize=letters)
    # the widest name sets the letters of all, so that none is cut at the edge
    widest = max((name.label1.get_window_extent().width for name in written), default=0.0)
    if widest > (NAMES - 0.12) * DPI:
        axes.tick_params(axis='y', labelsize=letters * (NAMES - 0.12) * DPI / widest)
    axes.set_xticks(range(n), range(1, n + 1), fontsize=min(9.0, 110 / max(n, 1)))
    axes.tick_params(length=0)
    axes.grid(False)
    axes.set_xlabel('guessed scanner', fontsize=9)
    figure.text(0.02, 1 - 0.2 / height, title, fontsize=10.5, fontweight='bold', va='center')
    return figure


def short_name(label: str) -> str:
    """Shorten a long name in its middle.

    Examples
    --------
    >>> short_name('GE Discovery MR750 3 T'), short_name('Siemens Magnetom Vida Fit 3 T')
    ('GE Discovery MR750 3 T', 'Siemens Magne\u2026 Fit 3 T')
    """
    name = figure_text(label, 200)
    if len(name) <= NAME_LENGTH:
        return name
    return f'{name[: NAME_LENGTH - TAIL - 1]}\u2026{name[-TAIL:]}'
