"""Run the network over a volume's slices: canonical images and the gain of the series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from scipy import ndimage
from torch.nn import functional

from bidsharmony.network.model import STRIDE, encode_metadata
from bidsharmony.network.weights import Weights, load_weights
from bidsharmony.numerics.grids import inplane_grid, resample_to_shape

#: What the canonical images are, in sidecar keys (s, T, s/mm2).
CANONICAL = {
    'EchoTime': 0.080,
    'RepetitionTime': 10.0,
    'MagneticFieldStrength': 3.0,
    'BValue': 1000.0,
}
GAIN_FWHM = 4.0  # mm: of the contrast that the gain was trained on (physics.pairs)
FWHM_PER_SD = 2 * np.sqrt(2 * np.log(2))
_SLICES_AT_ONCE = 4
_RAS = np.array([[0, 1], [1, 1], [2, 1]])  # nibabel's orientation of a RAS array
# rows and columns of a slice as the simulator lays them out (physics.heads), by slice axis
_ROWS_COLUMNS = {0: (1, 2), 1: (2, 0), 2: (1, 0)}


@dataclass(frozen=True)
class Canonical:
    """What one run looks like on the canonical scanner.

    Attributes
    ----------
    b0, trace : (I', J', K') float32
        Canonical images, white-matter b=0 = 1, on the canonical grid.
    uncertainty : (I', J', K') float32
        Expected absolute error, mean of both images, canonical unit.
    gain : (I, J, K) float32
        On the input's grid; gain times the bias-corrected input has canonical contrast and unit.
    affine : (4, 4) float
        Of the canonical grid.
    fwhm_mm : float
        In-plane resolution of the canonical images.
    weights_sha256 : str
    """

    b0: np.ndarray
    trace: np.ndarray
    uncertainty: np.ndarray
    gain: np.ndarray
    affine: np.ndarray
    fwhm_mm: float
    weights_sha256: str


def harmonize_summary(
    b0: np.ndarray,
    trace: np.ndarray,
    affine: np.ndarray,
    *,
    axis: int,
    scale: float,
    metadata: Mapping[str, object],
    weights: Path | None = None,
    threads: int = 1,
) -> Canonical:
    """Harmonize a run's mean b=0 and trace image.

    Parameters
    ----------
    b0, trace : (I, J, K) float
        Bias-corrected, in the scanner's own unit; the trace is at b=1000 s/mm2.
    affine : (4, 4) float
        Of their grid.
    axis : int
        The slice axis.
    scale : float
        Robust b=0 scale, the scanner's own unit.
    metadata : mapping
        Sidecar facts in BIDS keys and units, with ``AcquiredPixel`` (mm) and ``BValue`` (s/mm2);
        any may be missing.
    weights : Path, optional
        The shipped weights if None.
    threads : int
        For torch; the result does not depend on it beyond rounding.

    Returns
    -------
    Canonical
    """
    network = load_weights(weights)
    to_ras = io_orientation(affine)
    images = [apply_orientation(np.asarray(i, np.float32), to_ras) for i in (b0, trace)]
    ras_affine = np.asarray(affine) @ inv_ornt_aff(to_ras, b0.shape)
    ras_axis = int(to_ras[axis, 0])
    shape, grid_affine = inplane_grid(images[0].shape, ras_affine, ras_axis, network.spacing_mm)
    # cubic interpolation as in training (physics.pairs.to_grid); its undershoot is cut off
    fine = np.stack([np.maximum(resample_to_shape(i / scale, shape, order=3), 0) for i in images])
    out, log_gain, error = _run(network, fine, ras_axis, metadata, threads)
    gain = np.exp(resample_to_shape(_smooth(log_gain, ras_axis, network), images[0].shape)) / scale
    from_ras = ornt_transform(_RAS, to_ras)
    return Canonical(
        b0=apply_orientation(out[0], from_ras),
        trace=apply_orientation(out[1], from_ras),
        uncertainty=apply_orientation(error, from_ras),
        gain=np.ascontiguousarray(apply_orientation(gain.astype(np.float32), from_ras)),
        affine=grid_affine @ inv_ornt_aff(from_ras, shape),
        fwhm_mm=network.fwhm_mm,
        weights_sha256=network.sha256,
    )


def _smooth(log_gain: np.ndarray, axis: int, network: Weights) -> np.ndarray:
    """Blur the logarithm of the gain in plane to the width it was trained at: no noise passes."""
    sigma = [GAIN_FWHM / FWHM_PER_SD / network.spacing_mm] * 3
    sigma[axis] = 0
    return ndimage.gaussian_filter(log_gain, sigma, mode='nearest')


@torch.inference_mode()
def _run(
    network: Weights,
    images: np.ndarray,
    axis: int,
    metadata: Mapping[str, object],
    threads: int,
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
    condition = encode_metadata(metadata)[None]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = []
        for batch in slices.split(_SLICES_AT_ONCE):
            padded = functional.pad(batch, padding, mode='replicate')
            output = network.model(padded, condition.expand(len(batch), -1))
            error = torch.exp(output.log_error).mean(dim=1, keepdim=True)
            merged = torch.cat([output.images.clamp_min(0), output.log_gain, error], dim=1)
            parts.append(merged[..., :height, :width])
    finally:
        torch.set_num_threads(before)
    stacked = torch.cat(parts).numpy().transpose(1, 0, 2, 3)  # (4, S, H, W)
    volume = np.ascontiguousarray(stacked.transpose(np.argsort(order)))
    return volume[:2], volume[2], volume[3]
