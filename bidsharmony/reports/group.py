"""Write the page of a study: its scanners before and after, its runs, and what was left out."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bidsharmony.reports.audit import audit_view
from bidsharmony.reports.page import (
    count,
    data_uri,
    number,
    render,
    write_atomic,
)
from bidsharmony.viz.canvas import CHANNELS
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.glcm import glcm_by_scanner
from bidsharmony.viz.mosaic import scanner_mosaic
from bidsharmony.viz.psd import psd_by_scanner

MAX_DRAWN = 10  # scanners told apart by colour
MIN_SUBJECTS = 3  # on each scanner, for variance between people to mean something
MAX_LISTED = 500  # rows of a table on the page; the TSV has all
# what runs can be sorted by: its name, the column of group_runs.tsv and the kind of its values
RUN_KEYS = {
    'run': ('run', str),
    'scanner': ('scanner', str),
    'b acquired': ('b_acquired', int | float),
    'SNR': ('snr_b0', int | float),
    'ADC after': ('adc_after', int | float),
    'change of ratio': ('max_ratio_change', int | float),
    'warnings': ('n_warnings', int | float),
}
CHANNEL_NAMES = {'b0': 'b = 0', 'trace': 'trace-weighted'}


@dataclass(frozen=True)
class GroupContent:
    """Everything the group page shows; mappings go from scanner label, in one order.

    ``spectra`` and ``textures`` are keyed by (channel, 'before' or 'after'); ``examples`` holds
    ``(before, after, mask)`` of one slice: (2, H, W), (2, H, W) and (H, W); ``audit`` is the
    content of ``group_batcheffects.json``.
    """

    n_runs: int
    n_subjects: int
    runs: Sequence[Mapping[str, Any]]
    scanners: Sequence[Mapping[str, Any]]
    unused: Sequence[tuple[str, str]]
    n_unused: int
    freqs: Sequence[float] = ()
    fwhm: float | None = None
    spectra: Mapping[tuple[str, str], Mapping[str, Sequence[float]]] = field(default_factory=dict)
    textures: Mapping[tuple[str, str], Mapping[str, Mapping[str, float]]] = field(
        default_factory=dict
    )
    eta_squared: Mapping[tuple[str, str], float | None] = field(default_factory=dict)
    examples: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    audit: Mapping[str, Any] | None = None


def write_group_page(out_dir: Path, content: GroupContent, version: str) -> Path:
    """Write ``group.html`` into ``out_dir``.

    Parameters
    ----------
    out_dir : Path
        where the participants' pages are, which the runs link to
    content : GroupContent
    version : str

    Returns
    -------
    Path

    Raises
    ------
    OSError
        if the page cannot be written
    """
    labels = [str(row.get('scanner')) for row in content.scanners]
    audit = audit_view(content.audit, labels)
    listed = content.runs[:MAX_LISTED]
    page = render(
        'group.html',
        ranks=run_ranks(listed),
        version=version,
        n_runs=content.n_runs,
        n_subjects=content.n_subjects,
        n_scanners=len(content.scanners),
        n_unused=content.n_unused,
        unused=list(content.unused)[:MAX_LISTED],
        runs=[run_entry(row, out_dir) for row in listed],
        run_keys=list(RUN_KEYS),
        scanners=[scanner_entry(row) for row in content.scanners],
        audit=audit,
        has_document=(out_dir / 'group_batcheffects.json').is_file(),
        verdicts=(audit['verdicts'] if audit else [])
        + verdicts(content, without=audit['replaced'] if audit else ()),
        outliers=outliers(content.audit or {}, out_dir),
        pictures=pictures(content),
        n_drawn=min(MAX_DRAWN, len(content.scanners)),
    )
    return write_atomic(out_dir / 'group.html', page)


def run_ranks(rows: Sequence[Mapping[str, Any]]) -> list[list[int | None]]:
    """Find each run's place by every key of :data:`RUN_KEYS`; None where a value is missing.

    Examples
    --------
    >>> run_ranks([{'run': 'b', 'snr_b0': 9.0}, {'run': 'a', 'snr_b0': 9.0}, {'snr_b0': 2.5}])
    [[1, None, None, 1, None, None, None], [0, None, None, 1, None, None, None],
     [None, None, None, 0, None, None, None]]
    """
    places = []
    for key, kind in RUN_KEYS.values():
        values = [row.get(key) for row in rows]
        known = [isinstance(value, kind) and value == value for value in values]
        kept = {value for value, is_known in zip(values, known, strict=True) if is_known}
        place = {value: index for index, value in enumerate(sorted(kept))}
        places.append(
            [place[value] if is_known else None
             for value, is_known in zip(values, known, strict=True)]
        )  # fmt: skip
    return [list(row) for row in zip(*places, strict=True)]


def outliers(audit: Mapping[str, Any], out_dir: Path) -> list[dict[str, Any]]:
    """List the runs that the audit found to stand apart, with a link where there is a page.

    Examples
    --------
    >>> row = {'run': 'sub-01', 'scanner': 'A', 'reason': 'SNR'}
    >>> outliers({'outliers': [row]}, Path('absent'))
    [{'name': 'sub-01', 'link': None, 'scanner': 'A', 'reason': 'SNR'}]
    """
    return [
        {
            'name': str(row.get('run') or 'n/a'),
            'link': page_of(str(row.get('run') or ''), out_dir),
            'scanner': str(row.get('scanner') or 'unknown scanner'),
            'reason': str(row.get('reason') or 'n/a'),
        }
        for row in (audit.get('outliers') or ())[:MAX_LISTED]
    ]


def page_of(name: str, out_dir: Path) -> str | None:
    """Find the page of the participant that a run's name begins with.

    Examples
    --------
    >>> page_of('sub-01_dir-AP', Path('absent')) is None
    True
    """
    match = re.match(r'sub-([A-Za-z0-9]+)(?![^_])', name)
    page = f'sub-{match[1]}.html' if match else ''
    return page if page and (out_dir / page).is_file() else None


def run_entry(row: Mapping[str, Any], out_dir: Path) -> dict[str, Any]:
    """Turn a row of ``group_runs.tsv`` into cells, with a link where there is a page.

    Examples
    --------
    >>> entry = run_entry({'run': 'sub-01_dir-AP', 'participant_id': 'sub-01'}, Path('absent'))
    >>> entry['name'], entry['link'], entry['cells'][1]
    ('sub-01_dir-AP', None, 'n/a')
    """
    return {
        'name': str(row.get('run') or 'n/a'),
        'link': page_of(str(row.get('participant_id') or ''), out_dir),
        'scanner': str(row.get('scanner') or 'unknown scanner'),
        'cells': [
            number(row.get('b_acquired'), digits=4),
            number(row.get('snr_b0')),
            change(row, 'adc_{side}', scale=1e3),
            number(row.get('max_ratio_change'), digits=2),
            count(row.get('n_warnings')),
        ],
    }


def scanner_entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Turn a row of ``group_scanners.tsv`` into cells."""
    return {
        'name': str(row.get('scanner') or 'unknown scanner'),
        'cells': [
            count(row.get('n_runs')),
            count(row.get('n_subjects')),
            number(row.get('snr_b0_mean')),
            change(row, 'psd_b0_{side}_distance'),
            change(row, 'psd_trace_{side}_distance'),
            change(row, 'glcm_b0_{side}_contrast_d1_mean'),
            change(row, 'glcm_trace_{side}_contrast_d1_mean'),
        ],
    }


