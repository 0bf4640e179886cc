"""Start the same participant twice at once."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.study import Study, differences, droppings, tree


def twins(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Start two commands, the second up to a second later; every other time over a stale lock."""
    label = study.labels[0]
    for ix in range(count):
        out = place / f'twins{ix}'
        lock = out / '.bidsharmony' / 'locks' / f'sub-{label}.lock'
        if ix % 2:
            lock.parent.mkdir(parents=True)
            lock.write_text('elsewhere/1')
        yield _both(study, label, out, rng.uniform(0, 1))


def _both(study: Study, label: str, out: Path, delay: float) -> Tried:
    """See that one wins, and what the other one says."""
    with study.start(out, [label]) as one:
        time.sleep(delay)
        with study.start(out, [label]) as two:
            both = (one, two)
            try:
                two.until(lambda: all('started' in command.said() for command in both))
                begun = time.monotonic()
                two.until(lambda: any('locked by' in command.said() for command in both))
                noticed = time.monotonic() - begun
                codes = [command.wait() for command in both]
            except TimeoutError as error:
                return Tried([str(error)])
            tried = Tried(noticed=noticed, ended=time.monotonic() - two.began)
    if sorted(codes) != [0, 1]:
        told = [command.said()[-300:] for command in both]
        tried.wrong.append(f'exit codes {codes}: {told}')
    else:
        winner, loser = (both[codes.index(code)] for code in (0, 1))
        owner = re.search(r'locked by (\S+)/(\d+)\.', loser.said())
        if not owner or owner[1] != socket.gethostname() or int(owner[2]) == winner.pid:
            tried.wrong.append(f'who holds it was not told: {loser.said()[-300:]}')
    tried.wrong += [*differences(tree(out), study.expected([label])), *droppings(out)]
    table = (out / 'logs' / 'failures.tsv').read_text(encoding='utf-8')
    if 'sub-' in table:
        tried.wrong.append(f'done, and in failures.tsv: {table}')
    return tried


FAULT = Fault(
    'twice',
    'the same participant in two commands at once, every other time over a stale lock',
    'one is done, the other has exit code 1 and says "locked by host/pid"; the tree is whole',
    target=20,
    trier=twins,
)
