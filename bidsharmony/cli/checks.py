"""Hold the options of a call against each other, and against the files that they name."""

from __future__ import annotations

from pathlib import Path

from bidsharmony.bids import QSIPREP
from bidsharmony.bids.participants import read_column
from bidsharmony.bids.records import BIDSError
from bidsharmony.settings import COARSEST_RESOLUTION, Settings


def why_wrong(settings: Settings) -> str:
    """Say what cannot work and what to do, in one line; '' if nothing is wrong."""
    bids_dir, output_dir = settings.bids_dir, settings.output_dir
    if not bids_dir.is_dir():
        return f'{bids_dir}: no such folder. Give the folder of a BIDS dataset'
    if output_dir == bids_dir:
        return 'output_dir is bids_dir. Give the output a folder of its own'
    if output_dir.exists() and not output_dir.is_dir():
        return f'{output_dir}: not a folder. Give the output a folder of its own'
    if output_dir.is_relative_to(bids_dir):
        first = output_dir.relative_to(bids_dir).parts[0]
        if first.startswith('sub-'):
            return f'output_dir is inside {first} of bids_dir. Use BIDS_DIR/derivatives/NAME'
    for name, path in settings.derivatives.items():
        if not path.is_dir():
            return f'--derivatives {name}={path}: no such folder. Give the folder of the dataset'
        if output_dir == path or output_dir.is_relative_to(path):
            return f'output_dir is inside --derivatives {name}. Give the output a folder elsewhere'
        if settings.work_dir is not None and settings.work_dir.is_relative_to(path):
            return f'--work-dir is inside --derivatives {name}. Give a folder elsewhere'
    if settings.qsiprep_compat and QSIPREP not in settings.derivatives:
        return f'--qsiprep-compat needs the anatomy of QSIPrep. Add -d {QSIPREP}=PATH'
    if settings.work_dir is not None and settings.work_dir.is_relative_to(bids_dir):
        return f'--work-dir {settings.work_dir}: inside bids_dir. Give a folder elsewhere'
    if settings.use_plugin is not None:
        for path in (output_dir, settings.work_dir):
            if '%' in str(path or ''):
                return f'--use-plugin: nipype cannot work in {path}. Give a folder without %'
    only = [
        f'--{name.replace("_", "-")}'
        for name in ('dry_run', 'reports_only', 'boilerplate_only')
        if getattr(settings, name)
    ]
    if len(only) > 1:
        return f'{" and ".join(only)}: each leaves out what the other is about. Give one of them'
    if settings.boilerplate_only and 'participant' not in settings.analysis_levels:
        return '--boilerplate-only is about the participant level. Give that level'
    if settings.weights is not None and not settings.weights.is_file():
        return f'--weights {settings.weights}: no such file. Leave it out for the shipped weights'
    if settings.scanner_from is not None:
        path, column = settings.scanner_from
        if settings.scanner_software:
            return '--scanner-software does not go with --scanner-from. Give one of them'
        try:
            read_column(path, column)
        except BIDSError as error:
            return f'--scanner-from {path.name}:{column}: the table {error}'
    return ''


def coarser_than_weights(wanted: float | None, path: Path | None) -> float | None:
    """Return the resolution (mm) to blur to; None if it is what the weights reach anyway.

    Raises
    ------
    ValueError
        If the weights cannot be used, or do not reach it.
    """
    if wanted is None:
        return None
    # torch takes seconds to import, and who does not use the option does not wait for it
    from bidsharmony.network.weights import load_weights

    reached = load_weights(path).fwhm_mm
    if wanted < reached:
        raise ValueError(
            f'--canonical-resolution {wanted:g}: the weights reach {reached:g} mm and nothing '
            f'finer. Give {reached:g} to {COARSEST_RESOLUTION:g}, or leave it out'
        )
    return None if wanted == reached else wanted