def change(row: Mapping[str, Any], pattern: str, scale: float = 1) -> str:
    """Write a value before and after.

    Examples
    --------
    >>> change({'adc_before': 7.81e-4, 'adc_after': 7.76e-4}, 'adc_{side}', scale=1e3)
    '0.781 → 0.776'
    """
    values = (row.get(pattern.format(side=side)) for side in ('before', 'after'))
    return ' → '.join(
        number(value * scale if isinstance(value, int | float) else None) for value in values
    )


def verdicts(content: GroupContent, without: Sequence[str] = ()) -> list[dict[str, str]]:
    """Collect the sentences on spectra and texture, but for what the audit says of them."""
    found = []
    if 'frequency' not in without:
        found += [spectrum_verdict(content, channel) for channel in CHANNELS]
    if 'texture' not in without:
        found += [texture_verdict(content, channel) for channel in CHANNELS]
    return [{'tone': '', 'link': ''} | verdict for verdict in found if verdict is not None]


def texture_verdict(content: GroupContent, channel: str) -> dict[str, str]:
    """Say how much of the texture's variance the scanner explains, before and after."""
    before, after = (content.eta_squared.get((channel, side)) for side in ('before', 'after'))
    name = CHANNEL_NAMES[channel]
    if before is None or after is None:
        reason = (
            'only one scanner'
            if len(content.scanners) < 2
            else 'fewer than two scanners have two runs or more'
        )
        return {'name': name, 'text': f'texture not compared: {reason}.'}
    fewest = min(row.get('n_subjects') or 0 for row in content.scanners)
    if fewest < MIN_SUBJECTS:
        # with next to no variance within scanners, any difference between them is all there is
        text = f'texture not compared: a scanner has fewer than {MIN_SUBJECTS} subjects.'
        return {'name': name, 'text': text}
    # expectation of eta squared if no scanner differed: (groups - 1) / (values - 1)
    chance = (len(content.scanners) - 1) / (content.n_runs - 1)
    return {
        'name': name,
        'text': f'the scanner explains {before:.0%} of the variance of texture before and '
        f'{after:.0%} after (without any scanner effect: {chance:.0%}).',
    }


