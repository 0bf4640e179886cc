"""Decide which runs count as one scanner: by their sidecars, or by a column of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bidsharmony.evaluation.finished import FinishedRun, Unused

UNKNOWN = 'unknown scanner'


@dataclass(frozen=True)
class Grouping:
    """How scanners are told apart.

    Attributes
    ----------
    column : mapping or None
        (participant, session) to scanner, session ``''`` for all; None goes by the sidecars. See
        `bids.participants.read_column`.
    source : str
        Table and column, as the reader is told.
    software : bool
        Whether the software version is part of the name, without a column.
    """

    column: Mapping[tuple[str, str], str] | None = None
    source: str = ''
    software: bool = False

    @property
    def rule(self) -> str:
        """Say how scanners are told apart.

        Examples
        --------
        >>> Grouping().rule, Grouping({}, 'column site of participants.tsv').rule
        ('manufacturer, model and field strength', 'column site of participants.tsv')
        """
        if self.column is not None:
            return self.source
        if self.software:
            return 'manufacturer, model, field strength and software version'
        return 'manufacturer, model and field strength'

    def place(self, run: FinishedRun) -> FinishedRun | Unused:
        """Give a run the name of its scanner, as ``scanner.label`` of its figures.

        Parameters
        ----------
        run : FinishedRun

        Returns
        -------
        FinishedRun or Unused
            ``Unused`` if the table has no scanner for it
        """
        scanner = run.qc.get('scanner')
        scanner = dict(scanner) if isinstance(scanner, Mapping) else {}
        if self.column is not None:
            subject, session = (str(run.qc.get(key) or '') for key in ('subject', 'session'))
            label = self.column.get((subject, session)) or self.column.get((subject, ''))
            if label is None:
                return Unused(str(run.qc.get('run')), f'no scanner in {self.source}')
        else:
            label = str(scanner.get('label') or UNKNOWN)
            if self.software:
                label += f', software {scanner.get("software") or "unknown"}'
        return replace(run, qc={**run.qc, 'scanner': {**scanner, 'label': label}})
