"""When a fault happens: at a moment drawn from the whole run, or from a short part of it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tests.faults.study import Command, Study

KINDS = ('whole', 'work', 'whole', 'names', 'whole', 'work', 'whole', 'draft')
"""Half of all moments lie anywhere between start and end, where imports take most of the time.
The others lie where something is written: while a participant is worked on, while its files get
their final names (some hundredths of a second), and as soon as a draft of a small file is seen."""

BATCH = 16
"""Commands that are ended in one output before one more command makes it whole."""


DRAWS = 10
"""Moments that are drawn at most until one comes before the end."""


def at_a_moment(
    kind: str, study: Study, out: Path, label: str, rng: np.random.Generator
) -> Command:
    """Start the command, and hand it over, running, at a moment of a kind.

    How long it takes varies: where it ended before the moment came, it is started again, and the
    moment is drawn from half as long a time, since the machine may have been busy when it was
    measured.

    Raises
    ------
    RuntimeError
        if it always ends before
    """
    for draw in range(DRAWS):
        command = study.start(out, [label])
        # where no draft comes, since nothing small is new, none will
        wait_for_moment('work' if draw else kind, command, study, out, label, rng, 0.5**draw)
        if command.running():
            return command
        command.kill_all()
        # or there would be nothing left to do
        (out / '.bidsharmony' / 'done' / f'sub-{label}.json').unlink(missing_ok=True)
    raise RuntimeError(f'{DRAWS} commands ended before the moment came: {command.said()[-300:]}')


def wait_for_moment(
    kind: str,
    command: Command,
    study: Study,
    out: Path,
    label: str,
    rng: np.random.Generator,
    share: float = 1.0,
) -> None:
    """Wait for a moment of a kind, or for the end of the command if that comes first.

    ``share`` is that of the measured times that moments are drawn from.
    """
    if kind == 'whole':
        _until(command, command.began + rng.uniform(0, share * study.lasts))
    elif kind == 'work':
        command.until(lambda: 'started' in command.said())
        _until(command, time.monotonic() + rng.uniform(0, share * (study.lasts - study.starts)))
    elif kind == 'names':
        command.until((out / f'sub-{label}').exists)
        _until(command, time.monotonic() + rng.uniform(0, study.names))
    else:
        folder = rng.choice([out, out / 'logs', out / '.bidsharmony' / 'done'])
        command.until(draft_in(Path(folder)))


def draft_in(folder: Path) -> Callable[[], bool]:
    """Make a function that sees whether a folder holds a draft now that it did not hold before."""

    def drafts() -> set[str]:
        try:
            return {name for name in os.listdir(folder) if len(name.rpartition('.')[2]) == 32}
        except FileNotFoundError:
            return set()

    before = drafts()
    return lambda: bool(drafts() - before)


def _until(command: Command, when: float) -> None:
    """Sleep until a time of the monotonic clock, or until the command has ended."""
    while command.running() and (left := when - time.monotonic()) > 0:
        time.sleep(min(left, 0.005))
