"""Show on the page of a participant what became of the lesions that masks mark."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bidsharmony.reports.page import count, number, part

CHANNELS = {'b0': 'b = 0', 'trace': 'trace-weighted', 'adc': 'ADC'}
RULES = {'trace_bright': 'bright on the trace', 'adc_dark': 'dark on the ADC'}
PICTURES = {
    'lesion': 'trace-weighted slices with most lesion, before harmonization above, after below, '
    'the lesion bright in its outline',
    'lesionadc': 'ADC of the same slices, before harmonization above, after below, the lesion in '
    'its outline',
}
LISTED = 10
"""Patches of the page; the others are in qc.json."""


def lesions_view(
    lesions: Mapping[str, Any], picture: Callable[[str], str | None]
) -> dict[str, Any] | None:
    """Turn the block ``lesions`` of a qc.json into what the template shows; None without one.

    Parameters
    ----------
    lesions : mapping
        empty where no mask applies to the run
    picture : callable
        gives a figure of the run by its name as a data URI, None where there is none

    Examples
    --------
    >>> lesions_view({}, lambda name: None) is None
    True
    >>> lesions = {'masks': ['bids:raw:a'], 'n_patches': 1, 'volume_ml': 0.22}
    >>> view = lesions_view(lesions, lambda name: None)
    >>> view['headline']
    '0.22 ml in 1 patch, marked by 1 mask: bids:raw:a.'
    """
    if not lesions:
        return None
    patches, masks = lesions.get('n_patches'), [str(uri) for uri in lesions.get('masks') or ()]
    headline = (
        f'{number(lesions.get("volume_ml"), unit="ml")} in {_counted(patches, "patch", "es")}, '
        f'marked by {_counted(len(masks), "mask", "s")}: {", ".join(masks)}.'
    )
    if lesions.get('n_outside'):
        outside = _counted(lesions['n_outside'], 'voxel', 's')
        headline += f' {outside} of them outside the brain did not count.'
    tables = [_contrast(lesions), _extent(part(lesions, 'dice'))]
    listed = lesions.get('patches') or ()
    if len(listed) > 1:
        tables.append(_by_patch(listed[:LISTED]))
    found = [{'uri': picture(name), 'alt': alt} for name, alt in PICTURES.items()]
    pictures = [shown for shown in found if shown['uri']]
    return {'headline': headline, 'pictures': pictures, 'tables': tables}


def _contrast(lesions: Mapping[str, Any]) -> dict[str, Any]:
    """Tell contrast by image."""
    return {
        'caption': 'Lesion against the tissue 2 to 15 mm around it, before → after',
        'columns': ('image', 'contrast-to-noise', 'contrast'),
        'rows': [
            (
                name,
                _ends(part(lesions, 'contrast_to_noise', channel)),
                _ends(part(lesions, 'contrast', channel), 100, '%'),
            )
            for channel, name in CHANNELS.items()
        ],
    }


def _extent(dice: Mapping[str, Any]) -> dict[str, Any]:
    """Tell overlap by rule."""
    return {
        'caption': 'Dice of what one threshold finds near the lesion, before → after',
        'columns': ('found as', 'with the mask', 'after with before'),
        'rows': [
            (name, _ends(part(dice, rule)), _agreement(part(dice, rule)))
            for rule, name in RULES.items()
        ],
    }


def _agreement(found: Mapping[str, Any]) -> str:
    """Write the Dice of before and after, or that neither held anything of the lesion."""
    if found.get('before') == found.get('after') == 0 and found.get('before_after') is None:
        return 'not found'
    return number(found.get('before_after'))


def _by_patch(patches: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Tell size, contrast and overlap by patch."""
    return {
        'caption': 'Largest patches on the trace, before → after',
        'columns': (
            'volume',
            'contrast-to-noise',
            'peak over surroundings',
            'Dice after with before',
        ),
        'rows': [
            (
                number(patch.get('volume_ml'), unit='ml'),
                _ends(part(patch, 'contrast_to_noise')),
                _ends(part(patch, 'peak')),
                number(part(patch, 'dice').get('trace_bright')),
            )
            for patch in patches
        ],
    }


def _ends(sides: Mapping[str, Any], factor: float = 1.0, unit: str = '') -> str:
    """Write before → after; a value that is missing is said to be."""
    values = (sides.get(when) for when in ('before', 'after'))
    ends = (number(v * factor if isinstance(v, int | float) else None) for v in values)
    return f'{" → ".join(ends)} {unit}'.strip()


def _counted(amount: Any, noun: str, plural: str) -> str:
    return f'{count(amount)} {noun}' + ('' if amount == 1 else plural)
