"""One text for page and files: it says what was done, cites what it names, and nothing else."""

import re

import pytest

from bidsharmony.reports.methods import (
    bibliography,
    citation,
    methods_view,
    reference_text,
    software_versions,
    stated,
)
from tests.reports.pages import PAYLOADS, Page, faults
from tests.synthetic_runs import qc


def changed(block: str, **values) -> dict:
    """One document with some values of a block replaced."""
    document = qc('01', 'avanto')
    document[block] = document[block] | values
    return document


@pytest.mark.parametrize(
    ('document', 'words', 'key'),
    [
        (changed('denoising', mppca=True), 'denoised first with MP-PCA', 'mppca2016'),
        (changed('denoising', rician=True), 'Rician bias of the magnitudes M', 'rician1995'),
        (changed('bias', applied=True), 'with N4', 'n4'),
        (changed('network', strength=0.5), 'Harmonization went 0.5 of the way', None),
        (changed('network', canonical_fwhm_mm=3.5), 'resolution of 3.5 mm FWHM', None),
        (changed('network', weights_sha256='0123456789abcdef'), 'weights 0123456789ab)', None),
        (
            changed('series', noise_gain=0.7, voxel_mm=[3, 3, 3]),
            'voxels of 3 \u00d7 3 \u00d7 3 mm',
            None,
        ),
        (changed('summary', trace_method='geometric'), 'the geometric mean', None),
    ],
)
def test_an_option_that_was_used_is_stated(document, words, key):
    """And one that was not is not, nor its reference."""
    view, other = methods_view([document], '1'), methods_view([qc('01', 'prisma')], '1')
    assert words in view['markdown']
    assert key is None or key in view['keys']
    if key != 'n4':
        assert words not in other['markdown']
        assert key not in other['keys']


def test_what_was_not_corrected_is_not_cited():
    """Neither N4 nor the library that has it."""
    view = methods_view([changed('bias', applied=False)], '1')
    assert 'n4' not in view['keys']
    assert 'ANTsPy' not in view['markdown']
    assert 'No receive field was corrected.' in view['markdown']


@pytest.mark.parametrize(
    ('applied', 'words'),
    [((True, True), 'The receive field was'), ((True, False), 'Where the notes do not say')],
)
def test_runs_that_differ_are_not_made_equal(applied, words):
    """One of two runs without N4: the text says so."""
    documents = [changed('bias', applied=value) for value in applied]
    assert words in methods_view(documents, '1')['markdown']


def test_no_series_no_promise():
    """A clinical trace image has no ratios to keep."""
    text = methods_view([qc('01', 'avanto', no_series='no directions')], '1')['markdown']
    assert 'stay what they were' not in text
    assert 'b-vectors' not in text


def test_every_citation_has_its_number_and_its_entry():
    """Numbers count up from 1 as the text goes on; keys are in the bibliography."""
    document = changed('denoising', mppca=True, rician=True) | {'spaces': [{'space': 'A:res-2'}]}
    view = methods_view([document], '1')
    cited = [number for p in view['paragraphs'] for piece in p for number in piece['cites']]
    assert list(dict.fromkeys(cited)) == list(range(1, len(view['keys']) + 1))
    assert re.findall(r'\[@(\w+)\]', view['markdown'])[: len(view['keys'])] == view['keys']
    assert set(view['keys']) == set(bibliography())


@pytest.mark.parametrize('key', sorted(bibliography()))
def test_references_are_whole(key):
    """Authors, title, journal, year, volume, pages and a DOI."""
    entry, fields = bibliography()[key]
    assert set(fields) >= {'author', 'title', 'journal', 'year', 'volume', 'pages', 'doi'}
    assert re.fullmatch(r'10\.\d{4}/[\w./-]+', fields['doi'])
    assert entry.count('{') == entry.count('}') == len(fields) + 1
    text = reference_text(key)
    assert f'{fields["journal"]} {fields["year"]};{fields["volume"]}' in text
    assert '..' not in text


def test_files_hold_the_text_of_the_page(tmp_path):
    """Markdown with keys, a page with numbers, and the entries that are cited."""
    documents = [qc('01', 'avanto'), qc('02', 'prisma')]
    written = citation(documents, '1.2.3')
    assert list(written) == ['CITATION.md', 'CITATION.html', 'CITATION.bib']
    markdown, html, bib = written.values()
    assert faults(html, tmp_path) == []
    view = methods_view(documents, '1.2.3')
    assert view['markdown'] in markdown
    assert 'bidsharmony 1.2.3' in Page(html).words
    assert re.findall(r'^@article\{(\w+),', bib, re.MULTILINE) == view['keys']
    assert citation(documents, '1.2.3') == written


def test_versions_are_those_installed():
    """Read from the packages themselves."""
    import nibabel
    import torch

    versions = software_versions('9')
    assert versions['nibabel'] == nibabel.__version__
    assert versions['torch'].split('+')[0] == torch.__version__.split('+')[0]
    assert versions['bidsharmony'] == '9'


@pytest.mark.parametrize('payload', PAYLOADS)
def test_nothing_of_a_file_enters_but_numbers_and_a_hash(tmp_path, payload):
    """The text is pasted elsewhere, so no markup may be in it, escaped or not."""
    document = qc('01', 'avanto')
    for key in ('network', 'summary', 'denoising', 'bias', 'series'):
        document[key] = dict.fromkeys(document[key], payload)
    document['series'] = {'noise_gain': 0.5, 'voxel_mm': [payload]}
    found = stated([document])
    assert payload not in str(found)
    for text in citation([document], '1').values():
        assert payload not in text
        assert 'alert' not in text
