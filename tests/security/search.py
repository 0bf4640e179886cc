"""Search bytes for a word, in whatever it may be wrapped or written."""

from __future__ import annotations

import base64
import gzip
import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote_from_bytes

SHORTEST = 6
"""Letters whose base64 is not met by chance, wherever they begin."""

PNG = b'\x89PNG\r\n\x1a\n'
_URI = re.compile(rb'data:[a-z]+/[a-z]+;base64,([A-Za-z0-9+/=]+)')


@lru_cache
def writings(word: str) -> dict[str, bytes]:
    """Write a word in every way in which it is looked for, by the name of the encoding.

    Examples
    --------
    >>> found = writings('Zq')
    >>> found['utf-16-le'], found['escaped'], found['hex'], found['percent']
    (b'z\\x00q\\x00', b'\\\\u005a\\\\u0071', b'5a71', b'%5a%71')
    """
    plain = word.encode('utf-8')
    found = {
        'utf-8': plain,
        'latin-1': word.encode('latin-1', 'replace'),
        'utf-16-le': word.encode('utf-16-le'),
        'utf-16-be': word.encode('utf-16-be'),
        'hex': plain.hex().encode(),
        'escaped': ''.join(f'\\u{ord(char):04x}' for char in word).encode(),
        'percent': ''.join(f'%{byte:02x}' for byte in plain).encode(),
        'url': quote_from_bytes(plain).encode(),
    }
    found = {name: content.lower() for name, content in found.items()}
    for shift in range(3):
        # what does not depend on the bytes before and behind
        code = base64.b64encode(bytes(shift) + plain)
        start, end = -(-shift * 4 // 3), (len(plain) + shift) // 3 * 4
        found[f'base64, {shift}'] = code[start:end]
    return found


def held(content: bytes, words: Iterable[str], start: str = '') -> list[str]:
    """List the words that are in some bytes, in whatever encoding and case.

    Where all words have the same ``start``, of six letters at least, one look for it saves the
    others almost everywhere.

    Examples
    --------
    >>> held(b'{"a": "WORD4711"}', ['Word4711', 'other'])
    ['Word4711']
    >>> held(b'..' + base64.b64encode(b'xWord4711y'), ['Word4711'])
    ['Word4711']
    """
    lowered = content.lower()

    def found(word: str) -> bool:
        return any(
            written in (content if name.startswith('base64') else lowered)
            for name, written in writings(word).items()
        )

    if len(start) >= SHORTEST and not found(start):
        return []
    return [word for word in words if found(word)]


def unwrapped(content: bytes, depth: int = 4) -> Iterator[bytes]:
    """Yield some bytes, and what is inside: gzip, zip, PNG, and data that a page embeds."""
    yield content
    if not depth:
        return
    inner: list[bytes] = []
    if content.startswith(b'\x1f\x8b'):
        inner.append(gzip.decompress(content))
    elif content.startswith(b'PK\x03\x04'):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            inner += [archive.read(name) for name in archive.namelist()]
    elif content.startswith(PNG):
        inner += _chunks(content)
    else:
        inner += [base64.b64decode(code) for code in _URI.findall(content)]
    for part in inner:
        yield from unwrapped(part, depth - 1)


def _chunks(png: bytes) -> list[bytes]:
    """Give the pixels of a PNG and each of its texts, decompressed."""
    place, pixels, texts = len(PNG), b'', []
    while place < len(png):
        size, kind = struct.unpack('>I4s', png[place : place + 8])
        chunk = png[place + 8 : place + 8 + size]
        if kind == b'IDAT':
            pixels += chunk
        elif kind == b'zTXt':
            texts.append(zlib.decompress(chunk.partition(b'\0')[2][1:]))
        else:
            texts.append(chunk)
        place += size + 12
    return [zlib.decompress(pixels), *texts]


def everything(folder: Path) -> dict[str, list[bytes]]:
    """Read every file below a folder, and where links lead; names in front of the contents."""
    found = {}
    for path in sorted(folder.rglob('*')):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = [name.encode(), str(path.readlink()).encode()]
        elif path.is_file():
            found[name] = [name.encode(), *unwrapped(path.read_bytes())]
    return found
