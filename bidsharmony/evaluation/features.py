"""Cut audit slices of a run before and after, and describe their spectra and textures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bidsharmony.numerics.planes import AUDIT_PIXEL, audit_planes, axial_slices
from bidsharmony.numerics.spectrum import run_psd
from bidsharmony.numerics.texture import glcm_features

AUDIT_VERSION = 1
"""Rises whenever the layout or the grid of audit slices changes."""

CHANNELS = ('b0', 'trace')
SIDES = ('before', 'after')

_LARGEST = float(np.finfo(np.float16).max)


def audit_arrays(
    b0_before: np.ndarray,
    trace_before: np.ndarray,
    affine_before: np.ndarray,
    mask_before: np.ndarray,
    b0_after: np.ndarray,
    trace_after: np.ndarray,
    affine_after: np.ndarray,
    planes: tuple[Sequence[np.ndarray], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Cut the summary images of a run, before and after, along the same axial planes.

    Parameters
    ----------
    b0_before, trace_before : (I, J, K)
        In units of the robust b=0 scale.
    affine_before, affine_after : (4, 4)
        Voxel to RAS+ mm.
    mask_before : (I, J, K) bool
        The brain, which the planes are laid through.
    b0_after, trace_after : (I', J', K')
        In the canonical unit.
    planes : tuple, optional
        What `numerics.planes.audit_planes` gives for the mask, where that is known.

    Returns
    -------
    dict
        ``before`` and ``after`` (n, 2, 160, 160) float16, channels b0 and trace; ``mask``
        (n, 160, 160) bool; ``version``. Planes: see `numerics.planes.audit_planes`.

    Raises
    ------
    ValueError
        If the mask is empty.

    Examples
    --------
    >>> brain, affine = np.ones((8, 8, 2)), np.diag([2.0, 2.0, 5.0, 1.0])
    >>> audit = audit_arrays(brain, brain, affine, brain > 0, brain, brain, affine)
    >>> audit['after'].shape, int(audit['mask'][0].sum())  # 16 x 16 mm
    ((2, 2, 160, 160), 144)
    """
    grid, mask = planes or audit_planes(mask_before, affine_before)

    def cut(b0: np.ndarray, trace: np.ndarray, affine: np.ndarray) -> np.ndarray:
        channels = [axial_slices(image, affine, grid=grid) for image in (b0, trace)]
        stacked = np.nan_to_num(np.stack(channels, axis=1))
        return np.clip(stacked, -_LARGEST, _LARGEST).astype(np.float16)

    return {
        'before': cut(b0_before, trace_before, affine_before),
        'after': cut(b0_after, trace_after, affine_after),
        'mask': mask,
        'version': AUDIT_VERSION,
    }


def describe(audit: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Measure spectra and textures of audit slices, as they stand in ``qc.json``.

    Parameters
    ----------
    audit : mapping
        See `audit_arrays`.

    Returns
    -------
    dict
        ``psd``: ``freqs_per_mm`` and, for each channel, ``before`` and ``after``, lists of float;
        ``glcm``: for each channel, ``before`` and ``after``, features by name.

    Examples
    --------
    >>> slices, mask = np.zeros((1, 2, 160, 160), np.float16), np.ones((1, 160, 160), bool)
    >>> found = describe({'before': slices, 'after': slices, 'mask': mask})
    >>> len(found['psd']['freqs_per_mm']), found['glcm']['b0']['after']['entropy_d1']
    (80, 0.0)
    """
    mask = np.asarray(audit['mask'], bool)
    psd: dict[str, Any] = {}
    glcm: dict[str, Any] = {}
    for index, channel in enumerate(CHANNELS):
        spectra, textures = {}, {}
        for side in SIDES:
            slices = np.asarray(audit[side])[:, index].astype(np.float32)
            freqs, power = run_psd(slices, mask, AUDIT_PIXEL)
            psd['freqs_per_mm'] = freqs.tolist()
            spectra[side] = power.tolist()
            textures[side] = glcm_features(slices, mask)
        psd[channel], glcm[channel] = spectra, textures
    return {'psd': psd, 'glcm': glcm}
