"""What is planted in pages, how fields are found, and what a page is made of."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

from bidsharmony.reports.page import seen
from tests.reports.pages import Page

PAYLOADS = {
    'script': '<script>document.title="owned"</script>',
    'image': '<img src=x onerror=\'document.title="owned"\'>',
    'svg': '<svg/onload=document.title="owned">',
    'double quote': '" onmouseover="document.title=1" style="background:url(//example.org/a)" x="',
    'single quote': "' onmouseover='document.title=1' x='",
    'address': '<a href="javascript:document.title=1">javascript:document.title=1</a>',
    'style': '</style><style>@import url(//example.org/b.css); * { display: none }</style>',
    'title': '</title><title>owned</title><base href="https://example.org/">',
    'comment': '--><!-- x --!><![CDATA[ y ]]>',
    'template': '{{7*7}}{% include "page.css" %}{# z #}',
    'entities': '&lt;script&gt;document.title=1&lt;/script&gt;&#60;b&#62;&NotAnEntity;',
    'unseen': 'a\u202eb\u200bc\u2066d\x00e\x1bf\ufeffg\nh<b>\ti',
}

TEXTS = ('alt', 'title')
"""Attributes that hold text, so that any text may stand in them."""

Place = tuple[str | int, ...]


def fields(document: Any, place: Place = ()) -> Iterator[Place]:
    """List the places of a document's values; of a list that is longer than a pair, the first.

    Examples
    --------
    >>> list(fields({'a': [1, 2, 3], 'b': {'c': None}, 'd': [{'e': ''}], 'f': [], 'g': ['', '']}))
    [('a', 0), ('b', 'c'), ('d', 0, 'e'), ('g', 0), ('g', 1)]
    """
    if isinstance(document, dict):
        for key, value in document.items():
            yield from fields(value, (*place, key))
    elif isinstance(document, (list, tuple)):
        for ix, value in enumerate(document if len(document) < 3 else document[:1]):
            yield from fields(value, (*place, ix))
    else:
        yield place


def value_at(document: Any, place: Place) -> Any:
    """Give the value in a place."""
    for key in place:
        document = document[key]
    return document


def planted(document: Any, place: Place, payload: str) -> Any:
    """Copy a document with something else in one place.

    Examples
    --------
    >>> planted({'a': [1, 2]}, ('a', 0), 'x')
    {'a': ['x', 2]}
    """
    document = copy.deepcopy(document)
    *way, last = place
    value_at(document, tuple(way))[last] = payload
    return document


def skeleton(page: Page) -> set[tuple[str, tuple[tuple[str, str | None], ...]]]:
    """Give the elements of a page with their attributes; text is no part of it.

    Of a class, which tells good from bad, only that it is made of plain words; of the policy, not
    the hash of the style sheet, which holds the order of the rows.
    """

    def plain(name: str, value: str | None) -> str | None:
        if name in TEXTS or (name == 'class' and re.fullmatch('[a-z0-9 -]*', value or '')):
            return ''
        # a picture that is drawn holds the text as pixels
        for kind, pattern in (
            ('content', r"'sha256-[\w+/=]+'"),
            ('src', r'(?<=base64,)[\w+/=]+$'),
        ):
            value = re.sub(pattern, '', value or '') if name == kind else value
        return value

    return {
        (tag, tuple(sorted((name, plain(name, value)) for name, value in attrs.items())))
        for tag, attrs in page.tags
    }


def shown(page: Page) -> str:
    """Give all that a page lets be read: text, and attributes that hold some; blanks collapsed."""
    attributes = [attrs.get(name) or '' for _, attrs in page.tags for name in TEXTS]
    return ' '.join(' '.join([*page.text, *attributes]).split())


def as_shown(payload: str) -> str:
    """Write a payload as a page shows it."""
    return ' '.join(seen(payload).split())
