"""Run the graph of a participant, and see of every run whether all its files are there."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from nipype.interfaces.utility import IdentityInterface
from nipype.pipeline.engine import Workflow
from nipype.pipeline.plugins.base import PluginBase

from bidsharmony.bids import BIDSError
from bidsharmony.bids.names import output_stem, parse_name
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.supervise.aside import AsidePlugin
from bidsharmony.supervise.cluster import ClusterError
from bidsharmony.supervise.look import Look
from bidsharmony.supervise.marker import stem_of
from bidsharmony.supervise.records import Step
from bidsharmony.workflows.groups import Sharing, differ_within, find_sharing
from bidsharmony.workflows.method import Method
from bidsharmony.workflows.outputs import expected_endings, standard_names
from bidsharmony.workflows.participant import (
    ASIDE,
    PREDICTED,
    URGENT,
    init_participant_wf,
    workflow_name,
)

LOGGER = logging.getLogger('bidsharmony')

Predicted = defaultdict[str, dict[str, Path]]
Runner = Callable[[Callable[[Any, str], None]], PluginBase]

_WORDLESS = ' crashed'
"""End of what is said of a node that left no result, nor a word in it."""


def harmonize_runs(
    checked: Sequence[CheckedRun],
    *,
    subject: str,
    refused: Sequence[str],
    staging_dir: Path,
    work_dir: Path,
    method: Method,
    threads: int,
    crash_dir: Path,
    plugin: Runner | None = None,
    report: Callable[[Step], None] | None = None,
    look: Look | None = None,
) -> dict[str, str]:
    """Harmonize runs, those of a group with one gain; what fails leaves its partners in peace.

    The gain of runs that have partners is predicted first. Who fails then, or later, is no
    partner any more, and runs whose group has changed by that are finished again; nodes that are
    done stay done.

    Parameters
    ----------
    checked : sequence of CheckedRun
    subject : str
        label without ``sub-``
    refused : sequence of str
        images that cannot be used, relative to the dataset
    staging_dir, work_dir : Path
    method : Method
    threads : int
        of what can use them; images do not depend on it
    crash_dir : Path
        for nipype's account of a node that fails
    plugin : callable or None
        makes of a status callback what runs a graph; None runs it in this process, with some
        nodes in a fork beside it where there is more than one thread
    report : callable, optional
        is given every step; one that two graphs share counts once
    look : Look, optional
        draws graphs, and notes what steps take

    Returns
    -------
    dict
        stem of each run that failed to the error that ended it
    """
    build = partial(
        init_participant_wf,
        subject=subject,
        crash_dir=crash_dir,
        staging_dir=staging_dir,
        work_dir=work_dir,
        method=method,
        threads=threads,
    )
    if plugin is None:
        plugin = partial(_here, aside=threads > 1)
    wanted = find_sharing(checked)
    predicted: Predicted = defaultdict(dict)
    failed: dict[str, str] = {}
    steps = Steps(report, subject, checked)
    if grouped := [run for run in checked if _stem(run) in wanted]:
        workflow = build(runs=grouped, predict_only=True)
        # what follows is counted too, as it would be without partners: nothing is known of them
        steps.add(build(runs=checked) if report else workflow)
        failed |= _run(workflow, grouped, predicted, plugin, steps, look)
        steps.forget()
    made: dict[str, Sharing | None] = {}
    while True:
        left = [run for run in checked if _stem(run) not in failed]
        sharing = find_sharing(left)
        todo = [
            run
            for run in left
            if _stem(run) not in made or made[_stem(run)] != sharing.get(_stem(run))
        ]
        if not todo:
            return failed
        names = {_stem(run): workflow_name(run.run.stem) for run in left}
        workflow = build(
            runs=todo,
            sharing={
                stem: _with_files(found, [predicted[names[name]] for name in found.members])
                for stem, found in sharing.items()
            },
            without={
                _stem(run): _missed(run, wanted.get(_stem(run)), failed, refused) for run in todo
            },
        )
        steps.add(workflow)
        if look is not None:
            look.draw(workflow)
        crashes = _run(workflow, todo, predicted, plugin, steps, look)
        for run in todo:
            stem = _stem(run)
            made[stem] = sharing.get(stem)
            if reason := crashes.get(stem) or _absent(run, staging_dir, method):
                failed[stem] = reason
                stems = [_stem(other) for other in checked]
                left = list(staging_dir.rglob('*'))
                for stale in [path for path in left if stem_of(path.name, stems) == stem]:
                    stale.unlink()


class Steps:
    """Count the steps of a participant's graphs, by name: a second graph repeats some."""

    def __init__(
        self, report: Callable[[Step], None] | None, subject: str, runs: Sequence[CheckedRun]
    ) -> None:
        self._report = report
        self._labels = {
            workflow_name(run.run.stem): _stem(run).removeprefix(f'sub-{subject}').lstrip('_')
            for run in runs
        }
        self._known: set[str] = set()
        self._done: set[str] = set()
        self._running: dict[str, str] = {}

    def add(self, workflow: Workflow) -> None:
        """Count those of a graph that is run next; inputs and outputs of a graph are no steps."""
        if self._report is None:
            return
        self._known.update(
            f'{workflow.name}.{name}'
            for name in workflow.list_node_names()
            if not isinstance(workflow.get_node(name).interface, IdentityInterface)
        )

    def forget(self) -> None:
        """Take back what was counted and not done: a better count follows."""
        self._known &= self._done

    def start(self, name: str) -> None:
        """Tell that a step begins, by a name that people can read."""
        _, run, inside = name.split('.', 2)
        words = inside.replace('_wf.', ' ').replace('.', ' ').replace('_', ' ')
        label = self._labels.get(run, '')
        self._running[name] = f'{label}: {words}' if label else words
        self._tell()

    def end(self, name: str) -> None:
        """Tell that a step has come to an end."""
        self._done.add(name)
        self._running.pop(name, None)
        self._tell()

    def _tell(self) -> None:
        """Tell of the step that began last of those that are not done."""
        if self._report is not None:
            n_done, words = len(self._done), next(reversed(self._running.values()), '')
            self._report(Step(words, n_done, max(n_done, len(self._known | self._done))))


