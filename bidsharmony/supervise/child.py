"""What happens inside a participant's own process."""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import itertools
import logging
import os
import select
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bidsharmony.bids import COMPAT
from bidsharmony.bids.names import output_stem, public, spaceless
from bidsharmony.bids.templates import find_templates, parse_space
from bidsharmony.settings import Settings
from bidsharmony.supervise.cluster import cancel_jobs
from bidsharmony.supervise.environment import child_environment
from bidsharmony.supervise.finish import finish
from bidsharmony.supervise.lifeline import detach
from bidsharmony.supervise.locks import locked
from bidsharmony.supervise.look import Look
from bidsharmony.supervise.marker import (
    file_sha256,
    is_unchanged,
    marker_path,
    read_marker,
)
from bidsharmony.supervise.needs import check_disk, needs_of
from bidsharmony.supervise.places import (
    fresh_folder,
    linked_folder,
    open_own,
    private_folder,
    work_folder,
)
from bidsharmony.supervise.reasons import judge
from bidsharmony.supervise.records import Job, Outcome, Step
from bidsharmony.workflows.method import Method

if TYPE_CHECKING:
    from bidsharmony.interfaces.inputs import CheckedRun

LOGGER = logging.getLogger('bidsharmony')

UNCHANGED = 'unchanged since the last run'

MAX_NAME = 200
"""Characters of a step's name that are sent: with four bytes each, a message fits PIPE_BUF."""


def main(
    job: Job, connection: Connection, lifeline: Connection, environment: dict[str, str]
) -> None:
    """Work on one participant and send its outcomes back; runs in a process of its own."""
    detach(lifeline)
    os.environ.update(environment)
    try:
        _log_to(job.log_file, job.settings.verbose_count)
        outcomes = work(job, partial(tell, connection))
    except Exception as error:
        LOGGER.exception('%s failed', job.participant)
        code, reason = judge(job, f'{type(error).__name__}: {error}', error)
        outcomes = job.all_failed(reason, code)
    connection.send(outcomes)
    connection.close()


def tell(connection: Connection, step: Step) -> None:
    """Send a step to the supervisor, if that can be done without waiting and in one piece.

    A pipe that can be written to has room for ``PIPE_BUF`` bytes, and so many are written at once
    or not at all: who is killed meanwhile leaves no half of a message, and a supervisor that does
    not listen, since its terminal stands still, holds nobody up.
    """
    short = replace(step, name=step.name[:MAX_NAME])
    if select.select([], [connection], [], 0)[1]:
        connection.send(short)


