"""Summarise a study: tables of runs and scanners, and the group page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bidsharmony.bids.names import public
from bidsharmony.bids.participants import participants_of, read_column
from bidsharmony.bids.records import BIDSError
from bidsharmony.cli.listing import complain, plural, say
from bidsharmony.cli.options import EXIT_DONE, EXIT_USAGE
from bidsharmony.cli.progress import Stages, watching
from bidsharmony.settings import processors

AUDIT = 'group_batcheffects.json'

if TYPE_CHECKING:
    from bidsharmony.audit.document import Collector
    from bidsharmony.audit.grouping import Grouping
    from bidsharmony.audit.sample import Sample
    from bidsharmony.audit.scores import Probe
    from bidsharmony.evaluation.finished import FinishedRun, Unused
    from bidsharmony.evaluation.summary import GroupSummary
    from bidsharmony.reports.group import GroupContent
    from bidsharmony.settings import Settings


def is_anything_finished(output_dir: Path) -> bool:
    """See whether an output folder holds a run that is marked as done."""
    from bidsharmony.evaluation.finished import FinishedRun, read_runs

    return any(isinstance(item, FinishedRun) for item in read_runs(output_dir))


def run_group(settings: Settings) -> int:
    """Write the group tables, the audit and the page of an output folder.

    Parameters
    ----------
    settings : Settings
        of which ``output_dir`` matters, the options of the group level, and ``bids_dir`` for its
        ``participants.tsv``: ``group`` reads what the participant level left

    Returns
    -------
    int
        0, or 2 with one line on stderr where no run is marked as done, or the table of scanners
        cannot be used

    Raises
    ------
    OSError
        if the output folder cannot be written
    """
    from bidsharmony.audit.document import Collector
    from bidsharmony.evaluation.finished import STATE_DIR, FinishedRun, read_runs
    from bidsharmony.supervise.places import refuse_links

    out_dir = settings.output_dir
    try:
        refuse_links(out_dir)
    except BIDSError as error:
        return complain(str(error), EXIT_USAGE)
    items = _public(read_runs(out_dir))
    begun: list[FinishedRun | Unused] = []
    # up to the first run: nothing may be written where there is nothing to say
    for item in items:
        begun.append(item)
        if isinstance(item, FinishedRun):
            break
    else:
        return complain(
            f'{out_dir.name}: no finished run in it. Run the participant level first', EXIT_USAGE
        )
    try:
        collector = Collector(_grouping(settings))
    except BIDSError as error:
        path, column = settings.scanner_from
        return complain(f'--scanner-from {path.name}:{column}: the table {error}', EXIT_USAGE)
    # a container may have no HOME that Matplotlib can write to
    os.environ.setdefault('MPLCONFIGDIR', str(out_dir / STATE_DIR / 'matplotlib'))
    try:
        with watching(settings.verbose_count, what='stage', alike=False) as table:
            stages = Stages(table, ('runs', 'audit', 'page'))
            written = _write(settings, collector, chain(begun, items), stages)
    except BIDSError as error:
        return complain(str(error), EXIT_USAGE)
    left_out = f', {written.n_unused} not used' if written.n_unused else ''
    say(
        f'group: {plural(written.n_runs, "run")} on {plural(written.n_scanners, "scanner")}'
        f'{left_out}. See {Path(out_dir.name, "group.html").as_posix()}\n'
        '  tables: group_runs.tsv, group_scanners.tsv; audit: group_batcheffects.json\n'
    )
    return EXIT_DONE


class _Written(NamedTuple):
    """Count what the tables and the page are of."""

    n_runs: int
    n_scanners: int
    n_unused: int


def _write(
    settings: Settings,
    collector: Collector,
    items: Iterable[FinishedRun | Unused],
    stages: Stages,
) -> _Written:
    """Write everything of the group level.

    Raises
    ------
    BIDSError
        if the page is to be made of an audit that is not there, or is of other runs
    """
    from bidsharmony import __version__
    from bidsharmony.audit.document import document_text
    from bidsharmony.evaluation import tables
    from bidsharmony.evaluation.finished import FinishedRun
    from bidsharmony.evaluation.summary import GroupSummary
    from bidsharmony.reports.group import MAX_LISTED, write_group_page
    from bidsharmony.reports.page import atomic_text, write_atomic

    out_dir = settings.output_dir
    stages.begin('runs')
    summary = GroupSummary()
    listed: list[dict[str, Any]] = []
    unused: list[Unused] = []
    n_unused = 0
    with atomic_text(out_dir / 'group_runs.tsv') as table:
        table.write(_line(column.name for column in tables.RUN_COLUMNS))
        for item in items:
            run = collector.add(item) if isinstance(item, FinishedRun) else item
            if not isinstance(run, FinishedRun):
                n_unused += 1
                if len(unused) < MAX_LISTED:
                    unused.append(run)
                continue
            row = tables.run_row(run.qc)
            summary.add(run, tables.figures_of(row))
            table.write(_line(map(tables.cell, row.values())))
            if len(listed) < MAX_LISTED:
                listed.append(row)
            stages.tell(f'{plural(summary.n_runs, "run")} read')
    scanners = list(tables.scanner_rows(summary))
    with atomic_text(out_dir / 'group_scanners.tsv') as table:
        table.write(_line(tables.scanner_dictionary()))
        for row in scanners:
            table.write(_line(map(tables.cell, row.values())))
    rule = collector.grouping.rule
    for name, dictionary in (
        ('group_runs.json', tables.run_dictionary(rule)),
        ('group_scanners.json', tables.scanner_dictionary(rule)),
    ):
        write_atomic(out_dir / name, json.dumps(dictionary, indent=2) + '\n')
    stages.begin('audit')
    if settings.reports_only:
        document = _finished_audit(out_dir / AUDIT, summary)
    else:
        document = _audit(settings, summary, collector, stages)
        write_atomic(out_dir / AUDIT, document_text(document))
    stages.begin('page')
    content = _content(summary, listed, scanners, unused, n_unused)
    write_group_page(out_dir, replace(content, audit=document), __version__)
    return _Written(summary.n_runs, len(scanners), n_unused)


def _audit(
    settings: Settings, summary: GroupSummary, collector: Collector, stages: Stages
) -> dict[str, Any]:
    """Measure what is left of the scanners."""
    from bidsharmony.audit.document import audit_document

    participants, columns = participants_of(settings.bids_dir)
    return audit_document(
        settings.audit,
        summary,
        collector,
        settings.output_dir / 'group_runs.tsv',
        participants=participants,
        columns=columns,
        deep_probe=partial(_deep_probe, settings, stages),
        autoencoder=partial(_autoencoder, settings, stages) if settings.audit == 'full' else None,
        jobs=_jobs(settings),
        seed=settings.random_seed,
        report=stages.tell,
    )


def _finished_audit(path: Path, summary: GroupSummary) -> dict[str, Any]:
    """Read the audit that an earlier call has made of the same runs.

    Raises
    ------
    BIDSError
        if there is none, or runs came or went since
    """
    remedy = 'Run the group level without --reports-only'
    try:
        document = json.loads(path.read_text(encoding='utf-8'))
        audited = document['n_runs']
    except FileNotFoundError:
        raise BIDSError(f'{path.name}: not there. {remedy}') from None
    except (ValueError, KeyError, TypeError):
        raise BIDSError(f'{path.name}: damaged. {remedy}') from None
    if audited != summary.n_runs:
        raise BIDSError(
            f'{path.name}: of {audited} runs, {summary.n_runs} are finished now. {remedy}'
        )
    return document


def _public(items: Iterable[FinishedRun | Unused]) -> Iterator[FinishedRun | Unused]:
    """Name what cannot be used as the participants' pages do, and each once."""
    from bidsharmony.evaluation.finished import Unused

    named = set()
    for item in items:
        if isinstance(item, Unused):
            item = Unused(*public(item.name, item.reason))
            if item.name in named:
                continue
            named.add(item.name)
        yield item


