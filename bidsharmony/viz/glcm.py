"""Draw grey-level co-occurrence (GLCM) features: one run, or all scanners, before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bidsharmony.viz.canvas import CHANNEL_TITLES
from bidsharmony.viz.figure import (
    AFTER,
    BAND,
    BAND_EDGE,
    BEFORE,
    PANEL_WIDTH,
    figure_text,
    new_figure,
    styled,
)
from bidsharmony.viz.psd import scanner_line

FEATURE_KEY = re.compile(r'([A-Za-z]+)_d(\d+)')
CHANNEL_MARKS = {'b0': ('o', '-'), 'trace': ('s', ':')}
BAND_LOOKS = {
    'b0': {'facecolor': BAND, 'edgecolor': 'none', 'lw': 0},
    'trace': {'facecolor': 'none', 'edgecolor': BAND_EDGE, 'lw': 0, 'hatch': '////'},
}


def by_distance(features: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """Sort ``feature_d<distance>`` keys into feature, then distance in pixels.

    Examples
    --------
    >>> by_distance({'contrast_d2': 5.0, 'contrast_d1': 3.0})
    {'contrast': {1: 3.0, 2: 5.0}}
    """
    table: dict[str, dict[int, float]] = {}
    for key, value in features.items():
        match = FEATURE_KEY.fullmatch(key)
        if match:
            table.setdefault(match[1], {})[int(match[2])] = np.nan if value is None else value
    return {feature: dict(sorted(values.items())) for feature, values in table.items()}


@styled
def glcm_panel(
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
    band: Mapping[str, Mapping[str, Mapping[str, float]]] | None = None,
) -> Figure:
    """Draw each texture feature of one run over pixel distance, before and after.

    Parameters
    ----------
    before, after : channel ('b0', 'trace') to features (``contrast_d1`` ...)
    band : channel to features to ``low`` and ``high``, optional
        the range of canonical images

    Examples
    --------
    >>> features = {'b0': {'contrast_d1': 3.0, 'contrast_d2': 5.0}}
    >>> len(glcm_panel(features, features).axes)
    2
    """
    names = list(dict.fromkeys(name for values in before.values() for name in by_distance(values)))
    figure, panels, key = _small_multiples(len(names), 6.6)
    for axes, name in zip(panels, names, strict=True):
        distances: set[int] = set()
        for channel, look in BAND_LOOKS.items():
            ends = [
                by_distance(
                    {key: value[end] for key, value in (band or {}).get(channel, {}).items()}
                )
                for end in ('low', 'high')
            ]
            if name in ends[0]:
                low, high = (list(end[name].values()) for end in ends)
                axes.fill_between(list(ends[0][name]), low, high, **look)
        for when, color in ((before, BEFORE), (after, AFTER)):
            for channel, (marker, line) in CHANNEL_MARKS.items():
                values = by_distance(when.get(channel, {})).get(name, {})
                axes.plot(list(values), list(values.values()), color=color, marker=marker, ms=4,
                          ls=line, lw=1.4)  # fmt: skip
                distances.update(values)
        axes.set_title(name)
        axes.set_xticks(sorted(distances))
        axes.margins(x=0.12, y=0.15)
    handles = [
        Line2D([], [], color=color, marker=marker, ls=line, ms=4, lw=1.4)
        for color in (BEFORE, AFTER)
        for marker, line in CHANNEL_MARKS.values()
    ]
    labels = [
        f'{when}, {channel}' for when in ('before', 'after') for channel in ('b = 0', 'trace')
    ]
    if band is not None:
        handles += [Patch(**look) for look in BAND_LOOKS.values()]
        labels += ['canonical, b = 0', 'canonical, trace']
    key.legend(handles, labels, loc='upper left', bbox_to_anchor=(-0.12, 1.25), labelspacing=0.3)
    key.text(1, -0.28, 'x: pixel distance', fontsize=9, color='#555555', ha='right')
    return figure


@styled
def glcm_by_scanner(
    before: Mapping[str, Mapping[str, float]],
    after: Mapping[str, Mapping[str, float]],
    *,
    channel: str,
    distance: int = 1,
) -> Figure:
    """Draw each feature's mean per scanner as a line from before to after.

    Lines that run together say that texture no longer tells the scanners apart.

    Parameters
    ----------
    before, after : scanner label to features (``contrast_d1`` ...)
    channel : 'b0' or 'trace', for the title
    distance : int, pixels

    Examples
    --------
    >>> features = {'A': {'contrast_d1': 3.0}, 'B': {'contrast_d1': 5.0}}
    >>> len(glcm_by_scanner(features, features, channel='b0').axes)
    2
    """
    tables = [{label: by_distance(values) for label, values in when.items()}
              for when in (before, after)]  # fmt: skip
    names = list(dict.fromkeys(
        name for table in tables[0].values() for name, values in table.items()
        if distance in values
    ))  # fmt: skip
    legend_inches = 0.23 * len(before) + 0.1
    figure, panels, key = _small_multiples(len(names), 6.2 + legend_inches, footer=legend_inches)
    for axes, name in zip(panels, names, strict=True):
        for index, label in enumerate(before):
            ends = [table.get(label, {}).get(name, {}).get(distance, np.nan) for table in tables]
            axes.plot((0, 1), ends, marker='o', ms=4, lw=1.4, **scanner_line(index))
        axes.set_title(name)
        axes.set_xticks((0, 1), ('before', 'after'))
        axes.set_xlim(-0.2, 1.2)
        axes.margins(y=0.15)
    key.text(0, 0.55, f'{CHANNEL_TITLES[channel]}\ndistance {distance} px\nmean per scanner',
             fontsize=9.5, color='#333333', linespacing=1.5)  # fmt: skip
    handles = [Line2D([], [], marker='o', ms=4, lw=1.4, **scanner_line(index))
               for index in range(len(before))]  # fmt: skip
    if handles:
        figure.legend(handles, [figure_text(label, 44) for label in before], loc='lower left',
                      bbox_to_anchor=(0.1, 0.0), labelspacing=0.35)  # fmt: skip
    return figure


def _small_multiples(
    count: int, height: float, footer: float = 0.0
) -> tuple[Figure, list[Axes], Axes]:
    """Open a two-column grid with ``count`` panels and one blank cell for the key."""
    figure = new_figure(PANEL_WIDTH, height)
    n_rows = max(1, -(-(count + 1) // 2))
    cells = list(figure.subplots(n_rows, 2, squeeze=False).flat)
    for axes in cells[count:]:
        axes.set_axis_off()
    for axes in cells[count + 1 :]:
        axes.remove()
    figure.subplots_adjust(left=0.11, right=0.98, top=1 - 0.32 / height,
                           bottom=(footer + 0.38) / height, hspace=0.55, wspace=0.28)  # fmt: skip
    return figure, cells[:count], cells[count]
