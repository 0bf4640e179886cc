"""Ask the command to stop, at any moment, and run it again at once."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.moments import KINDS, wait_for_moment
from tests.faults.study import Command, Study, still_locked

MOST = 10.0
"""Seconds after which nothing may run any more."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def signals(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Stop commands of one participant each, in one output; then one command ends them all."""
    for begin in range(0, count, len(study.labels)):
        out = place / f'signals{begin}'
        labels = study.labels[: count - begin]
        tries = {}
        for ix, label in enumerate(labels, start=begin):
            kind = KINDS[ix // len(SIGNALS) % len(KINDS)]
            with study.start(out, [label]) as command:
                wait_for_moment(kind, command, study, out, label, rng)
                tries[label] = _stop(command, SIGNALS[ix % len(SIGNALS)])
            tries[label].wrong += [*study.partial(out), *still_locked(out)]
        for text in study.complete(out, labels):
            mine = [label for label in labels if f'sub-{label}' in text]
            for label in mine or labels:
                tries[label].wrong.append(text)
        yield from tries.values()


def _stop(command: Command, number: signal.Signals) -> Tried:
    """Send a signal to the supervisor alone, and see what is left of it."""
    was_running = command.running()
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
    over = '1 done' in command.said() or not was_running
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
