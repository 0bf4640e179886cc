"""Say what became of a series: ratios, diffusion, noise, and what was done to it before."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import count, number, part


def guarantee_view(
    guarantee: Mapping[str, Any],
    series: Mapping[str, Any] | None = None,
    denoising: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Say whether S_b/S_0 stayed what it was, and since when, and what became of diffusion.

    Examples
    --------
    >>> view = guarantee_view({'max_ratio_change': 2e-7, 'n_voxels': 1000, 'limit': 1e-6})
    >>> view['headline'], view['css']
    ('Diffusion contrast kept.', 'good')
    >>> guarantee_view({'max_ratio_change': float('nan'), 'limit': 1e-6})['css']
    'bad'
    >>> denoising_text({'mppca': True, 'rician': True})
    'MP-PCA denoising and Rician bias correction'
    """
    steps = denoising_text(denoising or {})
    change, limit = guarantee.get('max_ratio_change'), guarantee.get('limit')
    rows = diffusion_rows(part(guarantee, 'diffusion'))
    gain = (series or {}).get('noise_gain')
    if isinstance(gain, int | float) and gain < 1:
        widths = [
            ' \u00d7 '.join(number(width) for width in part(series, 'fwhm_mm').get(key) or ())
            for key in ('before', 'after')
        ]
        return {
            'css': 'good',
            'headline': 'One linear operator for all volumes.',
            'text': (
                f'Resolution {widths[0]} → {widths[1]} mm, no negative weight, '
                f'{number(gain)} times the noise: diffusion changes as with larger voxels.'
            ),
            'rows': rows,
        }
    kept = (
        isinstance(change, int | float)
        and isinstance(limit, int | float)
        and math.isfinite(change)
        and change < limit
    )
    return {
        'css': 'good' if kept else 'bad',
        'headline': 'Diffusion contrast kept.' if kept else 'Diffusion contrast not kept.',
        'text': (
            f'Largest relative change of S_b/S_0: {number(change)} '
            f'(limit {number(limit)}) over {count(guarantee.get("n_voxels"))} voxels.'
            + (f' Measured against the series after {steps}, which changes it.' if steps else '')
        ),
        'rows': rows,
    }


def no_series_view(reason: str) -> dict[str, Any]:
    """Say that a run has no harmonized series, and why.

    Examples
    --------
    >>> no_series_view('the trace image has no gradient table')['text']
    'The trace image has no gradient table. The canonical images and maps are all there is.'
    """
    return {
        'css': '',
        'headline': 'No series was made.',
        'text': f'{reason[:1].upper()}{reason[1:]}. '
        'The canonical images and maps are all there is.',
        'rows': [],
    }


def diffusion_rows(diffusion: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List diffusivity, anisotropy, direction and noise: (name, before → after, largest change).

    Examples
    --------
    >>> diffusion_rows({'md': [8e-4, 8e-4], 'fa': [0.3, 0.3], 'fa_change': 2e-7})[1]
    ('fractional anisotropy, median', '0.3 → 0.3', '2e-07')
    """
    if not diffusion:
        return []

    def both(values: Any, factor: float = 1.0) -> str:
        ends = values if isinstance(values, Sequence) and len(values) == 2 else (None, None)
        return ' → '.join(
            number(end * factor if isinstance(end, int | float) else None) for end in ends
        )

    def largest(key: str, unit: str) -> str:
        value = diffusion.get(key)
        return f'{number(value, digits=2)} {unit}'.strip() if value is not None else ''

    noise = part(diffusion, 'noise')
    rows = [
        (
            'mean diffusivity, median',
            f'{both(diffusion.get("md"), 1e3)} \u00d7 10⁻³ mm²/s',
            largest('md_change', 'of it'),
        )
    ]
    if diffusion.get('fa') is not None:
        rows.append(
            ('fractional anisotropy, median', both(diffusion['fa']), largest('fa_change', ''))
        )
        if diffusion.get('v1_degrees') is not None:
            rows.append(('first eigenvector', '', largest('v1_degrees', '°')))
    for key, name in (('b0', 'noise of a b = 0 volume'), ('weighted', 'noise of a weighted one')):
        if noise.get(key) and noise[key][-1] is not None:
            rows.append((f'{name}, of its mean', f'{both(noise[key], 100)} %', ''))
    return rows


def denoising_text(denoising: Mapping[str, Any]) -> str:
    """Name what was done to a series before anything else; '' if nothing."""
    names = {'mppca': 'MP-PCA denoising', 'rician': 'Rician bias correction'}
    return ' and '.join(name for key, name in names.items() if denoising.get(key) is True)
