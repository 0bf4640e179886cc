"""Run the nodes of a participant's graph as jobs of Slurm, and see what becomes of each."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import site
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from traceback import format_exception
from typing import Any

from nipype.pipeline.engine import Node
from nipype.pipeline.plugins.slurm import SLURMPlugin
from nipype.utils.filemanip import loadpkl

from bidsharmony.supervise.cluster import ENDED, ClusterError, call, jobs_of

LOGGER = logging.getLogger('bidsharmony')

GONE = 'GONE'
"""State of a job that the queue has forgotten."""

UNSEEN_FOR = 60.0
"""Seconds after which another node's file is seen at the latest, where NFS caches as usual."""

SILENT_FOR = 600.0
"""Seconds that Slurm may not answer before jobs are given up."""

REMEDIES = {
    'CANCELLED': 'Run the same command to go on',
    'COMPLETED': 'Put output and --work-dir where all nodes see them',
    'FAILED': 'Its own output is in the log',
    'GONE': 'Put output and --work-dir where all nodes see them',
    'OUT_OF_MEMORY': 'Raise --mem in sbatch_args of the --use-plugin file',
    'TIMEOUT': 'Raise --time in sbatch_args of the --use-plugin file',
}


class SlurmPlugin(SLURMPlugin):
    """Submit nodes as nipype does, and mend what makes it lose jobs.

    nipype asks the queue once for each job, and takes any failure of that for the end of the job.
    Of a job that was killed it expects a file; when there is none, its crash report raises
    ``TypeError``, and all other jobs run on with nobody to wait for them. It would take an earlier
    file for the result of this job. It needs LOGNAME, and paths without blanks.

    Parameters
    ----------
    plugin_args : dict
        nipype's: ``template``, ``sbatch_args``, ``max_jobs``, ``max_tries``, ``retry_timeout``,
        ``jobid_re``, ``status_callback``
    environment : mapping
        what jobs find in theirs, whatever ``sbatch`` hands on
    """

    def __init__(self, plugin_args: dict[str, Any], environment: Mapping[str, str]) -> None:
        super().__init__(plugin_args=plugin_args)
        environment = {**environment, 'PYTHONPATH': python_path()}
        lines = [f'export {name}={shlex.quote(text)}' for name, text in environment.items()]
        self._template = '\n'.join([self._template.rstrip('\n'), *lines])
        self._states: dict[int, str] = {}
        self._asked_at = self._answered_at = time.monotonic()

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph to its end; where that is an error of our own, leave no job behind."""
        try:
            super().run(graph, config, updatehash=updatehash)
        finally:
            if self._pending:
                with contextlib.suppress(ClusterError):
                    call('scancel', *map(str, self._pending))

    def _submit_batchtask(self, scriptfile: str, node: Node) -> int:
        # nobody but this job may have left it
        _result_file(node).unlink(missing_ok=True)
        arguments = [
            f'--job-name={node.fullname}',
            f'--output={scriptfile.replace("%", "%%")}.out',
            *shlex.split(self._sbatch_args or ''),
            scriptfile,
        ]
        number = self._submit(arguments, node.name)
        self._pending[number] = (node, Path(scriptfile))
        self._states[number] = 'PENDING'
        # an answer from before this moment knows nothing of it
        self._asked_at = self._answered_at = time.monotonic()
        return number

    def _submit(self, arguments: list[str], name: str) -> int:
        """Call ``sbatch``, again if it fails, and give the job's number."""
        for attempt in range(self._max_tries + 1):
            try:
                # without a limit: who ends it does not know whether it has submitted
                answer = call('sbatch', *arguments, timeout=None)
                break
            except ClusterError as error:
                if attempt == self._max_tries:
                    raise ClusterError(
                        f'{name} was not submitted, {error}. Check sbatch_args of the '
                        '--use-plugin file'
                    ) from None
                LOGGER.warning('%s: %s', name, error)
                time.sleep(self._retry_timeout)
                # a busy controller may take a job and have no time to say so
                if taken := _numbers_of(arguments[-1]):
                    return taken[-1]
        found = re.search(self._jobid_re, answer)
        if found is None:
            raise ClusterError(f'sbatch: no job number in {answer.strip()!r}. Check jobid_re')
        return int(found[1])

    def _get_result(self, taskid: int) -> dict[str, Any] | None:
        node, script = self._pending[taskid]
        state = self._state(taskid)
        if state not in ENDED and state != GONE:
            return None
        result = _read_result(node, script, wait=state in ('COMPLETED', GONE))
        _repeat(Path(f'{script}.out'), failed=result is None or bool(result['traceback']))
        if result is not None:
            return result
        remedy = REMEDIES.get(state, 'Run the same command to go on')
        reason = f'{node.name}: job {taskid} left no result, it is {state}. {remedy}'
        return {'result': None, 'hostname': 'unknown', 'traceback': [f'ClusterError: {reason}\n']}

    def _state(self, taskid: int) -> str:
        """Give a job's state; that of all is asked at once, and once for each poll."""
        now = time.monotonic()
        if now - self._asked_at >= float(self._config['execution']['poll_sleep_duration']) / 2:
            self._asked_at = now
            try:
                found = {job.number: job.state for job in jobs_of(os.getuid())}
                self._states = {number: found.get(number, GONE) for number in self._pending}
                self._answered_at = now
            except ClusterError as error:
                if now - self._answered_at > SILENT_FOR:
                    raise
                LOGGER.warning('%s; asked again later', error)
        return self._states[taskid]

    def _clean_queue(self, jobid: int, graph: Any, result: dict[str, Any] | None = None) -> Any:
        if result is None:
            result = {'result': None, 'traceback': format_exception(sys.exception())}
        # nipype tells the node after the callback has asked for it
        runtime = getattr(result['result'], 'runtime', None)
        said = getattr(runtime, 'traceback', None) or ''.join(result['traceback'])
        self.procs[jobid]._traceback = said
        return super()._clean_queue(jobid, graph, result=result)


