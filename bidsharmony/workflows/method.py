"""What changes results beside the input: the method's options, as the graphs take them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids.templates import Template


@dataclass(frozen=True, kw_only=True)
class Method:
    """Hold the options that every run of a dataset is harmonized by.

    Parameters
    ----------
    denoise : {'mppca', 'none'}
        what takes noise out of the series before anything else
    rician : bool
        whether the Rician bias of magnitudes is corrected, after that
    b0_threshold : s/mm2
        b-values up to this one count as b=0
    bias_correction : bool
        whether N4 divides the receive field out
    output_resolution : float or None
        voxel of the harmonized series, mm; None keeps the input's grid
    strength : float
        1 harmonizes all the way, 0 not at all
    canonical_resolution : float or None
        in-plane FWHM of the canonical images, mm; None takes that of the weights
    weights : Path or None
        None takes the shipped ones
    device : str
        where the network runs: results differ in their last digits
    output_spaces : tuple of Template
        standard spaces that the canonical images are brought to
    output_desc : str
        label of harmonized images in their names
    """

    denoise: str
    rician: bool
    b0_threshold: float
    bias_correction: bool
    output_resolution: float | None
    strength: float
    canonical_resolution: float | None
    weights: Path | None
    device: str = 'cpu'
    output_spaces: tuple[Template, ...] = ()
    output_desc: str = 'harmonized'
