"""Draw radial power spectra: one run before and after, or all scanners before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from bidsharmony.viz.canonical import half_amplitude_frequency
from bidsharmony.viz.canvas import CHANNEL_TITLES, CHANNELS
from bidsharmony.viz.figure import (
    AFTER,
    BAND,
    BEFORE,
    LINE_STYLES,
    PANEL_WIDTH,
    SCANNER_COLORS,
    figure_text,
    new_figure,
    styled,
)

DECADES = 7  # drawn below the largest value: further down is rounding


@styled
def psd_panel(
    freqs: Sequence[float],
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    fwhm: float | None = None,
    band: Mapping[str, Any] | None = None,
) -> Figure:
    """Draw the power spectra of one run, before and after, one row per channel.

    Parameters
    ----------
    freqs : (F,) 1/mm
    before, after : channel ('b0', 'trace') to (F,) unit-area power density, mm
    fwhm : float, mm, optional
        canonical in-plane resolution, marked by a line
    band : mapping, optional
        ``freqs_per_mm``, and ``psd`` of each channel with ``low`` and ``high``: the range of
        canonical images

    Examples
    --------
    >>> spectrum = {'b0': [1.0, 0.1], 'trace': [1.0, 0.2]}
    >>> len(psd_panel([0.0, 0.1], spectrum, spectrum, 2.0).axes)
    2
    """
    figure = new_figure(PANEL_WIDTH, 6.6)
    channels = [channel for channel in CHANNELS if channel in before]
    panels = figure.subplots(max(len(channels), 1), 1, sharex=True, squeeze=False)[:, 0]
    for axes, channel in zip(panels, channels, strict=False):
        if band is not None:
            low, high = (_positive(band['psd'][channel][end]) for end in ('low', 'high'))
            axes.fill_between(band['freqs_per_mm'], low, high, color=BAND, lw=0,
                              label='canonical, simulated heads')  # fmt: skip
        axes.plot(freqs, _positive(before[channel]), color=BEFORE, label='before', ls='--')
        axes.plot(freqs, _positive(after[channel]), color=AFTER, label='after')
        axes.set_title(CHANNEL_TITLES[channel])
        axes.set_xlim(0, max(freqs) * 1.02)
        _log_axis(axes, [before[channel], after[channel]])
        _mark_resolution(axes, freqs, fwhm)
        axes.legend(loc='lower left')
    panels[-1].set_xlabel('spatial frequency (cycles / mm)')
    figure.subplots_adjust(left=0.165, right=0.97, top=0.95, bottom=0.085, hspace=0.16)
    return figure


@styled
def psd_by_scanner(
    freqs: Sequence[float],
    before: Mapping[str, Sequence[float]],
    after: Mapping[str, Sequence[float]],
    *,
    channel: str,
    fwhm: float | None = None,
) -> Figure:
    """Draw the mean spectrum of each scanner, before above and after below, on the same axes.

    Parameters
    ----------
    freqs : (F,) 1/mm
    before, after : scanner label to (F,) power density, mm; same labels in the same order
    channel : 'b0' or 'trace'
    fwhm : float, mm, optional

    Examples
    --------
    >>> spectra = {'A': [1.0, 0.1], 'B': [1.0, 0.2]}
    >>> len(psd_by_scanner([0.0, 0.1], spectra, spectra, channel='b0').axes)
    2
    """
    n_legend_rows = len(before)
    legend_inches = 0.23 * n_legend_rows + 0.1
    figure = new_figure(PANEL_WIDTH, 6.2 + legend_inches)
    panels = figure.subplots(2, 1, sharex=True, sharey=True)
    for axes, spectra, when in zip(panels, (before, after), ('before', 'after'), strict=True):
        for index, (label, spectrum) in enumerate(spectra.items()):
            axes.plot(freqs, _positive(spectrum), label=figure_text(label, 44),
                      **scanner_line(index))  # fmt: skip
        axes.set_title(f'{CHANNEL_TITLES[channel]}, {when}')
        _mark_resolution(axes, freqs, fwhm)
    _log_axis(panels[0], [*before.values(), *after.values()])
    panels[1].set_ylabel(panels[0].get_ylabel())
    panels[1].set_xlabel('spatial frequency (cycles / mm)')
    height = 6.2 + legend_inches
    bottom = (legend_inches + 0.6) / height
    figure.subplots_adjust(
        left=0.165, right=0.97, top=1 - 0.32 / height, bottom=bottom, hspace=0.16
    )
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc='lower left', bbox_to_anchor=(0.12, 0.0), ncols=1,
                      labelspacing=0.35)  # fmt: skip
    return figure


def scanner_line(index: int) -> dict[str, str]:
    """Colour and line style of the n-th scanner, the same on every panel of the group page.

    Examples
    --------
    >>> scanner_line(0) == scanner_line(1), scanner_line(10)['linestyle']
    (False, '--')
    """
    cycle = len(SCANNER_COLORS)
    return {
        'color': SCANNER_COLORS[index % cycle],
        'linestyle': LINE_STYLES[index // cycle % len(LINE_STYLES)],
    }


def _positive(spectrum: Sequence[float]) -> np.ndarray:
    """Hide zeros, which a logarithmic axis cannot show."""
    values = np.asarray(spectrum, np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _log_axis(axes: Axes, spectra: Sequence[Sequence[float]]) -> None:
    axes.set_ylabel('power density (mm)')
    values = np.concatenate([_positive(spectrum) for spectrum in spectra] or [np.ones(1)])
    values = values[np.isfinite(values)]
    if not values.size:
        return
    axes.set_yscale('log')
    high = float(values.max())
    low = max(float(values.min()), high / 10**DECADES)
    axes.set_ylim(low / 1.5, high * 2)
    # the default labels are formulas, which the house style does not interpret
    axes.yaxis.set_major_formatter(StrMethodFormatter('{x:g}'))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _mark_resolution(axes: Axes, freqs: Sequence[float], fwhm: float | None) -> None:
    if not fwhm or not np.isfinite(fwhm) or fwhm <= 0:
        return
    frequency = half_amplitude_frequency(fwhm)
    if frequency > max(freqs):
        return
    axes.axvline(frequency, color='#777777', lw=1, ls=(0, (2, 2)))
    axes.text(frequency, 0.99, f' canonical {fwhm:.3g} mm', color='#555555', fontsize=8.5,
              va='top', transform=axes.get_xaxis_transform())  # fmt: skip
