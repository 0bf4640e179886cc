"""One fault, what must come of it, and what one try of it showed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.faults.study import Study


class NotPermittedError(Exception):
    """Say why a fault cannot be made here, such as who may not mount a disk."""


@dataclass
class Tried:
    """Hold what was wrong with one try, and how long things took.

    Parameters
    ----------
    wrong : list of str
        empty if it was survived
    noticed, ended : float or None
        seconds from the fault until the command said so, and until it was over
    """

    wrong: list[str] = field(default_factory=list)
    noticed: float | None = None
    ended: float | None = None


Trier = Callable[['Study', int, np.random.Generator, Path], Iterator[Tried]]


@dataclass(frozen=True)
class Fault:
    """Describe a row of the table.

    Parameters
    ----------
    name : str
        what ``--only`` takes
    done : str
        the fault
    must : str
        what must come of it
    target : int
        tries of a whole table
    trier : callable
        study, number of tries, generator, empty folder to what each try showed
    slowest_notice, slowest_end : float
        what must not be exceeded (s)
    """

    name: str
    done: str
    must: str
    target: int
    trier: Trier
    slowest_notice: float = 60.0
    slowest_end: float = 180.0

    def tries(
        self, study: Study, count: int, rng: np.random.Generator, place: Path
    ) -> Iterator[Tried]:
        """Do it a number of times; what took too long is wrong too."""
        for tried in self.trier(study, count, rng, place):
            limits = (
                ('noticed', tried.noticed, self.slowest_notice),
                ('ended', tried.ended, self.slowest_end),
            )
            for what, seconds, most in limits:
                if seconds is not None and seconds > most:
                    tried.wrong.append(f'{what} after {seconds:.1f} s')
            yield tried
