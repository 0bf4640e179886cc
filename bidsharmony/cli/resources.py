"""Tell before a run what it will take of memory and disk, and whether that is there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from bidsharmony.bids import Collection
from bidsharmony.cli.listing import plural, table
from bidsharmony.settings import Settings
from bidsharmony.supervise.needs import (
    NOTHING,
    SERVER_MB,
    Needs,
    available_mb,
    needs_of,
    places,
    shape_of,
)


def resources(collection: Collection, settings: Settings) -> str:
    """List what each participant may take at most, by the estimate that the run itself goes by.

    Of every image the header is read. Time is not told: it depends on the machine.

    Parameters
    ----------
    collection : Collection
        with at least one run
    settings : Settings

    Returns
    -------
    str
        a table and a line each for memory and disks, ending in a newline
    """
    found: dict[str, Needs] = {}
    rows = []
    for subject in sorted({run.subject for run in collection.runs}):
        runs = [run for run in collection.runs if run.subject == subject]
        needs = found[subject] = needs_of(runs, settings)
        unread = sum(shape_of(run.image) == NOTHING for run in runs)
        rows.append((
            f'sub-{subject}',
            *(f'{math.ceil(mb)} MB' for mb in (needs.memory, needs.output, needs.work)),
            f'without {plural(unread, "image")} that cannot be read' if unread else '',
        ))  # fmt: skip
    header = ('participant', 'memory', 'output', 'work folder', '')
    each = list(found.values())
    lines = [_memory(each, settings), *_disks(each, settings)]
    return f'{table(header, rows)}\n\n' + '\n'.join(lines) + '\n'


def _memory(each: Sequence[Needs], settings: Settings) -> str:
    """Hold the largest participants that may meet against the memory there is."""
    largest = sorted((needs.memory for needs in each), reverse=True)
    together = SERVER_MB + sum(largest[: settings.nprocs])
    there = settings.mem_mb or available_mb()
    said = (
        f'memory at --nprocs {settings.nprocs}: up to {math.ceil(together)} MB '
        f'({SERVER_MB:.0f} MB of them shared), '
    )
    said += f'{there:.0f} MB are there' if math.isfinite(there) else 'nobody says what is there'
    if together <= there:
        return f'{said}: fits'
    if SERVER_MB + largest[0] <= there:
        return f'{said}: participants will wait for each other'
    return f'{said}: not enough for the largest participant alone'


def _disks(each: Sequence[Needs], settings: Settings) -> list[str]:
    """Hold all outputs, and the work folders of those that may meet, against free space."""
    by_work = sorted(each, key=lambda needs: -needs.work)
    passing = [replace(needs, work=0.0) for needs in by_work[settings.nprocs :]]
    return [
        f'disk of {place}: up to {math.ceil(wanted)} MB, {free:.0f} MB are free: '
        + ('fits' if wanted <= free else 'not enough, make room there')
        for place, free, wanted in places([*by_work[: settings.nprocs], *passing], settings)
    ]
