"""The rows of the table: what is done to a good run, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.corpus.dataset import Run

REFUSED, SKIPPED, PROCESSED = 'refused', 'skipped', 'processed'


@dataclass(frozen=True)
class Case:
    """Say what is done to a good run, what must become of it, and a piece of what is said.

    ``change`` gives the path of the image that is judged, where that is another one. ``absent``
    must not be found in what is recorded.
    """

    kind: str
    name: str
    change: Callable[[Run], str | None]
    outcome: str
    said: str
    absent: tuple[str, ...] = ()

    @property
    def what(self) -> str:
        """Tell in a few words what is done."""
        return (self.change.__doc__ or self.name).strip().rstrip('.')


class Table:
    """Collect the cases of one class, in the order in which they are written."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.cases: list[Case] = []

    def _add(self, outcome: str, said: str, absent: tuple[str, ...]) -> Callable:
        def decorate(change: Callable[[Run], str | None]) -> Callable[[Run], str | None]:
            name = change.__name__.strip('_').replace('_', '-')
            self.cases.append(Case(self.kind, name, change, outcome, said, absent))
            return change

        return decorate

    def refused(self, said: str) -> Callable:
        """Expect that the run is refused: exit code 1."""
        return self._add(REFUSED, said, ())

    def skipped(self, said: str) -> Callable:
        """Expect that the image is passed over, with a reason."""
        return self._add(SKIPPED, said, ())

    def processed(self, said: str, absent: tuple[str, ...] = ()) -> Callable:
        """Expect that the run is taken, and that what is recorded of it says this."""
        return self._add(PROCESSED, said, absent)
