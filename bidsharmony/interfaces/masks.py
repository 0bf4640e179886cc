"""See that the masks of brain and lesions fit their run, and unite those of lesions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import nibabel as nb
import numpy as np

from bidsharmony.bids import DwiRun
from bidsharmony.interfaces.files import InputError, read_header, read_to_end
from bidsharmony.interfaces.volumes import load_mask

MASK_TOLERANCE = 1e-3
"""Difference of the affines (mm) of a mask and its series that rounding explains."""

MARKED = 0.5
"""Above this value a voxel belongs to a lesion: an integer label does, half a probability not."""


def fitting_brain(
    run: DwiRun, header: nb.Nifti1Header, inputs: dict[str, str], notes: list[str]
) -> Path | None:
    """Give the brain mask that came with a run if it fits it; add to inputs or to notes."""
    if run.brain_mask is None:
        return None
    name = run.locate(run.brain_mask)
    try:
        digest = _check_grid(run.brain_mask, name, header)
        if not load_mask(run.brain_mask).any():
            raise InputError(name, 'is empty')
    except InputError as error:
        notes.append(f'{error} A brain mask was computed instead.')
        return None
    inputs[name] = digest
    return run.brain_mask


def fitting_lesions(
    run: DwiRun, header: nb.Nifti1Header, inputs: dict[str, str], notes: list[str]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """Give the lesion masks of a run that fit it, and warnings on the others.

    Where one of them fits, the others are a matter of notes, and so are empty ones: whoever looked
    found no lesion. All of them are added to inputs: a mask that is mended makes the run be
    processed again.
    """
    fitting, unfit = [], []
    for path in run.lesion_masks:
        name = run.locate(path)
        try:
            inputs[name] = _check_grid(path, name, header)
            if _marks_something(path, name):
                fitting.append(path)
            else:
                notes.append(f'{name}: marks no lesion.')
        except InputError as error:
            unfit.append(f'{error} This lesion mask was left out.')
            with suppress(OSError):
                inputs[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    if fitting:
        notes += unfit
        unfit = []
    return tuple(fitting), tuple(unfit)


def load_lesion(paths: Iterable[str | Path]) -> np.ndarray:
    """Read lesion masks of one grid as one, (I, J, K) bool."""
    parts = [np.asarray(nb.load(path).dataobj) > MARKED for path in paths]
    return np.logical_or.reduce(parts)


def _check_grid(path: Path, name: str, header: nb.Nifti1Header) -> str:
    """Read a mask to its end, see that it is on the grid of a series, and give its sha256.

    Raises
    ------
    InputError
    """
    digest = read_to_end(path, name)
    mask = read_header(path, name)
    shape = header.get_data_shape()[:3]
    if (count := len(mask.get_data_shape())) != 3:
        raise InputError(name, f'has {count} dimensions, a mask has 3. Save it as one volume')
    same = mask.get_data_shape() == shape and np.allclose(
        mask.get_best_affine(), header.get_best_affine(), atol=MASK_TOLERANCE
    )
    if not same:
        raise InputError(name, "is on another grid than the run. Resample it to the run's grid")
    return digest


def _marks_something(path: Path, name: str) -> bool:
    """See that a lesion mask holds numbers only, and whether any says that there is a lesion.

    Raises
    ------
    InputError
    """
    data = np.asarray(nb.load(path).dataobj)
    if data.dtype.kind not in 'biuf':
        raise InputError(name, f'holds {data.dtype.name} voxels, not real numbers. Save it anew')
    if not np.isfinite(data).all():
        raise InputError(name, 'holds values that are not finite. Replace them by 0')
    return bool((data > MARKED).any())
