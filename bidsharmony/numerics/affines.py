"""Tell affines that no scanner writes from those that it may."""

from __future__ import annotations

import numpy as np

SHEAR_TOLERANCE = 0.01
"""Cosine of the angle between two axes that rounding explains."""

PLAUSIBLE_VOXEL = (0.05, 100.0)
"""Voxel sizes of a diffusion image (mm): outside of them the unit is another one."""

FARTHEST = 100_000.0
"""Distance from the origin that no header means (mm)."""


def place_fault(affine: np.ndarray) -> str:
    """Say why an affine (4, 4) leads nowhere; '' if it does not.

    Examples
    --------
    >>> place_fault(np.eye(4)), place_fault(np.full((4, 4), np.nan))[:33]
    ('', 'has an affine that leads nowhere ')
    """
    if not np.isfinite(affine).all() or np.abs(affine[:3, 3]).max() > FARTHEST:
        return (
            'has an affine that leads nowhere (not finite, or far too far). '
            'Convert it again from DICOM.'
        )
    return ''


def size_fault(zooms: np.ndarray) -> str:
    """Say why voxel sizes (3,) are not mm; '' if they may be.

    Examples
    --------
    >>> size_fault(np.array([2.0, 2.0, 5.0]))
    ''
    >>> size_fault(np.array([0.002, 0.002, 0.005]))[:38]
    'has voxel sizes [0.002, 0.002, 0.005] '
    """
    low, high = PLAUSIBLE_VOXEL
    if zooms.min() < low or zooms.max() > high:
        return (
            f'has voxel sizes {np.round(zooms, 6).tolist()} mm, not of {low:g} to {high:g} mm: '
            'they are in another unit. Correct the header.'
        )
    return ''


def axes_fault(affine: np.ndarray) -> str:
    """Say why the axes of an affine (4, 4) cannot be those of a scan; '' if they can.

    Examples
    --------
    >>> axes_fault(np.diag([2.0, 2.0, 5.0, 1.0]))
    ''
    >>> axes_fault(np.array([[1.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))[:55]
    'has an affine with shear, two axes are 45.0 degrees apa'
    """
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if abs(np.linalg.det(axes)) < 0.5:
        return 'has an affine whose axes collapse. Correct the header.'
    cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if cosine > SHEAR_TOLERANCE:
        angle = np.degrees(np.arccos(min(cosine, 1.0)))
        return (
            f'has an affine with shear, two axes are {angle:.1f} degrees apart. '
            'Write the image on a grid with right angles.'
        )
    return ''
