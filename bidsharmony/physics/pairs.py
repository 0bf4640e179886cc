"""Simulated pairs: what a scanner shows, and what the canonical scanner would have shown."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import FLUID_ADC
from bidsharmony.numerics.marks import measured_marks
from bidsharmony.numerics.slices import FWHM_PER_SD, throughplane_kernel
from bidsharmony.physics.fields import smooth_field
from bidsharmony.physics.heads import PLANES, Head, draw_slab
from bidsharmony.physics.protocol import Protocol, draw_protocol
from bidsharmony.physics.scanner import KSpace, acquire, blur
from bidsharmony.physics.signal import (
    CANONICAL_B_VALUE,
    CANONICAL_CONTRAST,
    TissueTable,
    tissue_signal,
    varied_table,
)
from bidsharmony.physics.slabs import REACH, Slab, profile_weights
from bidsharmony.physics.tissue import TISSUE_NAMES, TISSUES

CANONICAL_FWHM = 2.0  # mm in plane: the resolution of the truth
#: mm, full width at half maximum of the truth's slice profile, a Gaussian. It is about as
#: wide as slices of 6 mm, the thickest in common use: its variance is nearly that of their box.
CANONICAL_THICKNESS = 4.0
GRID_SPACING = 1.0  # mm in plane: the grid the network works on
#: tissues of the brain that are neither fluid nor blood
SOLID = np.array([t.brain and t.diffusivity < FLUID_ADC for t in TISSUES.values()])
_WHITE_MATTER = TISSUE_NAMES.index('white matter')
#: Mean b=0 of a person's brain tissue in canonical images: their unit. White matter is then about
#: 1; what differs between persons in scale alone cannot be seen by MRI.
CANONICAL_TISSUE_MEAN = 1.17
ALREADY_CANONICAL = 0.06  # fraction of the drawn pairs
WARPED = 0.3  # fraction of the slabs that susceptibility shifts
CANONICAL_METADATA = {
    'MagneticFieldStrength': CANONICAL_CONTRAST.field_strength,
    'EchoTime': CANONICAL_CONTRAST.echo_time,
    'RepetitionTime': CANONICAL_CONTRAST.repetition_time,
    'BValue': CANONICAL_B_VALUE,
    'SliceThickness': CANONICAL_THICKNESS,
    'AcquiredPixel': CANONICAL_FWHM,
}
GAIN_FWHM = 4.0  # mm: the gain is a property of tissue and place, not of pixels


@dataclass(frozen=True)
class Pair:
    """One slice as a scanner shows it, and its truth.

    Attributes
    ----------
    reconstructed : (2, R, R) float32
        b=0 and trace at b=1000 on the scanner's own grid, after the through-plane pass, in units
        of the robust b=0 scale.
    source : (2, F, F) float32
        The same by cubic interpolation on the 1 mm grid.
    target : (2, F, F) float32
        Canonical b=0 and trace in the canonical unit (`CANONICAL_TISSUE_MEAN`).
    log_gain : (F, F) float32
        Logarithm of canonical over scanner contrast, free of noise.
    brain, head : (F, F) float32
        Fractions of each pixel.
    metadata : dict
        The sidecar's facts about the scan (BIDS keys), and the marks measured in the source.
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
    """Return the mean signal of a brain's tissue, as `robust_scale` finds it in the truth.

    Parameters
    ----------
    head : Head
    signal : (T,) float
        Of each tissue.
    """
    return float(head.tissue_shares(canonical_profile(), CANONICAL_FWHM) @ signal)


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


def canonical_images(head: Head, slab: Slab, table: TissueTable) -> np.ndarray:
    """Return a slab's canonical b=0 and trace at 1 mm, before any blur in plane.

    Returns
    -------
    (2, F, F) float32
        In the canonical unit.
    """
    profile = canonical_profile()
    images = slab.images(table, CANONICAL_CONTRAST, (0.0, CANONICAL_B_VALUE), profile)
    signal, _ = tissue_signal(table, CANONICAL_CONTRAST)
    return images * np.float32(CANONICAL_TISSUE_MEAN / brain_scale(head, signal))


@lru_cache(maxsize=1)
def canonical_profile() -> np.ndarray:
    """Return the canonical slice profile, a Gaussian, as weights of sub-slices."""
    offsets = np.arange(-REACH, REACH + 1)
    profile = np.exp(-((offsets * FWHM_PER_SD / CANONICAL_THICKNESS) ** 2) / 2)
    return (profile / profile.sum()).astype(np.float32)


