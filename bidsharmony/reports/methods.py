"""Write how runs were harmonized, with references and versions, from one text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from importlib.resources import files
from typing import Any

from bidsharmony.reports.page import environment, number, part, render

TRACE_METHODS = {
    'tensor': 'a tensor fit',
    'geometric': 'the geometric mean of the directions',
    'scanner': "the scanner's own trace image",
}
SOFTWARE = ('nipype', 'dipy', 'antspyx', 'torch', 'nibabel')
"""Distributions whose versions the text states, beside our own."""

_CITE = re.compile(r'\s*\[@(\w+)\]')
_ENTRY = re.compile(r'^@\w+\{(\w+),\n(.*?)\n\}$', re.DOTALL | re.MULTILINE)
_FIELD = re.compile(r'^  (\w+) = \{(.*)\},?$', re.MULTILINE)
_SPACE = re.compile(r'[A-Za-z0-9]+(:(cohort|res)-\d+)*')
_HASH = re.compile(r'[0-9a-f]{12,}')


def methods_view(documents: Sequence[Mapping[str, Any]], version: str) -> dict[str, Any]:
    """Fill the text for some runs, and number what it cites.

    Parameters
    ----------
    documents : sequence of mapping
        contents of ``qc.json``
    version : str
        of bidsharmony

    Returns
    -------
    dict
        ``paragraphs``: of pieces, each with its ``text`` and the numbers it ``cites``;
        ``references``, in that order; ``keys`` of these; ``markdown``, the text as it was filled

    Examples
    --------
    >>> view = methods_view([], '1.2.3')
    >>> view['keys'][:2], view['paragraphs'][0][0]['cites']
    (['bids2016', 'wada2024'], [1])
    >>> view['references'][1][:46]
    'Wada A, Akashi T, Hagiwara A, et al. Deep Lear'
    """
    filled = environment().get_template('methods.md').render(
        methods=stated(documents), versions=software_versions(version)
    )  # fmt: skip
    paragraphs = [' '.join(block.split()) for block in filled.split('\n\n') if block.strip()]
    keys: list[str] = []
    numbered = []
    for paragraph in paragraphs:
        pieces = []
        # text, key, text, key ... text
        for text, key in zip(*[iter([*_CITE.split(paragraph), ''])] * 2, strict=True):
            if key and key not in keys:
                keys.append(key)
            cites = [keys.index(key) + 1] if key else []
            pieces.append({'text': f'{text} ' if key else text, 'cites': cites})
        numbered.append(pieces)
    return {
        'paragraphs': numbered,
        'references': [reference_text(key) for key in keys],
        'keys': keys,
        'markdown': '\n\n'.join(paragraphs),
    }


def stated(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collect what the text states about all runs at once.

    Examples
    --------
    >>> stated([{'network': {'strength': 0.5}, 'bias': {'applied': True}}])['strength']
    '0.5'
    """
    corrected = {bool(part(document, 'bias').get('applied')) for document in documents}
    ways = {trace_method(part(document, 'summary')) for document in documents}
    networks = [part(document, 'network') for document in documents]
    denoised = [part(document, 'denoising').get('mppca') is True for document in documents]
    spaces = {
        name
        for document in documents
        for space in document.get('spaces') or ()
        # the text is not escaped again
        if _SPACE.fullmatch(name := str(space.get('space')))
    }
    found = (str(network.get('weights_sha256', '')) for network in networks)
    return {
        'mppca': 'all' if denoised and all(denoised) else 'some' if any(denoised) else 'none',
        'rician': any(part(document, 'denoising').get('rician') is True for document in documents),
        'bias': 'all' if corrected == {True} else 'some' if True in corrected else 'none',
        'trace': ' or '.join(name for way, name in TRACE_METHODS.items() if way in ways),
        'series': _series(documents),
        'spaces': ' and '.join(sorted(spaces)),
        'fwhm': _common(networks, 'canonical_fwhm_mm', 'mm'),
        'profile': _common(networks, 'canonical_profile_mm', 'mm'),
        'evened': any(network.get('spectrum_factor') is not None for network in networks),
        'strength': '' if (way := _common(networks, 'strength')) == '1' else way,
        # a hash and nothing else: the text is not escaped again
        'weights': ', '.join(sorted({sha[:12] for sha in found if _HASH.fullmatch(sha)})),
    }


