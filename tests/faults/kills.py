"""Kill everything that a command started, at any moment, and run it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.moments import KINDS, wait_for_moment
from tests.faults.study import Study, still_locked


def kills(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Kill commands of one participant each, in one output; then one command ends them all.

    What is seen right after each kill counts for that one; what is wrong with a participant after
    the re-run counts for its own.
    """
    for begin in range(0, count, len(study.labels)):
        out = place / f'kills{begin}'
        labels = study.labels[: count - begin]
        tries = {}
        for ix, label in enumerate(labels, start=begin):
            kind = KINDS[ix % len(KINDS)]
            with study.start(out, [label]) as command:
                wait_for_moment(kind, command, study, out, label, rng)
                seconds = command.kill_all(rng)
            tries[label] = Tried([*study.partial(out), *still_locked(out)], ended=seconds)
        for text in study.complete(out, labels):
            mine = [label for label in labels if f'sub-{label}' in text]
            for label in mine or labels:
                tries[label].wrong.append(text)
        yield from tries.values()


FAULT = Fault(
    'kill',
    'SIGKILL of the command and all it started, at any moment',
    'no file under a final name is partial; the re-run leaves an identical tree and no drafts',
    target=100,
    trier=kills,
)
