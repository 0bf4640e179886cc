"""The group page tells what the audit found, in words first, and what it could not find."""

import copy
import json
import re
from pathlib import Path

import pytest

from bidsharmony.reports.audit import audit_view
from bidsharmony.reports.group import GroupContent, write_group_page
from bidsharmony.reports.page import PNG_SIGNATURE
from bidsharmony.reports.verdicts import audit_verdicts, doubted
from tests import audit_document
from tests.reports.pages import PAYLOADS, Page, faults

DOCUMENTS = {
    'full': audit_document.full,
    'ten scanners': lambda: audit_document.full(10),
    'two scanners': lambda: audit_document.full(2),
    'quick': audit_document.quick,
    'not counted': audit_document.uncounted,
    'one scanner': audit_document.one_scanner,
    'none': audit_document.nothing,
}
PANELS = {'confusion', 'embedding', 'effects', 'autoencoder', 'lesions', 'covariates', 'control'}


def page_of(folder: Path, document, runs=(), **changes) -> str:
    """Write the page of a study with this audit."""
    for name in ('group_runs.tsv', 'group_scanners.tsv'):
        (folder / name).write_text('')
    content = GroupContent(
        n_runs=len(runs),
        n_subjects=10,
        runs=runs,
        scanners=[{'scanner': label, 'n_subjects': 10} for label in audit_document.SCANNERS[:7]],
        unused=(),
        n_unused=0,
        audit=document,
        **changes,
    )
    return write_group_page(folder, content, '1').read_text()


def sections(page: Page) -> set[str]:
    """Names of the parts that a page has."""
    return {attrs['id'] for attrs in page.all('section')}


def without(document, *keys):
    """Copy a document, less what stands at a path of keys."""
    document = copy.deepcopy(document)
    *way, last = keys
    place = document
    for key in way:
        place = place[key]
    del place[last]
    return document


def texts_of(document) -> dict[str, str]:
    """Sentences of a document by name."""
    return {verdict['name']: verdict['text'] for verdict in audit_verdicts(document)}


def tones_of(document) -> dict[str, str]:
    """Tones of a document's sentences by name."""
    return {verdict['name']: verdict['tone'] for verdict in audit_verdicts(document)}


@pytest.fixture
def undrawn(monkeypatch):
    """Lay figures out, but spend no time on their pixels."""
    monkeypatch.setattr('bidsharmony.reports.audit.save_png', lambda figure: PNG_SIGNATURE)


@pytest.mark.parametrize('name', DOCUMENTS)
def test_page_keeps_its_promises(tmp_path, name):
    """Whatever the audit could say: no script, alt text, links that lead somewhere."""
    assert faults(page_of(tmp_path, DOCUMENTS[name]()), tmp_path) == []


def test_one_known_document_gives_its_sentences():
    """What a reader needs first, to the word."""
    assert texts_of(audit_document.full()) == {
        'How much scanner was there': 'a ResNet-50 names the right one of 7 scanners on 96% '
        '(92% to 99%) of the slices (chance: 14%).',
        'How much is left': 'retrained on the harmonized slices, it is right on 39% '
        '(35% to 42%): 30% of what lay above chance is left. Frozen, as in the paper: 31%.',
        'By a random forest': '93% before, 36% after, retrained.',
        'Lesions': 'what is found of 84 lesions after agrees with what was found before: median '
        'Dice 0.934 bright on the trace (worst decile 0.812) and 0.912 dark on the ADC '
        '(worst decile 0.765). Aimed at: 0.9 and 0.74.',
        'Covariates': 'as readable as before: age; less readable than before: diagnosis '
        '(balanced accuracy 0.81 before, 0.7 after).',
        'Texture': 'the scanner explains 41% of its variance before and 6% after '
        '(without any scanner effect: 9%).',
        'Frequency': "two scanners' spectra lie 3.21 dB apart before and 0.871 dB after, "
        'on average.',
        'Learning': 'an autoencoder reaches the same loss in 430 iterations instead of 900: '
        '0.478 times as many (0.44 to 0.53).',
        'Negative control': 'two halves of the subjects on Siemens Prisma 3 T are told apart on '
        '53% (42% to 64%) of the slices (chance: 50%), no better than they should be.',
    }


