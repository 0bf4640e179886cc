"""Write the page of one participant: what changed, what was kept, what could not be used."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bidsharmony.reports.facts import measured_facts, missing_facts, shells_text, used_facts
from bidsharmony.reports.guarantee import denoising_text, guarantee_view, no_series_view
from bidsharmony.reports.lesions import lesions_view
from bidsharmony.reports.methods import TRACE_METHODS, methods_view, trace_method
from bidsharmony.reports.page import LABEL, count, embed, number, part, render, write_atomic
from bidsharmony.reports.panels import picture_sections
from bidsharmony.reports.summary import headline, summary_rows

CHANNELS = {
    'b0': (
        'the b = 0 image as scanned: fluid bright, shading and noise of the scanner in it',
        'the canonical b = 0 image: fluid bright, white matter even',
        'b = 0 at the window printed in its title bar, the same before and after. Before: in '
        'units of the mean tissue signal. After: in the canonical unit (white matter = 1).',
    ),
    'trace': (
        'the trace-weighted image as scanned: fluid dark, restricted diffusion bright',
        'the canonical trace-weighted image: fluid dark, restricted diffusion bright',
        'Trace-weighted, b = 1000 s/mm², same slices and one window. What is bright before '
        'must be bright after: nothing may appear, nothing may vanish.',
    ),
    'adc': (
        'the ADC as scanned: fluid bright, restricted diffusion dark',
        'the ADC of the canonical images: fluid bright, restricted diffusion dark',
        'Apparent diffusion coefficient, 0 to 2.5 \u00b5m²/ms (10⁻³ mm²/s) on every page. '
        'Restricted diffusion is dark here and bright on the trace.',
    ),
}
"""What before shows, what after shows, and the caption of both."""
CHARTS = ('gradients', 'psd', 'glcm')
"""Pictures on white, which the dark page inverts."""


def write_participant_page(
    out_dir: Path,
    subject: str,
    qc_files: Sequence[Path],
    skipped: Iterable[tuple[str, str]],
    version: str,
    *,
    refused: Iterable[tuple[str, str]] = (),
    failed: Iterable[tuple[str, str]] = (),
) -> Path:
    """Write ``sub-<subject>.html`` into ``out_dir``.

    Pictures are read from ``out_dir/sub-<subject>/figures`` and embedded; a missing one leaves
    its panel out.

    Parameters
    ----------
    out_dir : Path
        the tree (final or staging) that holds ``sub-<subject>``
    subject : str
        label without ``sub-``, letters and digits
    qc_files : sequence of Path
        one ``qc.json`` per harmonized run
    skipped : iterable of (relative image, reason)
        files that are no runs by design
    version : str
    refused : iterable of (relative image, reason)
        runs that could not be used
    failed : iterable of (relative image, reason)
        runs that were begun and not finished

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        if the label is not made of letters and digits, or a qc file is not a JSON object
    """
    if not LABEL.fullmatch(subject):
        message = f'{subject!r} is no BIDS label: letters and digits only'
        raise ValueError(message)
    documents = [read_qc(path) for path in sorted(qc_files)]
    figures_dir = out_dir / f'sub-{subject}' / 'figures'
    page = render(
        'participant.html',
        subject=subject,
        version=version,
        runs=[run_view(document, figures_dir) for document in documents],
        left_out=[
            *((str(name), 'failed', str(reason)) for name, reason in failed),
            *((str(name), 'refused', str(reason)) for name, reason in refused),
            *((str(name), 'skipped', str(reason)) for name, reason in skipped),
        ],
        methods=methods_view(documents, version),
    )
    return write_atomic(out_dir / f'sub-{subject}.html', page)


def run_view(document: Mapping[str, Any], figures_dir: Path) -> dict[str, Any]:
    """Turn one ``qc.json`` into what the template shows; absent parts are said to be absent."""
    name = str(document.get('run', 'unnamed run'))

    def picture(desc: str) -> str | None:
        # a name from a file must not lead out of the folder
        return embed(figures_dir / f'{Path(name).name}_desc-{desc}_dwi.png')

    channels = [
        {
            'seen_before': seen_before,
            'seen_after': seen_after,
            'caption': caption,
            'before': before,
            'after': after,
        }
        for channel, (seen_before, seen_after, caption) in CHANNELS.items()
        if (before := picture(f'{channel}before')) and (after := picture(f'{channel}after'))
    ]
    sidecar = part(document, 'sidecar')
    guarantee = (
        no_series_view(str(document['no_series']))
        if document.get('no_series')
        else guarantee_view(*(part(document, key) for key in ('guarantee', 'series', 'denoising')))
    )
    sections = [
        {**section, 'pictures': _pictures(section['panels'], picture)}
        for section in picture_sections(document)
    ]
    sections = [section for section in sections if section['pictures'] or section['note']]
    lesions = lesions_view(part(document, 'lesions'), picture)
    warnings = [str(text) for text in document.get('warnings') or ()]
    return {
        'name': name,
        'headline': headline(document, guarantee),
        'summary': summary_rows(document, guarantee),
        'parts': [
            'views',
            'guarantee',
            *(['lesions'] if lesions else []),
            *(['warnings'] if warnings else []),
            *(section['part'] for section in sections),
        ],
        'scanner': str(part(document, 'scanner').get('label') or 'unknown scanner'),
        'tags': tags(document),
        'channels': channels,
        'sections': sections,
        'guarantee': guarantee,
        'lesions': lesions,
        'warnings': warnings,
        'notes': [str(text) for text in document.get('notes') or ()],
        'measures': measures(document),
        'used': [
            *used_facts(part(sidecar, 'used'), sidecar.get('derived') or ()),
            *measured_facts(part(document, 'network', 'measured')),
        ],
        'missing': missing_facts(sidecar.get('missing') or ()),
    }


def _pictures(
    panels: Mapping[str, tuple[str, str]], picture: Callable[[str], str | None]
) -> list[dict[str, Any]]:
    """Pick the panels whose picture is there."""
    found = ((desc, picture(desc), alt, caption) for desc, (alt, caption) in panels.items())
    return [
        {'uri': uri, 'alt': alt, 'caption': caption, 'is_chart': desc in CHARTS}
        for desc, uri, alt, caption in found
        if uri
    ]


def tags(document: Mapping[str, Any]) -> list[str]:
    """List what identifies the acquisition at a glance."""
    source, summary = part(document, 'input'), part(document, 'summary')
    found = []
    if source.get('n_b0') is not None:
        found.append(f'{count(source["n_b0"])} at b = 0')
    if source.get('shells'):
        found.append(shells_text(source['shells']))
    if source.get('zooms'):
        found.append(' \u00d7 '.join(number(zoom) for zoom in source['zooms']) + ' mm')
    strength = part(document, 'network').get('strength')
    if isinstance(strength, int | float) and strength < 1:
        found.append(f'harmonized to {number(strength)} of the way')
    if summary.get('extrapolated'):
        found.append('trace extrapolated to b = 1000')
    return found


def measures(document: Mapping[str, Any]) -> list[list[tuple[str, str]]]:
    """List the measured values of a run, in two columns of rows (name, value)."""
    source, summary = part(document, 'input'), part(document, 'summary')
    bias, gain, adc = part(document, 'bias'), part(document, 'gain'), part(document, 'adc')
    network, apart = part(document, 'network'), part(document, 'b0_agreement')
    denoising = part(document, 'denoising')
    difference = apart.get('difference')
    if isinstance(difference, int | float):
        apart_text = f'{number(apart.get("shift_mm"), digits=2, unit="mm")}, '
        apart_text += number(100 * difference, digits=2, unit='%')
    else:
        apart_text = 'n/a'
    thickness = [
        number(part(document, 'network', 'thickness_mm').get(key)) for key in ('before', 'after')
    ]
    shape = ' \u00d7 '.join(str(length) for length in source.get('shape') or ()) or 'n/a'
    ends = (adc.get(key) for key in ('before_median', 'after_median'))
    adc_text = ' → '.join(
        number(value * 1e3 if isinstance(value, int | float) else None) for value in ends
    )
    adc_text += ' \u00d7 10⁻³ mm²/s'
    if bias.get('applied'):
        change = f'{number(bias.get("cv_before"))} → {number(bias.get("cv_after"))}'
        bias_text = f'N4, shrink {number(bias.get("shrink_factor"))}'
    else:
        change, bias_text = 'n/a', 'not applied'
    if bias.get('note'):
        bias_text += f' ({bias["note"]})'
    return [
        [
            ('matrix', f'{shape}, stored as {source.get("orientation") or "n/a"}'),
            ('trace from', trace_text(summary)),
            ('brain', number(summary.get('mask_volume_ml'), digits=4, unit='ml')),
            ('tissue, fluid in the brain',
             ', '.join(_percent(summary.get(f'{kind}_share')) for kind in ('tissue', 'fluid'))),
            ('mean tissue b = 0', number(summary.get('robust_scale'), digits=4)),
            ('noise, SNR at b = 0',
             f'{number(summary.get("noise_sigma"))}, {number(summary.get("snr_b0"))}'),
            ('noise of one volume as scanned', number(denoising.get('sigma_volume'))),
            ('b = 0 volumes apart by', apart_text),
        ],
        [
            ('denoising', denoising_text(denoising) or 'none'),
            ('bias field', bias_text),
            ('b = 0 variation in the brain', change),
            ('gain, 5 % / median / 95 %',
             ' / '.join(number(gain.get(key)) for key in ('p05', 'median', 'p95'))),
            ('gain shared with', shared_text(part(document, 'shared'))),
            ('median ADC, before → after', adc_text),
            ('canonical resolution',
             number(network.get('canonical_fwhm_mm'), unit='mm FWHM, in plane')),
            ('canonical slice thickness', f'{" → ".join(thickness)} mm'),
            ('brain where the scan overrules the network',
             _percent(part(document, 'forward').get('blended_fraction'))),
            ('spectrum evened out by', factor_text(network.get('spectrum_factor'))),
            ('the scan resolves, by axis',
             ' \u00d7 '.join(number(w) for w in network.get('resolution_mm') or ()) + ' mm'),
        ],
    ]  # fmt: skip


def shared_text(shared: Mapping[str, Any]) -> str:
    """Say with which runs of the session a run shares its gain, or only the level of it.

    Examples
    --------
    >>> shared_text({'with': ['sub-01_dir-AP', 'sub-01_dir-PA'], 'same_map': ['sub-01_dir-PA']})
    'sub-01_dir-AP (level only), sub-01_dir-PA'
    >>> shared_text({})
    'no other run'
    """
    whole = shared.get('same_map') or ()
    found = [
        name if name in whole else f'{name} (level only)' for name in shared.get('with') or ()
    ]
    return ', '.join(found) or 'no other run'


def factor_text(factors: Mapping[str, Any] | None) -> str:
    """Say by what the spectra of the canonical images were multiplied.

    Examples
    --------
    >>> factor_text({'b0': [0.912, 1.2], 'trace': [1.0, 1.35]})
    '0.912 to 1.2 (b = 0), 1 to 1.35 (trace)'
    >>> factor_text(None)
    'not evened out'
    """
    if not factors:
        return 'not evened out'
    ranges = (
        f'{" to ".join(number(factor) for factor in factors.get(key) or ())} ({name})'
        for key, name in (('b0', 'b = 0'), ('trace', 'trace'))
    )
    return ', '.join(ranges)


def _percent(share: Any) -> str:
    """Write a share as a percentage, or say that there is none."""
    return number(100 * share if isinstance(share, int | float) else None, digits=2, unit='%')


def trace_text(summary: Mapping[str, Any]) -> str:
    """Say how the trace image was made.

    Examples
    --------
    >>> trace_text({'trace_method': 'tensor', 'n_directions': 30, 'b_acquired': 1000.0})
    'a tensor fit, 30 directions at b = 1000'
    """
    method = TRACE_METHODS.get(trace_method(summary), 'n/a')
    if not summary.get('n_directions'):
        b = number(summary.get('b_acquired'), digits=4)
        return method if summary.get('n_directions') is None else f'{method} at b = {b}'
    directions = f'{count(summary["n_directions"])} directions'
    return f'{method}, {directions} at b = {number(summary.get("b_acquired"), digits=4)}'


def read_qc(qc_file: Path) -> dict[str, Any]:
    """Read one ``qc.json``.

    Raises
    ------
    ValueError
        if it is not a JSON object
    """
    try:
        document = json.loads(qc_file.read_text(encoding='utf-8'))
    except ValueError as error:
        message = f'{qc_file.name}: not JSON ({error}). Run the participant again.'
        raise ValueError(message) from error
    if not isinstance(document, dict):
        message = f'{qc_file.name}: not a JSON object. Run the participant again.'
        raise ValueError(message)
    return document
