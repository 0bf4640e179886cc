"""Draw every picture of one run, under the names that the participant page looks for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bidsharmony.viz.canonical import applies, canonical_range
from bidsharmony.viz.canvas import CHANNELS
from bidsharmony.viz.figure import save_png
from bidsharmony.viz.glcm import glcm_panel
from bidsharmony.viz.mosaic import (
    before_after_channel,
    field_map,
    overruled,
)
from bidsharmony.viz.psd import psd_panel


def figure_name(stem: str, desc: str) -> str:
    """File name of one picture of a run, below ``sub-X/figures``.

    Examples
    --------
    >>> figure_name('sub-01_dir-AP', 'b0before')
    'sub-01_dir-AP_desc-b0before_dwi.png'
    """
    return f'{stem}_desc-{desc}_dwi.png'


def run_figures(
    audit: Mapping[str, np.ndarray],
    qc: Mapping[str, Any],
    *,
    blend: np.ndarray | None = None,
    adc: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, bytes]:
    """Draw the pictures of one run before and after; its maps are those of `map_figures`.

    Parameters
    ----------
    audit : mapping
        ``before``, ``after`` (n, 2, H, W) and ``mask`` (n, H, W) of the audit slices
    qc : mapping
        content of the run's ``qc.json``; ``psd``, ``glcm`` and ``network`` are read
    blend : (n, H, W), optional
        weight of the scan, cut on the audit grid (``numerics.planes.axial_slices``). Without a
        place where the scan overrules the network there is no picture of it.
    adc : two (n, H, W), optional
        before and after, mm2/s

    Returns
    -------
    dict
        desc (``b0before`` ...) to PNG bytes; see :func:`figure_name`. A run whose audit holds no
        slice has charts only.
    """
    before, after, mask = (np.asarray(audit[key]) for key in ('before', 'after', 'mask'))
    pictures: dict[str, bytes] = {}
    if len(before):
        sides = {
            channel: (before[:, position], after[:, position])
            for position, channel in enumerate(CHANNELS)
        }
        if adc is not None:
            sides['adc'] = tuple(np.where(mask, 1e3 * slices, 0) for slices in adc)
        for channel, (old, new) in sides.items():
            pair = before_after_channel(old, new, mask, channel=channel)
            for when, figure in zip(('before', 'after'), pair, strict=True):
                pictures[f'{channel}{when}'] = save_png(figure)
        if blend is not None and (blend[mask] > 0).any():
            pictures['blend'] = save_png(overruled(after[:, 0], blend, mask))
    psd, glcm = qc.get('psd') or {}, qc.get('glcm') or {}
    fwhm = (qc.get('network') or {}).get('canonical_fwhm_mm')
    known = canonical_range() if applies(fwhm) else None
    if psd.get('freqs_per_mm'):
        ends = (_side(psd, 'before'), _side(psd, 'after'))
        pictures['psd'] = save_png(psd_panel(psd['freqs_per_mm'], *ends, fwhm, known))
    if glcm:
        ends = (_side(glcm, 'before'), _side(glcm, 'after'))
        pictures['glcm'] = save_png(glcm_panel(*ends, known and known['glcm']))
    return pictures


def map_figures(
    mask: np.ndarray,
    *,
    gain: np.ndarray | None = None,
    bias: np.ndarray | None = None,
    uncertainty: np.ndarray | None = None,
) -> dict[str, bytes]:
    """Draw the maps of one run.

    Parameters
    ----------
    mask : (n, H, W) bool
        brain on the audit grid (``numerics.planes.axial_slices``)
    gain, bias, uncertainty : (n, H, W), optional
        the maps on that grid; the gain in canonical unit per robust scale, that is, gain x robust
        scale

    Returns
    -------
    dict
        desc to PNG bytes, as those of `run_figures`; none where the grid has no slice
    """
    looks = {
        'gain': (gain, {'title': 'gain x robust scale'}),
        'bias': (bias, {'title': 'bias field', 'center': 1.0}),
        'uncertainty': (
            uncertainty,
            {'title': 'expected error, canonical unit', 'from_zero': True},
        ),
    }
    return {
        desc: save_png(field_map(slices, mask, **look))
        for desc, (slices, look) in looks.items()
        if slices is not None and len(mask)
    }


def _side(table: Mapping[str, Any], when: str) -> dict[str, Any]:
    """Pick before or after of each channel."""
    return {channel: table[channel][when] for channel in CHANNELS if channel in table}
