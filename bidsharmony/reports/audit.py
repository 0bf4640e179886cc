"""Show the audit of a study on the group page: the paper's table, panels, and what was not run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import count, data_uri, number, part
from bidsharmony.reports.verdicts import (
    audit_verdicts,
    doubted,
    interval,
    probes,
    scores_before,
    spoken,
    unreadable,
)
from bidsharmony.viz.autoencoder import autoencoder_panel
from bidsharmony.viz.confusion import confusion_matrix
from bidsharmony.viz.embedding import embedding_panel
from bidsharmony.viz.figure import save_png

CHANNELS = {'b0': 'b = 0', 'trace': 'trace-weighted', 'adc': 'ADC'}
RULES = {'trace_bright': 'bright on the trace', 'adc_dark': 'dark on the ADC'}
MAX_NAMES = 5  # names of a scanner in one cell
MAX_LISTED = 500  # rows of a table
MAX_MATRIX = 16  # scanners of a confusion matrix whose numbers can be read
DASH = '\u2013'
DOUBT = '\u2020'

# Wada et al. 2024, abstract, as printed there: ResNet-50, 7 scanners, 3,500 images
PAPER = {
    'accuracy': ('0.9443', '0.5786'),
    'precision': ('0.9442', '0.6494'),
    'recall': ('0.9443', '0.5786'),
    'f1': ('0.9438', '0.5587'),
    'chance': ('1 in 7', '1 in 7'),
    'n_slices': ('3,500', '3,500'),
}
SCORES = {
    'accuracy': 'accuracy',
    'ci95': '95 % interval, by subject',
    'balanced_accuracy': 'balanced accuracy',
    'precision': 'precision',
    'recall': 'recall',
    'f1': 'F1',
    'chance': 'chance',
    'mcnemar_p': "McNemar's test, p",
    'permutation_p': 'permutation by subject, p',
    'training_accuracy': 'accuracy in training',
    'n_slices': 'slices',
    'n_subjects': 'subjects',
}
BESIDE = ('autoencoder', 'lesions')  # what else the paper measured
HEADS = {'frozen': 'after, frozen', 'retrained': 'after, retrained'}


def audit_view(document: Mapping[str, Any] | None, drawn: Sequence[str]) -> dict[str, Any] | None:
    """Turn ``group_batcheffects.json`` into what the template shows; None without one.

    Parameters
    ----------
    document : mapping or None
    drawn : sequence of str
        the page's scanners in the order of their colours

    Examples
    --------
    >>> audit_view(None, []) is None
    True
    >>> view = audit_view({'n_scanners': 1, 'audit': 'quick'}, ['A'])
    >>> view['verdicts'][0]['text'], view['pictures']['embedding']
    ('not measured: there is only one scanner.', [])
    """
    if document is None:
        return None
    return {
        'level': str(document.get('audit') or 'n/a'),
        'n_slices': document.get('n_slices'),
        'n_sampled_runs': document.get('n_sampled_runs'),
        'verdicts': audit_verdicts(document),
        'replaced': [key for key in ('texture', 'frequency') if part(document, key)],
        # the paper's figures alone say nothing about these data
        'measured': any(probes(document)) or any(part(document, key) for key in BESIDE),
        'paper': paper_table(document),
        'others': other_figures(document),
        'pictures': {
            'confusion': _confusion(document),
            'embedding': _embedding(document, drawn),
            'autoencoder': _autoencoder(part(document, 'autoencoder')),
        },
        'embedding_of': str(part(document, 'embedding').get('features') or 'n/a'),
        'channels': _channels(document),
        'limit': number(part(document, 'frequency').get('limit_per_mm')),
        'autoencoder': _iterations(part(document, 'autoencoder')),
        'lesions': _lesions(part(document, 'lesions')),
        'covariates': [
            _covariate(row, unreadable(document))
            for row in (document.get('covariates') or ())[:MAX_LISTED]
        ],
        'control': _control(part(document, 'negative_control')),
        'grouping': _grouping(part(document, 'grouping')),
        'not_run': _reasons(document.get('not_run')),
        'not_counted': _reasons(document.get('not_counted')),
    }


def paper_table(document: Mapping[str, Any]) -> dict[str, Any]:
    """Set the user's scores beside the paper's.

    Examples
    --------
    >>> forest = {'frozen': {'before': {'accuracy': 0.93}, 'after': {'accuracy': 0.25}}}
    >>> table = paper_table({'scanner_id': {'forest': forest}, 'chance': 0.25})
    >>> [group['name'] for group in table['groups']], table['heads'][2:]
    (['Wada et al. 2024', 'these data, random forest'], ['before', 'after, frozen'])
    >>> table['rows'][0]
    ('accuracy', ['0.9443', '0.5786', '0.930', '0.250'])
    """
    printed = [{name: ends[side] for name, ends in PAPER.items()} for side in (0, 1)]
    columns: list[dict[str, Any]] = []
    groups = [{'name': 'Wada et al. 2024', 'span': 2}]
    heads = ['before', HEADS['frozen']]
    any_doubt = False
    for model, probe in probes(document).items():
        chance = {'chance': document.get('chance')}
        sides = [side for side in HEADS if part(probe, side, 'after')]
        doubts = {side: bool(doubted(document, model, side)) for side in sides}
        any_doubt |= any(doubts.values())
        groups.append({'name': f'these data, {model}', 'span': 1 + len(sides)})
        heads.append('before')
        columns.append({**scores_before(probe), **chance})
        for side in sides:
            heads.append(HEADS[side] + f' {DOUBT}' * doubts[side])
            tests = {key: part(probe, key).get(side) for key in ('mcnemar_p', 'permutation_p')}
            columns.append({**part(probe, side, 'after'), **chance, **tests})
    rows = [
        (name, [column.get(key, DASH) for column in printed]
         + [_score(key, column.get(key)) for column in columns])
        for key, name in SCORES.items()
    ]  # fmt: skip
    return {
        'groups': groups,
        'heads': heads,
        # a row that nobody fills, such as the tests where nothing was run, says nothing
        'rows': [row for row in rows if any(cell != DASH for cell in row[1])],
        'doubt': any_doubt,
    }


def other_figures(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Set learning and lesions beside the paper's figures: (what, paper, here).

    Examples
    --------
    >>> other_figures({'autoencoder': {'ratio': 0.478, 'seeds': 5}})[0][1:]
    ('about half', '0.478 (5 seeds)')
    >>> other_figures({})[1][2]
    'not run'
    """
    block, lesions = part(document, 'autoencoder'), part(document, 'lesions')
    learning = 'not run'
    if number(block.get('ratio')) != 'n/a':
        inside = [interval(block.get('ratio_ci95')), f'{count(block.get("seeds"))} seeds']
        learning = f'{number(block["ratio"])} ({", ".join(filter(None, inside))})'
    medians = [
        f'{number(dice["median"])} {text}' for rule, text in RULES.items()
        if number((dice := part(lesions, 'dice', rule)).get('median')) != 'n/a'
    ]  # fmt: skip
    dice = f'median {", ".join(medians)} ({count(lesions.get("n_lesions"))} lesions)'
    return [
        ("an autoencoder's iterations, after over before", 'about half', learning),
        ('Dice of lesions', 'above 0.74 (84 lesions)', dice if medians else 'not run'),
    ]


