"""Run ``bidsharmony``: find the runs, hand them on, sum up, and set the exit code."""

from __future__ import annotations

import logging
import signal
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from bidsharmony import __version__
from bidsharmony.bids import (
    QSIPREP,
    BIDSError,
    Collection,
    collect_dwi,
    collect_qsiprep,
    write_compat_description,
    write_dataset_description,
)
from bidsharmony.cli.listing import (
    complain,
    complain_of_machine,
    dry_run,
    plural,
    printable,
    say,
    table,
)
from bidsharmony.cli.options import (
    EXIT_DONE,
    EXIT_ENVIRONMENT,
    EXIT_SIGNAL,
    EXIT_SOME_FAILED,
    EXIT_USAGE,
)
from bidsharmony.cli.parser import parse_args
from bidsharmony.cli.places import places_written
from bidsharmony.cli.plugin import unshared_folders, why_no_cluster
from bidsharmony.cli.progress import watching
from bidsharmony.settings import DEVICES

if TYPE_CHECKING:
    from bidsharmony.settings import Settings

LOGGER = logging.getLogger('bidsharmony')

LIBRARY_LEVELS = (logging.WARNING, logging.WARNING, logging.INFO, logging.DEBUG)
"""What libraries may log for each ``-v``; bidsharmony itself is at DEBUG from the first."""