@pytest.mark.parametrize(
    ('before', 'after', 'words', 'tone'),
    [
        (0.957, 0.388, '30% of what lay above chance is left', 'good'),
        (0.957, 0.16, 'no more than chance', 'good'),
        (0.957, 0.93, 'no less than before within the intervals', 'bad'),
        (0.15, 0.15, 'there was no more than chance before', ''),
        (0.957, None, 'not comparable', 'warning'),
    ],
)
def test_what_is_left_is_judged_by_its_interval(before, after, words, tone):
    """Less than before, as chance, as before, or nothing to lose."""
    document = audit_document.full()
    probe = audit_document.probe(before, 0.3, after or 0.5, 7)
    probe['retrained']['after']['accuracy'] = after
    document['scanner_id'] |= probe
    assert words in texts_of(document)['How much is left']
    assert tones_of(document)['How much is left'] == tone


@pytest.mark.usefixtures('undrawn')
def test_a_frozen_probe_alone_proves_nothing():
    """Without the retrained one the page warns."""
    document = without(audit_document.full(), 'scanner_id', 'retrained')
    text = texts_of(document)['How much is left']
    assert text.endswith('on 31% (27% to 34%): that alone proves nothing.')
    assert tones_of(document)['How much is left'] == 'warning'
    (_, deep, _) = audit_view(document, [])['paper']['groups']
    assert deep == {'name': 'these data, ResNet-50', 'span': 2}


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize(
    ('what', 'marked'),
    [
        ('scanner_id.retrained', {('ResNet-50', 'retrained')}),
        ('scanner_id', {('ResNet-50', 'frozen'), ('ResNet-50', 'retrained')}),
        ('scanner_id.forest.frozen', {('random forest', 'frozen')}),
        ('covariates: scanner_id', set()),
    ],
)
def test_what_does_not_count_is_marked(what, marked):
    """The figure stays, with a mark, and only where it belongs."""
    document = audit_document.full() | {'not_counted': [{'what': what, 'reason': 'x'}]}
    probes = [(model, side) for model in ('ResNet-50', 'random forest')
              for side in ('frozen', 'retrained')]  # fmt: skip
    assert {probe for probe in probes if doubted(document, *probe)} == marked
    heads = audit_view(document, [])['paper']['heads']
    assert sum('\u2020' in head for head in heads) == len(marked)


@pytest.mark.usefixtures('undrawn')
def test_page_warns_of_what_does_not_count(tmp_path):
    """In the first lines, in the table and in the list, with the reason."""
    words = Page(page_of(tmp_path, audit_document.uncounted())).words
    reason = (
        'retrained, it names the scanner of 91 % of the slices that it learned from, below 98 %'
    )
    assert f'39% after, retrained. This does not count: {reason}.' in words
    assert f'scanner identity {reason}' in words
    assert 'after, retrained \u2020' in words
    assert tones_of(audit_document.uncounted())['By a ResNet-50'] == 'bad'


def test_the_first_lines_speak_of_a_probe_that_counts():
    """The forest's figures, if the network's do not count; if none do, they say so."""
    document = audit_document.uncounted()
    assert '(32% to 39%)' in texts_of(document)['How much is left']
    document['not_counted'].append({'what': 'scanner_id.forest', 'reason': 'below 94 %'})
    assert 'This does not count: retrained,' in texts_of(document)['How much is left']
    assert tones_of(document)['How much is left'] == 'bad'


def test_a_covariate_that_was_never_readable_is_not_kept():
    """It is neither kept nor lost."""
    document = audit_document.uncounted()
    assert texts_of(document)['Covariates'].startswith('less readable than before: diagnosis')
    age, diagnosis = audit_view(document, [])['covariates']
    assert (age['kept'], diagnosis['kept']) == ('does not count', 'no')


def test_no_probe_has_a_reason():
    """In the first sentence already."""
    assert texts_of(audit_document.nothing())['Scanner'] == (
        'not measured: left out by --audit none.'
    )


