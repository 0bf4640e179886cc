"""Say what each picture of a run shows, for those who see it and for those who hear it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bidsharmony.reports.facts import shells_text
from bidsharmony.reports.page import LABEL, count, number, part
from bidsharmony.reports.summary import spectrum_inside
from bidsharmony.viz.canonical import applies, canonical_range


def picture_sections(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the sections of pictures: ``part``, ``title``, ``layout``, ``note`` and ``panels``.

    Panels are alternative text and caption by the picture's name.

    Parameters
    ----------
    document : mapping
        content of ``qc.json``

    Examples
    --------
    >>> sections = picture_sections({'no_series': 'the trace image has no gradient table'})
    >>> [section['part'] for section in sections], sections[1]['panels']
    (['maps', 'series', 'charts'], {})
    """
    return [
        {
            'part': 'maps',
            'title': 'Receive field, gain, uncertainty and forward check',
            'layout': 'quad',
            'note': '',
            'panels': _maps(document),
        },
        {
            'part': 'series',
            'title': 'Shells and gradients of the harmonized series',
            'layout': 'wider',
            **_series(document),
        },
        {
            'part': 'charts',
            'title': 'Frequency and texture',
            'layout': 'pair',
            'note': '',
            'panels': _charts(document),
        },
        *_spaces(document),
    ]


def _maps(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Describe the maps; a field that was not divided out has none."""
    bias, gain = part(document, 'bias'), part(document, 'gain')
    low, middle, high = (number(gain.get(key)) for key in ('p05', 'median', 'p95'))
    blended = part(document, 'forward').get('blended_fraction')
    share = number(100 * blended if isinstance(blended, int | float) else None, digits=2, unit='%')
    found = {
        'bias': (
            'colour map of the receive field that was divided out, blue below 1, red above',
            'Receive (bias) field that every volume was divided by; 1 is no change.',
        ),
        'gain': (
            f'colour map of the gain, median {middle}, {low} to {high} in 90 % of the brain',
            'Gain that multiplied every volume, in canonical unit per mean tissue signal. Smooth '
            'and free of noise; anatomy shows where tissue contrast was moved.',
        ),
        'uncertainty': (
            'colour map of the error that the network expects, dark where it is small',
            'Error that the network expects of itself, mean of both canonical images; white '
            'matter at b = 0 is 1. Bright places are guesses: trust the scan there.',
        ),
        'blend': (
            f'slices with most places where the scan overrules the network, {share} of the brain',
            'Degraded as the scanner does it, canonical images must give the scan back. Where '
            'they leave it by more than 3 sigma (orange), the scan times the gain takes their '
            'place: look there for distortion, artefacts and what the network has not learned.',
        ),
    }
    if not bias.get('applied'):
        del found['bias']
    return found


def _spaces(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe the pictures of standard spaces; no section without one."""
    panels = {}
    for space in document.get('spaces') or ():
        name, desc = str(space.get('space')), str(space.get('picture'))
        if not LABEL.fullmatch(desc):
            continue
        fit = f'overlap of the brains (Dice) {number(space.get("dice"))}, correlation with it '
        fit += f'{number(space.get("correlation"))}'
        panels[desc] = (
            f'slices of the canonical b = 0 image in {name} under outlines of the template: {fit}',
            f'Canonical b = 0 in {name}. Yellow: the brain of the template; blue: where it '
            f'turns from dark to bright. By {space.get("image")}: {fit}. A T1-weighted template '
            'has a negative one.',
        )
    if not panels:
        return []
    return [
        {
            'part': 'spaces',
            'title': 'Standard space',
            'layout': 'pair',
            'note': '',
            'panels': panels,
        }
    ]


def _series(document: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the pictures of the series, or say why there are none."""
    if document.get('no_series'):
        return {
            'note': 'Neither is shown: no series was made of this run, for the reason above.',
            'panels': {},
        }
    source = part(document, 'input')
    told = shells_text(source.get('shells') or ())
    n_b0 = count(source.get('n_b0'))
    return {
        'note': '',
        'panels': {
            'shells': (
                f'slices of the harmonized series, one row for each mean of {n_b0} at b = 0, '
                f'{told}',
                'Mean of each shell of the harmonized series, that is, of the volumes as they '
                'were times gain over receive field. Each row has its own window, since signal '
                'falls with b.',
            ),
            'gradients': (
                f'gradient directions as points on the two halves of a sphere, {told}',
                'Directions in the subject (not in the voxels): A front, P back, R and L the '
                "subject's right and left; both halves seen from above, circles 30\u00b0 apart. "
                'Volumes without a direction are left out.',
            ),
        },
    }


def _charts(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Describe the charts, with the range of canonical images where it holds."""
    known = applies(part(document, 'network').get('canonical_fwhm_mm'))
    persons = count(canonical_range()['n_persons'])
    behind = (
        f' Grey: the range of {persons} simulated people without lesions on the canonical scanner.'
        if known
        else ' No range is drawn behind: it was measured at another canonical resolution.'
    )
    inside = spectrum_inside(document)
    share = (
        f'; {inside[0]:.0%} in the canonical band before, {inside[1]:.0%} after' if inside else ''
    )
    return {
        'psd': (
            f'power spectra of b = 0 and trace, dashed before and solid after{share}',
            'Power spectra (radial, in the brain, unit area). Higher on the right: finer detail '
            'or more noise. The dotted line is where the canonical resolution halves the '
            f'amplitude.{behind}',
        ),
        'glcm': (
            'texture features over pixel distance, before in orange and after in blue',
            'Grey-level co-occurrence features (32 levels, four angles) over pixel distance.'
            + behind
            + ' Brain masks and lesions move these features too.' * known,
        ),
    }
