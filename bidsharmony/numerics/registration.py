"""Find where the brain of a template lies in a scan, and bring images of the scan there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from bidsharmony.numerics.itk import RAS_TO_LPS, as_ants, load_ants

SEED = 20240512
"""Of the voxels that the metric of the affine stage is sampled at."""

FIELD_MM = 2.5
"""Voxel of the displacement field: canonical images are not much finer, and it is smooth."""

GIVEN = 'given.npz'
"""What the process that registers finds in its folder."""

_PR_SET_PDEATHSIG = 1

SYN_ITERATIONS = (40, 20, 10)
"""At 4, 2 and 1 voxels of the field."""

AFFINE = {
    'aff_iterations': (500, 250, 100),
    'aff_shrink_factors': (4, 2, 1),
    'aff_smoothing_sigmas': (2, 1, 0),
}


def covering_grid(
    shape: tuple[int, ...], affine: np.ndarray, voxel: float = FIELD_MM
) -> tuple[tuple[int, ...], np.ndarray]:
    """Lay a coarser grid over another one, from its first voxel to its last or beyond.

    ITK moves nothing where a field ends, so that no voxel may lie outside it.

    Parameters
    ----------
    shape : (I, J, K)
    affine : (4, 4) mm
    voxel : mm
        axes that are as coarse already stay as they are

    Returns
    -------
    shape, affine

    Examples
    --------
    >>> shape, affine = covering_grid((5, 4, 3), np.diag([1.0, 2.0, 3.0, 1.0]), voxel=2.0)
    >>> shape, affine.diagonal().tolist()
    ((3, 4, 3), [2.0, 2.0, 3.0, 1.0])
    """
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    steps = np.maximum(zooms, voxel)
    lengths = np.ceil((np.array(shape) - 1) * zooms / steps).astype(int) + 1
    coarse = affine.copy()
    coarse[:3, :3] *= steps / zooms
    return tuple(lengths.tolist()), coarse


def register(
    moving: np.ndarray,
    moving_affine: np.ndarray,
    template: np.ndarray,
    template_affine: np.ndarray,
    folder: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Find the displacement of each place of a template to the same anatomy of a scan.

    Centres of mass, then an affine, then a diffeomorphism (SyN), all by mutual information, which
    asks for no common contrast. The same images give the same bits, since it runs in a process of
    its own on one thread: ITK draws and adds samples thread by thread.

    Parameters
    ----------
    moving, template : (I, J, K)
        of the brain alone, if both can be had so
    moving_affine, template_affine : (4, 4) mm
    folder : Path
        for what ANTs writes; empty

    Returns
    -------
    field : (I', J', K', 3) float32
        mm, in ITK's axes (to the left, to the back, up)
    affine : (4, 4)
        of the field

    Raises
    ------
    RuntimeError
        if ANTs fails, with the last line of what it says; all of it is on stderr
    MemoryError
        if it was killed, which is how a kernel takes memory back
    """
    shape, affine = covering_grid(template.shape, template_affine)
    given = {
        'moving': moving,
        'moving_affine': moving_affine,
        'template': template,
        'template_affine': template_affine,
        'shape': shape,
        'affine': affine,
    }
    np.savez(folder / GIVEN, **given)
    # -P: nothing is imported from the folder that this happens to run in
    command = [sys.executable, '-P', '-m', 'bidsharmony.numerics.registration']
    # where this process has the package from, installed or not
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([home, *filter(None, [os.environ.get('PYTHONPATH')])])
    ended = subprocess.run(
        [*command, str(folder), str(os.getpid())],
        env={**os.environ, 'PYTHONPATH': path},
        stderr=subprocess.PIPE,
        text=True,
        errors='replace',
        check=False,
    )
    (folder / GIVEN).unlink()
    sys.stderr.write(ended.stderr)
    if ended.returncode == -signal.SIGKILL:
        raise MemoryError('the registration to a template was killed')
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [''])[-1]
        raise RuntimeError(
            f'the registration to a template ended with code {ended.returncode}: {last}'
        )
    ants = load_ants()
    # through nibabel, which does not take half a file for a whole one as ITK does
    warp = np.asarray(nb.load(folder / '1Warp.nii.gz').dataobj, np.float64)[..., 0, :]
    linear = ants.read_transform(str(folder / '0GenericAffine.mat'))
    return composed(warp, affine, linear.parameters, linear.fixed_parameters), affine


def _main(folder: Path, parent: int) -> None:
    """Register what `register` has put into a folder; ends when that process does."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # it died before the kernel was asked to tell
        raise RuntimeError('who asked for the registration is gone')
    ants = load_ants(threads=1)
    # the only way to hand antspyx a seed for the sampling
    ants.config.set_ants_deterministic(on=True, seed_value=SEED)
    with np.load(folder / GIVEN, allow_pickle=False) as given:
        fixed = ants.resample_image_to_target(
            as_ants(given['template'], given['template_affine'], ants),
            as_ants(np.zeros(given['shape']), given['affine'], ants),
            'linear',
        )
        moving = as_ants(given['moving'], given['moving_affine'], ants)
    ants.registration(
        fixed,
        moving,
        'SyN',
        outprefix=f'{folder}/',
        reg_iterations=SYN_ITERATIONS,
        **AFFINE,
    )


def composed(
    warp: np.ndarray, affine: np.ndarray, parameters: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """Add an affine that follows a displacement to it, (I, J, K, 3) float32.

    Parameters
    ----------
    warp : (I, J, K, 3) mm, in ITK's axes
    affine : (4, 4)
        of its grid, voxel to RAS+ mm
    parameters : (12,)
        matrix by rows and translation, as ITK has them, about the centre
    centre : (3,) mm

    Examples
    --------
    >>> moved = composed(np.zeros((1, 1, 2, 3)), np.eye(4), [*np.eye(3).ravel(), 0, 0, 5], [0] * 3)
    >>> moved[0, 0].tolist()
    [[0.0, 0.0, 5.0], [0.0, 0.0, 5.0]]
    """
    matrix, shift = np.reshape(parameters[:9], (3, 3)), np.asarray(parameters[9:12])
    place = RAS_TO_LPS * affine
    voxels = np.stack(np.meshgrid(*map(np.arange, warp.shape[:3]), indexing='ij'), axis=-1)
    # sums of products, not matrix products: bits must not depend on threads
    points = sum(voxels[..., axis, None] * place[:3, axis] for axis in range(3)) + place[:3, 3]
    around = points + warp - centre
    moved = sum(around[..., axis, None] * matrix[:, axis] for axis in range(3)) + centre + shift
    return (moved - points).astype(np.float32)


class Mover:
    """Bring images of a scan to the grid of a template by a displacement field.

    Parameters
    ----------
    field, field_affine
        as `register` gives them
    shape : (I, J, K)
        of the template
    affine : (4, 4)
        of the template
    """

    def __init__(
        self,
        field: np.ndarray,
        field_affine: np.ndarray,
        shape: tuple[int, ...],
        affine: np.ndarray,
    ) -> None:
        self._transform: Any = load_ants().transform_from_displacement_field(
            as_ants(field, field_affine)
        )
        self._target = as_ants(np.zeros(shape, np.float32), affine)

    def __call__(self, data: np.ndarray, affine: np.ndarray) -> np.ndarray:
        """Interpolate an image linearly, without negative weights; 0 outside of it, float32."""
        return self._transform.apply_to_image(
            as_ants(data, affine), self._target, interpolation='linear'
        ).numpy()


if __name__ == '__main__':
    _main(Path(sys.argv[1]), int(sys.argv[2]))
