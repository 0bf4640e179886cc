"""Share out work that falls into parts, none of which needs another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')


def in_threads(threads: int, call: Callable[..., T], *items: Iterable[object]) -> list[T]:
    """Call a function for each item, or for each row of several lists, as ``map`` does.

    Threads share out whole calls, never the sums within one: the bits stay the same.

    Parameters
    ----------
    threads : int
        1 is a plain loop.
    call : callable
    *items : iterables
        All of one length.

    Examples
    --------
    >>> in_threads(2, max, [1, 5], [3, 4])
    [3, 5]
    """
    rows = zip(*items, strict=True)
    if threads < 2:
        return [call(*row) for row in rows]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(lambda row: call(*row), rows))