def spectrum_verdict(content: GroupContent, channel: str) -> dict[str, str] | None:
    """Say how far the scanners' spectra lie from their mean, before and after; None if unknown."""
    if not content.scanners:
        return None
    distances = [
        [row.get(f'psd_{channel}_{side}_distance') for row in content.scanners]
        for side in ('before', 'after')
    ]
    if any(not isinstance(value, int | float) for values in distances for value in values):
        return None
    before, after = (sum(values) / len(values) for values in distances)
    text = (
        "the scanners' spectra lie "
        f'{number(before)} dB from their mean before and {number(after)} dB after.'
    )
    return {'name': CHANNEL_NAMES[channel], 'text': text}


def pictures(content: GroupContent) -> dict[str, list[dict[str, str]]]:
    """Draw the panels of the page: spectra, texture and one example per scanner."""
    found: dict[str, list[dict[str, str]]] = {'spectra': [], 'textures': [], 'examples': []}
    labels = [str(row.get('scanner')) for row in content.scanners][:MAX_DRAWN]
    for channel in CHANNELS:
        name = CHANNEL_NAMES[channel]
        sides = [(channel, 'before'), (channel, 'after')]
        spectra = [_among(content.spectra.get(side, {}), labels) for side in sides]
        if len(content.freqs) and spectra[0]:
            figure = psd_by_scanner(content.freqs, *spectra, channel=channel, fwhm=content.fwhm)
            found['spectra'].append(
                _embedded(figure, f'power spectra of {name} images by scanner, before and after')
            )
        textures = [_among(content.textures.get(side, {}), labels) for side in sides]
        if any(textures[0].values()):
            figure = glcm_by_scanner(*textures, channel=channel)
            found['textures'].append(
                _embedded(figure, f'texture of {name} images by scanner, before and after')
            )
        examples = _among(content.examples, labels)
        if examples:
            position = CHANNELS.index(channel)
            before, after = (
                np.stack([pair[side][position] for pair in examples.values()]) for side in (0, 1)
            )
            mask = np.stack([pair[2] for pair in examples.values()])
            figure = scanner_mosaic(before, after, mask, list(examples), channel=channel)
            found['examples'].append(
                _embedded(figure, f'one axial {name} slice per scanner, before and after')
            )
    return found


def _among(table: Mapping[str, Any], labels: Sequence[str]) -> dict[str, Any]:
    return {label: table[label] for label in labels if label in table}


def _embedded(figure: Any, alt: str) -> dict[str, str]:
    return {'uri': data_uri(save_png(figure)), 'alt': alt}