@pytest.mark.usefixtures('undrawn')
def test_the_papers_table_stands_beside_ours():
    """Same rows for the paper, the network and the forest."""
    table = audit_view(audit_document.full(), [])['paper']
    rows = dict(table['rows'])
    assert [(group['name'], group['span']) for group in table['groups']] == [
        ('Wada et al. 2024', 2), ('these data, ResNet-50', 3), ('these data, random forest', 3),
    ]  # fmt: skip
    assert rows['accuracy'] == [
        '0.9443', '0.5786', '0.957', '0.312', '0.388', '0.930', '0.250', '0.360',
    ]  # fmt: skip
    assert rows['F1'][:2] == ['0.9438', '0.5587']
    assert rows['precision'][:2] == ['0.9442', '0.6494']
    assert rows['95 % interval, by subject'][3:5] == ['0.272\u20130.342', '0.348\u20130.418']
    assert rows["McNemar's test, p"][2:5] == ['\u2013', '< 0.001', '< 0.001']
    assert rows['permutation by subject, p'][4] == '0.002'
    assert rows['slices'] == ['3,500', '3,500'] + 6 * ['1,400']
    assert {len(cells) for cells in rows.values()} == {len(table['heads'])}


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize(
    ('name', 'shown', 'n_pictures'),
    [
        ('full', PANELS | {'paper', 'not-run', 'outliers'}, 6),
        ('quick', {'paper', 'not-run', 'confusion', 'embedding', 'effects', 'control'}, 5),
        ('one scanner', {'not-run', 'control'}, 0),
        ('none', {'not-run'}, 0),
    ],
)
def test_only_what_was_measured_has_a_panel(tmp_path, name, shown, n_pictures):
    """The rest is in the list of what was not run."""
    page = Page(page_of(tmp_path, DOCUMENTS[name]()))
    assert sections(page) & (PANELS | {'paper', 'not-run', 'outliers'}) >= shown
    assert not sections(page) & (PANELS - shown)
    assert len(page.all('img')) == n_pictures


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize(
    'keys',
    [
        ('scanner_id', 'forest'), ('scanner_id', 'frozen'), ('scanner_id', 'scanners'),
        ('scanner_id', 'mcnemar_p'), ('scanner_id', 'retrained', 'after', 'ci95'),
        ('scanner_id', 'frozen', 'after', 'confusion'), ('embedding', 'points'),
        ('embedding', 'points', 'after'), ('embedding', 'silhouette'), ('texture', 'eta2'),
        ('texture', 'by_channel'), ('frequency', 'limit_per_mm'), ('autoencoder', 'curves'),
        ('autoencoder', 'loss'), ('autoencoder', 'ratio'), ('lesions', 'dice', 'adc_dark'),
        ('lesions', 'by_size'), ('lesions', 'cnr'), ('grouping', 'scanners'), ('chance',),
        ('not_run',), ('not_counted',), ('outliers',), ('negative_control', 'ci95'),
    ],
    ids='.'.join,
)  # fmt: skip
def test_a_missing_part_is_no_error(tmp_path, keys):
    """The page comes out whole, whatever is absent or null."""
    document = without(audit_document.full(3), *keys)
    assert faults(page_of(tmp_path, document), tmp_path) == []


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize('key', sorted(audit_document.full()))
def test_a_null_is_no_error(tmp_path, key):
    """As the contract allows."""
    html = page_of(tmp_path, audit_document.full(3) | {key: None})
    assert faults(html, tmp_path) == []


@pytest.mark.usefixtures('undrawn')
@pytest.mark.parametrize('payload', PAYLOADS)
def test_planted_markup_comes_out_as_text(tmp_path, payload):
    """Labels, columns and reasons come from the user's files."""
    document = json.loads(
        json.dumps(audit_document.uncounted()).replace('Siemens Prisma 3 T', 'LABEL')
        .replace('learned from', 'LABEL').replace('diagnosis', 'LABEL')
        .replace('SIEMENS Prisma_fit', 'LABEL').replace('SNR of b = 0', 'LABEL')
        .replace('manufacturer, model', 'LABEL').replace('sub-03_dir-AP', 'LABEL'),
        object_pairs_hook=lambda pairs: {
            key: value.replace('LABEL', payload) if isinstance(value, str) else value
            for key, value in pairs
        },
    )  # fmt: skip
    document['scanner_id']['scanners'][0] = payload
    document['grouping']['scanners'][0]['names'] = [payload, 'x']
    html = page_of(tmp_path, document)
    assert faults(html, tmp_path) == []
    assert Page(html).words.count(' '.join(payload.split())) >= 8


