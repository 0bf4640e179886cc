"""See before any work is planned that a run's files fit together, and find what it lacks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from bidsharmony.bids import B0Source, DwiRun
from bidsharmony.bids.sidecar import PLAUSIBLE, number
from bidsharmony.interfaces.files import (
    MAX_SERIES_BYTES,
    InputError,
    read_bvals,
    read_bvecs,
    read_header,
    read_to_end,
)
from bidsharmony.interfaces.geometry import check_axes, check_codes, check_sizes
from bidsharmony.interfaces.masks import fitting_brain, fitting_lesions
from bidsharmony.interfaces.voxels import VolumeRanges, blank_volumes, why_unfit
from bidsharmony.network.facts import trace_b_value
from bidsharmony.numerics.gradients import (
    GradientError,
    check_gradients,
    shells,
)
from bidsharmony.numerics.grids import PAIR_TOLERANCE, grid_distance, slice_axis

ECHO_TOLERANCE = 0.001
"""Echo times that differ by more leave their T2 weighting in an ADC (s)."""

EXPORT_AGAIN = 'Export the series again from the scanner or the archive.'

NO_DIRECTIONS = 'the diffusion-weighted volumes have no direction: there is no gradient table'

NO_GRADIENTS = 'the trace image has no gradient table'


class SkippedRunError(ValueError):
    """Say why a trace image cannot be used, although nothing is wrong with its own file."""


@dataclass(frozen=True)
class Partner:
    """Name the image that lends its b=0 volumes to a trace image, and their positions in it.

    ``bvals`` are those of these volumes and of the trace image behind them, s/mm2.
    """

    image: Path
    bval: Path
    b0_ixs: tuple[int, ...]
    bvals: tuple[float, ...]


@dataclass(frozen=True)
class CheckedRun:
    """Hold a run whose files were read to their end and agree with each other.

    ``zooms`` and ``affine`` are in mm, ``orientation`` is written ``'RAS'``, ``shells`` holds the
    mean b-value (s/mm2) and the number of volumes of each shell, and ``inputs`` maps every file
    the run depends on (relative to the dataset) to its sha256. ``brain_mask`` and
    ``lesion_masks`` are those of the run's that fit it.
    ``no_series`` says why no series is made, and is ``''`` where one is. A trace image without
    gradients has a ``partner``: then shape, positions and shells are those of the partner's b=0
    volumes with the trace image behind them.
    """

    run: DwiRun
    shape: tuple[int, int, int, int]
    zooms: tuple[float, float, float]
    orientation: str
    slice_axis: int
    affine: np.ndarray = field(compare=False, repr=False)
    b0_ixs: tuple[int, ...]
    shells: tuple[tuple[float, int], ...]
    inputs: dict[str, str] = field(hash=False)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    no_series: str = ''
    partner: Partner | None = None
    brain_mask: Path | None = None
    lesion_masks: tuple[Path, ...] = ()

    @property
    def sources(self) -> tuple[Path, ...]:
        """List the files that the outputs are made from."""
        if self.partner is None:
            gradients = (self.run.bval, self.run.bvec)
        else:
            gradients = (self.partner.image, self.partner.bval)
        # not lesion masks: no image is made of them
        files = (self.run.image, *gradients, self.brain_mask)
        return tuple(path for path in files if path is not None)


def check_run(
    run: DwiRun, b0_threshold: float, *, max_bytes: int = MAX_SERIES_BYTES
) -> CheckedRun:
    """Read every file of a run to its end and see that they fit together.

    Parameters
    ----------
    run : DwiRun
    b0_threshold : s/mm2
    max_bytes : int
        the most that one image may hold when it is decompressed

    Raises
    ------
    InputError
        with the file, the cause and the remedy in one line
    SkippedRunError
        where a trace image finds no b=0 on its grid
    """
    if run.b0_sources:
        return _check_trace(run, b0_threshold, max_bytes)
    if run.bval is None or run.bvec is None:
        missing = '.bval' if run.bval is None else '.bvec'
        raise InputError(
            run.relative, f'no {missing} file belongs to it. Add {run.stem}_dwi{missing}.'
        )
    ranges = VolumeRanges()
    digest = read_to_end(run.image, run.relative, ranges=ranges, max_bytes=max_bytes)
    inputs = {run.relative: digest}
    header = read_header(run.image, run.relative)
    notes = list(check_header(header, run.relative))
    bvals = read_bvals(run.bval, run.locate(run.bval))
    bvecs = read_bvecs(run.bvec, run.locate(run.bvec))
    shape = tuple(int(size) for size in header.get_data_shape())
    try:
        table = check_gradients(bvals, bvecs, shape[3], b0_threshold=b0_threshold)
    except GradientError as error:
        raise InputError(run.relative, str(error)) from error
    if reason := why_unfit(ranges, header, table.b0_ixs, table.dwi_ixs):
        raise InputError(run.relative, f'{reason}. {EXPORT_AGAIN}')
    tables = [run.mrtrix_table] if run.mrtrix_table else []
    for path in (run.bval, run.bvec, *tables, *run.sidecar_files):
        inputs[run.locate(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    brain_mask = fitting_brain(run, header, inputs, notes)
    lesion_masks, unfit = fitting_lesions(run, header, inputs, notes)
    return CheckedRun(
        run=run,
        shape=shape,
        **_geometry(header),
        b0_ixs=tuple(int(ix) for ix in table.b0_ixs),
        shells=tuple(
            (float(shell.b), len(shell.ixs)) for shell in shells(bvals, b0_threshold=b0_threshold)
        ),
        inputs=inputs,
        notes=(*run.notes, *notes, *table.notes),
        warnings=(*blank_volumes(ranges), *unfit),
        brain_mask=brain_mask,
        lesion_masks=lesion_masks,
        no_series=NO_DIRECTIONS if table.is_directionless else '',
    )


def note_twins(checked: Sequence[CheckedRun]) -> list[CheckedRun]:
    """Warn of runs of a participant whose images are copies of each other, byte for byte.

    Each depends on the other then: once one of them is gone, the warning goes too.
    """
    copies: dict[str, list[CheckedRun]] = {}
    for item in checked:
        copies.setdefault(item.inputs[item.run.relative], []).append(item)
    noted = []
    for item in checked:
        digest = item.inputs[item.run.relative]
        twins = [other.run for other in copies[digest] if other is not item]
        if twins:
            names = ' and '.join(run.image.name for run in twins)
            warning = f'The image is a copy of {names}: one acquisition is counted twice.'
            item = replace(
                item,
                warnings=(*item.warnings, warning),
                inputs=item.inputs | {run.relative: digest for run in twins},
            )
        noted.append(item)
    return noted


def _check_trace(run: DwiRun, b0_threshold: float, max_bytes: int) -> CheckedRun:
    """Read a trace image without gradients and find the b=0 that goes with it.

    Raises
    ------
    InputError
        if the trace image cannot be used
    SkippedRunError
        if no image of the session has a b=0 on its grid
    """
    ranges = VolumeRanges()
    digest = read_to_end(run.image, run.relative, ranges=ranges, max_bytes=max_bytes)
    inputs = {run.relative: digest}
    header = read_header(run.image, run.relative)
    notes = list(check_header(header, run.relative, dimensions=(3, 4)))
    if (count := _volumes(header)) != 1:
        raise SkippedRunError(
            f'a trace image without gradient table that holds {count} volumes, and nothing says '
            'which is which'
        )
    if ranges.blank()[0] or not ranges.positive(header)[0]:
        raise InputError(run.relative, f'shows nothing, it has no value above 0. {EXPORT_AGAIN}')
    source, bvals, inputs[source.relative] = _find_b0(run, header, b0_threshold, max_bytes)
    b0_ixs = tuple(int(ix) for ix in np.flatnonzero(bvals <= b0_threshold))
    for path in (source.bval, *run.sidecar_files, *source.sidecar_files):
        inputs[run.locate(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
    brain_mask = fitting_brain(run, header, inputs, notes)
    lesion_masks, unfit = fitting_lesions(run, header, inputs, notes)
    b_value, warnings = _trace_weighting(run, source, b0_threshold)
    return CheckedRun(
        run=run,
        shape=(*(int(size) for size in header.get_data_shape()[:3]), len(b0_ixs) + 1),
        **_geometry(header),
        b0_ixs=tuple(range(len(b0_ixs))),
        shells=((b_value, 1),),
        inputs=inputs,
        notes=(*run.notes, *notes, f'The b=0 comes from {source.image.name}.'),
        warnings=(*warnings, *unfit),
        no_series=NO_GRADIENTS,
        brain_mask=brain_mask,
        lesion_masks=lesion_masks,
        partner=Partner(source.image, source.bval, b0_ixs, (*bvals[[*b0_ixs]].tolist(), b_value)),
    )


def _find_b0(
    run: DwiRun, header: nb.Nifti1Header, b0_threshold: float, max_bytes: int
) -> tuple[B0Source, np.ndarray, str]:
    """Take the first source with a b=0 on the trace image's grid, its b-values and its sha256.

    Raises
    ------
    SkippedRunError
        saying of every source why not
    """
    shape, affine = tuple(map(int, header.get_data_shape()[:3])), header.get_best_affine()
    reasons = []
    for source in run.b0_sources:
        name = source.image.name
        try:
            ranges = VolumeRanges()
            sha256 = read_to_end(source.image, source.relative, ranges=ranges, max_bytes=max_bytes)
            other = read_header(source.image, source.relative)
            check_header(other, source.relative, dimensions=(3, 4))
            bvals = read_bvals(source.bval, run.locate(source.bval))
        except InputError as error:
            reasons.append(f'{name} {error.reason.rstrip(".")}')
            continue
        found = tuple(map(int, other.get_data_shape()[:3]))
        if len(bvals) != _volumes(other):
            reasons.append(f'{name} has {len(bvals)} b-values for {_volumes(other)} volumes')
        elif not (bvals <= b0_threshold).any():
            reasons.append(f'{name} has no b=0 volume')
        elif not ranges.positive(other)[bvals <= b0_threshold].any():
            reasons.append(f'{name} has nothing above 0 in its b=0')
        elif found != shape:
            reasons.append(f'{name} has {found} voxels')
        elif (apart := grid_distance(affine, other.get_best_affine(), shape)) > PAIR_TOLERANCE:
            reasons.append(f'{name} lies up to {apart:.1f} mm away')
        else:
            return source, bvals, sha256
    raise SkippedRunError(
        f'a trace image of {shape} voxels without gradient table, and no b=0 of its session is '
        f'on its grid: {"; ".join(reasons)}'
    )


def _trace_weighting(
    run: DwiRun, source: B0Source, b0_threshold: float
) -> tuple[float, tuple[str, ...]]:
    """Give the b-value (s/mm2) of a trace image, and what a reader must know of it."""
    b_value, warnings = trace_b_value(run.sidecar, b0_threshold)
    times = [number(sidecar.get('EchoTime')) for sidecar in (run.sidecar, source.sidecar)]
    low, high = PLAUSIBLE['EchoTime']
    if all(time is not None and low <= time <= high for time in times):
        mine, other = times
        if abs(mine - other) > ECHO_TOLERANCE:
            warnings = (
                *warnings,
                f'The echo time of the trace image is {mine:g} s, that of its b=0 {other:g} s: '
                'the ADC holds some T2 weighting.',
            )
    return b_value, warnings


def _geometry(header: nb.Nifti1Header) -> dict[str, Any]:
    """Read what ``CheckedRun`` holds of a grid, but for its shape."""
    zooms, affine = tuple(float(zoom) for zoom in header.get_zooms()[:3]), header.get_best_affine()
    return {
        'zooms': zooms,
        'affine': affine,
        'orientation': ''.join(nb.aff2axcodes(affine)),
        'slice_axis': slice_axis(zooms, header.get_dim_info()[2]),
    }


def _volumes(header: nb.Nifti1Header) -> int:
    """Count the volumes of a 3-D or 4-D image."""
    return int(header.get_data_shape()[3]) if len(header.get_data_shape()) == 4 else 1


def check_header(
    header: nb.Nifti1Header, name: str, *, dimensions: tuple[int, ...] = (4,)
) -> list[str]:
    """Refuse a header that cannot be that of a diffusion image; give notes on what was assumed.

    Raises
    ------
    InputError
    """
    shape = header.get_data_shape()
    if len(shape) not in dimensions:
        raise InputError(
            name,
            f'has {len(shape)} dimensions {tuple(map(int, shape))}, a series has 4. '
            'Export the whole series as one 4-D file.',
        )
    kind = header.get_data_dtype().kind
    if kind not in 'iuf':
        raise InputError(
            name,
            f'holds {header.get_data_dtype().name} voxels, not real numbers. '
            'Export magnitude images.',
        )
    slope = float(header['scl_slope'])
    unscaled = [f'The header scales by {slope}, which is taken as no scaling.']
    return [
        *(() if np.isfinite(slope) else unscaled),
        *check_codes(header, name),
        *check_sizes(header, name),
        *check_axes(header, name),
    ]
