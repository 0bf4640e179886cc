"""Kill everything that a command started, at any moment, and run it again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.moments import BATCH, KINDS, at_a_moment
from tests.faults.study import Study, still_locked


def kills(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Kill commands of one participant each, in one output; then one command ends them all.

    What is seen right after each kill counts for that one; what is wrong with a participant after
    the re-run counts for its own. A study of few participants has them killed more than once.
    """
    for begin in range(0, count, BATCH):
        out = place / f'kills{begin}'
        tries: dict[str, list[Tried]] = {}
        for ix in range(begin, min(begin + BATCH, count)):
            label = study.labels[ix % len(study.labels)]
            kind = KINDS[ix % len(KINDS)]
            with at_a_moment(kind, study, out, label, rng) as command:
                seconds = command.kill_all(rng)
            tried = Tried([*study.partial(out), *still_locked(out)], ended=seconds)
            tries.setdefault(label, []).append(tried)
        for text in study.complete(out, list(tries)):
            mine = [label for label in tries if f'sub-{label}' in text]
            for tried in (tried for label in mine or tries for tried in tries[label]):
                tried.wrong.append(text)
        yield from (tried for some in tries.values() for tried in some)


FAULT = Fault(
    'kill',
    'SIGKILL of the command and all it started, at any moment',
    'no file under a final name is partial; the re-run leaves an identical tree and no drafts',
    target=100,
    trier=kills,
)