def runner(
    plugin_args: Mapping[str, Any], environment: Mapping[str, str]
) -> Callable[[Callable[[Node, str], None]], SlurmPlugin]:
    """Give what makes a plugin for a callback; each graph needs a plugin of its own."""

    def make(status_callback: Callable[[Node, str], None]) -> SlurmPlugin:
        return SlurmPlugin({**plugin_args, 'status_callback': status_callback}, environment)

    return make


def python_path() -> str:
    """Give the PYTHONPATH with which a job finds this package and what this process was given.

    Started as a script, a job has another first entry than ``python -m`` gives.
    """
    here = str(Path(__file__).resolve().parents[2])
    given = [os.path.abspath(path) for path in os.environ.get('PYTHONPATH', '').split(':') if path]
    if here not in {*site.getsitepackages(), site.getusersitepackages()}:
        given.insert(0, here)
    return ':'.join(dict.fromkeys(given))


def _numbers_of(script: str) -> list[int]:
    """Find the jobs of a script, which has a name of its own."""
    with contextlib.suppress(ClusterError):
        return [job.number for job in jobs_of(os.getuid()) if job.script == script]
    return []


def _result_file(node: Node) -> Path:
    """Give the file in which a node leaves its result, or its traceback."""
    return Path(node.output_dir()) / f'result_{node.name}.pklz'


def _read_result(node: Node, script: Path, *, wait: bool) -> dict[str, Any] | None:
    """Read what a job has left; None if that is nothing."""
    path = _result_file(node)
    # where a job writes that could not even read its node
    suffix = script.stem.removeprefix('batchscript_pyscript_')
    crash = script.with_name(f'crashdump_{suffix}.pklz')
    deadline = time.monotonic() + UNSEEN_FOR * wait
    while not (found := [place for place in (path, crash) if place.is_file()]):
        if time.monotonic() >= deadline:
            return None
        time.sleep(1)
        with contextlib.suppress(OSError):
            os.listdir(path.parent)
    content = loadpkl(found[0])
    if not isinstance(content, dict):
        return {'result': content, 'traceback': None}
    # under its own name it would be taken for a result
    found[0].replace(found[0].with_name('crashstore.pklz'))
    return content


def _repeat(output: Path, *, failed: bool) -> None:
    """Put what a job said into the participant's log."""
    with contextlib.suppress(OSError):
        text = output.read_text(errors='replace').strip()
        if text:
            LOGGER.log(logging.ERROR if failed else logging.INFO, '%s:\n%s', output.name, text)
