"""Simulated pairs: what a scanner shows, and what the canonical scanner would have shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import FLUID_ADC
from bidsharmony.physics.heads import PLANES, Head, Slab, draw_slab, smooth_field
from bidsharmony.physics.scanner import KSpace, Protocol, acquire, blur, draw_protocol
from bidsharmony.physics.signal import (
    CANONICAL_B_VALUE,
    CANONICAL_CONTRAST,
    TissueTable,
    canonical_unit,
    tissue_signal,
    varied_table,
)
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES

CANONICAL_FWHM = 2.0  # mm in plane: the resolution of the truth
GRID_SPACING = 1.0  # mm in plane: the grid the network works on
#: tissues of the brain that are neither fluid nor blood
SOLID = np.array([t.brain and t.diffusivity < FLUID_ADC for t in TISSUES.values()])
_WHITE_MATTER = TISSUE_NAMES.index('white matter')
ALREADY_CANONICAL = 0.06  # fraction of the drawn pairs
CANONICAL_METADATA = {
    'MagneticFieldStrength': CANONICAL_CONTRAST.field_strength,
    'EchoTime': CANONICAL_CONTRAST.echo_time,
    'RepetitionTime': CANONICAL_CONTRAST.repetition_time,
    'BValue': CANONICAL_B_VALUE,
    'AcquiredPixel': CANONICAL_FWHM,
}
GAIN_FWHM = 4.0  # mm: the gain is a property of tissue and place, not of pixels


@dataclass(frozen=True)
class Pair:
    """One slice as a scanner shows it, and its truth.

    Attributes
    ----------
    reconstructed : (2, R, R) float32
        b=0 and trace at b=1000 on the scanner's own grid, in units of the robust b=0 scale.
    source : (2, F, F) float32
        The same by cubic interpolation on the 1 mm grid.
    target : (2, F, F) float32
        Canonical b=0 and trace, canonical white-matter b=0 = 1.
    log_gain : (F, F) float32
        Logarithm of canonical over scanner contrast, free of noise.
    brain, head : (F, F) float32
        Fractions of each pixel.
    metadata : dict
        The sidecar's facts about the scan, BIDS keys.
    protocol : Protocol
    lesion : (F, F) float32
        Weight of the lesions.
    """

    reconstructed: np.ndarray
    source: np.ndarray
    target: np.ndarray
    log_gain: np.ndarray
    brain: np.ndarray
    head: np.ndarray
    metadata: dict[str, float]
    protocol: Protocol
    lesion: np.ndarray


@lru_cache(maxsize=512)
def _interpolation(n_in: int, n_out: int, order: int) -> np.ndarray:
    """Return `resample_to_shape` along one axis as a matrix, (n_out, n_in) float32."""
    return np.ascontiguousarray(
        resample_to_shape(np.eye(n_in, dtype=np.float32), (n_out, n_in), order=order)
    )


def to_grid(images: np.ndarray, size: int, order: int = 3) -> np.ndarray:
    """Resample (C, R, R) images to (C, size, size) over the same field of view."""
    matrix = _interpolation(images.shape[-1], size, order)
    return matrix @ images @ matrix.T


def brain_scale(head: Head, signal: np.ndarray) -> float:
    """Return the mean signal of a brain's tissue without fluid and blood, as `robust_scale` does.

    Parameters
    ----------
    head : Head
    signal : (T,) float
        Of each tissue.
    """
    return float(np.average(signal, weights=head.brain_counts * SOLID))


def trace_at_canonical_b(b0: np.ndarray, weighted: np.ndarray, b_value: float) -> np.ndarray:
    """Carry a diffusion-weighted image to b=1000 with the diffusivity it shows against b=0.

    Examples
    --------
    >>> trace_at_canonical_b(np.array([1.0]), np.array([0.25]), 2000.0)
    array([0.5])
    """
    safe_b0 = np.maximum(b0, 1e-6)
    adc = np.clip(-np.log(np.maximum(weighted, 1e-6) / safe_b0) / b_value, 0, 5e-3)
    return b0 * np.exp(-CANONICAL_B_VALUE * adc)


def canonical_images(slab: Slab, table: TissueTable) -> np.ndarray:
    """Return a slab's canonical b=0 and trace at 1 mm, before any blur; (2, F, F) float32."""
    images = slab.images(table, CANONICAL_CONTRAST, (0.0, CANONICAL_B_VALUE))
    return images / np.float32(canonical_unit())


