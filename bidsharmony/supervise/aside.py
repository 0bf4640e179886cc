"""Run a graph's nodes one after the other, but some of them beside the others, in a fork."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import pickle
import signal
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

from nipype.pipeline.engine import Node
from nipype.pipeline.engine.utils import topological_sort
from nipype.pipeline.plugins.base import PluginBase
from nipype.pipeline.plugins.tools import report_crash

from bidsharmony.supervise.lifeline import end_with_parent

LOGGER = logging.getLogger('bidsharmony')


@dataclass(frozen=True)
class Fork:
    """A node that runs in a process of its own.

    Attributes
    ----------
    node : Node
    pid : int
    messages : file
        Seconds and an error, or None, are read from it.
    began : float
    """

    node: Node
    pid: int
    messages: BinaryIO
    began: float


class Usage(NamedTuple):
    """What a node has used that ran aside, and when (`time.monotonic`) that began."""

    began: float
    seconds: float
    cpu_seconds: float
    memory_mb: float


class AsidePlugin(PluginBase):
    """Run nodes in this process, and those that may stand aside in a fork while others are ready.

    There is one fork at a time: what a participant holds in memory is its own process and that
    one. nipype's ``LinearPlugin`` runs a whole graph in this process; its ``MultiProcPlugin``
    would import every library again, and hold as many nodes as there are processors.

    The fork finds all libraries loaded, but none of their threads: nodes that stand aside must not
    use ITK or torch.

    Parameters
    ----------
    status_callback : callable
        is given a node and ``'start'``, ``'end'`` or ``'exception'``; the ``usage`` of a node that
        ran aside is then known, a `Usage`
    rank_aside : callable
        gives a node its rank among those that may stand aside, the first of which is forked before
        others that are ready; None keeps it in this process
    is_urgent : callable
        tells it of a node; an urgent one is run before others that are ready
    """

    def __init__(
        self,
        status_callback: Callable[[Node, str], None],
        rank_aside: Callable[[Node], int | None],
        is_urgent: Callable[[Node], bool] = lambda _: False,
    ) -> None:
        super().__init__(plugin_args={'status_callback': status_callback})
        self._rank_aside, self._is_urgent = rank_aside, is_urgent
        self._fork: Fork | None = None

    def run(self, graph: Any, config: Any, updatehash: bool = False) -> None:
        """Run a graph to its end; what needs a node that crashed is left out.

        Raises
        ------
        Exception
            the first that a node raised, after all other nodes
        """
        left, _ = topological_sort(graph)
        done: set[Node] = set()
        errors: list[Exception] = []
        here = os.getcwd()
        try:
            while left or self._fork:
                ready = [node for node in left if done.issuperset(graph.predecessors(node))]
                if self._fork and (ended := self._ended(wait=not ready)):
                    node, error = ended
                elif not ready:  # all that is left needs a node that crashed
                    break
                else:
                    aside = self._next_aside(ready)
                    node = aside or next(filter(self._is_urgent, ready), ready[0])
                    left.remove(node)
                    self._status_callback(node, 'start')
                    if aside:
                        self._fork = fork(node, updatehash)
                    if self._fork and self._fork.node is node:
                        continue
                    error = attempt(node, updatehash)
                if error is None:
                    done.add(node)
                else:
                    errors.append(error)
                self._status_callback(node, 'end' if error is None else 'exception')
        finally:
            os.chdir(here)
            self._kill()
        for node in left:
            LOGGER.debug('%s was not run', node.fullname)
        if errors:
            raise errors[0]

    def _next_aside(self, ready: list[Node]) -> Node | None:
        """Choose a node to run aside, if there is room for one and this process has other work."""
        if self._fork or len(ready) < 2:
            return None
        ranked = [node for node in ready if self._rank_aside(node) is not None]
        return min(ranked, key=self._rank_aside, default=None)

    def _ended(self, *, wait: bool) -> tuple[Node, Exception | None] | None:
        """Give the node that ran aside and its error, once it has ended."""
        fork, content = self._fork, b''
        if wait:
            # first: a message that is longer than a pipe holds is not written to its end before
            content = fork.messages.read()
        pid, status, usage = os.wait4(fork.pid, 0 if wait else os.WNOHANG)
        if not pid:
            return None
        self._fork = None
        with fork.messages:
            content += fork.messages.read()
        seconds, error = (
            pickle.loads(content) if content else (time.monotonic() - fork.began, None)
        )
        cpu_seconds = usage.ru_utime + usage.ru_stime
        fork.node.usage = Usage(fork.began, seconds, cpu_seconds, usage.ru_maxrss / 1024)
        code = os.waitstatus_to_exitcode(status)
        if code == 0 or error is not None:
            return fork.node, error
        # SIGKILL is what the kernel sends where memory is short
        kind = 'MemoryError' if code == -signal.SIGKILL else 'RuntimeError'
        end = signal_name(-code) if code < 0 else f'exit code {code}'
        text = f'{kind}: {fork.node.name} was ended by {end}'
        fork.node._traceback = text
        return fork.node, RuntimeError(text)

    def _kill(self) -> None:
        """End what still runs aside, where this process gives up."""
        if self._fork:
            os.kill(self._fork.pid, signal.SIGKILL)
            os.waitpid(self._fork.pid, 0)
            self._fork.messages.close()
            self._fork = None


def attempt(node: Node, updatehash: bool) -> Exception | None:
    """Run a node, and give the error that ended it; nipype's account of that is in its file."""
    try:
        node.run(updatehash=updatehash)
    except Exception as error:
        with contextlib.suppress(OSError):  # of a full disk, for instance
            report_crash(node)
        return error
    return None


def fork(node: Node, updatehash: bool) -> Fork | None:
    """Run a node in a child of this process; None where there can be no more processes."""
    give_back()
    reading, writing = os.pipe()
    parent, began = os.getpid(), time.monotonic()
    try:
        with warnings.catch_warnings():
            # of threads, which a node that stands aside does not need
            warnings.simplefilter('ignore', DeprecationWarning)
            pid = os.fork()
    except OSError as error:
        LOGGER.warning('%s is not run beside others: %s', node.fullname, error)
        os.close(reading)
        os.close(writing)
        return None
    if pid:
        os.close(writing)
        return Fork(node, pid, os.fdopen(reading, 'rb'), began)
    code = 1
    try:
        end_with_parent()
        if os.getppid() != parent:
            # it ended before the kernel was asked to tell
            os._exit(code)
        os.close(reading)
        # else a collection looks through all that was imported, and copies its pages, in .3 s
        gc.freeze()
        error = attempt(node, updatehash)
        content = pickled(time.monotonic() - began, error)
        with os.fdopen(writing, 'wb') as messages:
            messages.write(content)
        code = int(error is not None)
    finally:
        # nothing that this process only inherited may be flushed or ended twice
        for handler in LOGGER.handlers:
            with contextlib.suppress(Exception):
                handler.flush()
        os._exit(code)


def give_back() -> None:
    """Return to the kernel what was freed, where malloc is glibc's: a fork would keep it, too."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def pickled(seconds: float, error: Exception | None) -> bytes:
    """Pickle how long a node took and what ended it; the words of an error that cannot be."""
    try:
        content = pickle.dumps((seconds, error))
        pickle.loads(content)
    except Exception:
        return pickle.dumps((seconds, RuntimeError(f'{type(error).__name__}: {error}')))
    return content


def signal_name(number: int) -> str:
    """Name a signal.

    Examples
    --------
    >>> signal_name(9)
    'SIGKILL'
    """
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f'signal {number}'
