"""What a person asked for, as one frozen record that ``cli`` builds once."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

B0_THRESHOLD = 50.0
"""b-values up to this one count as b=0 (s/mm2)."""

MAX_GB = 64.0
"""More than any scanner makes in one series; a header that claims it is wrong or hostile."""

COARSEST_RESOLUTION = 5.0
"""In-plane FWHM up to which canonical images may be blurred (mm)."""

FINEST_VOXEL, COARSEST_VOXEL = 0.5, 10.0
"""Voxels that a series can be brought to (mm)."""

ANALYSIS_LEVELS = ('participant', 'group')

DENOISERS = ('mppca', 'none')

DEVICES = ('cpu', 'cuda', 'auto')

BRAIN_MASKS = ('existing', 'compute')

MOST_THREADS = 8
"""That a participant takes of itself; more hardly make it faster."""

AUDITS = ('quick', 'standard', 'full', 'none')


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Hold every option of the command line, checked and with its default filled in.

    Parameters
    ----------
    bids_dir, output_dir : Path
        absolute; the second may not exist yet
    analysis_levels : tuple of str
        ``'participant'``, ``'group'`` or both, in that order
    participant_label, session_id, run_id : tuple of str
        labels without their ``sub-``, ``ses-``, ``run-``; empty selects all
    bids_filters : dict
        entity (``acquisition``, ``direction`` ...) to a value, a list of values, ``None`` (the
        entity must be absent) or ``'*'`` (any value)
    derivatives : dict
        preprocessed datasets that runs are taken from, by name (``qsiprep``)
    qsiprep_compat : bool
        whether a second dataset with the names of QSIPrep is written
    work_dir : Path or None
        where intermediate files go; None lets the supervisor place them in the output
    nprocs : int
        participants at a time
    omp_nthreads : int or None
        threads of each; None shares the processors out, see `threads`
    mem_mb : float or None
        memory that participants may take together (2^20 bytes); None takes what the machine has
    participant_timeout : float or None
        minutes after which a participant is given up; None waits
    use_plugin : (str, dict) or None
        nipype plugin that runs the steps of a participant, and its arguments; None runs them here
    max_gb : float
        the most that one image may hold when it is decompressed (10^9 bytes)
    denoise : {'mppca', 'none'}
        what takes noise out of the series before anything else
    rician : bool
        whether the Rician bias of magnitudes is corrected, after that
    b0_threshold : float
        b-values up to this one count as b=0 (s/mm2)
    bias_correction : bool
        whether N4 divides the receive field out
    output_resolution : float or None
        voxel of the harmonized series (mm); None keeps the input's grid
    output_spaces : tuple of str
        spaces of TemplateFlow that canonical images are brought to, as ``NAME:cohort-1:res-2``
    strength : float
        1 harmonizes all the way, 0 leaves the series as it is
    canonical_resolution : float or None
        coarser in-plane FWHM of the canonical images (mm); None keeps that of the weights
    output_desc : str
        label of harmonized images in their names
    weights : Path or None
        network weights instead of the shipped ones
    device : {'cpu', 'cuda', 'auto'}
        where networks run
    brain_mask : {'existing', 'compute'}
        whether a mask that came with a run is taken, or one is computed all the same
    audit : {'quick', 'standard', 'full', 'none'}
        how much the group level measures of what is left of the scanner
    scanner_from : (Path, str) or None
        table and column that hold the scanner of each participant or session; None takes it from
        the sidecars
    scanner_software : bool
        whether the software version is part of a scanner's name at the group level
    random_seed : int
        of the audit's forests, networks, permutations and bootstraps
    dry_run : bool
        list what would run and stop
    reports_only, boilerplate_only : bool
        write pages from what is finished, or the methods' text, and harmonize nothing
    clean_workdir : bool
        remove intermediate files of the output that nobody works with before anything starts
    stop_on_first_crash : bool
        begin no further participant after one has failed, and end the others
    write_graph : bool
        leave the graph of every participant in ``logs``
    resource_monitor : bool
        leave what every step took of time and memory in ``logs``
    debug : bool
        keep intermediate files, and say all there is to say
    verbose_count : int
        how often ``-v`` was given
    option_files : dict
        files that ``bids_filters`` and ``use_plugin`` were read from, by these names
    templateflow_home : Path or None
        where the templates of ``output_spaces`` are

    Examples
    --------
    >>> settings = Settings(bids_dir=Path('/data'), output_dir=Path('/out'))
    >>> settings.analysis_levels, settings.b0_threshold, settings.bias_correction
    (('participant',), 50.0, True)
    """

    bids_dir: Path
    output_dir: Path
    analysis_levels: tuple[str, ...] = ('participant',)
    participant_label: tuple[str, ...] = ()
    session_id: tuple[str, ...] = ()
    run_id: tuple[str, ...] = ()
    bids_filters: Mapping[str, Any] = field(default_factory=dict)
    derivatives: Mapping[str, Path] = field(default_factory=dict)
    qsiprep_compat: bool = False
    work_dir: Path | None = None
    nprocs: int = 1
    omp_nthreads: int | None = None
    mem_mb: float | None = None
    participant_timeout: float | None = None
    use_plugin: tuple[str, Mapping[str, Any]] | None = None
    max_gb: float = MAX_GB
    denoise: str = 'none'
    rician: bool = False
    b0_threshold: float = B0_THRESHOLD
    bias_correction: bool = True
    output_resolution: float | None = None
    output_spaces: tuple[str, ...] = ()
    strength: float = 1.0
    canonical_resolution: float | None = None
    output_desc: str = 'harmonized'
    weights: Path | None = None
    device: str = 'cpu'
    brain_mask: str = 'existing'
    audit: str = 'standard'
    scanner_from: tuple[Path, str] | None = None
    scanner_software: bool = False
    random_seed: int = 0
    dry_run: bool = False
    reports_only: bool = False
    boilerplate_only: bool = False
    clean_workdir: bool = False
    stop_on_first_crash: bool = False
    write_graph: bool = False
    resource_monitor: bool = False
    debug: bool = False
    verbose_count: int = 0
    option_files: Mapping[str, Path] = field(default_factory=dict, compare=False)
    templateflow_home: Path | None = field(default=None, compare=False)

    @property
    def threads(self) -> int:
        """Give the threads of a participant; a step that runs elsewhere has one if none are named.

        Examples
        --------
        >>> Settings(bids_dir=Path('/data'), output_dir=Path('/out'), omp_nthreads=3).threads
        3
        """
        if self.omp_nthreads is not None:
            return self.omp_nthreads
        if self.use_plugin is not None:
            return 1
        return max(1, min(processors() // self.nprocs, MOST_THREADS))


def processors(quota: Path = Path('/sys/fs/cgroup/cpu.max')) -> int:
    """Count the processors that this process may run on.

    Parameters
    ----------
    quota : Path
        where the kernel says how much of them a container may use (``docker --cpus``): the
        microseconds of processors, or ``max``, in a period of microseconds
    """
    count = os.cpu_count() or 1
    if hasattr(os, 'sched_getaffinity'):
        count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        allowed, period = map(int, quota.read_text().split())
        count = min(count, max(1, allowed // period))
    return count