def p_value(value: Any) -> str:
    """Write a p value.

    Examples
    --------
    >>> p_value(3e-88), p_value(0.0421), p_value(None)
    ('< 0.001', '0.042', 'n/a')
    """
    return '< 0.001' if number(value) != 'n/a' and value < 0.001 else number(value, digits=2)


def _score(key: str, value: Any) -> str:
    """Write one cell of the paper's table."""
    if key == 'ci95':
        return interval(value, _fixed).replace(' to ', DASH) or DASH
    text = {'n_slices': count, 'n_subjects': count, 'mcnemar_p': p_value,
            'permutation_p': p_value}.get(key, _fixed)(value)  # fmt: skip
    return DASH if text == 'n/a' else text


def _fixed(value: Any) -> str:
    return f'{value:.3f}' if number(value) != 'n/a' else 'n/a'


def _probed(document: Mapping[str, Any]) -> list[str]:
    """List the scanners that matrices and points speak of, in their order."""
    named = part(document, 'scanner_id').get('scanners')
    if named:
        return [str(label) for label in named]
    rows = part(document, 'grouping').get('scanners') or ()
    return [str(row.get('scanner')) for row in rows if row.get('n_slices')]


def _confusion(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Draw whom the best probe took for whom."""
    found, labels = probes(document), _probed(document)
    if not found or len(labels) > MAX_MATRIX:
        return []
    model, probe = next(iter(found.items()))
    matrices = {
        'before': scores_before(probe),
        **{head: part(probe, side, 'after') for side, head in HEADS.items()},
    }
    return [
        _embedded(
            confusion_matrix(scores['confusion'], labels, title=title),
            f'confusion matrix of the {model}, {title}, in percent of each scanner',
        )
        for title, scores in matrices.items()
        if _is_square(scores.get('confusion'), len(labels))
    ]


def _is_square(matrix: Any, n: int) -> bool:
    return isinstance(matrix, Sequence) and n == len(matrix) and all(len(r) == n for r in matrix)


def _embedding(document: Mapping[str, Any], drawn: Sequence[str]) -> list[dict[str, str]]:
    """Draw slices as points before and after."""
    block, labels = part(document, 'embedding'), _probed(document)
    points = part(block, 'points')
    scanner = points.get('scanner') or ()
    if not scanner or max(scanner) >= len(labels):
        return []
    places = {label: index for index, label in enumerate(dict.fromkeys([*drawn, *labels]))}
    found = []
    for side in ('before', 'after'):
        if len(points.get(side) or ()) != len(scanner):
            continue
        silhouette = number(part(block, 'silhouette').get(side), digits=2)
        figure = embedding_panel(
            points[side], scanner, labels,
            title=f'{side}, silhouette by scanner {silhouette}',
            order=[places[label] for label in labels],
        )  # fmt: skip
        found.append(_embedded(figure, f't-SNE of slices by scanner, {side} harmonization'))
    return found


def _autoencoder(block: Mapping[str, Any]) -> list[dict[str, str]]:
    """Draw the losses of all seeds."""
    curves, reached = part(block, 'curves'), part(block, 'iterations')
    if not curves.get('iterations'):
        return []
    figure = autoencoder_panel(
        curves['iterations'], curves.get('before') or (), curves.get('after') or (),
        loss=block.get('loss'), reached=(reached.get('before'), reached.get('after')),
    )  # fmt: skip
    return [_embedded(figure, 'loss of an autoencoder over iterations, before and after')]


def _iterations(block: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List (what, value) of the autoencoder."""
    if not block:
        return []
    ends = part(block, 'iterations')
    return [
        ('iterations before (median)', number(ends.get('before'), digits=5)),
        ('iterations after (median)', number(ends.get('after'), digits=5)),
        ('after over before', number(block.get('ratio'))),
        ('95 % interval', interval(block.get('ratio_ci95')) or 'n/a'),
        ('seeds', count(block.get('seeds'))),
        ('loss to be reached', number(block.get('loss'))),
    ]


def _channels(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List (image, texture, frequency), before → after, of both images and of each."""
    texture, frequency = part(document, 'texture'), part(document, 'frequency')
    if not texture and not frequency:
        return []
    rows = [
        (
            name,
            _change(part(texture, 'by_channel', channel), _fixed),
            _change(part(frequency, 'by_channel', channel)),
        )
        for channel, name in CHANNELS.items()
        if part(texture, 'by_channel', channel) or part(frequency, 'by_channel', channel)
    ]
    both = (
        _change(part(texture, 'eta2'), _fixed),
        _change(part(frequency, 'log_spectral_distance_db')),
    )
    chance = _fixed(texture.get('chance'))
    rows.append(('both', *both))
    return rows + [('without any scanner effect', chance, DASH)] * (chance != 'n/a')


def _lesions(lesions: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Lay out the tables of lesions: overlap, contrast, and by size."""
    if not lesions:
        return []
    overlap = {
        'caption': 'Dice of what one threshold finds before and after',
        'columns': ('found as', 'median', 'worst decile', 'lesions'),
        'rows': [
            (name, number(dice.get('median')), number(dice.get('worst_decile')),
             count(dice.get('n')))
            for rule, name in RULES.items()
            if (dice := part(lesions, 'dice', rule))
        ],
    }  # fmt: skip
    contrast = {
        'caption': 'Contrast-to-noise, median, before → after',
        'columns': ('image', 'contrast-to-noise'),
        'rows': [
            (name, _change(part(lesions, 'cnr', channel)))
            for channel, name in CHANNELS.items()
            if part(lesions, 'cnr', channel)
        ],
    }
    sizes = {
        'caption': 'Median Dice by size',
        'columns': ('size', 'lesions', *RULES.values()),
        'rows': [
            (_size(row), count(row.get('n')), number(row.get('dice_trace_bright')),
             number(row.get('dice_adc_dark')))
            for row in lesions.get('by_size') or ()
        ],
    }  # fmt: skip
    return [table for table in (overlap, sizes, contrast) if table['rows']]


def _size(row: Mapping[str, Any]) -> str:
    """Write a class of sizes.

    Examples
    --------
    >>> _size({'from_ml': 0.0, 'to_ml': 1.0}), _size({'from_ml': 10.0, 'to_ml': None})
    ('0 to 1 ml', '10 ml and more')
    """
    low, high = number(row.get('from_ml')), row.get('to_ml')
    return f'{low} ml and more' if high is None else f'{low} to {number(high)} ml'


def _covariate(row: Mapping[str, Any], left_out: Mapping[str, str]) -> dict[str, Any]:
    """Turn a covariate into cells."""

    def with_interval(key: str) -> str:
        spread = interval(row.get(f'{key}_ci95'), _signed if key == 'change' else _two)
        value = (_signed if key == 'change' else _two)(row.get(key))
        return value + (f' ({spread})' if spread else '')

    kept, counts = bool(row.get('kept')), str(row.get('name')) not in left_out
    return {
        'name': str(row.get('name')),
        'measure': str(row.get('measure') or 'n/a'),
        'cells': [with_interval(key) for key in ('before', 'after', 'change')],
        'tone': '' if not counts else 'good' if kept else 'bad',
        'kept': 'does not count' if not counts else 'yes' if kept else 'no',
        'n_subjects': count(row.get('n_subjects')),
    }


def _two(value: Any) -> str:
    return f'{value:.2f}' if number(value) != 'n/a' else 'n/a'


def _signed(value: Any) -> str:
    """Write a change with its sign, which is a minus and no hyphen.

    Examples
    --------
    >>> _signed(0.052), _signed(-0.11)
    ('+0.05', '\u22120.11')
    """
    return f'{value:+.2f}'.replace('-', '\u2212') if number(value) != 'n/a' else 'n/a'


def _control(control: Mapping[str, Any]) -> list[tuple[str, str]]:
    """List (what, value) of the negative control."""
    if not control:
        return []
    return [
        ('scanner', str(control.get('scanner') or 'n/a')),
        ('accuracy', number(control.get('accuracy'))),
        ('95 % interval', interval(control.get('ci95')) or 'n/a'),
        ('chance', number(control.get('chance'))),
        ('lower end at most', number(control.get('limit'))),
        ('slices', count(control.get('n_slices'))),
        ('passed', 'yes' if control.get('passes') else 'no'),
    ]


def _grouping(grouping: Mapping[str, Any]) -> dict[str, Any] | None:
    """Show what was taken for one scanner, and by which rule."""
    rows = (grouping.get('scanners') or ())[:MAX_LISTED]
    if not rows:
        return None
    return {
        'rule': str(grouping.get('rule') or 'n/a'),
        'rows': [
            {
                'name': str(row.get('scanner')),
                'cells': [count(row.get(key)) for key in ('n_runs', 'n_subjects', 'n_slices')],
                'names': _names(row),
            }
            for row in rows
        ],
        'n_left': len(grouping['scanners']) - len(rows),
    }


def _names(row: Mapping[str, Any]) -> str:
    """Name what the sidecars call a scanner, where that is more than its label."""
    names = [str(name) for name in row.get('names') or ()]
    if names == [str(row.get('scanner'))]:
        return DASH
    more = f' and {len(names) - MAX_NAMES} more' if len(names) > MAX_NAMES else ''
    return '; '.join(names[:MAX_NAMES]) + more or DASH


def _reasons(entries: Any) -> list[tuple[str, str]]:
    return [
        (spoken(entry.get('what')), str(entry.get('reason') or 'n/a'))
        for entry in (entries or ())[:MAX_LISTED]
    ]


def _change(ends: Mapping[str, Any], write: Callable[[Any], str] = number) -> str:
    return ' → '.join(write(ends.get(side)) for side in ('before', 'after'))


def _embedded(figure: Any, alt: str) -> dict[str, str]:
    return {'uri': data_uri(save_png(figure)), 'alt': alt}
