"""Leave in the logs what developers look at: a participant's graph, and what its steps take."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bidsharmony.supervise.places import open_own

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

LOGGER = logging.getLogger('bidsharmony')

COLUMNS = {
    'step': {'Description': 'node of the graph, with the graphs that it lies in'},
    'seconds': {'Description': 'from its start to its end', 'Units': 's'},
    'cpu_seconds': {
        'Description': 'processor time in between, of the process and what it started',
        'Units': 's',
    },
    'memory_mb': {
        'Description': 'largest memory of the process in between (2^20 bytes); libraries that it '
        'shares with other participants count in full',
        'Units': 'MB',
    },
}
"""Data dictionary of ``sub-X_resources.tsv``, in the order of its columns."""


@dataclass
class Look:
    """Write beside a participant's log what was asked for of its graph and its steps.

    Steps on a cluster run elsewhere: of those only the seconds are known.

    Parameters
    ----------
    start_of_names : Path
        folder and ``sub-X``
    graph : bool
        whether the graph is written
    resources : bool
        whether a line is written for each step
    """

    start_of_names: Path
    graph: bool = False
    resources: bool = False
    _cpu: float = field(default=0.0, repr=False)
    _begun: bool = field(default=False, repr=False)

    def draw(self, workflow: Workflow) -> None:
        """Write a graph as ``.dot``, and as a picture where Graphviz is installed."""
        if not self.graph:
            return
        dot = self.start_of_names.with_name(f'{self.start_of_names.name}_graph.dot')
        # nipype raises where there is no Graphviz, once the text is written
        with contextlib.suppress(OSError):
            workflow.write_graph(str(dot), graph2use='colored', format='svg')
        if not dot.is_file():
            LOGGER.warning('%s: the graph could not be written', dot.name)

    def start(self) -> None:
        """Note what was used up to here."""
        if self.resources:
            self._cpu = _cpu_seconds()
            _forget_peak()

    def end(self, name: str, seconds: float) -> None:
        """Write the line of a step."""
        if not self.resources:
            return
        used = _cpu_seconds() - self._cpu
        table = self.start_of_names.with_name(f'{self.start_of_names.name}_resources.tsv')
        lines = [f'{name}\t{seconds:.2f}\t{used:.2f}\t{_peak_mb():.0f}\n']
        flags = os.O_WRONLY | os.O_APPEND
        if not self._begun:
            self._begun, flags = True, os.O_WRONLY | os.O_TRUNC
            lines.insert(0, '\t'.join(COLUMNS) + '\n')
            self._write(table.with_suffix('.json'), [json.dumps(COLUMNS, indent=2) + '\n'], flags)
        self._write(table, lines, flags)

    @staticmethod
    def _write(path: Path, lines: list[str], flags: int) -> None:
        with os.fdopen(open_own(path, flags), 'w', encoding='utf-8') as file:
            file.writelines(lines)


def _cpu_seconds() -> float:
    """Add up the processor time of this process and of what it has started and seen end."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def _forget_peak() -> None:
    """Have the kernel measure the largest memory from here on (``proc(5)``, ``clear_refs``)."""
    with contextlib.suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5')


def _peak_mb() -> float:
    """Read the largest memory (2^20 bytes), since `_forget_peak` where there is a ``/proc``."""
    with contextlib.suppress(OSError):
        for line in Path('/proc/self/status').read_text(encoding='ascii').splitlines():
            if line.startswith('VmHWM:'):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
