"""Run participants, some at a time, each in a process of its own, and notice every end."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import NamedTuple

from bidsharmony import __version__
from bidsharmony.bids import Collection, Covered
from bidsharmony.settings import Settings
from bidsharmony.supervise import child
from bidsharmony.supervise.cluster import cancel_jobs
from bidsharmony.supervise.environment import child_environment, short_tmpdir, with_variables
from bidsharmony.supervise.marker import marker_path
from bidsharmony.supervise.needs import Machine, Needs, needs_of
from bidsharmony.supervise.places import work_folder
from bidsharmony.supervise.records import Job, Outcome, Step, Watch

LOGGER = logging.getLogger('bidsharmony')

PRELOAD = (
    'ants',
    'bidsharmony.evaluation.features',
    'bidsharmony.evaluation.scan',
    'bidsharmony.interfaces.compat',
    'bidsharmony.network.summary',
    'bidsharmony.numerics.bias',
    'bidsharmony.numerics.directions',
    'bidsharmony.numerics.gain',
    'bidsharmony.numerics.motion',
    'bidsharmony.numerics.trace',
    'bidsharmony.supervise.graph',
    'bidsharmony.viz.run',
    'bidsharmony.viz.series',
    'bidsharmony.workflows.participant',
)
"""Imported once, in the server that children are forked from: 10 s that none of them spends."""

LOOK_AGAIN = 1.0
"""Seconds between looks at children that say nothing."""

GRACE = 2.0
"""Seconds a child has after SIGTERM."""


class Interrupted(KeyboardInterrupt):
    """Say that a signal ended the run; ``signum`` is which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f'signal {signum}')
        self.signum = signum


class _Running(NamedTuple):
    """Hold a participant's process, the pipe it answers through and the one that keeps it."""

    job: Job
    process: BaseProcess
    connection: Connection
    lifeline: Connection
    needs: Needs
    began: float


def run_participants(
    settings: Settings, collection: Collection, *, watch: Watch | None = None
) -> list[Outcome]:
    """Harmonize every run of a collection.

    Parameters
    ----------
    settings : Settings
    collection : Collection
    watch : Watch, optional
        is told of every step

    Returns
    -------
    list of Outcome
        one for each of ``collection.runs``, sorted by run; ``errno`` tells the machine's faults

    Raises
    ------
    Interrupted
        on SIGINT or SIGTERM, after the children were ended
    """
    waiting = make_jobs(settings, collection)
    if not waiting:
        return []
    environment = child_environment(settings.output_dir)
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(list(PRELOAD))
    machine = Machine(settings)
    if watch is not None:
        watch.planned({job.participant: len(job.runs) for job in waiting})
    outcomes: list[Outcome] = []
    running: list[_Running] = []
    with _signals(), with_variables(environment):
        with short_tmpdir():
            forkserver.ensure_running()
        try:
            while waiting or running:
                while waiting and len(running) < settings.nprocs:
                    needs = needs_of(waiting[0].runs, settings)
                    if not machine.has_room(needs, [item.needs for item in running]):
                        break
                    running.append(_start(context, waiting.pop(0), environment, needs))
                    if watch is not None:
                        watch.started(running[-1].job.participant)
                wait([item.connection for item in running], timeout=LOOK_AGAIN)
                for item in list(running):
                    found = _hear(item, watch)
                    if found is None and _is_late(item):
                        found = _give_up(item)
                    if found is not None:
                        running.remove(item)
                        if watch is not None:
                            watch.ended(item.job.participant)
                        outcomes += _report(found)
                        if settings.stop_on_first_crash and _failed(found):
                            outcomes += _report(_stop(item.job, running, waiting))
                            for other in running if watch is not None else ():
                                watch.ended(other.job.participant)
                            running.clear()
                            waiting.clear()
                            break
                if watch is not None:
                    watch.look()
        except Interrupted:
            _end_server()
            raise
        finally:
            _end(running)
    return sorted(outcomes, key=lambda outcome: outcome.run)


def make_jobs(settings: Settings, collection: Collection) -> list[Job]:
    """Sort what was found by participant.

    One without a run needs a process only if what it left earlier is refused now.
    """
    jobs = []
    for participant in collection.participants:
        runs = tuple(run for run in collection.runs if f'sub-{run.subject}' == participant)
        refused, skipped = (
            tuple(
                (item.relative, item.reason) for item in items if item.participant == participant
            )
            for items in (collection.refused, collection.skipped)
        )
        if not runs and not (refused and marker_path(settings.output_dir, participant).exists()):
            continue
        covered = tuple(
            item.relative
            for item in collection.skipped
            if isinstance(item, Covered) and item.participant == participant
        )
        jobs.append(Job(participant, runs, refused, skipped, settings, __version__, covered))
    return jobs


def _start(
    context: multiprocessing.context.BaseContext, job: Job, environment: dict, needs: Needs
) -> _Running:
    """Start one participant."""
    ours, theirs = context.Pipe(duplex=False)
    its_end, lifeline = context.Pipe(duplex=False)
    process = context.Process(
        target=child.main, args=(job, theirs, its_end, environment), name=job.participant
    )
    process.start()
    # With our copy open, the end of the child would not be the end of the pipe.
    theirs.close()
    its_end.close()
    LOGGER.info('%s: started, %d run(s)', job.participant, len(job.runs))
    return _Running(job, process, ours, lifeline, needs, time.monotonic())


