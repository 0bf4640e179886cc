"""Make of two summary images in a brain mask all that a run gets from the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bidsharmony.network.inference import Canonical, harmonize_summary
from bidsharmony.network.weights import Weights
from bidsharmony.numerics.diffusion import apparent_diffusion
from bidsharmony.numerics.forward import LEAVES, LEFT
from bidsharmony.numerics.gradients import B_CANONICAL
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import robust_scale


@dataclass(frozen=True)
class CanonicalRun:
    """Canonical images of a run, their ADC and brain, and what is reported of them.

    Attributes
    ----------
    images : Canonical
    adc : (I', J', K') float32
        Of the canonical images, mm2/s; 0 outside the brain.
    mask : (I', J', K') bool
        The brain on the canonical grid.
    facts : dict
        ``robust_scale``, ``canonical_fwhm_mm``, ``canonical_profile_mm``, ``thickness_mm``,
        ``measured``, ``resolution_mm``, ``spectrum_factor``, ``strength``, ``weights_sha256`` and
        ``forward``.
    """

    images: Canonical
    adc: np.ndarray
    mask: np.ndarray
    facts: dict[str, Any]


def harmonize_run(
    b0: np.ndarray,
    trace: np.ndarray,
    mask: np.ndarray,
    affine: np.ndarray,
    *,
    axis: int,
    metadata: Mapping[str, float],
    b_acquired: float,
    strength: float = 1.0,
    zero_filling: int = 1,
    fwhm_mm: float | None = None,
    weights: Path | Weights | None = None,
    threads: int = 1,
    device: str = 'cpu',
) -> CanonicalRun:
    """Harmonize a run's summary images inside its brain mask.

    Parameters
    ----------
    b0, trace : (I, J, K) float
        Bias-corrected, in the scanner's own unit; the trace is at b=1000 s/mm2.
    mask : (I, J, K) bool
        The brain.
    affine : (4, 4) float
        Of their grid.
    axis : int
        The slice axis.
    metadata : mapping
        Scanner facts (`network.facts.scanner_facts`).
    b_acquired : s/mm2
        Of the shell that the trace image came from.
    strength, zero_filling, fwhm_mm, weights, threads, device
        See `network.inference.harmonize_summary`.

    Returns
    -------
    CanonicalRun

    Raises
    ------
    ValueError
        As `harmonize_summary` and `numerics.intensity.robust_scale` do.
    """
    scale = robust_scale(b0, trace, mask)
    result = harmonize_summary(
        b0,
        trace,
        affine,
        axis=axis,
        scale=scale,
        metadata={**metadata, 'BValue': b_acquired},
        mask=mask,
        fwhm_mm=fwhm_mm,
        weights=weights,
        strength=strength,
        zero_filling=zero_filling,
        threads=threads,
        device=device,
    )
    fine_mask = resample_to_shape(mask.astype(np.float32), result.b0.shape) >= 0.5
    facts = {
        'robust_scale': float(scale),
        'canonical_fwhm_mm': float(result.fwhm_mm),
        'canonical_profile_mm': float(result.profile_mm),
        'thickness_mm': {
            'before': float(result.acquired_mm),
            'after': float(result.thickness_mm),
        },
        'measured': dict(result.marks),
        'resolution_mm': [None if w is None else float(w) for w in result.resolution_mm],
        'spectrum_factor': result.spectrum_factor
        and {
            name: list(pair)
            for name, pair in zip(('b0', 'trace'), result.spectrum_factor, strict=True)
        },
        'strength': float(strength),
        'weights_sha256': str(result.weights_sha256),
        'forward': {
            'blended_fraction': float(result.blend[fine_mask].mean()),
            'share_beyond': float(np.mean(result.blend[fine_mask] > 0)),
            'limits_sigma': [LEAVES, LEFT],
        },
    }
    adc = apparent_diffusion(result.b0, result.trace, fine_mask, B_CANONICAL)
    return CanonicalRun(result, adc, fine_mask, facts)
