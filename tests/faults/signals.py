"""Ask the command to stop, at any moment, and run it again at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.moments import BATCH, KINDS, at_a_moment
from tests.faults.study import Command, Study, still_locked

MOST = 10.0
"""Seconds after which nothing may run any more."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def signals(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Stop commands of one participant each, in one output; then one command ends them all."""
    for begin in range(0, count, BATCH):
        out = place / f'signals{begin}'
        tries: dict[str, list[Tried]] = {}
        for ix in range(begin, min(begin + BATCH, count)):
            label = study.labels[ix % len(study.labels)]
            kind = KINDS[ix // len(SIGNALS) % len(KINDS)]
            with at_a_moment(kind, study, out, label, rng) as command:
                tried = _stop(command, SIGNALS[ix % len(SIGNALS)])
            tried.wrong += [*study.partial(out), *still_locked(out)]
            tries.setdefault(label, []).append(tried)
        for text in study.complete(out, list(tries)):
            mine = [label for label in tries if f'sub-{label}' in text]
            for tried in (tried for label in mine or tries for tried in tries[label]):
                tried.wrong.append(text)
        yield from (tried for some in tries.values() for tried in some)


def _stop(command: Command, number: signal.Signals) -> Tried:
    """Send a signal to the supervisor alone, and see what is left of it."""
    sent = time.monotonic()
    os.kill(command.pid, number)
    try:
        code = command.wait(MOST)
    except TimeoutError as error:
        return Tried([f'{number.name}: {error}'])
    tried = Tried(noticed=time.monotonic() - sent)
    if command.all_gone(MOST) is None:
        tried.wrong.append(f'{number.name}: processes are left after {MOST:.0f} s')
    tried.ended = time.monotonic() - sent
    # a signal that comes when all is done and said finds a command that is about to leave with 0
    over = '1 done' in command.said()
    if code != 128 + number and not (over and code == 0):
        tried.wrong.append(f'{number.name}: exit code {code}, {command.said()[-300:]}')
    return tried


FAULT = Fault(
    'signals',
    'SIGTERM or SIGINT to the command, at any moment',
    'exit code 143 or 130, no process left after 10 s, no lock held; the re-run leaves an '
    'identical tree',
    target=100,
    trier=signals,
    slowest_notice=MOST,
    slowest_end=MOST,
)