def _grouping(settings: Settings) -> Grouping:
    """Read how scanners are told apart.

    Raises
    ------
    BIDSError
        If the table cannot be used.
    """
    from bidsharmony.audit.grouping import Grouping

    if settings.scanner_from is None:
        return Grouping(software=settings.scanner_software)
    path, column = settings.scanner_from
    return Grouping(read_column(path, column), f'column {column} of {path.name}')


def _deep_probe(settings: Settings, stages: Stages, sample: Sample) -> Probe | str:
    """Train the deep probe, one third of the subjects being tested, or in a full audit all."""
    from bidsharmony.audit.deep import Recipe, deep_probe
    from bidsharmony.audit.folds import FOLDS
    from bidsharmony.evaluation.finished import STATE_DIR

    folds = FOLDS if settings.audit == 'full' else 1
    try:
        return deep_probe(
            sample,
            recipe=Recipe(
                folds=folds,
                threads=_jobs(settings),
                device=settings.device,
                seed=settings.random_seed,
            ),
            keep=settings.output_dir / STATE_DIR / 'audit',
            report=partial(stages.say, 'deep probe'),
        )
    except ValueError as error:
        return str(error)


def _autoencoder(settings: Settings, stages: Stages, sample: Sample) -> Mapping[str, Any] | str:
    """Count how soon an autoencoder learns the images."""
    from bidsharmony.audit.convergence import SEEDS, convergence

    try:
        found = convergence(
            sample,
            threads=_jobs(settings),
            device=settings.device,
            first_seed=SEEDS * settings.random_seed,
            report=partial(stages.say, 'autoencoder'),
        )
    except ValueError as error:
        return str(error)
    return found.summary()