@pytest.mark.usefixtures('undrawn')
def test_what_the_audit_says_is_not_said_again(tmp_path):
    """Texture and spectra of the tables give way to those of the audit."""
    known = {('b0', side): value for side, value in (('before', 0.9), ('after', 0.3))}
    with_audit = Page(page_of(tmp_path, audit_document.full(), eta_squared=known)).words
    alone = Page(page_of(tmp_path, audit_document.nothing(), eta_squared=known)).words
    assert 'not compared' not in with_audit
    assert 'explains 90%' not in with_audit
    assert 'explains 41%' in with_audit
    assert 'b = 0:' in alone


def test_a_page_without_audit_is_as_before(tmp_path):
    """None of the audit's parts."""
    page = Page(page_of(tmp_path, None))
    assert not sections(page) & (PANELS | {'paper', 'not-run', 'outliers'})
    assert faults(page_of(tmp_path, None), tmp_path) == []


@pytest.mark.usefixtures('undrawn')
def test_grouping_tells_what_was_merged(tmp_path):
    """The rule, and the names that were taken for one scanner."""
    words = Page(page_of(tmp_path, audit_document.full())).words
    assert 'by manufacturer, model and field strength' in words
    assert 'Siemens Prisma 3 T 10 10 200 SIEMENS Prisma_fit; Siemens Prisma' in words


@pytest.mark.usefixtures('undrawn')
def test_outliers_lead_to_their_pages(tmp_path):
    """Named, with the reason and a link."""
    (tmp_path / 'sub-03.html').write_text('page')
    page = Page(page_of(tmp_path, audit_document.full()))
    assert 'sub-03.html' in [attrs.get('href') for attrs in page.all('a')]
    assert "robust deviations below the scanner's median" in page.words


def test_runs_are_sorted_without_a_script(tmp_path):
    """Each row tells its place by every key to the style sheet, which the policy allows."""
    runs = [
        {'run': f'sub-{index}', 'scanner': 'A', 'snr_b0': snr}
        for index, snr in enumerate((20.0, None, 35.5, 7.0))
    ]
    html = page_of(tmp_path, None, runs)
    assert faults(html, tmp_path) == []
    found = [
        re.search(rf'tbody tr:nth-child\({row}\){{(.*?)}}', html)[1].split(';')
        for row in (1, 2, 3, 4)
    ]
    assert [[told for told in places if told.startswith('--k3')] for places in found] == [
        ['--k3:1'], [], ['--k3:2'], ['--k3:0'],
    ]  # fmt: skip
    radios = [attrs for attrs in Page(html).all('input') if attrs['type'] == 'radio']
    assert [attrs['class'] for attrs in radios] == [f'sort-{key}' for key in range(7)]
    # every key has the rule that uses it
    assert all(f'.sort-{key}:checked' in html for key in range(7))


@pytest.mark.usefixtures('undrawn')
def test_colours_follow_the_page_not_the_probe(monkeypatch, tmp_path):
    """A scanner has the colour of its spectrum among the points."""
    orders = []

    def note(points, scanner, labels, *, title, order):
        orders.append(dict(zip(labels, order, strict=True)))
        from bidsharmony.viz.embedding import embedding_panel

        return embedding_panel(points, scanner, labels, title=title, order=order)

    monkeypatch.setattr('bidsharmony.reports.audit.embedding_panel', note)
    audit_view(audit_document.full(3), ['X', audit_document.SCANNERS[2]])
    first, second, third = audit_document.SCANNERS[:3]
    assert orders == 2 * [{first: 2, second: 3, third: 1}]
