"""The graph of one participant: its runs, side by side and independent of each other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nipype.pipeline.engine import Workflow

from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.workflows.dwi import init_dwi_wf
from bidsharmony.workflows.method import Method


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
) -> Workflow:
    """Harmonize every run of one participant; a run that fails leaves the others alone.

    Parameters
    ----------
    subject : str
        label without ``sub-``
    runs : sequence of CheckedRun
    staging_dir, work_dir : Path
        where derivatives are collected, and where nodes work
    method : Method
    threads : int
        of torch
    """
    workflow = Workflow(name=f'sub_{subject}_wf', base_dir=str(work_dir))
    workflow.add_nodes(
        [
            init_dwi_wf(
                checked=checked,
                staging_dir=staging_dir,
                method=method,
                threads=threads,
                name=workflow_name(checked.run.stem),
            )
            for checked in runs
        ]
    )
    return workflow
