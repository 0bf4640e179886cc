"""Show on a terminal how far every participant, or the group level, is; elsewhere lines say it."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from bidsharmony.cli.listing import plural, printable, say

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from bidsharmony.supervise.records import Step

REDRAW = 0.25
"""Seconds between drawings at least: many participants may report many steps at once."""


@dataclass
class Working:
    """Hold what is known of a participant at work."""

    began: float
    name: str = ''
    n_done: int = 0
    n_steps: int = 0

    @property
    def share(self) -> float:
        """Give the share of its steps that are done, 0 to 1."""
        return self.n_done / self.n_steps if self.n_steps else 0.0


class Board:
    """Follow the participants of a call; the clock is that of the caller.

    Examples
    --------
    Two participants of one run, one after the other; the first took a minute:

    >>> from bidsharmony.supervise.records import Step
    >>> now = [0.0]
    >>> board = Board(lambda: now[0])
    >>> board.planned({'sub-01': 1, 'sub-02': 1})
    >>> board.started('sub-01')
    >>> board.left() is None
    True
    >>> board.step('sub-01', Step('brain mask', 5, 10))
    >>> now[0] = 60.0
    >>> board.ended('sub-01')
    >>> board.started('sub-02')
    >>> now[0] = 75.0
    >>> duration(board.left())
    '0:45'
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = clock()
        self.waiting: dict[str, int] = {}
        self.working: dict[str, Working] = {}
        self.n_planned = 0
        self.n_ended = 0
        self._runs: dict[str, int] = {}
        # of participants that had work to do: those that are unchanged take no time
        self._seconds = 0.0
        self._n_runs = 0

    def planned(self, runs: Mapping[str, int]) -> None:
        """Hear of all participants, and how many runs each has."""
        self._runs = {name: max(count, 1) for name, count in runs.items()}
        self.waiting = dict(self._runs)
        self.n_planned = len(self._runs)

    def started(self, participant: str) -> None:
        """Hear that a process works on one."""
        self.waiting.pop(participant, None)
        self.working[participant] = Working(self.clock())

    def step(self, participant: str, step: Step) -> None:
        """Hear how far it is; a step without a name is the end of the one before."""
        work = self.working[participant]
        work.name = step.name or work.name
        work.n_done, work.n_steps = step.n_done, step.n_steps

    def ended(self, participant: str) -> None:
        """Hear that it has come to an end, whichever."""
        work = self.working.pop(participant)
        self.n_ended += 1
        if work.n_steps:
            self._seconds += self.clock() - work.began
            self._n_runs += self._runs[participant]

    def left(self) -> float | None:
        """Estimate the seconds that are left; None while there is nothing to judge by.

        A run takes as long as those of the participants that have ended; before there is one, as
        long as the shares of steps that are done let expect. As many go on side by side as now.
        """
        now = self.clock()
        lasting = {name: now - work.began for name, work in self.working.items()}
        if self._n_runs:
            per_run = self._seconds / self._n_runs
        else:
            guesses = [
                lasting[name] / work.share / self._runs[name]
                for name, work in self.working.items()
                if work.n_done
            ]
            if not guesses:
                return None
            per_run = sum(guesses) / len(guesses)
        rest = [max(per_run * self._runs[name] - lasting[name], 0.0) for name in self.working]
        total = sum(rest) + per_run * sum(self.waiting.values())
        return max([total / max(len(rest), 1), *rest])