def scan(
    head: Head,
    slab: Slab,
    table: TissueTable,
    protocol: Protocol,
    rng: np.random.Generator,
    bias_sd: float = 0.03,
    scale_jitter: float = 0.02,
) -> Pair:
    """Scan a slab with a protocol and set it beside the canonical truth.

    Slices are averaged towards the canonical profile as inference does before the network
    (`numerics.slices`): their profile widens and their noise falls.

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
    kernel = throughplane_kernel(protocol.thickness, protocol.spacing, CANONICAL_THICKNESS)
    profile = profile_weights(protocol.thickness, kernel, protocol.spacing)
    brain = slab.brain(canonical_profile())
    tissue_b0, _ = tissue_signal(table, protocol.contrast)
    scale = brain_scale(head, tissue_b0) * np.exp(scale_jitter * rng.standard_normal())
    b_values = (0.0, protocol.b_value)
    clean = slab.images(table, protocol.contrast, b_values, profile) / np.float32(scale)
    shading = smooth_field((fov, fov), fov / 3, rng, order=3)
    # bias correction leaves a field of mean 1 in the brain
    shading = bias_sd * (shading - np.average(shading, weights=brain + 1e-6))
    if slab.squeeze is not None:
        shading = shading + slab.squeeze
    bias = np.exp(shading)
    sd = float(tissue_b0[_WHITE_MATTER] / scale / protocol.snr)
    kspace = KSpace(protocol, fov)
    # rows of the k-space are its phase-encode axis; turned, it runs along the image's columns
    turn = (0, 2, 1) if protocol.turned else (0, 1, 2)
    slices = 1 / float(np.sum(kernel**2))  # independent ones in the through-plane average
    averages = (protocol.b0_averages * slices, protocol.directions * slices)
    b0, weighted = acquire((clean * bias).transpose(turn), kspace, sd, averages, rng).transpose(
        turn
    )
    reconstructed = np.stack([b0, trace_at_canonical_b(b0, weighted, protocol.b_value)])
    reconstructed = reconstructed.astype(np.float32)
    source = np.maximum(to_grid(reconstructed, fov), 0)
    canonical = canonical_images(head, slab, table)
    smooth = blur(np.stack([canonical[0], clean[0] * bias]), GAIN_FWHM)
    log_gain = np.log(np.maximum(smooth[0], 1e-3) / np.maximum(smooth[1], 1e-3))
    lesion = np.zeros((fov, fov), np.float32)
    for part in slab.lesions:
        lesion = np.maximum(lesion, part.weight)
    return Pair(
        reconstructed=reconstructed,
        source=source,
        target=blur(canonical, CANONICAL_FWHM),
        log_gain=np.clip(log_gain, -2, 2).astype(np.float32),
        brain=brain,
        head=slab.head(canonical_profile()),
        metadata={**protocol.metadata(), **measured_marks(source)},
        protocol=protocol,
        lesion=lesion,
    )


def canonical_scan(pair: Pair, rng: np.random.Generator) -> Pair:
    """Return the pair of a scan that is the truth already: harmonizing must change nothing."""
    scale = CANONICAL_TISSUE_MEAN * np.exp(0.02 * rng.standard_normal())
    source = pair.target / np.float32(scale)
    return replace(
        pair,
        reconstructed=source,
        source=source,
        log_gain=np.full_like(pair.log_gain, np.log(scale)),
        metadata={**pair.metadata, **CANONICAL_METADATA, **measured_marks(source)},
    )


def draw_twins(
    heads: list[Head], rng: np.random.Generator, canonical_chance: float = ALREADY_CANONICAL
) -> tuple[Pair, Pair]:
    """Draw a head and a slice, and scan it on two scanners.

    Parameters
    ----------
    heads : list of Head
    rng : numpy.random.Generator
    canonical_chance : float
        How often the second scan is the truth itself.

    Returns
    -------
    two Pair
        Of one target.
    """
    head = heads[rng.integers(len(heads))]
    plane = str(rng.choice(PLANES, p=[0.75, 0.1, 0.15]))
    fov = int(rng.choice([208, 224, 240]))
    warp = float(rng.uniform(-6, 6)) if rng.random() < WARPED else 0.0
    slab = draw_slab(head, fov, rng, plane, warp_mm=warp)
    table = varied_table(rng)
    first, second = (
        scan(head, slab, table, draw_protocol(rng), rng, bias_sd=rng.uniform(0.005, 0.06))
        for _ in range(2)
    )
    if rng.random() < canonical_chance:
        second = canonical_scan(second, rng)
    return first, second


def draw_pair(heads: list[Head], rng: np.random.Generator) -> Pair:
    """Draw a head, a slice and a protocol, and scan it."""
    return draw_twins(heads, rng, canonical_chance=0.0)[0]
