"""Name the runs whose figures lie far from those of all others."""

from __future__ import annotations

import csv
import hashlib
import heapq
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bidsharmony.evaluation.tables import run_dictionary

FIGURES = (
    'mask_volume',
    'adc_after',
    'psd_b0_after_median_frequency',
    'psd_trace_after_median_frequency',
    'glcm_b0_after_contrast_d1',
    'glcm_trace_after_contrast_d1',
    'glcm_b0_after_correlation_d1',
    'glcm_trace_after_correlation_d1',
)
"""Columns of ``group_runs.tsv`` that should be alike after harmonization on any scanner."""

FAR = 4.0
"""Robust standard deviations from the median."""

FEWEST_RUNS = 10
"""Below, a median says little of what is usual."""

MOST_LISTED = 50

_KEPT = 2000  # runs that medians are taken of

_TO_DEVIATION = 1.4826  # of a normal distribution, from the median absolute deviation


def outliers(runs_table: Path) -> list[dict[str, str]] | None:
    """List the figures of runs that lie beyond `FAR`, the farthest first.

    The table is read twice, row by row. Medians are those of at most 2,000 runs, which the hash
    of their names chooses.

    Parameters
    ----------
    runs_table : Path
        ``group_runs.tsv``

    Returns
    -------
    list of dict or None
        ``run``, ``scanner`` and ``reason``, at most `MOST_LISTED`; None with fewer than
        `FEWEST_RUNS` runs
    """
    chosen: list[tuple[int, int, list[float]]] = []
    n_runs = 0
    for n_runs, row in enumerate(_rows(runs_table), 1):
        # the heap drops the highest hash
        rank = -int(hashlib.sha256(row['run'].encode('utf-8', 'replace')).hexdigest()[:15], 16)
        heapq.heappush(chosen, (rank, n_runs, [_number(row[name]) for name in FIGURES]))
        if len(chosen) > _KEPT:
            heapq.heappop(chosen)
    if n_runs < FEWEST_RUNS:
        return None
    values = np.array([figures for *_, figures in chosen])
    described = run_dictionary()
    found: list[tuple[float, str, int, dict[str, str]]] = []
    usual = {}
    for column, name in zip(values.T, FIGURES, strict=True):
        known = column[np.isfinite(column)]
        if len(known) >= FEWEST_RUNS:
            median = float(np.median(known))
            usual[name] = median, _TO_DEVIATION * float(np.median(np.abs(known - median)))
    for row in _rows(runs_table):
        for place, (name, (median, deviation)) in enumerate(usual.items()):
            value = _number(row[name])
            if not deviation > 0 or not abs(value - median) > FAR * deviation:
                continue
            z = abs(value - median) / deviation
            unit = described[name].get('Units', '')
            amount = f'{value:.3g} {unit}'.strip()
            text = (
                f'{described[name]["Description"]}: {amount}, {z:.1f} robust standard deviations '
                f'from the median of all runs, {median:.3g}'
            )
            entry = {'run': row['run'], 'scanner': row['scanner'], 'reason': text}
            found.append((-z, row['run'], place, entry))
        if len(found) > 2 * MOST_LISTED:
            found = sorted(found, key=lambda one: one[:3])[:MOST_LISTED]
    return [entry for *_, entry in sorted(found, key=lambda one: one[:3])[:MOST_LISTED]]


def _rows(table: Path) -> Iterator[dict[str, str]]:
    """Read the table row by row."""
    with table.open(encoding='utf-8', newline='') as stream:
        yield from csv.DictReader(stream, delimiter='\t', quoting=csv.QUOTE_NONE)


def _number(cell: str) -> float:
    return math.nan if cell == 'n/a' else float(cell)
