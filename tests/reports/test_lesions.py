"""The page tells at one glance what became of the lesions."""

import json

import pytest

from bidsharmony.interfaces.qc import dump_json
from bidsharmony.reports.lesions import LISTED, lesions_view
from bidsharmony.reports.participant import write_participant_page
from bidsharmony.viz.figure import new_figure, save_png
from bidsharmony.viz.run import figure_name
from tests.reports.pages import PAYLOADS, Page, faults
from tests.synthetic_runs import lesions, qc


def page_of(tmp_path, document) -> str:
    """Write the page of one run, with a picture of its lesion."""
    qc_file = tmp_path / 'x_qc.json'
    qc_file.write_text(dump_json(document))
    pictures = tmp_path / 'sub-01' / 'figures'
    pictures.mkdir(parents=True)
    for desc, width in (('lesion', 1), ('lesionadc', 2)):
        png = save_png(new_figure(width, 1))
        (pictures / figure_name(document['run'], desc)).write_bytes(png)
    return write_participant_page(tmp_path, '01', [qc_file], (), '1').read_text()


def test_page_shows_lesions(tmp_path):
    """Masks, contrast, overlap, patches, and a picture with words for it."""
    html = page_of(tmp_path, qc('01', 'avanto', lesions=lesions()))
    assert faults(html, tmp_path) == []
    page = Page(html)
    for text in (
        'Lesions 3.1 ml in 2 patches, marked by 1 mask: bids:raw:derivatives/lesions/',
        '4 voxels of them outside the brain did not count.',
        'trace-weighted 2.03 → 1.57 34 → 24 %',
        'bright on the trace 0.87 → 0.89 0.93',
        'dark on the ADC 0 → 0 not found',
        '1.5 ml 2.03 → 1.57 1.6 → 1.5 0.93',
    ):
        assert text in page.words, text
    trace, adc = (picture['alt'] for picture in page.all('img'))
    assert 'trace-weighted slices with most lesion' in trace
    assert 'ADC of the same slices' in adc
    assert '3.1 ml marked; after with before: Dice 0.93 on the trace' in page.words


def test_no_masks_no_section(tmp_path):
    """A page without masks has no section, and its summary says where to look instead."""
    html = page_of(tmp_path, qc('01', 'avanto'))
    assert 'id="lesions-1"' not in html
    assert 'Lesions : no mask was given: compare trace and ADC below.' in Page(html).words


@pytest.mark.parametrize(('patches', 'rows'), [(1, None), (2, 2), (60, LISTED)])
def test_patches_are_told_apart_where_there_are_several(patches, rows):
    """One patch is the whole lesion; of many, the largest are shown."""
    tables = lesions_view(lesions(patches), lambda _: None)['tables']
    assert len(tables) == (3 if rows else 2)
    assert not rows or len(tables[2]['rows']) == rows


def test_nothing_of_a_block_breaks_the_page(tmp_path):
    """Missing and hostile values are shown, not obeyed."""
    hostile = json.loads(json.dumps(lesions()))
    hostile |= {'masks': PAYLOADS, 'contrast': None, 'dice': {'trace_bright': None}}
    html = page_of(tmp_path, qc('01', 'avanto', lesions=hostile))
    assert faults(html, tmp_path) == []
    assert 'n/a → n/a' in Page(html).words
