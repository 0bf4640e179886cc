"""Refuse headers whose geometry contradicts itself, and note what has to be assumed of others."""

from __future__ import annotations

import nibabel as nb
import numpy as np

from bidsharmony.interfaces.files import InputError
from bidsharmony.numerics.grids import grid_distance

ZOOM_TOLERANCE = 0.01
"""Relative difference of header zooms and affine that rounding explains."""

SHEAR_TOLERANCE = 0.01
"""Cosine of the angle between two axes that rounding explains."""

FORM_TOLERANCE = 0.1
"""Corners that sform and qform put nearer than this are in the same place (mm)."""

PLAUSIBLE_VOXEL = (0.05, 100.0)
"""Voxel sizes of a diffusion image (mm): outside of them the unit is another one."""

FARTHEST = 100_000.0
"""Distance from the origin that no header means (mm)."""


def check_codes(header: nb.Nifti1Header, name: str) -> list[str]:
    """Refuse codes that NIfTI does not know: what is made of the image would carry them on.

    Raises
    ------
    InputError
    """
    for key in ('qform_code', 'sform_code'):
        if (code := int(header[key])) not in nb.nifti1.xform_codes.field1:
            raise InputError(name, f'has a {key} of {code}, which is none. Correct the header.')
    unit = header.get_xyzt_units()[0]
    if unit in ('meter', 'micron'):
        return [f'The header gives lengths in {unit}s; they are taken as mm.']
    return []


def check_sizes(header: nb.Nifti1Header, name: str) -> list[str]:
    """Refuse voxels that have no size, another one in the affine, or one of no scanner.

    Raises
    ------
    InputError
    """
    zooms = np.asarray(header.get_zooms()[:3], dtype=float)
    affine = header.get_best_affine()
    if not np.isfinite(zooms).all() or (zooms <= 0).any():
        raise InputError(
            name, f'has voxel sizes {zooms.tolist()} mm. Convert it again from DICOM.'
        )
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > FARTHEST:
        raise InputError(
            name, 'has an affine that leads nowhere (not finite, or far too far). '
            'Convert it again from DICOM.'
        )  # fmt: skip
    low, high = PLAUSIBLE_VOXEL
    if zooms.min() < low or zooms.max() > high:
        raise InputError(
            name,
            f'has voxel sizes {np.round(zooms, 6).tolist()} mm, not of {low:g} to {high:g} mm: '
            'they are in another unit. Correct the header.',
        )
    sizes = nb.affines.voxel_sizes(affine)
    if np.abs(sizes / zooms - 1).max() > ZOOM_TOLERANCE:
        raise InputError(
            name,
            f'says {np.round(zooms, 3).tolist()} mm in pixdim but {np.round(sizes, 3).tolist()} '
            'mm in its affine. Correct the header.',
        )
    return []


def check_axes(header: nb.Nifti1Header, name: str) -> list[str]:
    """Refuse axes that collapse, are sheared or disagree on left and right; note other conflicts.

    Raises
    ------
    InputError
    """
    affine = header.get_best_affine()
    sizes = nb.affines.voxel_sizes(affine)
    axes = affine[:3, :3] / sizes
    if abs(np.linalg.det(axes)) < 0.5:
        raise InputError(name, 'has an affine whose axes collapse. Correct the header.')
    cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if cosine > SHEAR_TOLERANCE:
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        raise InputError(
            name,
            f'has an affine with shear, two axes are {angle:.1f} degrees apart. '
            'Write the image on a grid with right angles.',
        )
    sform_code, qform_code = int(header['sform_code']), int(header['qform_code'])
    if not qform_code and not sform_code:
        return ['The header gives no orientation (qform and sform codes are 0).']
    if not (qform_code and sform_code):
        return []
    sform, qform = header.get_sform(), header.get_qform()
    if not np.isfinite(qform).all():
        raise InputError(name, 'has a qform that is not finite. Convert it again from DICOM.')
    if np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0:
        raise InputError(
            name,
            'says in its sform that left is where its qform says that right is. '
            'Correct the header.',
        )
    apart = grid_distance(sform, qform, header.get_data_shape())
    if apart > FORM_TOLERANCE:
        return [f'sform and qform put voxels up to {apart:.1f} mm apart; the sform is taken.']
    return []
