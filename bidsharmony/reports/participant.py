"""Write the page of one participant: what changed, what was kept, what could not be used."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bidsharmony.reports.facts import measured_facts, missing_facts, shells_text, used_facts
from bidsharmony.reports.guarantee import denoising_text, guarantee_view, no_series_view
from bidsharmony.reports.lesions import lesions_view
from bidsharmony.reports.page import LABEL, count, embed, number, part, render, write_atomic

CHANNEL_CAPTIONS = {
    'b0': (
        'b = 0',
        'b = 0 at the window printed in its title bar, the same before and after. Before: in '
        'units of the mean tissue signal. After: in the canonical unit (white matter = 1).',
    ),
    'trace': (
        'trace-weighted',
        'Trace-weighted, b = 1000 s/mm², same slices and one window. What is bright before '
        'must be bright after: nothing may appear, nothing may vanish.',
    ),
}
MAP_CAPTIONS = {
    'bias': (
        'map of the receive field',
        'Receive (bias) field that every volume was divided by; 1 is no change.',
    ),
    'gain': (
        'map of the gain',
        'Gain that multiplied every volume, in canonical unit per mean tissue signal. Smooth '
        'and free of noise; anatomy shows where tissue contrast was moved.',
    ),
    'blend': (
        'places where the scan overrules the network',
        'Degraded as the scanner does it, canonical images must give the scan back. Where they '
        'leave it by more than 3 sigma (orange), the scan times the gain takes their place: look '
        'there for distortion, artefacts and what the network has not learned.',
    ),
}
CHART_CAPTIONS = {
    'psd': (
        'power spectra before and after harmonization',
        'Power spectra (radial, in the brain, unit area). Higher on the right: finer detail or '
        'more noise. The dotted line is where the canonical resolution halves the amplitude.',
    ),
    'glcm': (
        'texture features before and after harmonization',
        'Grey-level co-occurrence features (32 levels, four angles) over pixel distance.',
    ),
}

_TRACE_METHODS = {
    'tensor': 'a tensor fit',
    'geometric': 'the geometric mean of the directions',
    'scanner': "the scanner's own trace image",
}


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
    documents = [_read(path) for path in sorted(qc_files)]
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
        methods=methods_view(documents),
    )
    return write_atomic(out_dir / f'sub-{subject}.html', page)


def run_view(document: Mapping[str, Any], figures_dir: Path) -> dict[str, Any]:
    """Turn one ``qc.json`` into what the template shows; absent parts are said to be absent."""
    name = str(document.get('run', 'unnamed run'))

    def picture(desc: str) -> str | None:
        # a name from a file must not lead out of the folder
        return embed(figures_dir / f'{Path(name).name}_desc-{desc}_dwi.png')

    def panels(captions: Mapping[str, tuple[str, str]]) -> list[dict[str, str]]:
        found = ((picture(desc), alt, caption) for desc, (alt, caption) in captions.items())
        return [{'uri': uri, 'alt': alt, 'caption': caption} for uri, alt, caption in found if uri]

    channels = [
        {'name': title, 'caption': caption, 'before': before, 'after': after}
        for channel, (title, caption) in CHANNEL_CAPTIONS.items()
        if (before := picture(f'{channel}before')) and (after := picture(f'{channel}after'))
    ]
    sidecar = part(document, 'sidecar')
    maps = dict(MAP_CAPTIONS)
    if not part(document, 'bias').get('applied'):
        del maps['bias']
    return {
        'name': name,
        'scanner': str(part(document, 'scanner').get('label') or 'unknown scanner'),
        'tags': tags(document),
        'channels': channels,
        'maps': panels(maps),
        'charts': panels(CHART_CAPTIONS),
        'guarantee': (
            no_series_view(str(document['no_series']))
            if document.get('no_series')
            else guarantee_view(
                *(part(document, name) for name in ('guarantee', 'series', 'denoising'))
            )
        ),
        'lesions': lesions_view(part(document, 'lesions'), picture('lesion')),
        'warnings': [str(text) for text in document.get('warnings') or ()],
        'notes': [str(text) for text in document.get('notes') or ()],
        'measures': measures(document),
        'used': [
            *used_facts(part(sidecar, 'used'), sidecar.get('derived') or ()),
            *measured_facts(part(document, 'network', 'measured')),
        ],
        'missing': missing_facts(sidecar.get('missing') or ()),
    }


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
    method = _TRACE_METHODS.get(_trace_method(summary), 'n/a')
    if not summary.get('n_directions'):
        b = number(summary.get('b_acquired'), digits=4)
        return method if summary.get('n_directions') is None else f'{method} at b = {b}'
    directions = f'{count(summary["n_directions"])} directions'
    return f'{method}, {directions} at b = {number(summary.get("b_acquired"), digits=4)}'


def _trace_method(summary: Mapping[str, Any]) -> Any:
    """Tell a trace image that the scanner made from one that was made of directions."""
    return 'scanner' if summary.get('n_directions') == 0 else summary.get('trace_method')


def methods_view(documents: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Collect what the methods paragraph states about all runs at once."""
    corrected = {bool(part(document, 'bias').get('applied')) for document in documents}
    ways = {_trace_method(part(document, 'summary')) for document in documents}
    networks = [part(document, 'network') for document in documents]
    resolutions = {network.get('canonical_fwhm_mm') for network in networks} - {None}
    profiles = {network.get('canonical_profile_mm') for network in networks} - {None}
    weights = {str(network.get('weights_sha256', ''))[:12] for network in networks} - {''}
    denoised = [part(document, 'denoising').get('mppca') is True for document in documents]
    return {
        'mppca': 'all' if denoised and all(denoised) else 'some' if any(denoised) else 'none',
        'rician': any(part(document, 'denoising').get('rician') is True for document in documents),
        'bias': 'all' if corrected == {True} else 'some' if True in corrected else 'none',
        'trace': ' or '.join(name for way, name in _TRACE_METHODS.items() if way in ways),
        'series': any(not document.get('no_series') for document in documents),
        'fwhm': number(resolutions.pop(), unit='mm') if len(resolutions) == 1 else '',
        'profile': number(profiles.pop(), unit='mm') if len(profiles) == 1 else '',
        'weights': ', '.join(sorted(weights)),
    }


def _read(qc_file: Path) -> dict[str, Any]:
    try:
        document = json.loads(qc_file.read_text(encoding='utf-8'))
    except ValueError as error:
        message = f'{qc_file.name}: not JSON ({error}). Run the participant again.'
        raise ValueError(message) from error
    if not isinstance(document, dict):
        message = f'{qc_file.name}: not a JSON object. Run the participant again.'
        raise ValueError(message)
    return document