def work(job: Job, report: Callable[[Step], None] | None = None) -> list[Outcome]:
    """Check, harmonize and finish one participant.

    Parameters
    ----------
    job : Job
    report : callable, optional
        is given every step of the graph

    Returns
    -------
    list of Outcome
        one for each of the job's runs

    Raises
    ------
    OSError
        `locks.LockedError`, disk full, or no permission
    """
    # Imported here: the supervisor itself never needs nipype, and --help neither.
    from bidsharmony.workflows.groups import shared_inputs

    if linked := linked_folder(job.settings.output_dir, [job.participant]):
        raise OSError(errno.EPERM, 'a link in the output is not followed', str(linked))
    # markers and pages are passed on
    job = replace(
        job,
        refused=tuple(itertools.starmap(public, job.refused)),
        skipped=tuple(itertools.starmap(public, job.skipped)),
    )
    with locked(job.settings.output_dir, job.participant):
        checked, outcomes = check_runs(job)
        left_out = {
            status: tuple((o.run, o.reason) for o in outcomes.values() if o.status == status)
            for status in ('refused', 'skipped')
        }
        refused = [*job.refused, *left_out['refused']]
        job = replace(job, skipped=(*job.skipped, *left_out['skipped']))
        inputs = shared_inputs(checked)
        options = result_options(job)
        output_dir = job.settings.output_dir
        unfinished = job.hidden / 'staging' / job.participant
        work_dir = work_folder(job.settings, job.participant)
        if any(work_dir.glob('*/batch')):
            # jobs of a run that was killed would write into what is made now
            cancel_jobs(work_dir)
        if is_unchanged(
            read_marker(marker_path(output_dir, job.participant)),
            output_dir,
            version=job.version,
            options=options,
            inputs=inputs,
            refused=refused,
            skipped=job.skipped,
        ):
            # of a process that was killed between its marker and its end
            shutil.rmtree(unfinished, ignore_errors=True)
            if not job.settings.debug:
                shutil.rmtree(work_dir, ignore_errors=True)
            for run in checked:
                name = run.run.relative
                outcomes[name] = Outcome(name, 'done', UNCHANGED)
            return [outcomes[run.relative] for run in job.runs]
        if checked:
            check_disk(needs_of([run.run for run in checked], job.settings), job.settings)
        staging = fresh_folder(unfinished)
        if job.settings.work_dir is not None:
            # its name can be guessed, and a shared place such as /scratch lets anyone make it
            private_folder(work_dir.parent)
        fresh_folder(work_dir)
        outcomes |= _harmonize(
            job, checked, [name for name, _ in refused], staging, work_dir, report
        )
        whole = [run for run in checked if outcomes[run.run.relative].status == 'done']
        done = [output_stem(run.run.image) for run in whole]
        failed = [(o.run, o.reason) for o in outcomes.values() if o.status == 'failed']
        finish(
            job,
            staging,
            done=done,
            refused=refused,
            failed=failed,
            # a partner that failed had no part in what was made
            inputs=inputs | shared_inputs(whole),
            options=options,
        )
        shutil.rmtree(staging, ignore_errors=True)
        if not failed and not job.settings.debug:
            shutil.rmtree(work_dir, ignore_errors=True)
        return [outcomes[run.relative] for run in job.runs]


def check_runs(job: Job) -> tuple[list[CheckedRun], dict[str, Outcome]]:
    """Hold every run of a participant against its files, before any work is planned.

    Returns
    -------
    checked : list of CheckedRun
        runs that can be processed
    outcomes : dict
        image to Outcome, of those that were refused or skipped
    """
    from bidsharmony.interfaces.files import InputError
    from bidsharmony.interfaces.inputs import SkippedRunError, check_run, note_twins

    checked, outcomes = [], {}
    max_bytes = int(job.settings.max_gb * 1e9)
    for run in job.runs:
        name = run.relative
        if job.settings.brain_mask == 'compute':
            run = replace(run, brain_mask=None)
        try:
            checked.append(check_run(run, job.settings.b0_threshold, max_bytes=max_bytes))
        except InputError as error:
            reason = error.reason if error.file == name else str(error)
            outcomes[name] = Outcome(name, 'refused', reason)
        except SkippedRunError as error:
            outcomes[name] = Outcome(name, 'skipped', str(error))
    for name, reason in _unnamable(checked, job.settings.output_spaces):
        outcomes[name] = Outcome(name, 'refused', reason)
    return note_twins([run for run in checked if run.run.relative not in outcomes]), outcomes


