"""Refuse headers whose geometry contradicts itself, and note what has to be assumed of others."""

from __future__ import annotations

import nibabel as nb
import numpy as np

from bidsharmony.interfaces.files import InputError
from bidsharmony.numerics.affines import axes_fault, place_fault, size_fault
from bidsharmony.numerics.grids import grid_distance

ZOOM_TOLERANCE = 0.01
"""Relative difference of header zooms and affine that rounding explains."""

FORM_TOLERANCE = 0.1
"""Corners that sform and qform put nearer than this are in the same place (mm)."""


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
    if reason := place_fault(affine) or size_fault(zooms):
        raise InputError(name, reason)
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
    if reason := axes_fault(affine):
        raise InputError(name, reason)
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
