"""Summarise a study while its participants run."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bidsharmony.supervise.marker import marker_path, read_marker
from tests.faults.fault import Fault, Tried
from tests.faults.moments import DRAWS
from tests.faults.study import Study, differences, tree

IMPORTS = 3.0
"""Seconds that group takes until it reads its first marker, more or less."""


def grouping(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Start group while one participant is made for the first time, and one is made again.

    Where both were done before group was, as on a machine that was busy when times were measured,
    the moment is drawn again from half as long a time.

    Raises
    ------
    RuntimeError
        if they always are
    """
    labels = study.labels[:3]
    for ix in range(count):
        for draw in range(DRAWS):
            out = place / f'group{ix}_{draw}'
            study.copy(out, labels[:2])
            # what makes it run again
            next((out / f'sub-{labels[1]}').rglob('*_ADC.nii.gz')).unlink()
            if tried := _beside(study, out, labels, rng, 0.5**draw):
                yield tried
                break
        else:
            raise RuntimeError(f'participants were done before group was, {DRAWS} times')


def _beside(
    study: Study, out: Path, labels: list[str], rng: np.random.Generator, share: float
) -> Tried | None:
    """See that group takes those that are marked, and names the others; None where it is late.

    ``share`` is that of the measured time that the moment is drawn from.
    """
    done, again, new = labels
    with study.start(out, [again, new], '--nprocs', '2') as command:
        command.until((out / '.bidsharmony' / 'staging' / f'sub-{new}').exists)
        work = study.lasts - study.starts
        time.sleep(rng.uniform(0, max(0.0, share * work - IMPORTS)))
        with study.start(out, [], '--audit', 'none', level='group') as group:
            try:
                code = group.wait()
            except TimeoutError as error:
                return Tried([f'group {error}'])
            tried, said = Tried(ended=time.monotonic() - group.began), group.said()
        marked = {label for label in labels if _vouches(out, label)}
        late = not command.running()
        wait = command.wait()
    if late and not wait:
        return None
    if code or 'Traceback' in said:
        tried.wrong.append(f'group: exit code {code}, {said[-300:]}')
        return tried
    with (out / 'group_runs.tsv').open(encoding='utf-8', newline='') as file:
        used = {row['participant_id'][4:] for row in csv.DictReader(file, delimiter='\t')}
    # a marker is read at one moment between start and end: it may come, or go, after that
    if not {done} <= used <= {done, again} | marked:
        tried.wrong.append(f'used {sorted(used)}, marked at the end {sorted(marked)}')
    page = (out / 'group.html').read_text(encoding='utf-8')
    unnamed = [label for label in labels if f'sub-{label}' not in page]
    if unnamed or f'{len(used)} run' not in said:
        tried.wrong.append(f'not named on the page: {unnamed}; {said[-300:]}')
    left_out = len(labels) - len(used)
    if left_out and f'{left_out} not used' not in said:
        tried.wrong.append(f'{left_out} were left out: {said[-300:]}')
    if wait:
        tried.wrong.append(f'participants: exit code {wait}, {command.said()[-300:]}')
    found = {name: sha for name, sha in tree(out).items() if not name.startswith('group')}
    tried.wrong += differences(found, study.expected(labels))
    return tried


def _vouches(out: Path, label: str) -> bool:
    """See whether a participant's marker vouches for a run."""
    marker = read_marker(marker_path(out, f'sub-{label}'))
    return bool(marker and marker['runs'])


FAULT = Fault(
    'group',
    'the group level while participants run',
    'it uses those that are marked as done and names the others; their trees are identical',
    target=10,
    trier=grouping,
)
