"""Measure a scan on its summary images, and say what a reader of its outputs must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from bidsharmony.numerics.intensity import (
    FLUID_ADC,
    RESTRICTED_ADC,
    SMALLEST_FLUID_SHARE,
    SMALLEST_TISSUE_SHARE,
    adc_shares,
    noise_sigma,
)

SNR_LIMIT = 8.0
"""The noisiest scans of the training had this SNR at b=0 (physics.protocol.draw_protocol)."""

BLENDED_LIMIT = 0.1
"""Canonical images of nine real runs and a case of stroke took at most 2 % from the scan
(docs/_static/fidelity/blend.csv)."""


def scan_figures(
    b0: np.ndarray,
    adc: np.ndarray,
    mask: np.ndarray,
    zooms: Sequence[float],
    *,
    axis: int,
    zero_filling: int = 1,
) -> dict[str, float | None]:
    """Measure noise, brain volume and diffusion of a scan, under the names of the qc file.

    Parameters
    ----------
    b0 : (I, J, K)
        Mean b=0 as scanned.
    adc : (I, J, K) mm2/s
    mask : (I, J, K) bool
        The brain.
    zooms : (3,) mm
    axis : int
        The slice axis.
    zero_filling : int
        Reconstructed pixels for each acquired one, in plane.

    Returns
    -------
    dict
        ``noise_sigma``, ``snr_b0`` (None without noise), ``mask_volume_ml``, ``tissue_share`` and
        ``fluid_share`` (`numerics.intensity.adc_shares`).

    Examples
    --------
    >>> brain = np.ones((10, 10, 10))
    >>> found = scan_figures(brain, 0.8e-3 * brain, brain > 0, (2, 2, 2), axis=2)
    >>> found['mask_volume_ml'], found['snr_b0'], found['tissue_share']
    (8.0, None, 1.0)
    """
    sigma = noise_sigma(b0, mask, axis, zero_filling)
    tissue, fluid = adc_shares(adc, mask)
    return {
        'noise_sigma': float(sigma),
        'snr_b0': float(np.median(b0[mask]) / sigma) if sigma > 0 else None,
        'mask_volume_ml': float(mask.sum() * np.prod(zooms[:3]) / 1000),
        'tissue_share': tissue,
        'fluid_share': fluid,
    }


def scan_warnings(
    figures: Mapping[str, float | None],
    *,
    b_acquired: float,
    extrapolated: bool,
    blended_fraction: float,
) -> list[str]:
    """Say what a reader of a run's images must know, a sentence for each.

    Parameters
    ----------
    figures : mapping
        ``snr_b0``, ``tissue_share`` and ``fluid_share`` of `scan_figures`
    b_acquired : s/mm2
        of the shell that the trace image came from
    extrapolated : bool
        whether that is far from b=1000
    blended_fraction : float
        how much of the canonical images is the scan times the gain

    Examples
    --------
    >>> figures = {'snr_b0': 5.0, 'tissue_share': 0.8, 'fluid_share': 0.1}
    >>> scan_warnings(figures, b_acquired=1000, extrapolated=False, blended_fraction=0.01)
    ['The SNR of the mean b=0 is 5.0, below 8.']
    """
    found = no_brain_warnings(figures['tissue_share'], figures['fluid_share'])
    if extrapolated:
        found.append(
            'The trace image is extrapolated to b=1000 s/mm2, as if diffusion were Gaussian, '
            f'from b={b_acquired:g}.'
        )
    snr = figures['snr_b0']
    if snr is not None and snr < SNR_LIMIT:
        found.append(f'The SNR of the mean b=0 is {snr:.1f}, below {SNR_LIMIT:g}.')
    if blended_fraction > BLENDED_LIMIT:
        found.append(
            f'The scan overrules the network in {100 * blended_fraction:.0f} % of the brain, more '
            f'than {100 * BLENDED_LIMIT:.0f} %: its images would not have given the scan back.'
        )
    return found


def no_brain_warnings(tissue_share: float, fluid_share: float) -> list[str]:
    """Say that a mask does not diffuse like a brain; nothing where it does.

    Examples
    --------
    >>> no_brain_warnings(0.8, 0.15)
    []
    >>> no_brain_warnings(0.13, 0.7)[0][:64]
    'This may be no brain: 13 % of the mask has an ADC of 0.5 to 1.2 '
    """
    low, high = 1e3 * RESTRICTED_ADC, 1e3 * FLUID_ADC
    return [
        f'This may be no brain: {100 * share:.0f} % of the mask has an ADC {where} x 10^-3 mm2/s, '
        f'less than {100 * limit:.0f} %. The network was trained on brains alone.'
        for share, where, limit in (
            (tissue_share, f'of {low:g} to {high:g}', SMALLEST_TISSUE_SHARE),
            (fluid_share, f'above {high:g}', SMALLEST_FLUID_SHARE),
        )
        if not share >= limit
    ]