def scan(
    head: Head,
    slab: Slab,
    table: TissueTable,
    protocol: Protocol,
    rng: np.random.Generator,
    bias_sd: float = 0.05,
    scale_jitter: float = 0.04,
) -> Pair:
    """Scan a slab with a protocol and set it beside the canonical truth.

    Parameters
    ----------
    head : Head
    slab : Slab
    table : TissueTable
    protocol : Protocol
    rng : numpy.random.Generator
    bias_sd : float
        Logarithmic deviation of the coil field that bias correction leaves.
    scale_jitter : float
        Logarithmic deviation of the robust scale (masks are not perfect).

    Returns
    -------
    Pair
    """
    fov = slab.codes.shape[-1]
    tissue_b0, _ = tissue_signal(table, protocol.contrast)
    scale = brain_scale(head, tissue_b0) * np.exp(scale_jitter * rng.standard_normal())
    clean = slab.images(table, protocol.contrast, (0.0, protocol.b_value)) / np.float32(scale)
    shading = smooth_field((fov, fov), fov / 3, rng, order=3)
    # bias correction leaves a field of mean 1 in the brain
    shading = shading - np.average(shading, weights=slab.brain() + 1e-6)
    bias = np.exp(bias_sd * shading)
    white = tissue_b0[_WHITE_MATTER] / scale
    sd = float(white / protocol.snr)
    kspace = KSpace(protocol, fov)
    # rows of the k-space are its phase-encode axis; turned, it runs along the image's columns
    turn = (0, 2, 1) if protocol.turned else (0, 1, 2)
    averages = (protocol.b0_averages, protocol.directions)
    b0, weighted = acquire((clean * bias).transpose(turn), kspace, sd, averages, rng).transpose(
        turn
    )
    reconstructed = np.stack([b0, trace_at_canonical_b(b0, weighted, protocol.b_value)])
    canonical = canonical_images(slab, table)
    smooth = blur(np.stack([canonical[0], clean[0] * bias]), GAIN_FWHM)
    log_gain = np.log(np.maximum(smooth[0], 1e-3) / np.maximum(smooth[1], 1e-3))
    lesion = np.zeros((fov, fov), np.float32)
    for part in slab.lesions:
        lesion = np.maximum(lesion, part.weight)
    return Pair(
        reconstructed=reconstructed,
        source=np.maximum(to_grid(reconstructed, fov), 0),
        target=blur(canonical, CANONICAL_FWHM),
        log_gain=np.clip(log_gain, -2, 2).astype(np.float32),
        brain=slab.brain(),
        head=slab.head(),
        metadata=protocol.metadata(),
        protocol=protocol,
        lesion=lesion,
    )


def draw_pair(
    heads: list[Head], rng: np.random.Generator, canonical_chance: float = ALREADY_CANONICAL
) -> Pair:
    """Draw a head, a protocol and a slice, and scan it.

    Parameters
    ----------
    heads : list of Head
    rng : numpy.random.Generator
    canonical_chance : float
        How often the scan is the truth itself: harmonizing it again must change nothing.

    Returns
    -------
    Pair
    """
    head = heads[rng.integers(len(heads))]
    protocol = draw_protocol(rng)
    already_canonical = rng.random() < canonical_chance
    plane = str(rng.choice(PLANES, p=[0.7, 0.1, 0.2]))
    fov = int(rng.choice([208, 224, 240]))
    slab = draw_slab(head, protocol.thickness, fov, rng, plane)
    table = varied_table(rng)
    pair = scan(head, slab, table, protocol, rng, bias_sd=rng.uniform(0.01, 0.12))
    if not already_canonical:
        return pair
    signal, _ = tissue_signal(table, CANONICAL_CONTRAST)
    scale = brain_scale(head, signal) / canonical_unit() * np.exp(0.04 * rng.standard_normal())
    source = pair.target / np.float32(scale)
    return replace(
        pair,
        reconstructed=source,
        source=source,
        log_gain=np.full_like(pair.log_gain, np.log(scale)),
        metadata={**pair.metadata, **CANONICAL_METADATA},
    )