def _series(documents: Sequence[Mapping[str, Any]]) -> str:
    """Tell whether series kept their voxels ('native'), or which they have; '' without one."""
    voxels = {
        ' \u00d7 '.join(number(zoom) for zoom in part(document, 'series').get('voxel_mm') or ())
        if (part(document, 'series').get('noise_gain') or 1) != 1
        else ''
        for document in documents
        if not document.get('no_series')
    }
    if not voxels:
        return ''
    return 'native' if voxels == {''} else ' or '.join(f'{v} mm' for v in sorted(voxels - {''}))


def _common(networks: Sequence[Mapping[str, Any]], key: str, unit: str = '') -> str:
    """Write a value that all runs share; '' where they differ or have none."""
    found = {number(network.get(key), unit=unit) for network in networks} - {'n/a'}
    return found.pop() if len(found) == 1 else ''


def trace_method(summary: Mapping[str, Any]) -> Any:
    """Tell a trace image that the scanner made from one that was made of directions."""
    return 'scanner' if summary.get('n_directions') == 0 else summary.get('trace_method')


@lru_cache
def software_versions(own: str) -> Mapping[str, str]:
    """Read which versions are installed; what is not says so.

    Examples
    --------
    >>> software_versions('1.2.3')['bidsharmony']
    '1.2.3'
    """
    versions = {'bidsharmony': own}
    for name in SOFTWARE:
        try:
            versions[name] = installed_version(name)
        except PackageNotFoundError:
            versions[name] = '(version unknown)'
    return versions


@lru_cache
def bibliography() -> Mapping[str, tuple[str, Mapping[str, str]]]:
    """Load the references: the entry as it stands in the file, and its fields, by key.

    Examples
    --------
    >>> bibliography()['n4'][1]['year']
    '2010'
    """
    text = files('bidsharmony.data').joinpath('boilerplate', 'references.bib').read_text('utf-8')
    return {m[1]: (m[0], dict(_FIELD.findall(m[2]))) for m in _ENTRY.finditer(text)}


def reference_text(key: str) -> str:
    """Write a reference in one line.

    Examples
    --------
    >>> reference_text('rician1995')[-78:]
    'Magnetic Resonance in Medicine 1995;34(6):910-914. doi:10.1002/mrm.1910340618.'
    """
    _, fields = bibliography()[key]
    authors = [
        'et al' if name == 'others' else name.replace(',', '').replace('. ', '').rstrip('.')
        for name in fields['author'].split(' and ')
    ]
    issue = f'({fields["number"]})' if 'number' in fields else ''
    return (
        f'{", ".join(authors)}. {fields["title"]}. {fields["journal"]} {fields["year"]};'
        f'{fields["volume"]}{issue}:{fields["pages"]}. doi:{fields["doi"]}.'
    )


def citation(documents: Sequence[Mapping[str, Any]], version: str) -> dict[str, str]:
    """Write the methods and references of runs as Markdown, as a page and as a bibliography.

    The Markdown cites by the keys of the ``.bib`` file, as pandoc reads it.

    Parameters
    ----------
    documents : sequence of mapping
        contents of ``qc.json`` of the runs that the text is about
    version : str

    Returns
    -------
    dict
        ``CITATION.md``, ``CITATION.html`` and ``CITATION.bib`` to their texts
    """
    view = methods_view(documents, version)
    listed = '\n'.join(f'- {key}: {reference_text(key)}' for key in view['keys'])
    return {
        'CITATION.md': f'# Methods\n\n{view["markdown"]}\n\n# References\n\n{listed}\n',
        'CITATION.html': render('citation.html', methods=view, version=version),
        'CITATION.bib': '\n\n'.join(bibliography()[key][0] for key in view['keys']) + '\n',
    }
