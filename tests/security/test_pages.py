"""Whatever a field of a page holds is text: no element, attribute or address comes of it."""

import csv
import json
import re
from pathlib import Path

import pytest

from bidsharmony.cli.group import run_group
from bidsharmony.reports.group import GroupContent, write_group_page
from bidsharmony.reports.page import PNG_SIGNATURE, data_uri, environment
from bidsharmony.reports.participant import write_participant_page
from bidsharmony.settings import Settings
from tests import audit_document
from tests.reports.pages import Page, faults
from tests.security.payloads import (
    PAYLOADS,
    as_shown,
    fields,
    planted,
    shown,
    skeleton,
    value_at,
)
from tests.synthetic_runs import lesions, mark_done, qc, write_run

ARGUMENTS = ('refused', 'failed', 'skipped')
# What a page is known to show of a document, so that a search that finds nothing is noticed.
AT_LEAST = {
    ('qc', 'run'),
    ('qc', 'scanner', 'label'),
    ('qc', 'notes', 0),
    ('qc', 'warnings', 0),
    ('qc', 'bias', 'note'),
    ('qc', 'input', 'shape', 0),
    ('qc', 'input', 'orientation'),
    ('qc', 'lesions', 'masks', 0),
    ('qc', 'shared', 'with', 0),
    ('no series', 'no_series'),
    *((what, 0, part) for what in ARGUMENTS for part in (0, 1)),
    ('runs', 0, 'run'),
    ('runs', 0, 'scanner'),
    ('scanners', 0, 'scanner'),
    ('unused', 0, 0),
    ('unused', 0, 1),
    ('audit', 'grouping', 'rule'),
    ('audit', 'grouping', 'scanners', 0, 'scanner'),
    ('audit', 'grouping', 'scanners', 0, 'names', 0),
    ('audit', 'covariates', 0, 'name'),
    ('audit', 'outliers', 0, 'run'),
    ('audit', 'outliers', 0, 'reason'),
    ('audit', 'not_run', 0, 'what'),
    ('audit', 'not_run', 0, 'reason'),
    ('audit', 'not_counted', 0, 'reason'),
    ('audit', 'negative_control', 'scanner'),
}


def participant_inputs() -> dict:
    """Give all that the page of a participant is made of: a run with a series, and one without."""
    shared = {
        'with': ['sub-01_dir-PA'],
        'same_map': [],
        'level_change': 0.1,
        'map_change_p95': 0.1,
    }
    whole = qc('01', 'avanto', lesions=lesions(), shared=shared)
    without = qc('01', 'prisma', session='b', no_series='there is no gradient table')
    return {
        'qc': whole,
        'no series': without | {'guarantee': None, 'series': None},
        **{what: [[f'sub-01/dwi/{what}', f'why it is {what}']] for what in ARGUMENTS},
    }


def participant_page(folder: Path, inputs: dict) -> str:
    """Write the page of a participant."""
    files = []
    for name in ('qc', 'no series'):
        files.append(folder / f'{name}_qc.json')
        files[-1].write_text(json.dumps(inputs[name]))
    left_out = {what: inputs[what] for what in ('refused', 'failed')}
    return write_participant_page(
        folder, '01', files, inputs['skipped'], '1', **left_out
    ).read_text(encoding='utf-8')


def group_inputs() -> dict:
    """Give all that the page of a group is made of."""
    labels = audit_document.SCANNERS[:3]
    return {
        'runs': [
            {'run': f'sub-0{ix}', 'participant_id': f'sub-0{ix}', 'scanner': label}
            for ix, label in enumerate(labels, start=1)
        ],
        'scanners': [{'scanner': label, 'n_subjects': 10} for label in labels],
        'unused': [['sub-09/dwi/sub-09_dwi.nii.gz', 'why not']],
        'audit': audit_document.uncounted()
        | {'not_run': [{'what': 'runs', 'reason': 'they have no scanner'}]},
    }


def group_page(folder: Path, inputs: dict) -> str:
    """Write the page of a group."""
    for name in ('group_runs.tsv', 'group_scanners.tsv', 'sub-02.html'):
        (folder / name).write_text('')
    content = GroupContent(n_runs=3, n_subjects=3, n_unused=1, **inputs)
    return write_group_page(folder, content, '1').read_text(encoding='utf-8')


PAGES = {
    'participant': (participant_inputs, participant_page),
    # numbers of the audit are computed; texts come from the user's files
    'group': (group_inputs, group_page),
}


