"""Scanners of several vendors as files show them, and heads for those who have none."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from importlib import resources

import nibabel as nib
import numpy as np

from bidsharmony.bids.vendor import Acquisition, vendor_sidecar
from bidsharmony.physics.heads import Head, template_head, warped_head
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.scanner import KSpace
from bidsharmony.physics.signal import Contrast
from bidsharmony.physics.tissue import TISSUE_NAMES

#: Offset of the field over the air of the skull base, Hz per T: about .6 ppm, our own estimate.
PEAK_OFFSET = 25.0
# air in the skull base of the ICBM152 template: centre and semi-axes in mm, our own estimate
_HOLLOWS = (
    ((0, 38, -38), (16, 26, 18)),  # ethmoid and sphenoid sinuses
    ((-56, -24, -42), (14, 12, 14)),  # ear canals and mastoids
    ((56, -24, -42), (14, 12, 14)),
)


@dataclass(frozen=True)
class PhantomScanner:
    """A scanner of the phantom: its protocol, and how it writes files.

    Attributes
    ----------
    label : str
    protocol : Protocol
        Phase encoding runs along the second voxel axis, from posterior to anterior.
    fov : int
        mm.
    coil : float
        Logarithmic amplitude of the receive field.
    slope : float
        Header slope.
    echo_spacing : float
        s.
    acceleration : int
        In-plane, of parallel imaging.
    polarity : {'j', 'j-'}
        Phase-encode direction of BIDS.
    sidecar : dict
        What this vendor's sidecars hold of scanner and sequence.
    """

    label: str
    protocol: Protocol
    fov: int
    coil: float
    slope: float
    echo_spacing: float
    acceleration: int
    polarity: str
    sidecar: dict

    def shift(self) -> float:
        """Return how far phase encoding shifts the skull base, mm towards the first line.

        The field's offset times the time from one line of k-space to the next, of the field of
        view (Jezzard & Balaban, Magn Reson Med 1995;34:65).
        """
        offset = PEAK_OFFSET * self.protocol.contrast.field_strength
        distance = offset * self.echo_spacing / self.acceleration * self.fov
        return distance if self.polarity == 'j-' else -distance

    def metadata(self, n_slices: int, converter: str) -> dict:
        """Return the sidecar of a scan of so many slices, in this vendor's keys."""
        protocol, kspace = self.protocol, KSpace(self.protocol, self.fov)
        lines, columns = kspace.matrix
        acquisition = Acquisition(
            echo_time=protocol.contrast.echo_time,
            repetition_time=protocol.contrast.repetition_time,
            thickness=protocol.thickness,
            spacing=protocol.spacing,
            n_slices=n_slices,
            lines=lines,
            columns=columns,
            recon=kspace.recon,
            partial_fourier=protocol.partial_fourier,
            acceleration=self.acceleration,
            echo_spacing=self.echo_spacing,
            polarity=self.polarity,
            slope=self.slope,
        )
        return vendor_sidecar(self.sidecar, acquisition, converter)


def phantom_scanners() -> list[PhantomScanner]:
    """Load the scanners that come with the package."""
    text = resources.files('bidsharmony.data').joinpath('phantom_scanners.json').read_text()
    scanners = []
    for entry in json.loads(text):
        settings = dict(entry['protocol'])
        contrast = Contrast(*(settings.pop(k) for k in Contrast.__dataclass_fields__))
        scanner = PhantomScanner(**{**entry, 'protocol': Protocol(contrast, **settings)})
        warped = replace(scanner.protocol, warp_mm=scanner.shift())
        scanners.append(replace(scanner, protocol=warped))
    return scanners


def icbm_head() -> Head:
    """Make the average head of nilearn's own ICBM152 tissue maps, with air in its skull base."""
    from nilearn.datasets import (
        load_mni152_brain_mask,
        load_mni152_gm_template,
        load_mni152_wm_template,
    )

    margin = 18
    images = [
        nib.as_closest_canonical(load(resolution=1))
        for load in (load_mni152_gm_template, load_mni152_wm_template, load_mni152_brain_mask)
    ]
    grey, white, brain = (np.pad(np.asarray(i.dataobj, np.float32), margin) for i in images)
    head = template_head('icbm152', grey, white, brain > 0.5)
    origin = margin - images[0].affine[:3, 3]
    codes = head.codes.copy()
    bone = codes == TISSUE_NAMES.index('bone')
    place = np.ogrid[tuple(slice(n) for n in codes.shape)]
    for centre, axes in _HOLLOWS:
        terms = zip(place, origin, centre, axes, strict=True)
        codes[(sum(((p - o - c) / a) ** 2 for p, o, c, a in terms) < 1) & bone] = 0
    return Head('icbm152', codes)


def icbm_heads(n: int, rng: np.random.Generator) -> list[Head]:
    """Make heads from the ICBM152 average, each warped differently.

    Parameters
    ----------
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    list of Head
    """
    average = icbm_head()
    return [warped_head(average, f'icbm152-{i + 1}', rng) for i in range(n)]