def _unnamable(checked: list[CheckedRun], spaces: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Find runs whose images in a standard space would have names that are taken, and say why."""
    first: dict[str, str] = {}
    for item in checked if spaces else ():
        stem, name = output_stem(item.run.image), item.run.relative
        bare = spaceless(stem)
        own = {f'{bare}_space-{parse_space(text).label}' for text in spaces}
        if stem in own:
            yield name, 'is in this space already: --output-spaces would give its names twice.'
        elif other := first.get(bare):
            yield (
                name,
                f'would have the names of {other} in --output-spaces. Select one of them with '
                '--bids-filter-file.',
            )
        else:
            first[bare] = name


def result_options(job: Job) -> dict[str, Any]:
    """List what changes the outputs beside the inputs; weights and templates by content."""
    from bidsharmony.network.weights import shipped_weights

    method = method_of(job.settings)
    return {
        **asdict(method),
        'output_spaces': {
            str(template.space): {name: file_sha256(path) for name, path in template.files.items()}
            for template in method.output_spaces
        },
        'weights': file_sha256(method.weights or shipped_weights()),
        'qsiprep_compat': job.settings.qsiprep_compat,
    }


def method_of(settings: Settings) -> Method:
    """Take from the settings what changes results: the options of the same names."""
    taken = {item.name: getattr(settings, item.name) for item in fields(Method)}
    templates = find_templates(settings.output_spaces, settings.templateflow_home)
    return Method(**{**taken, 'output_spaces': templates})


def look_of(job: Job) -> Look:
    """Take from the settings what is wanted of the graph for people to look at."""
    return Look(
        job.log_file.with_suffix(''),
        graph=job.settings.write_graph,
        resources=job.settings.resource_monitor,
        elsewhere=job.settings.use_plugin is not None,
    )


def _harmonize(
    job: Job,
    checked: list,
    refused: list[str],
    staging: Path,
    work_dir: Path,
    report: Callable[[Step], None] | None = None,
) -> dict[str, Outcome]:
    """Run the graph, and say of every run what became of it."""
    if not checked:
        return {}
    from nipype import config

    from bidsharmony.interfaces.compat import write_compat
    from bidsharmony.network.weights import load_weights
    from bidsharmony.supervise.graph import harmonize_runs

    # here, or each run would find out for itself after minutes
    load_weights(job.settings.weights)
    config.update_config({
        'execution': {
            # in a new folder nothing of an earlier run can be taken for this one's; but hosts of
            # a cluster may see different times of one file
            'hash_method': 'content' if job.settings.use_plugin else 'timestamp',
            'crashfile_format': 'txt',
            'stop_on_first_crash': 'false',
            'remove_unnecessary_outputs': 'false',
            'check_version': 'false',
            'create_report': 'false',
        },
        'logging': {'log_to_file': 'false'},
    })  # fmt: skip
    with _on_cluster(job, work_dir) as plugin:
        failed = harmonize_runs(
            checked,
            subject=job.subject,
            refused=refused,
            staging_dir=staging,
            work_dir=work_dir,
            method=method_of(job.settings),
            threads=job.settings.threads,
            crash_dir=job.log_file.parent,
            plugin=plugin,
            report=report,
            look=look_of(job),
        )
    outcomes = {}
    for item in checked:
        name, stem = item.run.relative, output_stem(item.run.image)
        if stem in failed:
            code, reason = judge(job, failed[stem], None)
            outcomes[name] = Outcome(name, 'failed', reason, code)
            continue
        if job.settings.qsiprep_compat and not item.no_series:
            place = Path(name).parent
            write_compat(item, staging / place, staging / COMPAT / place, job.settings.output_desc)
        outcomes[name] = Outcome(name, 'done')
    return outcomes


@contextlib.contextmanager
def _on_cluster(job: Job, work_dir: Path) -> Iterator[Callable | None]:
    """Give what runs graphs on a cluster, if that was asked for; leave no job behind."""
    if job.settings.use_plugin is None:
        yield None
        return
    from bidsharmony.supervise.plugin import runner

    _, plugin_args = job.settings.use_plugin
    try:
        yield runner(plugin_args, child_environment(job.settings.output_dir))
    except BaseException:
        cancel_jobs(work_dir)
        raise


def _log_to(path: Path, verbose_count: int) -> None:
    """Send everything this process says to its log; from ``-vv`` on it says more."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = open_own(path, os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(descriptor, stream.fileno())
    os.close(descriptor)
    faulthandler.enable()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter('%(asctime)s %(levelname)s %(message)s'))
    LOGGER.handlers[:] = [handler]
    LOGGER.propagate = False
    LOGGER.setLevel(logging.DEBUG if verbose_count > 1 else logging.INFO)
