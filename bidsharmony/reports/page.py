"""Render self-contained pages: everything inlined, everything escaped, nothing executed."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TextIO

from jinja2 import BaseLoader, Environment, StrictUndefined, TemplateNotFound
from markupsafe import Markup

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
MAX_PICTURE_BYTES = 20_000_000
LABEL = re.compile(r'[A-Za-z0-9]+')
UNSEEN = {'Cc', 'Cf', 'Cs', 'Zl', 'Zp'}
"""Unicode categories of what is not seen: controls, formats, halves, separators."""


class _PackageTemplates(BaseLoader):
    """Read templates from the package's data, wherever it is installed."""

    def get_source(self, environment: Environment, template: str):
        if not re.fullmatch(r'[a-z_]+\.(html|css|md)', template):
            raise TemplateNotFound(template)
        return _template_text(template), template, lambda: True


@lru_cache
def _template_text(name: str) -> str:
    folder = 'boilerplate' if name.endswith('.md') else 'templates'
    return files('bidsharmony.data').joinpath(folder, name).read_text(encoding='utf-8')


@lru_cache
def environment() -> Environment:
    """Open the template environment: every value is escaped, a missing one is an error.

    Examples
    --------
    >>> environment().from_string('{{ x }}').render(x='<b>')
    '&lt;b&gt;'
    """
    env = Environment(
        loader=_PackageTemplates(),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=seen,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters['number'] = number
    env.filters['count'] = count
    return env


def seen(value: Any) -> Any:
    """Put a mark for characters that nobody sees, or that turn the text around them.

    A name that holds some would look like another one, or turn the rest of its line.

    Examples
    --------
    >>> seen('Prisma\\u202e\\u200b 3 T'), seen(3)
    ('Prisma\ufffd\ufffd 3 T', 3)
    """
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return ''.join(
        '\ufffd' if unicodedata.category(char) in UNSEEN and char not in '\n\t' else char
        for char in value
    )


def render(template: str, *, ranks: Sequence[Sequence[int | None]] = (), **values: Any) -> str:
    """Fill a page template; the style sheet and the content security policy are added here.

    The policy allows this very style sheet (by its hash) and pictures inside the page, nothing
    else: no script, no connection, no form, even if markup ever got past the escaping.

    Parameters
    ----------
    template : str
        file name in ``bidsharmony/data/templates``
    ranks : sequence of sequences of int or None
        places of the rows of the table that can be sorted, see :func:`rank_rules`
    **values
        what the template shows
    """
    style = '\n' + _template_text('page.css') + rank_rules(ranks)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return environment().get_template(template).render(
        # our own file, and of the values integers only
        style=Markup(style),
        policy=policy,
        **values,
    )  # fmt: skip


def rank_rules(ranks: Sequence[Sequence[int | None]]) -> str:
    """Tell each row of a table its place by every column: so it is sorted without a script.

    Inline styles are forbidden on the page, so the places stand in its style sheet, which the
    policy allows by its hash. A radio button then chooses the column that counts.

    Parameters
    ----------
    ranks : one sequence per row: its place by column 0, 1 ...; None goes to the end

    Examples
    --------
    >>> rank_rules([[1, 0], [0, None]])
    '.sortable tbody tr:nth-child(1){--k0:1;--k1:0}\\n.sortable tbody tr:nth-child(2){--k0:0}\\n'
    """
    rules = []
    for number_of_row, places in enumerate(ranks, start=1):
        told = ';'.join(
            f'--k{key}:{int(place)}' for key, place in enumerate(places) if place is not None
        )
        rules.append(f'.sortable tbody tr:nth-child({number_of_row}){{{told}}}\n')
    return ''.join(rules)


def data_uri(png: bytes) -> str:
    """Encode a picture for embedding.

    Raises
    ------
    ValueError
        if the bytes are not a PNG

    Examples
    --------
    >>> data_uri(PNG_SIGNATURE)
    'data:image/png;base64,iVBORw0KGgo='
    """
    if not png.startswith(PNG_SIGNATURE):
        message = f'not a PNG: starts with {png[:8]!r}'
        raise ValueError(message)
    return 'data:image/png;base64,' + base64.b64encode(png).decode('ascii')


def embed(picture: Path) -> str | None:
    """Read a picture for embedding; None where there is none or it is not a PNG.

    Examples
    --------
    >>> embed(Path('absent.png')) is None
    True
    """
    try:
        if picture.stat().st_size > MAX_PICTURE_BYTES:
            return None
        return data_uri(picture.read_bytes())
    except (OSError, ValueError):
        return None


def number(value: Any, digits: int = 3, unit: str = '') -> str:
    """Format a measured value, or say that there is none.

    Examples
    --------
    >>> number(0.00078123), number(1.13e-7, unit='mm'), number(None), number('x')
    ('0.000781', '1.13e-07 mm', 'n/a', 'n/a')
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 'n/a'
    text = f'{value:.{digits}g}' if abs(value) < 10**digits else f'{value:.0f}'
    return f'{text} {unit}' if unit else text


def count(value: Any) -> str:
    """Format a count with thousands apart.

    Examples
    --------
    >>> count(164050), count(None)
    ('164,050', 'n/a')
    """
    return f'{value:,}' if isinstance(value, int) and not isinstance(value, bool) else 'n/a'


def part(document: Mapping[str, Any], *keys: str) -> Mapping[str, Any]:
    """Walk into nested mappings; an empty mapping where there is none.

    Examples
    --------
    >>> part({'a': {'b': {'c': 1}}}, 'a', 'b'), part({'a': None}, 'a', 'b')
    ({'c': 1}, {})
    """
    value: Any = document
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def write_atomic(path: Path, content: str) -> Path:
    """Write a text file under its final name only when it is complete and on disk.

    Raises
    ------
    OSError
        if the folder cannot be written
    """
    with atomic_text(path) as stream:
        stream.write(content)
    return path


@contextmanager
def atomic_text(path: Path) -> Iterator[TextIO]:
    """Open a text file that gets its final name when the block ends well, and vanishes if not.

    Raises
    ------
    OSError
        if the folder cannot be written
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8', errors='replace', newline='') as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp gives 0600: a report is for everyone who may read the folder
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """Read the process's umask, which has no getter."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
