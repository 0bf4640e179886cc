"""Leave in the logs what developers look at: a participant's graph, and what its steps take."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bidsharmony.supervise.places import open_own

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow

COLUMNS = {
    'step': {'Description': 'node of the graph, with the graphs that it lies in'},
    'start': {'Description': 'when it began, after the first one', 'Units': 's'},
    'seconds': {'Description': 'from its start to its end', 'Units': 's'},
    'cpu_seconds': {
        'Description': 'processor time in between, of the process and what it started; what ran '
        'in a process beside it has a line of its own',
        'Units': 's',
    },
    'memory_mb': {
        'Description': 'largest memory of the process in between (2^20 bytes), without that of a '
        'registration, which has one of its own; libraries that it shares with other '
        'participants, and what a step beside others shares with them, count in full',
        'Units': 'MB',
    },
}
"""Data dictionary of ``sub-X_resources.tsv``, in the order of its columns."""


@dataclass
class Look:
    """Write beside a participant's log what was asked for of its graph and its steps.

    Steps on a cluster run elsewhere: of those only the seconds are known, the wait included.

    Parameters
    ----------
    start_of_names : Path
        folder and ``sub-X``
    graph : bool
        whether the graph is written
    resources : bool
        whether a line is written for each step
    elsewhere : bool
        whether steps are jobs of a cluster
    """

    start_of_names: Path
    graph: bool = False
    resources: bool = False
    elsewhere: bool = False
    _cpu: float = field(default=0.0, repr=False)
    _first: float | None = field(default=None, repr=False)
    _begun: bool = field(default=False, repr=False)

    def draw(self, workflow: Workflow) -> None:
        """Write a graph as ``.dot``, and as a picture where Graphviz is installed."""
        if not self.graph:
            return
        # in the work folder, which is ours alone: nipype would follow a link in the output
        dot = Path(workflow.base_dir) / 'graph.dot'
        # it raises where there is no Graphviz, once the text is written
        with contextlib.suppress(OSError):
            workflow.write_graph(str(dot), graph2use='colored', format='svg')
        for made in (dot, dot.with_suffix('.svg')):
            if made.is_file():
                self._write(f'_graph{made.suffix}', [made.read_text('utf-8')])

    def start(self) -> None:
        """Note what was used up to here."""
        if self.resources:
            self._first = time.monotonic() if self._first is None else self._first
            self._cpu = _cpu_seconds()
            _forget_peak()

    def end(
        self, name: str, began: float, seconds: float, aside: tuple[float, float] | None = None
    ) -> None:
        """Write the line of a step.

        Parameters
        ----------
        name : str
        began : float
            `time.monotonic`
        seconds : float
        aside : processor seconds and MB, optional
            of a step that ran in a process of its own
        """
        if not self.resources:
            return
        cpu, memory = aside or (_cpu_seconds() - self._cpu, _peak_mb())
        used, peak = f'{cpu:.2f}', f'{memory:.0f}'
        if self.elsewhere:
            used = peak = 'n/a'
        if not self._begun:
            self._begun = True
            self._write('_resources.json', [json.dumps(COLUMNS, indent=2) + '\n'])
            self._write('_resources.tsv', ['\t'.join(COLUMNS) + '\n'])
        line = f'{name}\t{began - self._first:.2f}\t{seconds:.2f}\t{used}\t{peak}\n'
        self._write('_resources.tsv', [line], os.O_APPEND)

    def _write(self, ending: str, lines: list[str], how: int = os.O_TRUNC) -> None:
        """Write a file beside the log, or add to it; a link in its place is replaced."""
        path = self.start_of_names.with_name(f'{self.start_of_names.name}{ending}')
        with os.fdopen(open_own(path, os.O_WRONLY | how), 'w', encoding='utf-8') as file:
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
