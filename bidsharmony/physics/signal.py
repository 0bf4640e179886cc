"""The spin-echo diffusion signal of a tissue under a protocol."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES


@dataclass(frozen=True)
class Contrast:
    """What weights the signal: field strength (T), echo and repetition time (s)."""

    field_strength: float
    echo_time: float
    repetition_time: float


#: As if acquired at 3 T, TE 80 ms, long TR (method, "Two products of every run").
CANONICAL_CONTRAST = Contrast(field_strength=3.0, echo_time=0.080, repetition_time=10.0)
CANONICAL_B_VALUE = 1000.0  # s/mm2


@dataclass(frozen=True)
class TissueTable:
    """Constants of every tissue, possibly varied for one head; arrays follow `TISSUE_NAMES`.

    Attributes
    ----------
    proton_density, t1_scale, t2_scale, diffusivity, kurtosis : (T,) float
        Scales multiply the tabled relaxation times; diffusivity at b -> 0 in mm2/s.
    """

    proton_density: np.ndarray
    t1_scale: np.ndarray
    t2_scale: np.ndarray
    diffusivity: np.ndarray
    kurtosis: np.ndarray


def nominal_table() -> TissueTable:
    """Return the constants as tabled, without variation."""
    tissues = TISSUES.values()
    return TissueTable(
        proton_density=np.array([t.proton_density for t in tissues]),
        t1_scale=np.ones(len(TISSUE_NAMES)),
        t2_scale=np.ones(len(TISSUE_NAMES)),
        diffusivity=np.array([t.initial_diffusivity for t in tissues]),
        kurtosis=np.array([t.kurtosis for t in tissues]),
    )


def varied_table(rng: np.random.Generator) -> TissueTable:
    """Draw one person's constants around the tabled ones.

    Brain tissues vary by a few per cent, what surrounds them freely: the network must not lean on
    the brightness of a scalp.
    """
    nominal = nominal_table()
    brain = np.array([t.brain for t in TISSUES.values()])

    def spread(brain_sd: float, other_sd: float) -> np.ndarray:
        sd = np.where(brain, brain_sd, other_sd)
        return np.exp(sd * rng.standard_normal(len(TISSUE_NAMES)))

    return TissueTable(
        proton_density=nominal.proton_density * spread(0.03, 0.5),
        t1_scale=spread(0.05, 0.1),
        t2_scale=spread(0.05, 0.2),
        diffusivity=nominal.diffusivity * spread(0.05, 0.2),
        kurtosis=nominal.kurtosis * spread(0.08, 0.2),
    )


def tissue_signal(
    table: TissueTable, contrast: Contrast, b_value: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Compute each tissue's direction-averaged signal and its transverse relaxation rate.

    ``S = PD (1 - exp(-TR/T1)) exp(-TE/T2) exp(-b D + b^2 D^2 K / 6)``; the kurtosis term follows
    Jensen & Helpern, NMR Biomed 2010;23:698, and stops growing at the b-value where the truncated
    series turns upwards (``b = 3 / (D K)``).

    Parameters
    ----------
    table : TissueTable
    contrast : Contrast
    b_value : float
        s/mm2.

    Returns
    -------
    signal : (T,) float
    relaxation_rate : (T,) float
        1/T2 in 1/s.

    Examples
    --------
    >>> signal, _ = tissue_signal(nominal_table(), CANONICAL_CONTRAST)
    >>> bool(signal[TISSUE_NAMES.index('cortex')] > signal[TISSUE_NAMES.index('white matter')])
    True
    """
    t1, t2 = _relaxation_times(contrast.field_strength)
    t1, t2 = t1 * table.t1_scale, t2 * table.t2_scale
    attenuation = b_value * table.diffusivity
    turning = 3.0 / np.maximum(table.kurtosis, 1e-6)
    exponent = -attenuation + np.minimum(attenuation, turning) ** 2 * table.kurtosis / 6
    signal = (
        table.proton_density
        * (1 - np.exp(-contrast.repetition_time / t1))
        * np.exp(-contrast.echo_time / t2 + exponent)
    )
    return signal, 1.0 / t2


@lru_cache(maxsize=16)
def _relaxation_times(field_strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Return T1 and T2 of every tissue, two of (T,) in s."""
    times = np.array([tissue.relaxation(field_strength) for tissue in TISSUES.values()])
    return times[:, 0], times[:, 1]


def canonical_unit() -> float:
    """Return the signal that stands for 1 in canonical images: nominal white matter at b=0."""
    signal, _ = tissue_signal(nominal_table(), CANONICAL_CONTRAST)
    return float(signal[TISSUE_NAMES.index('white matter')])
