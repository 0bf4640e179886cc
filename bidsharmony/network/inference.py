"""Run the network over a volume's slices: canonical images and the gain of the series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from scipy import ndimage
from torch.nn import functional

from bidsharmony.network.model import STRIDE, encode_metadata
from bidsharmony.network.scan import hold_to_scan, smooth_gain
from bidsharmony.network.spectrum import even_out
from bidsharmony.network.weights import Weights, load_weights
from bidsharmony.numerics.grids import inplane_grid, resample_to_shape
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.numerics.marks import measured_marks
from bidsharmony.numerics.slices import (
    FWHM_PER_SD,
    telling,
    through_plane,
    throughplane_kernel,
)
from bidsharmony.numerics.threads import in_threads

#: What the canonical images are, in sidecar keys (s, T, s/mm2).
CANONICAL = {
    'EchoTime': 0.080,
    'RepetitionTime': 10.0,
    'MagneticFieldStrength': 3.0,
    'BValue': 1000.0,
}
TOUCHING = 1.05  # slices are at most this many times as thick as they are far apart
_SLICES_AT_ONCE = 4
AXIAL = 2  # the axis of RAS along which slices lie whose spectrum is known
_RAS = np.array([[0, 1], [1, 1], [2, 1]])  # nibabel's orientation of a RAS array
# rows and columns of a slice as the simulator lays them out (physics.heads), by slice axis
_ROWS_COLUMNS = {0: (1, 2), 1: (2, 0), 2: (1, 0)}


@dataclass(frozen=True)
class Canonical:
    """What one run looks like on the canonical scanner.

    Attributes
    ----------
    b0, trace : (I', J', K') float32
        Canonical images, nominal white-matter b=0 = 1, on the canonical grid.
    uncertainty : (I', J', K') float32
        Expected absolute error, mean of both images, canonical unit; where the scan overrules
        the network, at least as much as the images were moved.
    blend : (I', J', K') float32
        Weight of the scan times the gain in the canonical images, 0 to 1: where they would not
        have given the scan back (`numerics.forward.blend_weight`).
    gain : (I, J, K) float32
        On the input's grid; gain times the bias-corrected input has canonical contrast and unit.
    affine : (4, 4) float
        Of the canonical grid.
    fwhm_mm : float
        In-plane resolution of the canonical images.
    profile_mm : float
        Full width at half maximum of the Gaussian profile that slices are averaged towards.
    acquired_mm, thickness_mm : float
        Slice thickness that the scanner's images had, and the larger of it and `profile_mm`.
    resolution_mm : three of float or None
        What the scan resolves along its axes, as measured against the canonical b=0, and at least
        the acquired pixel; its slice thickness along the slice axis. None where noise hides it.
    spectrum_factor : tuple of two pairs of float, or None
        The least and the most that the spectrum of b=0 and of trace was multiplied by
        (`network.spectrum.even_out`); None where it was left as it is.
    marks : dict
        What was measured on the images, and told to the network.
    weights_sha256 : str
    """

    b0: np.ndarray
    trace: np.ndarray
    uncertainty: np.ndarray
    blend: np.ndarray
    gain: np.ndarray
    affine: np.ndarray
    fwhm_mm: float
    profile_mm: float
    acquired_mm: float
    thickness_mm: float
    resolution_mm: tuple[float | None, float | None, float | None]
    spectrum_factor: tuple[tuple[float, float], ...] | None
    marks: dict[str, float]
    weights_sha256: str


def harmonize_summary(
    b0: np.ndarray,
    trace: np.ndarray,
    affine: np.ndarray,
    *,
    axis: int,
    scale: float,
    metadata: Mapping[str, object],
    mask: np.ndarray | None = None,
    fwhm_mm: float | None = None,
    weights: Path | Weights | None = None,
    threads: int = 1,
    strength: float = 1.0,
    zero_filling: int = 1,
    device: str = 'cpu',
) -> Canonical:
    """Harmonize a run's mean b=0 and trace image.

    Slices are averaged with their neighbours towards the canonical profile before the network
    sees them: how thick slices are, and how far apart, is part of a scanner's signature.

    Parameters
    ----------
    b0, trace : (I, J, K) float
        Bias-corrected, in the scanner's own unit; the trace is at b=1000 s/mm2.
    affine : (4, 4) float
        Of their grid.
    axis : int
        The slice axis.
    scale : float
        Robust b=0 scale, the scanner's own unit. With a mask it is measured again on averaged
        slices.
    metadata : mapping
        Sidecar facts in BIDS keys and units, with ``AcquiredPixel`` (mm) and ``BValue`` (s/mm2);
        any may be missing.
    mask : (I, J, K) bool, optional
        The brain; the scale is read in it, and noise and sharpness from slices that show it,
        without it from all.
    fwhm_mm : float, optional
        In-plane resolution of the canonical images, by a blur after the network; that of the
        weights if None.
    weights : Path or Weights, optional
        A file, or what was loaded from one; the shipped weights if None.
    threads : int
        That share out slices and images; the result does not depend on it.
    strength : float
        From 1 to 0: how much the canonical images are the network's; the rest is what entered it,
        the scan on the canonical grid over its b=0 scale. The gain is the whole one.
    zero_filling : int
        Reconstructed pixels for each acquired one, in plane.
    device : str
        Where the network runs, as torch names it.

    Returns
    -------
    Canonical

    Raises
    ------
    WeightsError
        If the weights cannot be used.
    ValueError
        If `fwhm_mm` is finer than the weights reach.
    """
    network = weights if isinstance(weights, Weights) else load_weights(weights)
    if fwhm_mm is None:
        fwhm_mm = network.fwhm_mm
    elif fwhm_mm < network.fwhm_mm:
        raise ValueError(
            f'a canonical resolution of {fwhm_mm:g} mm is finer than the {network.fwhm_mm:g} mm '
            'of the weights'
        )
    to_ras = io_orientation(affine)
    images = [apply_orientation(np.asarray(i, np.float32), to_ras) for i in (b0, trace)]
    inside = apply_orientation(mask, to_ras) if mask is not None and mask.any() else None
    ras_affine = np.asarray(affine) @ inv_ornt_aff(to_ras, b0.shape)
    ras_axis = int(to_ras[axis, 0])
    shape, grid_affine = inplane_grid(images[0].shape, ras_affine, ras_axis, network.spacing_mm)
    spacing = float(np.linalg.norm(ras_affine[:3, ras_axis]))
    profile, acquired = network.thickness_mm, slice_thickness(metadata, spacing)
    kernel = np.ones(1)
    if not _has_profile(metadata, profile):
        kernel = throughplane_kernel(acquired, spacing, profile)
    thick = in_threads(threads, lambda i: through_plane(i / scale, ras_axis, kernel), images)
    if inside is not None:
        # thin slices hold less fluid beside tissue: measured again where all are alike
        unit = robust_scale(*thick, inside)
        thick, scale = [image / np.float32(unit) for image in thick], scale * unit
    # cubic interpolation as in training (physics.pairs.to_grid); its undershoot is cut off
    fine = np.stack(
        in_threads(threads, lambda i: np.maximum(resample_to_shape(i, shape, order=3), 0), thick)
    )
    layout = (ras_axis, *_ROWS_COLUMNS[ras_axis])
    marks = _marks(
        fine.transpose(layout[0] + 1, 0, layout[1] + 1, layout[2] + 1),
        None if mask is None else apply_orientation(mask, to_ras).transpose(layout),
        threads,
    )
    out, log_gain, error = _run(network, fine, ras_axis, {**metadata, **marks}, threads, device)
    pixels = np.linalg.norm(grid_affine[:3, :3], axis=0)
    factors = None
    if inside is not None:
        fine_mask = resample_to_shape(inside, shape) > 0.5
        excess = unit_excess(network, out, fine_mask)
        out, error = out / np.float32(excess), error / np.float32(excess)
        log_gain = log_gain - np.float32(np.log(excess))
        if ras_axis == AXIAL:
            slices, factors = even_out(
                network,
                out.transpose(0, *(a + 1 for a in layout)),
                fine_mask.transpose(layout),
                pixels[list(layout[1:])],
                threads=threads,
            )
            out = slices.transpose(0, *(a + 1 for a in np.argsort(layout)))
    smoothed = smooth_gain(log_gain, ras_axis, network)
    resolution: list[float | None] = [None] * 3
    blend = np.zeros(shape, np.float32)
    if inside is not None:
        held, blend, resolution = hold_to_scan(
            out,
            log_gain,
            smoothed,
            fine,
            thick,
            inside,
            axis=ras_axis,
            affine=ras_affine,
            network=network,
            zero_filling=zero_filling,
            threads=threads,
        )
        out, error = held, np.maximum(error, np.abs(held - out).mean(axis=0))
    resolution[ras_axis] = acquired
    # errors of neighbours partly cancel: their mean is an upper bound
    *out, error = (_blur(i, ras_axis, pixels, network, fwhm_mm) for i in (*out, error))
    gain = np.exp(resample_to_shape(smoothed, images[0].shape)) / scale
    if strength < 1:
        out = [strength * own + (1 - strength) * scan for own, scan in zip(out, fine, strict=True)]
        error = strength * error
    from_ras = ornt_transform(_RAS, to_ras)
    return Canonical(
        b0=apply_orientation(out[0], from_ras),
        trace=apply_orientation(out[1], from_ras),
        uncertainty=apply_orientation(error, from_ras),
        blend=apply_orientation(blend, from_ras),
        gain=np.ascontiguousarray(apply_orientation(gain.astype(np.float32), from_ras)),
        affine=grid_affine @ inv_ornt_aff(from_ras, shape),
        fwhm_mm=float(fwhm_mm),
        profile_mm=profile,
        acquired_mm=acquired,
        thickness_mm=max(acquired, profile),
        resolution_mm=tuple(resolution[int(ax)] for ax in to_ras[:, 0]),
        spectrum_factor=factors,
        marks=marks,
        weights_sha256=network.sha256,
    )


def unit_excess(network: Weights, images: Sequence[np.ndarray], mask: np.ndarray) -> float:
    """Tell by how much canonical images exceed their unit, in which the tissue's mean is known.

    A scale that is read off blurred or noisy input is off by a percent or so; off the output it
    can be read again, at one resolution for all scanners. So harmonizing twice changes nothing.

    Parameters
    ----------
    network : Weights
    images : two (...) float
        b=0 and trace, canonical unit.
    mask : (...) bool

    Returns
    -------
    float
        1 where the weights do not say what the mean is, or nothing lies in the mask.
    """
    if network.tissue_mean is None or not mask.any():
        return 1.0
    return robust_scale(images[0], images[1], mask) / network.tissue_mean


def slice_thickness(metadata: Mapping[str, object], spacing: float) -> float:
    """Take the stated slice thickness where it can be true, else the distance between slices.

    Slices do not overlap but in canonical images, which say so: theirs were averaged.

    Parameters
    ----------
    metadata : mapping
    spacing : float
        Between the centres of neighbouring slices, mm.

    Examples
    --------
    >>> [slice_thickness({'SliceThickness': 4.0}, spacing) for spacing in (5.2, 2.0)]
    [4.0, 2.0]
    >>> slice_thickness({'SliceThickness': 5.0, 'CanonicalSliceProfileFWHM': 5.0}, 2.0)
    5.0
    """
    stated = metadata.get('SliceThickness')
    if isinstance(stated, int | float) and not isinstance(stated, bool):
        averaged = metadata.get('CanonicalSliceProfileFWHM') is not None
        if 0 < stated <= TOUCHING * spacing or (averaged and 0 < stated < np.inf):
            return float(stated)
    return float(spacing)


def _has_profile(metadata: Mapping[str, object], profile: float) -> bool:
    """Tell whether slices were averaged to the canonical profile already."""
    averaged = metadata.get('CanonicalSliceProfileFWHM')
    return isinstance(averaged, int | float) and averaged >= profile


def _marks(slices: np.ndarray, mask: np.ndarray | None, threads: int) -> dict[str, float]:
    """Measure noise and sharpness on each slice that shows enough brain, and take the medians.

    Parameters
    ----------
    slices : (S, 2, H, W) float32
        In units of the robust b=0 scale.
    mask : (S, ., .) bool or None
    """
    if mask is not None:
        slices = slices[telling(mask)]
    found = [marks for marks in in_threads(threads, measured_marks, slices) if marks]
    return {key: float(np.median([m[key] for m in found])) for key in (found[0] if found else ())}


def _blur(
    image: np.ndarray, axis: int, pixels: np.ndarray, network: Weights, fwhm_mm: float
) -> np.ndarray:
    """Lower the in-plane resolution from that of the weights by a Gaussian."""
    if fwhm_mm == network.fwhm_mm:
        return image
    sigma = np.sqrt(fwhm_mm**2 - network.fwhm_mm**2) / FWHM_PER_SD / pixels
    sigma[axis] = 0
    return ndimage.gaussian_filter(image, sigma, mode='nearest')


def _run(
    network: Weights,
    images: np.ndarray,
    axis: int,
    metadata: Mapping[str, object],
    threads: int,
    device: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pass every slice of a RAS volume through the network.

    Parameters
    ----------
    images : (2, I, J, K) float32
        In units of the robust b=0 scale.
    axis : int
        Slice axis, 0 to 2.

    Returns
    -------
    images : (2, I, J, K) float32
    log_gain, error : (I, J, K) float32
    """
    order = (0, axis + 1, *(a + 1 for a in _ROWS_COLUMNS[axis]))
    slices = torch.from_numpy(np.ascontiguousarray(images.transpose(order))).transpose(0, 1)
    height, width = slices.shape[-2:]  # (S, 2, H, W)
    padding = (0, -width % STRIDE, 0, -height % STRIDE)
    condition = encode_metadata(metadata)[None].to(device)
    model = network.model.to(device)

    def passed(batch: torch.Tensor) -> torch.Tensor:
        torch.set_num_threads(1)  # of this thread, too
        with torch.inference_mode():
            padded = functional.pad(batch.to(device), padding, mode='replicate')
            output = model(padded, condition.expand(len(batch), -1))
            error = torch.exp(output.log_error).mean(dim=1, keepdim=True)
            merged = torch.cat([output.images.clamp_min(0), output.log_gain, error], dim=1)
            return merged[..., :height, :width].cpu()

    before = torch.get_num_threads()
    try:
        parts = in_threads(threads, passed, slices.split(_SLICES_AT_ONCE))
    finally:
        torch.set_num_threads(before)
    stacked = torch.cat(parts).numpy().transpose(1, 0, 2, 3).transpose(np.argsort(order))
    volume = np.empty(stacked.shape, stacked.dtype)  # (4, I, J, K)
    in_threads(threads, np.copyto, volume, stacked)
    return volume[:2], volume[2], volume[3]