class Terminated(KeyboardInterrupt):
    """Carry SIGTERM up through every ``finally``, as SIGINT is carried."""

    signum = signal.SIGTERM


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Returns
    -------
    int
        0 all done; 1 some runs failed or were refused, or an error that nobody foresaw; 2 wrong
        usage, no BIDS dataset, or nothing to do; 3 disk, memory or permission; 130 and 143 after
        SIGINT and SIGTERM
    """
    settings = parse_args(argv)
    _start_log(settings.verbose_count)
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _run(settings)
    except BIDSError as error:
        return complain(str(error), EXIT_USAGE)
    except KeyboardInterrupt as error:
        # the supervisor's own exception carries its signal's number too
        number = getattr(error, 'signum', signal.SIGINT)
        cause = 'terminated' if number == signal.SIGTERM else 'interrupted'
        return complain(f'{cause}. Run the same command to go on', EXIT_SIGNAL + number)
    except MemoryError:
        return complain('out of memory. Lower --nprocs', EXIT_ENVIRONMENT)
    except OSError as error:
        return complain_of_machine(error)
    except Exception as error:
        LOGGER.debug('Unforeseen:', exc_info=True)
        return complain(f'{type(error).__name__}: {error}', EXIT_SOME_FAILED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> NoReturn:
    raise Terminated


def _run(settings: Settings) -> int:
    code = EXIT_DONE
    if settings.reports_only:
        if 'participant' in settings.analysis_levels:
            from bidsharmony.cli.again import rewrite_pages

            code = rewrite_pages(settings)
    elif settings.dry_run or 'participant' in settings.analysis_levels:
        qsiprep = settings.derivatives.get(QSIPREP)
        searched = qsiprep or settings.bids_dir
        collect = partial(collect_qsiprep, qsiprep) if qsiprep else collect_dwi
        collection = collect(
            settings.bids_dir,
            participant_label=settings.participant_label,
            session_id=settings.session_id,
            run_id=settings.run_id,
            filters=settings.bids_filters,
            b0_threshold=settings.b0_threshold,
        )
        if settings.dry_run and collection.participants:
            say(dry_run(collection, searched))
            if settings.output_spaces:
                from bidsharmony.cli.spaces import spaces_rows

                header = ('output space', 'template', 'brain mask')
                say('\n' + table(header, spaces_rows(settings)) + '\n')
            if collection.runs:
                from bidsharmony.cli.resources import resources

                say('\n' + resources(collection, settings))
        if not collection.runs and not collection.refused:
            raise BIDSError(_nothing_to_do(collection, searched))
        if settings.boilerplate_only:
            from bidsharmony.cli.again import write_boilerplate

            write_boilerplate(settings, collection.runs)
            return EXIT_DONE
        if settings.dry_run:
            return EXIT_SOME_FAILED if collection.refused else EXIT_DONE
        if settings.use_plugin is not None and (reason := why_no_cluster()):
            return complain(reason, EXIT_ENVIRONMENT)
        code = _participant_level(_on_device(settings), collection)
    if 'group' in settings.analysis_levels:
        from bidsharmony.cli.group import is_anything_finished, run_group

        # what left nothing to compare was said above
        if code == EXIT_DONE or is_anything_finished(settings.output_dir):
            group_code = run_group(_on_device(settings))
            if group_code == EXIT_DONE and not settings.reports_only:
                from bidsharmony.cli.logs import write_options

                write_options(settings, 'group')
            code = code or group_code
    return code


def _on_device(settings: Settings) -> Settings:
    """Find the device that was asked for, and say which it is.

    Raises
    ------
    BIDSError
        if it is not there
    """
    if settings.device == DEVICES[0] or settings.reports_only:
        return settings
    # torch takes seconds to import
    from bidsharmony.network.device import find_device

    try:
        found = find_device(settings.device)
    except ValueError as error:
        raise BIDSError(str(error)) from None
    LOGGER.info('networks: --device %s, %s is used', settings.device, found)
    return replace(settings, device=found)


def _participant_level(settings: Settings, collection: Collection) -> int:
    """Harmonize what was found; log what was left out, and sum up."""
    # what works with files of the output comes after --help, which needs none of it
    from bidsharmony.cli.logs import write_citation, write_failures, write_options
    from bidsharmony.supervise.places import refuse_links

    refuse_links(settings.output_dir)
    if settings.use_plugin is not None:
        for name, folder in unshared_folders(settings).items():
            LOGGER.warning('%s %s: other nodes have a folder of their own there', name, folder)
    described = {'version': __version__, 'derivatives': settings.derivatives}
    templates = settings.templateflow_home if settings.output_spaces else None
    write_dataset_description(
        settings.output_dir, settings.bids_dir, **described, templates=templates
    )
    if settings.qsiprep_compat:
        write_compat_description(settings.output_dir, settings.bids_dir, **described)
    write_options(settings, 'participant')
    if settings.clean_workdir:
        from bidsharmony.supervise.locks import sweep_work

        swept = sweep_work(settings)
        LOGGER.info('work folder: %s cleaned', plural(len(swept), 'participant'))
    for item in collection.skipped:
        LOGGER.info('%s: skipped, %s.', printable(item.relative), printable(item.reason))
    for item in collection.refused:
        LOGGER.error('%s: %s', printable(item.relative), printable(item.reason))

    from bidsharmony.supervise import run_participants

    with watching(settings.verbose_count) as watch:
        outcomes = run_participants(settings, collection, watch=watch)
    rows = [(item.relative, 'refused', item.reason) for item in collection.refused]
    known = {relative for relative, _, _ in rows}
    rows += [(o.run, o.status, o.reason) for o in outcomes if o.run not in known]

    failures = sorted(row for row in rows if row[1] in ('refused', 'failed'))
    counts = Counter(status for _, status, _ in rows)
    counts['skipped'] += len(collection.skipped)
    # said first: the table may not fit on the disk that the runs have filled
    say(_summary(counts, failures))
    write_failures(
        settings.output_dir,
        failures,
        among=collection.participants,
        besides=[item.relative for item in collection.skipped],
    )
    done = [run for run, status, _ in rows if status == 'done']
    write_citation(settings.output_dir, done)
    say(places_written(settings.output_dir, done, failed=bool(failures)))
    if any(outcome.errno for outcome in outcomes):
        return EXIT_ENVIRONMENT
    if failures:
        return EXIT_SOME_FAILED
    return EXIT_DONE if counts['done'] else EXIT_USAGE


def _summary(counts: Counter[str], failures: Sequence[tuple[str, str, str]]) -> str:
    """Say in one line how many runs there are of each status, then which failed and why."""
    statuses = ('done', 'refused', 'failed', 'skipped')
    told = ', '.join(f'{counts[status]} {status}' for status in statuses)
    lines = [f'{plural(counts.total(), "image")}: {told}']
    lines += [f'  {status} {run}: {reason}' for run, status, reason in failures]
    return '\n'.join(printable(line) for line in lines) + '\n'


def _nothing_to_do(collection: Collection, bids_dir: Path) -> str:
    name = bids_dir.name
    if not collection.skipped:
        return (
            f'{name}: no diffusion images. Give a dataset with images named sub-*/dwi/*_dwi.nii.gz'
        )
    reasons = Counter(item.reason for item in collection.skipped)
    reason, count = reasons.most_common(1)[0]
    return (
        f'{name}: nothing to do, all {plural(len(collection.skipped), "image")} skipped, '
        f'{count} since {reason}. Use --dry-run to see each'
    )


def _start_log(verbose_count: int) -> None:
    """Send the log to stderr, unless a caller has set up another place for it."""
    level = LIBRARY_LEVELS[min(verbose_count, len(LIBRARY_LEVELS) - 1)]
    logging.basicConfig(level=level, format='%(levelname)s %(message)s')
    LOGGER.setLevel(logging.DEBUG if verbose_count else logging.INFO)


if __name__ == '__main__':
    sys.exit(main())