def _hear(item: _Running, watch: Watch | None) -> list[Outcome] | None:
    """Take what a participant has said: its outcomes, or how it died; None while it works.

    Steps are for who watches. A process that was killed in the middle of a message has not
    answered; one that is alive has sent every message whole, or is about to.
    """
    outcomes = None
    while outcomes is None:
        # asked first: what it says between the two looks is then heard at the next
        alive = item.process.is_alive()
        if not item.connection.poll():
            if alive:
                return None
            outcomes = _died(item)
            break
        try:
            message = item.connection.recv()
        except (EOFError, OSError):
            outcomes = _died(item)
            break
        if not isinstance(message, Step):
            outcomes = message
        elif watch is not None:
            watch.step(item.job.participant, message)
    item.process.join(timeout=GRACE)
    item.connection.close()
    item.lifeline.close()
    return outcomes


def _died(item: _Running) -> list[Outcome]:
    """Say how a participant's process ended that has not answered."""
    item.process.join()
    _cancel([item.job])
    return item.job.all_failed(_cause_of_death(item.process.exitcode, item.job))


def _is_late(item: _Running) -> bool:
    """See whether a participant has taken longer than it may."""
    limit = item.job.settings.participant_timeout
    return limit is not None and time.monotonic() - item.began > 60 * limit


def _give_up(item: _Running) -> list[Outcome]:
    """End a participant that takes too long."""
    _end([item])
    item.connection.close()
    item.lifeline.close()
    log = item.job.log_file.relative_to(item.job.settings.output_dir).as_posix()
    return item.job.all_failed(
        f'not done after {item.job.settings.participant_timeout:g} min, ended. Raise '
        f'--participant-timeout, or see {log}.'
    )


def _failed(outcomes: Sequence[Outcome]) -> bool:
    """See whether a run has failed, which one that was refused has not."""
    return any(outcome.status == 'failed' for outcome in outcomes)


def _stop(first: Job, running: Sequence[_Running], waiting: Sequence[Job]) -> list[Outcome]:
    """End all participants after one has failed, and say so of each."""
    _end(running)
    for item in running:
        item.connection.close()
        item.lifeline.close()
    because = f'since {first.participant} failed (--stop-on-first-crash). Re-run to go on.'
    return [
        outcome
        for jobs, what in (([i.job for i in running], 'ended'), (waiting, 'not begun'))
        for job in jobs
        for outcome in job.all_failed(f'{what}, {because}')
    ]


def _report(outcomes: list[Outcome]) -> list[Outcome]:
    """Say what became of each run."""
    for outcome in outcomes:
        if outcome.status == 'done':
            LOGGER.info('%s: done%s', outcome.run, outcome.reason and f', {outcome.reason}')
        elif outcome.status == 'skipped':
            LOGGER.info('%s: skipped, %s.', outcome.run, outcome.reason)
        else:
            LOGGER.error('%s: %s', outcome.run, outcome.reason)
    return outcomes


def _cause_of_death(exitcode: int | None, job: Job) -> str:
    """Say in plain words why a process ended without an answer."""
    if exitcode == -signal.SIGKILL:
        return 'killed, probably out of memory: raise --mem-mb or lower --nprocs.'
    log = job.log_file.relative_to(job.settings.output_dir).as_posix()
    if exitcode is not None and exitcode < 0:
        return f'ended by {signal.Signals(-exitcode).name}. See {log}.'
    return f'ended without an answer (exit code {exitcode}). See {log}.'


def _end(running: list[_Running]) -> None:
    """End what still runs, with everything it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for item in running:
            _signal_group(item.process, number)
        deadline = time.monotonic() + GRACE
        for item in running:
            item.process.join(timeout=max(0.0, deadline - time.monotonic()))
    _cancel([item.job for item in running])


def _cancel(jobs: Sequence[Job]) -> None:
    """Take out of a cluster's queue what processes that are no more have put there."""
    on_cluster = [job for job in jobs if job.settings.use_plugin is not None]
    if folders := [work_folder(job.settings, job.participant) for job in on_cluster]:
        cancel_jobs(*folders)


def _end_server() -> None:
    """End the server of children: while it imports, it does not see that nobody needs it."""
    pid = getattr(forkserver._forkserver, '_forkserver_pid', None)
    if pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _signal_group(process: BaseProcess, number: signal.Signals) -> None:
    """Signal a child's process group, or the child if it does not lead one yet."""
    if process.pid is None or not process.is_alive():
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Turn SIGTERM and SIGINT into an exception, so that children are ended first."""

    def interrupt(signum: int, _frame: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        raise Interrupted(signum)

    previous = {}
    # Only the main thread may install handlers; elsewhere the caller handles signals.
    with contextlib.suppress(ValueError):
        for number in (signal.SIGTERM, signal.SIGINT):
            previous[number] = signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
