"""The graph of one participant: its runs, side by side and independent of each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nipype.pipeline.engine import Workflow

from bidsharmony.bids.names import output_stem
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.workflows.dwi import init_dwi_wf
from bidsharmony.workflows.groups import Sharing
from bidsharmony.workflows.method import Method

PREDICTED = {
    'brain_mask': 'mask_file',
    'bias_wf.estimate': 'field_file',
    'harmonize_wf.network': 'gain_file',
}
"""Node of a run's graph to the output that other runs of the session need."""

ASIDE = ('trace_weighted', 'compare', 'show_maps')
"""Nodes of a run's graph that run beside others, and use neither ITK nor torch: longest first."""

URGENT = ('bias_wf.estimate', 'bias_wf.correct', 'harmonize_wf.network')
"""Nodes of a run's graph that most others wait for: these are run as soon as they can be."""


def workflow_name(stem: str) -> str:
    """Turn a run's stem into the name of its graph, one to one.

    Examples
    --------
    >>> workflow_name('sub-01_ses-a_dir-AP')
    'sub_01_ses_a_dir_AP_wf'
    """
    return re.sub(r'\W', '_', stem) + '_wf'


def init_participant_wf(
    *,
    subject: str,
    runs: Sequence[CheckedRun],
    staging_dir: Path,
    work_dir: Path,
    method: Method,
    threads: int,
    crash_dir: Path,
    sharing: Mapping[str, Sharing] | None = None,
    without: Mapping[str, Sequence[str]] | None = None,
    predict_only: bool = False,
) -> Workflow:
    """Harmonize every run of one participant; a run that fails leaves the others alone.

    Runs that share a gain are connected by files, not by edges: with ``predict_only`` a first
    graph predicts what they share, and a second one, in which these nodes are done, takes it.
    Edges would lead from each run to the other, and a crash would take its partners along.

    Parameters
    ----------
    subject : str
        label without ``sub-``
    runs : sequence of CheckedRun
    staging_dir, work_dir : Path
        where derivatives are collected, and where nodes work
    method : Method
    threads : int
        see `init_dwi_wf`
    crash_dir : Path
        for nipype's account of a node that fails
    sharing : mapping, optional
        stem to what the run shares
    without : mapping, optional
        stem to partners that could not be used
    predict_only : bool
        see `init_dwi_wf`
    """
    workflow = Workflow(name=f'sub_{subject}_wf', base_dir=str(work_dir))
    # here and not in nipype's own configuration, which stumbles over a % in it
    workflow.config['execution'] = {'crashdump_dir': str(crash_dir)}
    workflow.add_nodes(
        [
            init_dwi_wf(
                checked=checked,
                staging_dir=staging_dir,
                method=method,
                threads=threads,
                name=workflow_name(checked.run.stem),
                sharing=(sharing or {}).get(output_stem(checked.run.image)),
                without=(without or {}).get(output_stem(checked.run.image), ()),
                predict_only=predict_only,
            )
            for checked in runs
        ]
    )
    return workflow