def _stem(checked: CheckedRun) -> str:
    return output_stem(checked.run.image)


def _with_files(sharing: Sharing, files: Sequence[Mapping[str, Path]]) -> Sharing:
    """Add what was predicted for the members."""
    return replace(
        sharing,
        **{f'{port}s': tuple(some[port] for some in files) for port in PREDICTED.values()},
    )


def _missed(
    run: CheckedRun, wanted: Sharing | None, failed: Mapping[str, str], refused: Sequence[str]
) -> list[str]:
    """List the partners that a run has not got: those that failed, and by name the refused."""
    if run.no_series:
        return []
    alike = set()
    for image in refused:
        try:
            entities = parse_name(Path(image).name).entities
        except BIDSError:  # which may be why it was refused
            continue
        if differ_within(entities, run.run.entities):
            alike.add(output_stem(Path(image)))
    return sorted(alike | (set(wanted.members if wanted else ()) & set(failed)))


def _absent(checked: CheckedRun, staging_dir: Path, method: Method) -> str:
    """Say which file a run has not left; '' if all are there."""
    folder, stem = staging_dir / Path(checked.run.relative).parent, _stem(checked)
    desc, spaces = method.output_desc, method.output_spaces
    endings = expected_endings(series=not checked.no_series, desc=desc)
    absent = [ending for ending in endings if not (folder / f'{stem}{ending}').is_file()]
    absent += [
        name for name in standard_names(stem, spaces, desc) if not (folder / name).is_file()
    ]
    return f'{absent[0]} was not written' if absent else ''


def _run(
    workflow: Workflow,
    runs: Sequence[CheckedRun],
    predicted: Predicted,
    plugin: Runner,
    steps: Steps,
    look: Look | None = None,
) -> dict[str, str]:
    """Run a graph; give the crash of each run that had one, and note what was predicted."""
    crashes: dict[str, str] = {}
    try:
        workflow.run(plugin=plugin(_reporter(crashes, predicted, steps, look)))
    except ClusterError:
        # not one run's: what is left of the graph was not run at all
        raise
    except Exception as error:
        # nipype raises the first crash again at the end; which run it belongs to is known.
        if not crashes:
            raise
        first = error.__cause__ or error
        if isinstance(first, OSError):
            # what is wrong with the disk is told once, where no result could be written
            for name in [name for name, text in crashes.items() if text.endswith(_WORDLESS)]:
                crashes[name] = f'{type(first).__name__}: {first}'
    names = {_stem(run): workflow_name(run.run.stem) for run in runs}
    return {stem: crashes[name] for stem, name in names.items() if name in crashes}


def _here(status_callback: Callable[[Any, str], None], *, aside: bool) -> AsidePlugin:
    """Run nodes in this process, and if that is wanted those of `ASIDE` beside it."""

    def rank_aside(node: Any) -> int | None:
        name = _inside(node)
        return ASIDE.index(name) if aside and name in ASIDE else None

    return AsidePlugin(status_callback, rank_aside, lambda node: _inside(node) in URGENT)


def _inside(node: Any) -> str:
    """Name a node within the graph of its run."""
    return node.fullname.split('.', 2)[2]


def _reporter(
    crashes: dict[str, str], predicted: Predicted, steps: Steps, look: Look | None
) -> Callable[[Any, str], None]:
    """Make a callback that logs how long each node took and remembers each run's first crash."""
    started: dict[str, float] = {}

    def report(node: Any, status: str) -> None:
        name = node.fullname
        if status == 'start':
            started[name] = time.monotonic()
            steps.start(name)
            if look is not None:
                look.start()
        elif name in started:
            began, aside = started.pop(name), None
            seconds = time.monotonic() - began
            if usage := getattr(node, 'usage', None):
                began, seconds, *aside = usage
            LOGGER.info('%s: %s after %.2f s', name, status, seconds)
            if look is not None:
                look.end(name, began, seconds, aside)
            steps.end(name)
            _, run, inside = name.split('.', 2)
            if status == 'exception':
                crashes.setdefault(run, _last_line(node))
            elif inside in PREDICTED:
                port = PREDICTED[inside]
                predicted[run][port] = Path(getattr(node.result.outputs, port))

    return report


def _last_line(node: Any) -> str:
    """Give the error that ended a node, without its traceback."""
    text = getattr(node, '_traceback', None) or ''
    # the result file itself may be what could not be written, or a job was killed before it
    with contextlib.suppress(Exception):
        text = text or node.result.runtime.traceback or ''
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    return lines[-1] if lines else f'{node.name}{_WORDLESS}'