class LiveTable(Board):
    """Draw the board on a terminal, below the lines of the log; no thread draws.

    Parameters
    ----------
    console : Console
        of rich, on a terminal
    what : str
        what the rows are
    alike : bool
        whether one says how long another takes, so that the time left can be told
    """

    def __init__(self, console: Console, what: str = 'participant', alike: bool = True) -> None:
        from rich.live import Live

        super().__init__()
        self.console = console
        self.what = what
        self.alike = alike
        # gone at the end: the summary says what it came to
        self.live = Live(console=console, auto_refresh=False, transient=True,
                         redirect_stdout=False, redirect_stderr=False)  # fmt: skip
        self._drawn = 0.0

    def look(self) -> None:
        """Draw, unless that was done a moment ago."""
        now = self.clock()
        if now - self._drawn >= REDRAW:
            self._drawn = now
            self.live.update(self.table(), refresh=True)

    def table(self) -> Table:
        """Make the table of the participants at work."""
        from rich.table import Table
        from rich.text import Text

        left = self.left() if self.alike else None
        ending = f', about {duration(left)} left' if left is not None else ''
        table = Table(
            title=Text(
                f'{self.n_ended} of {plural(self.n_planned, self.what)} after '
                f'{duration(self.clock() - self.began)}{ending}'
            ),
            title_justify='left',
        )
        for name, justify in ((self.what, 'left'), ('step', 'left'), ('done', 'right'),
                              ('elapsed', 'right')):  # fmt: skip
            table.add_column(name, justify=justify, no_wrap=True, overflow='ellipsis')
        for name, work in self.working.items():
            done = f'{work.n_done} of {work.n_steps}' if work.n_steps else ''
            cells = (name, work.name or 'checks', done, duration(self.clock() - work.began))
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table


class Stages:
    """Tell how far a piece of work is that has stages, one after the other.

    Parameters
    ----------
    table : LiveTable or None
        None where there is no terminal: what is told is then for the lines of whoever tells it
    names : iterable of str
        of the stages
    """

    def __init__(self, table: LiveTable | None, names: Iterable[str]) -> None:
        self.table = table
        self._name: str | None = None
        if table is not None:
            table.planned(dict.fromkeys(names, 1))

    def begin(self, name: str) -> None:
        """Begin a stage, which ends the one before."""
        if self.table is None:
            return
        if self._name is not None:
            self.table.ended(self._name)
        self._name = name
        self.table.started(name)
        self.tell(name)

    def tell(self, what: str) -> None:
        """Say what the stage is at."""
        from bidsharmony.supervise.records import Step

        if self.table is not None and self._name is not None:
            self.table.step(self._name, Step(what, 0, 0))
            self.table.look()

    def say(self, who: str, line: str) -> None:
        """Tell a line that is worth one of its own on stdout where nobody sees the table there."""
        if self.table is None or not sys.stdout.isatty():
            say(f'{who}, {line}\n')
        self.tell(f'{who}, {line}')


class _Above:
    """Stand in for stderr while the table is there: what is written appears above it."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def write(self, text: str) -> int:
        """Print lines as they are: neither markup nor wrapped."""
        from rich.text import Text

        self.console.print(Text(text.removesuffix('\n')), soft_wrap=True)
        return len(text)

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


@contextlib.contextmanager
def watching(
    verbose_count: int, stream: TextIO | None = None, what: str = 'participant', alike: bool = True
) -> Iterator[LiveTable | None]:
    """Show a table while the block runs, where there is a terminal that can; give who draws it.

    Parameters
    ----------
    verbose_count : int
        of ``-v``; from the second on the lines of libraries leave no room for a table
    stream : text file, optional
        instead of stderr
    what, alike
        see `LiveTable`

    Yields
    ------
    LiveTable or None
    """
    stream = stream or sys.stderr
    console = _console(stream) if verbose_count < 2 else None
    if console is None:
        yield None
        return
    table = LiveTable(console, what, alike)
    with table.live, _log_above(stream, console):
        yield table


def _console(stream: TextIO) -> Any:
    """Give rich's console of a terminal that can move its cursor; None for any other stream.

    NO_COLOR is rich's own to honour: it takes the colours, not the table.
    """
    if not stream.isatty() or os.environ.get('TERM', 'dumb').lower() in ('', 'dumb', 'unknown'):
        return None
    try:
        from rich.console import Console
    except ImportError:
        return None
    return Console(file=stream)


@contextlib.contextmanager
def _log_above(stream: TextIO, console: Console) -> Iterator[None]:
    """Let handlers of the log that write to a stream write above the table."""
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is stream
    ]
    above = _Above(console)
    for handler in handlers:
        handler.setStream(above)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(stream)


def duration(seconds: float) -> str:
    """Write seconds as a clock does.

    Examples
    --------
    >>> [duration(seconds) for seconds in (7.4, 75, 3723)]
    ['0:07', '1:15', '1:02:03']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{rest:02d}' if hours else f'{minutes}:{rest:02d}'