def _jobs(settings: Settings) -> int:
    """Return how many processors may be used, of those there are.

    Only those that were asked for: the sums of deep networks depend on their number.
    """
    return min(settings.nprocs * (settings.omp_nthreads or 1), processors())


def _content(
    summary: GroupSummary,
    listed: list[dict[str, Any]],
    scanners: list[dict[str, Any]],
    unused: list[Unused],
    n_unused: int,
) -> GroupContent:
    """Gather what the page shows."""
    from bidsharmony.evaluation.finished import middle_slice
    from bidsharmony.evaluation.summary import CHANNELS, SIDES
    from bidsharmony.reports.group import MAX_DRAWN, GroupContent

    sides = [(channel, side) for channel in CHANNELS for side in SIDES]
    drawn = summary.ordered()[:MAX_DRAWN]
    slices = {one.label: middle_slice(one.example) for one in drawn if one.example}
    shapes = {mask.shape for *_, mask in filter(None, slices.values())}
    return GroupContent(
        n_runs=summary.n_runs,
        n_subjects=len(set().union(*(one.subjects for one in summary.scanners.values()))),
        runs=listed,
        scanners=scanners,
        unused=[(item.name, item.reason) for item in unused],
        n_unused=n_unused,
        freqs=[] if summary.freqs is None else summary.freqs.tolist(),
        # runs harmonized to different resolutions share no line to draw
        fwhm=next(iter(summary.fwhms)) if len(summary.fwhms) == 1 else None,
        spectra={
            (channel, side): {
                one.label: spectrum.tolist()
                for one in drawn
                if (spectrum := one.spectrum(channel, side)) is not None
            }
            for channel, side in sides
        },
        textures={
            (channel, side): {
                one.label: _without_prefix(one.figures, f'glcm_{channel}_{side}_') for one in drawn
            }
            for channel, side in sides
        },
        eta_squared={
            (channel, side): summary.texture_eta_squared(channel, side) for channel, side in sides
        },
        # slices of one size are compared; another audit version may differ
        examples={label: found for label, found in slices.items() if found}
        if len(shapes) == 1
        else {},
    )


def _without_prefix(figures: Mapping[str, Any], prefix: str) -> dict[str, float]:
    return {
        name.removeprefix(prefix): moments.mean
        for name, moments in figures.items()
        if name.startswith(prefix)
    }


def _line(cells: Iterable[str]) -> str:
    return '\t'.join(cells) + '\n'
