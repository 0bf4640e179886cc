"""What the supervisor hands to a participant's process, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from bidsharmony.bids import DwiRun
from bidsharmony.settings import Settings

Status = Literal['done', 'refused', 'failed', 'skipped']

HIDDEN = '.bidsharmony'
"""Folder of the output that holds locks, markers and unfinished work."""


@dataclass(frozen=True)
class Outcome:
    """Say what became of one run.

    ``errno`` is not 0 where the machine is at fault (disk, memory, permission), not the run.

    Examples
    --------
    >>> Outcome('sub-01/dwi/sub-01_dwi.nii.gz', 'done').status
    'done'
    """

    run: str
    status: Status
    reason: str = ''
    errno: int = 0


@dataclass(frozen=True)
class Step:
    """Say what a participant's process works at, and how many of its steps are done."""

    name: str
    n_done: int
    n_steps: int


class Watch(Protocol):
    """What is told how far participants are, as a table on a terminal is."""

    def planned(self, runs: Mapping[str, int]) -> None:
        """Hear of all participants, and how many runs each has."""

    def started(self, participant: str) -> None:
        """Hear that a process works on one."""

    def step(self, participant: str, step: Step) -> None:
        """Hear how far it is."""

    def ended(self, participant: str) -> None:
        """Hear that it has come to an end, whichever."""

    def look(self) -> None:
        """Be given a moment, every second at least."""


@dataclass(frozen=True)
class Job:
    """Hold one participant's runs and what was found beside them.

    ``refused`` and ``skipped`` are pairs of (relative image, reason). What is ``covered`` is
    skipped too: what it left when it was a run is out of date.
    """

    participant: str
    runs: tuple[DwiRun, ...]
    refused: tuple[tuple[str, str], ...]
    skipped: tuple[tuple[str, str], ...]
    settings: Settings
    version: str
    covered: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """Give the label without ``sub-``."""
        return self.participant.removeprefix('sub-')

    @property
    def hidden(self) -> Path:
        """Give the folder for unfinished work."""
        return self.settings.output_dir / HIDDEN

    @property
    def log_file(self) -> Path:
        """Give the file that receives everything this participant's process says."""
        return self.settings.output_dir / 'logs' / f'{self.participant}.log'

    def all_failed(self, reason: str, errno: int = 0) -> list[Outcome]:
        """Say of every run, or of the refused images where there is none, why it failed."""
        images = [run.relative for run in self.runs] or [image for image, _ in self.refused]
        return [Outcome(image, 'failed', reason, errno) for image in images]
