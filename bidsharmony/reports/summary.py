"""Say in one line each what changed in a run and what was kept, with a link to the details."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import count, number, part
from bidsharmony.viz.canonical import (
    applies,
    canonical_range,
    half_amplitude_frequency,
    share_inside,
)

CANONICAL_CONTRAST = '3 T, TE 80 ms'
"""What canonical images look like (`physics.signal.CANONICAL_CONTRAST`)."""


def summary_rows(
    document: Mapping[str, Any], guarantee: Mapping[str, Any]
) -> list[dict[str, str]]:
    """List the lines on top of a run: ``name``, ``text``, ``tone`` and the ``part`` to go to.

    Parameters
    ----------
    document : mapping
        content of ``qc.json``
    guarantee : mapping
        what became of the series, as `reports.guarantee` says it

    Examples
    --------
    >>> rows = summary_rows({'gain': {'median': 1.2}}, {'css': 'good', 'headline': 'Kept.'})
    >>> [row['name'] for row in rows]
    ['Contrast', 'Resolution', 'Shading', 'Diffusion', 'Lesions', 'Warnings']
    >>> rows[3]['text'], rows[3]['tone']
    ('Kept.', 'good')
    """
    return [
        _row('Contrast', _contrast(document), 'maps'),
        _row('Resolution', _resolution(document), 'charts'),
        _row('Shading', _shading(document), 'maps'),
        _row('Diffusion', _diffusion(document, guarantee), 'guarantee', guarantee['css']),
        _lesions(part(document, 'lesions')),
        _warnings(document.get('warnings') or ()),
    ]


def headline(document: Mapping[str, Any], guarantee: Mapping[str, Any]) -> str:
    """Say all of a run in one line, for the list of runs.

    Examples
    --------
    >>> headline({'warnings': ['a']}, {'css': 'good', 'headline': 'Diffusion contrast kept.'})
    'Diffusion contrast kept. 1 warning.'
    """
    found = document.get('warnings') or ()
    told = f' {_counted(len(found), "warning")}.' if found else ''
    return f'{guarantee["headline"]}{told}'


def _contrast(document: Mapping[str, Any]) -> str:
    used, gain = part(document, 'sidecar', 'used'), part(document, 'gain')
    field, echo = used.get('MagneticFieldStrength'), used.get('EchoTime')
    scanner = 'field unknown' if number(field) == 'n/a' else number(field, unit='T')
    scanner += ', TE '
    scanner += 'unknown' if number(echo) == 'n/a' else number(1e3 * echo, unit='ms')
    spread = [gain.get(key) for key in ('p05', 'p95')]
    text = f'{scanner} \u2192 {CANONICAL_CONTRAST}'
    text += f'; gain {number(gain.get("median"))}'
    if 'n/a' not in map(number, spread):
        text += f' (90 % of the brain: {number(spread[0])} to {number(spread[1])})'
    strength = part(document, 'network').get('strength')
    if number(strength) != 'n/a' and strength < 1:
        text += f'; {number(strength)} of the way'
    return f'{text}.'


def _resolution(document: Mapping[str, Any]) -> str:
    network, source = part(document, 'network'), part(document, 'input')
    axis, widths = source.get('slice_axis'), network.get('resolution_mm') or ()
    inplane = [
        width for place, width in enumerate(widths) if place != axis and number(width) != 'n/a'
    ]
    # of the two axes in plane, the geometric mean
    mean = math.prod(inplane) ** (1 / len(inplane)) if inplane else None
    slices = part(network, 'thickness_mm')
    text = (
        f'{number(mean)} \u2192 {number(network.get("canonical_fwhm_mm"), unit="mm")} in plane, '
        f'slices {number(slices.get("before"))} \u2192 {number(slices.get("after"), unit="mm")}'
    )
    inside = spectrum_inside(document)
    if inside is not None:
        text += '; spectrum in the canonical band: ' + ' \u2192 '.join(f'{s:.0%}' for s in inside)
    return f'{text}.'


def spectrum_inside(document: Mapping[str, Any]) -> tuple[float, float] | None:
    """Count how much of the spectra lies in the canonical band, before and after.

    Both images count, up to the frequency at which the canonical resolution halves the amplitude.

    Returns
    -------
    two shares, or None where there is no band or no spectrum

    Examples
    --------
    >>> spectrum_inside({}) is None
    True
    """
    fwhm, psd = part(document, 'network').get('canonical_fwhm_mm'), part(document, 'psd')
    if not applies(fwhm):
        return None
    known = canonical_range()
    freqs = psd.get('freqs_per_mm')
    if not isinstance(freqs, Sequence) or list(freqs) != known['freqs_per_mm']:
        return None
    n = sum(freq <= half_amplitude_frequency(fwhm) for freq in freqs)
    found = []
    for when in ('before', 'after'):
        shares = [
            share_inside((part(psd, channel).get(when) or ())[:n], ends['low'], ends['high'])
            for channel, ends in known['psd'].items()
        ]
        found.append(sum(shares) / len(shares))
    return None if any(math.isnan(share) for share in found) else (found[0], found[1])


def _shading(document: Mapping[str, Any]) -> str:
    bias = part(document, 'bias')
    if not bias.get('applied'):
        return 'no receive field was divided out.'
    before, after = (number(bias.get(f'cv_{when}'), digits=2) for when in ('before', 'after'))
    return f'variation of b = 0 in the brain {before} \u2192 {after}.'


def _diffusion(document: Mapping[str, Any], guarantee: Mapping[str, Any]) -> str:
    change = number(part(document, 'guarantee').get('max_ratio_change'), digits=2)
    told = '' if change == 'n/a' else f' S_b/S_0 changed by {change} at most.'
    return f'{guarantee["headline"]}{told}'


def _lesions(lesions: Mapping[str, Any]) -> dict[str, str]:
    """Say what of marked lesions is found again, or that nobody marked any."""
    if not lesions:
        return _row('Lesions', 'no mask was given: compare trace and ADC below.', 'views')
    texts, tone = [], ''
    for rule, name in (('trace_bright', 'on the trace'), ('adc_dark', 'on the ADC')):
        found = part(lesions, 'dice', rule)
        dice = number(found.get('before_after'), digits=2)
        once = [when for when in ('before', 'after') if found.get(when)]
        if dice == '0' and len(once) == 1:
            # a threshold that was blind to it once: no overlap, but no loss either, or the reverse
            texts.append(f'found {name} only {once[0]}')
            tone = 'bad' if once == ['before'] else tone
        elif dice != 'n/a':
            texts.append(f'Dice {dice} {name}')
    ends = part(lesions, 'contrast_to_noise', 'trace')
    before, after = (number(ends.get(when), digits=2) for when in ('before', 'after'))
    texts.append(f'contrast-to-noise on the trace {before} \u2192 {after}')
    size = number(lesions.get('volume_ml'), digits=2, unit='ml')
    text = f'{size} marked; after with before: {", ".join(texts)}.'
    return _row('Lesions', text, 'lesions', tone)


def _warnings(texts: Sequence[Any]) -> dict[str, str]:
    if not texts:
        return _row('Warnings', 'none.', '')
    return _row('Warnings', f'{count(len(texts))}, see below.', 'warnings', 'warning')


def _row(name: str, text: str, part_of_page: str, tone: str = '') -> dict[str, str]:
    return {'name': name, 'text': text, 'tone': tone, 'part': part_of_page}


def _counted(amount: int, noun: str) -> str:
    return f'{count(amount)} {noun}' + ('' if amount == 1 else 's')
