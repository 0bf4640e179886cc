"""Start many jobs at once that write into one output, one participant each."""

from __future__ import annotations

import csv
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tests import tiny_dataset
from tests.faults.fault import Fault, Tried
from tests.faults.study import DEADLINE, PER_PARTICIPANT, Study, differences, droppings, tree

JOBS = 16
GOOD = 4
"""Jobs whose participant is harmonized; that of the others is refused, so that the table of
failures is what many write at once, and sixteen jobs fit on two processors."""


def array(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Start sixteen jobs together; then compare with one command that ran all in a row."""
    raw = tiny_dataset.write_dataset(place / 'raw')
    labels = [f'{ix:02}' for ix in range(1, JOBS + 1)]
    good = labels[: min(GOOD, len(study.labels))]
    for ix, label in enumerate(labels):
        bad = {} if label in good else {'bvals': '5 1000\n'}
        tiny_dataset.write_run(raw, f'sub-{label}', seed=ix, **bad)
    serial = place / 'serial'
    with study.start(serial, raw=raw) as command:
        command.wait(DEADLINE + PER_PARTICIPANT * JOBS)
    expected = tree(serial), _failures(serial), _description(serial)
    for ix in range(count):
        yield _jobs(study, rng.permutation(labels).tolist(), raw, place / f'array{ix}', expected)


def _jobs(study: Study, labels: list[str], raw: Path, out: Path, expected: tuple) -> Tried:
    """Start a job for each participant, and read the description all the while."""
    began, unread, reads = time.monotonic(), set(), 0
    with ExitStack() as stack:
        jobs = [stack.enter_context(study.start(out, [label], raw=raw)) for label in labels]
        for job in jobs:
            # whoever else works here goes first
            os.setpriority(os.PRIO_PGRP, job.pid, 10)
        # reads do not slow the jobs down, and a renamed file stays long enough to be seen
        while any(job.running() for job in jobs):
            if time.monotonic() - began > DEADLINE + PER_PARTICIPANT * JOBS:
                return Tried(['hung'])
            try:
                _description(out)
                reads += 1
            except FileNotFoundError:
                # not there yet; once it was, it must stay
                if reads:
                    unread.add('the description was away')
            except ValueError as error:
                unread.add(f'the description could not be read: {error}')
            time.sleep(0.002)
        codes = {label: job.wait() for label, job in zip(labels, jobs, strict=True)}
    files, failures, description = expected
    tried = Tried(sorted(unread), ended=time.monotonic() - began)
    refused = {row['run'][4:6] for row in failures}
    wrong = {label: code for label, code in codes.items() if code != int(label in refused)}
    if wrong:
        tried.wrong.append(f'exit codes {wrong}')
    if _failures(out) != failures:
        tried.wrong.append(f'failures.tsv: {_failures(out)}')
    if _description(out) != description:
        tried.wrong.append('another description')
    tried.wrong += [*differences(tree(out), files), *droppings(out)]
    return tried


def _failures(out: Path) -> list[dict[str, str]]:
    with (out / 'logs' / 'failures.tsv').open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file, delimiter='\t'))


def _description(out: Path) -> dict:
    return json.loads((out / 'dataset_description.json').read_text(encoding='utf-8'))


FAULT = Fault(
    'array',
    f'{JOBS} jobs at once into one output, {GOOD} harmonized and {JOBS - GOOD} refused',
    'dataset_description.json can be read all the while, nothing is lost in failures.tsv, the '
    'tree is that of one command',
    target=20,
    trier=array,
    slowest_end=600.0,
)
