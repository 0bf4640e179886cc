"""Say in a few sentences what the audit of a study found: what was there, is left, was lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import count, number, part

FOREST = 'random forest'
DICE_MEDIAN, DICE_DECILE = 0.9, 0.74
"""What the Dice of lesions before and after should reach; .74 is the paper's."""
KEYS = {
    'scanner_id': 'scanner identity',
    'embedding': 'embedding of slices',
    'negative_control': 'negative control',
}
"""Keys of the document in words."""
MAX_NAMED = 6  # things that one sentence names


def audit_verdicts(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Collect the sentences, each with a name and a tone ('', 'good', 'bad' or 'warning').

    Parameters
    ----------
    document : mapping
        content of ``group_batcheffects.json``

    Examples
    --------
    >>> document = {'not_run': [{'what': 'lesions', 'reason': 'no masks'}], 'n_scanners': 1}
    >>> [verdict['text'] for verdict in audit_verdicts(document)]
    ['not measured: there is only one scanner.', 'lesions.']
    """
    found = [
        *_identity(document),
        _named('Does not count', document.get('not_counted'), 'bad'),
        _lesions(part(document, 'lesions')),
        _covariates(document.get('covariates') or (), unreadable(document)),
        _texture(part(document, 'texture')),
        _frequency(part(document, 'frequency')),
        _autoencoder(part(document, 'autoencoder')),
        _control(part(document, 'negative_control')),
        _named('Not run', document.get('not_run'), 'warning'),
    ]
    return [verdict for verdict in found if verdict is not None]


def doubted(document: Mapping[str, Any], model: str, side: str) -> str:
    """Say why a probe does not count; '' if it does.

    Parameters
    ----------
    document : mapping
    model : str
        name of the probe
    side : 'frozen' or 'retrained'

    Examples
    --------
    >>> entry = {'what': 'scanner_id', 'reason': 'retrained, it learned 91 % of the slices'}
    >>> [doubted({'not_counted': [entry]}, 'ResNet-50', side) for side in ('frozen', 'retrained')]
    ['', 'retrained, it learned 91 % of the slices']
    >>> doubted({'not_counted': [entry]}, 'random forest', 'retrained')
    ''
    """
    for entry in document.get('not_counted') or ():
        what, reason = (str(entry.get(key) or '') for key in ('what', 'reason'))
        is_probe = re.match(r'scanner[_ ]id|resnet|random forest|.*probe', what.lower())
        if not is_probe or ('forest' in what.lower()) != (model == FOREST):
            continue
        told = f'{what} {reason}'.lower()
        named = [name for name in ('frozen', 'retrained') if name in told]
        if not named or side in named:
            return reason or 'it was not trained well'
    return ''


def unreadable(document: Mapping[str, Any]) -> dict[str, str]:
    """Find the covariates that do not count, with the reason.

    Examples
    --------
    >>> entry = {'what': 'covariates: age', 'reason': 'not told before either'}
    >>> unreadable({'not_counted': [entry, {'what': 'scanner_id', 'reason': 'x'}]})
    {'age': 'not told before either'}
    """
    prefix = 'covariates: '
    return {
        str(entry.get('what')).removeprefix(prefix): str(entry.get('reason') or 'n/a')
        for entry in document.get('not_counted') or ()
        if str(entry.get('what')).startswith(prefix)
    }


def probes(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """List the probes that gave scores by name, the deep one first.

    Examples
    --------
    >>> scores = {'before': {'accuracy': 0.9}}
    >>> list(probes({'scanner_id': {'model': 'ResNet-50', 'forest': {'frozen': scores}}}))
    ['random forest']
    """
    identity = part(document, 'scanner_id')
    candidates = {str(identity.get('model') or 'deep probe'): identity}
    candidates[FOREST] = part(identity, 'forest')
    return {name: probe for name, probe in candidates.items() if scores_before(probe)}


def scores_before(probe: Mapping[str, Any]) -> Mapping[str, Any]:
    """Find a probe's scores on the images before, which both of its sides hold."""
    return part(probe, 'frozen', 'before') or part(probe, 'retrained', 'before')


def spoken(what: Any) -> str:
    """Say in words what was not run; a key of the document is replaced.

    Examples
    --------
    >>> spoken('scanner_id'), spoken('scanner_id.forest'), spoken('scanner_id (deep network)')
    ('scanner identity', 'scanner identity, forest', 'scanner identity (deep network)')
    >>> spoken('covariates: negative_control')
    'covariates: negative_control'
    """
    key, dot, rest = re.fullmatch(r'(\w*)(\.?)(.*)', str(what), re.DOTALL).groups()
    return KEYS.get(key, key) + (', ' if dot and key in KEYS else dot) + rest


def percent(value: Any) -> str:
    """Write a share.

    Examples
    --------
    >>> percent(0.957), percent(None)
    ('96%', 'n/a')
    """
    return f'{value:.0%}' if number(value) != 'n/a' else 'n/a'


def interval(ends: Any, write: Callable[[Any], str] = number) -> str:
    """Write a 95 % interval, or nothing where there is none.

    Examples
    --------
    >>> interval([0.9171, 0.98]), interval([0.4, 0.6], percent), interval(None)
    ('0.917 to 0.98', '40% to 60%', '')
    """
    if not isinstance(ends, Sequence) or isinstance(ends, str) or len(ends) != 2:
        return ''
    low, high = (write(value) for value in ends)
    return '' if 'n/a' in (low, high) else f'{low} to {high}'


def _identity(document: Mapping[str, Any]) -> Iterable[dict[str, str]]:
    """Say how well scanners are told before and after, by the best probe that counts."""
    found = probes(document)
    if not found:
        few = (document.get('n_scanners') or 0) < 2
        text = 'there is only one scanner' if few else _why_no_probe(document)
        yield _verdict('Scanner', f'not measured: {text}.', 'warning')
        return
    counted = [model for model in found if not doubted(document, model, 'retrained')]
    model = next(iter(counted or found))
    probe = found[model]
    before, chance = scores_before(probe), document.get('chance')
    n_scanners = len(before.get('confusion') or ()) or document.get('n_scanners')
    yield _verdict(
        'How much scanner was there',
        f'a {model} names the right one of {count(n_scanners)} scanners on '
        f'{_with_interval(before)} of the slices (chance: {percent(chance)}).',
    )
    after = part(probe, 'retrained', 'after')
    frozen = part(probe, 'frozen', 'after')
    if not after:
        yield _verdict(
            'How much is left',
            'the probe was not retrained, so nothing is known. Frozen, as in the paper, it is '
            f'right on {_with_interval(frozen)}: that alone proves nothing.',
            'warning',
        )
    else:
        text, tone = _left(before, after, chance)
        right = _with_interval(after)
        text = f'retrained on the harmonized slices, it is right on {right}: {text}.'
        if frozen:
            text += f' Frozen, as in the paper: {percent(frozen.get("accuracy"))}.'
        if reason := doubted(document, model, 'retrained'):
            text, tone = f'{text} This does not count: {reason}.', 'bad'
        yield _verdict('How much is left', text, tone)
    for other in (name for name in found if name != model):
        ends = (scores_before(found[other]), part(found[other], 'retrained', 'after'))
        if ends[1]:
            first, last = (percent(scores.get('accuracy')) for scores in ends)
            reason = doubted(document, other, 'retrained')
            text = f'{first} before, {last} after, retrained.'
            text += f' This does not count: {reason}.' if reason else ''
            yield _verdict(f'By a {other}', text, 'bad' if reason else '')


def _why_no_probe(document: Mapping[str, Any]) -> str:
    """Find the reason why no probe was run."""
    for entry in document.get('not_run') or ():
        if str(entry.get('what')).startswith(('scanner_id', 'audit')):
            return str(entry.get('reason') or 'n/a')
    return "see 'Not run' for the reason"


def _left(before: Mapping[str, Any], after: Mapping[str, Any], chance: Any) -> tuple[str, str]:
    """Put two accuracies in relation to chance, and say whether the second is the lower one."""
    ends = [scores.get('accuracy') for scores in (before, after)]
    if any(number(value) == 'n/a' for value in (*ends, chance)):
        return 'not comparable', 'warning'
    first, last = ends
    low_after, high_after = _ends(after, last)
    low_before, _ = _ends(before, first)
    if low_before <= chance:
        return 'there was no more than chance before', ''
    if low_after <= chance:
        return 'no more than chance', 'good'
    share = f'{(last - chance) / (first - chance):.0%} of what lay above chance is left'
    if high_after < low_before:
        return share, 'good'
    return f'{share}, no less than before within the intervals', 'bad'


def _lesions(lesions: Mapping[str, Any]) -> dict[str, str] | None:
    """Say how much of the lesions is found again."""
    rules = {'trace_bright': 'bright on the trace', 'adc_dark': 'dark on the ADC'}
    found = {
        text: dice for rule, text in rules.items()
        if number((dice := part(lesions, 'dice', rule)).get('median')) != 'n/a'
    }  # fmt: skip
    if not found:
        return None
    texts = [
        f'{number(dice["median"])} {text} (worst decile {number(dice.get("worst_decile"))})'
        for text, dice in found.items()
    ]
    reached = all(
        dice['median'] >= DICE_MEDIAN and (dice.get('worst_decile') or 0) >= DICE_DECILE
        for dice in found.values()
    )
    return _verdict(
        'Lesions',
        f'what is found of {count(lesions.get("n_lesions"))} lesions after agrees with what was '
        f'found before: median Dice {" and ".join(texts)}. '
        f'Aimed at: {DICE_MEDIAN:g} and {DICE_DECILE:g}{"" if reached else ", not reached"}.',
        'good' if reached else 'bad',
    )


def _covariates(
    rows: Sequence[Mapping[str, Any]], left_out: Mapping[str, str]
) -> dict[str, str] | None:
    """Say which columns of participants.tsv are as readable as before."""
    rows = [row for row in rows if str(row.get('name')) not in left_out]
    if not rows:
        return None
    kept = [str(row.get('name')) for row in rows if row.get('kept')]
    lost = [row for row in rows if not row.get('kept')]
    texts = [f'as readable as before: {", ".join(kept[:MAX_NAMED])}{_more(kept)}'] * bool(kept)
    if lost:
        named = []
        for row in lost[:MAX_NAMED]:
            before, after = (number(row.get(side), digits=2) for side in ('before', 'after'))
            named.append(
                f'{row.get("name")} ({row.get("measure")} {before} before, {after} after)'
            )
        texts.append(f'less readable than before: {", ".join(named)}{_more(lost)}')
    return _verdict('Covariates', f'{"; ".join(texts)}.', 'bad' if lost else 'good')


def _texture(texture: Mapping[str, Any]) -> dict[str, str] | None:
    before, after = (part(texture, 'eta2').get(side) for side in ('before', 'after'))
    if 'n/a' in (number(before), number(after)):
        return None
    chance = percent(texture.get('chance'))
    return _verdict(
        'Texture',
        f'the scanner explains {percent(before)} of its variance before and {percent(after)} '
        f'after (without any scanner effect: {chance}).',
    )


def _frequency(frequency: Mapping[str, Any]) -> dict[str, str] | None:
    ends = part(frequency, 'log_spectral_distance_db')
    before, after = (number(ends.get(side)) for side in ('before', 'after'))
    if 'n/a' in (before, after):
        return None
    text = f"two scanners' spectra lie {before} dB apart before and {after} dB after, on average."
    return _verdict('Frequency', text)


def _autoencoder(block: Mapping[str, Any]) -> dict[str, str] | None:
    if number(block.get('ratio')) == 'n/a':
        return None
    before, after = (number(part(block, 'iterations').get(side), digits=5)
                     for side in ('before', 'after'))  # fmt: skip
    spread = interval(block.get('ratio_ci95'))
    return _verdict(
        'Learning',
        f'an autoencoder reaches the same loss in {after} iterations instead of {before}: '
        f'{number(block["ratio"])} times as many{f" ({spread})" if spread else ""}.',
    )


def _control(control: Mapping[str, Any]) -> dict[str, str] | None:
    if not control:
        return None
    passes = bool(control.get('passes'))
    text = (
        f'two halves of the subjects on {control.get("scanner")} are told apart on '
        f'{_with_interval(control)} of the slices (chance: {percent(control.get("chance"))})'
    )
    text += (
        ', no better than they should be.'
        if passes
        else ', though on one scanner: the probe sees more than scanners.'
    )
    return _verdict('Negative control', text, '' if passes else 'bad')


def _named(name: str, entries: Any, tone: str) -> dict[str, str] | None:
    """Name what is in a list of (what, reason); the reasons stand in a table."""
    names = [spoken(entry.get('what')) for entry in entries or ()]
    if not names:
        return None
    return _verdict(name, f'{", ".join(names[:MAX_NAMED])}{_more(names)}.', tone) | {
        'link': '#not-run'
    }


def _more(names: Sequence[Any]) -> str:
    return f' and {len(names) - MAX_NAMED} more' if len(names) > MAX_NAMED else ''


def _with_interval(scores: Mapping[str, Any]) -> str:
    spread = interval(scores.get('ci95'), percent)
    return percent(scores.get('accuracy')) + (f' ({spread})' if spread else '')


def _ends(scores: Mapping[str, Any], middle: float) -> tuple[float, float]:
    """Give an interval's ends, or the value itself twice."""
    return tuple(scores['ci95']) if interval(scores.get('ci95')) else (middle, middle)


def _verdict(name: str, text: str, tone: str = '') -> dict[str, str]:
    return {'name': name, 'text': text, 'tone': tone, 'link': ''}