def places_of(name: str) -> list[tuple]:
    """List the fields that a page may be made to show."""
    inputs = PAGES[name][0]()
    found = list(fields(inputs))
    if name == 'group':
        found = [place for place in found if isinstance(value_at(inputs, place), str)]
    return found


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Have a picture wherever one can be, and spend no time on its pixels."""
    picture = data_uri(PNG_SIGNATURE)
    monkeypatch.setattr('bidsharmony.reports.participant.embed', lambda path: picture)
    monkeypatch.setattr('bidsharmony.reports.audit.save_png', lambda figure: PNG_SIGNATURE)
    for name in ('confusion_matrix', 'embedding_panel', 'autoencoder_panel'):
        monkeypatch.setattr(f'bidsharmony.reports.audit.{name}', lambda *_, **__: None)
    # thousands of pages are written that need not survive a power cut
    monkeypatch.setattr('os.fsync', lambda descriptor: None)
    monkeypatch.setattr('bidsharmony.reports.group.save_png', lambda figure: PNG_SIGNATURE)


@pytest.fixture(params=PAGES)
def page(request, tmp_path):
    """Give a page's name, its inputs, what writes it, and the clean page."""
    make, write = PAGES[request.param]
    clean = Page(write(tmp_path, make()))

    def written(place, payload):
        html = write(tmp_path, planted(make(), place, payload))
        return html, Page(html)

    return request.param, clean, written, tmp_path


def test_every_field_takes_every_payload(page):
    """The page is that of a clean run with another text in it; 12 payloads in what is displayed.

    What is not displayed, such as a number's place, adds nothing to a page either.
    """
    name, clean, written, _ = page
    sound, displayed = skeleton(clean), []
    for place in places_of(name):
        _, found = written(place, PAYLOADS['script'])
        assert skeleton(found) <= sound, place
        if as_shown(PAYLOADS['script']) in shown(found):
            displayed.append(place)
    assert {place for place in AT_LEAST if place[0] in PAGES[name][0]()} <= set(displayed)
    for place in displayed:
        for payload in PAYLOADS.values():
            html, found = written(place, payload)
            assert skeleton(found) <= sound, (place, payload)
            # the reason of a run without a series becomes a sentence
            assert as_shown(payload).lower() in shown(found).lower(), (place, payload)
            assert not found.comments + found.unbalanced + found.open, (place, payload)
            assert payload not in html or payload == PAYLOADS['template'], (place, payload)


def test_template_braces_are_not_computed(page):
    """49 would be the answer."""
    name, _, written, _ = page
    place = ('qc', 'notes', 0) if name == 'participant' else ('unused', 0, 1)
    assert '{{7*7}}' in shown(written(place, '{{7*7}} {{7 * 7}}')[1])
    assert '49' not in shown(written(place, 'a{{7*7}}b')[1]).partition('a')[2].split('b')[0]


@pytest.mark.parametrize('payload', PAYLOADS, ids=str)
def test_unseen_characters_are_marked(payload):
    """Nothing that is not seen, and nothing that turns a line, reaches a page."""
    told = environment().from_string('{{ x }}').render(x=PAYLOADS[payload])
    unseen = '\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff'
    assert not re.search(f'[{unseen}]', told)


def test_policy_of_both_pages(page):
    """Nothing but the page's own style sheet and the pictures inside it."""
    _, clean, *_ = page
    (policy,) = (
        attrs['content']
        for attrs in clean.all('meta')
        if attrs.get('http-equiv') == 'Content-Security-Policy'
    )
    parts = dict(part.strip().split(' ', 1) for part in policy.split(';'))
    style = parts.pop('style-src')
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", style)
    assert parts == {
        'default-src': "'none'",
        'img-src': 'data:',
        'base-uri': "'none'",
        'form-action': "'none'",
    }


def test_no_address_of_another_machine(page):
    """Not in a source, not in a link, not in the style sheet; DOIs are plain text."""
    _, clean, *_ = page
    for _, attrs in clean.tags:
        for name in {'src', 'href', 'srcset', 'action', 'data', 'poster'} & set(attrs):
            assert not re.match(r'\s*([a-z]+:(?!image/png;base64,)|//)', attrs[name]), attrs
    style = next(text for text in clean.text if ':root' in text)
    assert not re.search(r'url\(|@import|https?:|//', style)


@pytest.mark.slow
def test_a_whole_study_of_payloads(tmp_path):
    """Scanners, runs, refusals and reasons that are payloads go through tables and page."""
    out = tmp_path / 'out'
    names = list(PAYLOADS.values())
    for ix, payload in enumerate(names, start=1):
        document = qc(f'{ix:02}', 'avanto', seed=ix, warnings=[payload])
        document['scanner'] |= {'label': payload, 'model': payload, 'software': payload}
        write_run(out, document, 'avanto', figures=False, n_slices=2)
        mark_done(out, f'sub-{ix:02}', refused=[[f'sub-{ix:02}/dwi/{payload}', payload]])
    settings = Settings(
        bids_dir=tmp_path, output_dir=out, analysis_levels=('group',), audit='none'
    )
    assert run_group(settings) == 0
    html = (out / 'group.html').read_text(encoding='utf-8')
    assert faults(html, out) == []
    found = shown(Page(html))
    assert [payload for payload in names if as_shown(payload) not in found] == []
    for table in out.glob('group_*.tsv'):
        text = table.read_text(encoding='utf-8')
        rows = list(csv.reader(text.splitlines(), delimiter='\t', quoting=csv.QUOTE_NONE))
        assert len({len(row) for row in rows}) == 1, table.name
        assert all(char.isprintable() or char in '\t\n' for char in text), table.name
        assert len(rows) == 1 + len(names)
