"""Read from a sidecar what the network is told of a scan, and what else is known of it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bidsharmony.bids.sidecar import PLAUSIBLE, number
from bidsharmony.numerics.gradients import B0_THRESHOLD, B_CANONICAL, B_LARGEST_MAXIMUM
from bidsharmony.reports.facts import DISPLAYED_KEYS

TOLD = tuple(DISPLAYED_KEYS)
"""What the network is told of a scan, and what the page lists as used or missing."""

B_VALUE_KEYS = ('diffusionbvalue', 'bvalue', 'bval', 'diffusionbfactor', 'bfactor')
"""Names of a b-value, letters only: DICOM's, Siemens' ``B_value``, Philips' b-factor."""

UNINTERPOLATED = 1.4
"""Scanners interpolate to about 1 mm; at this voxel size (mm) and above they rarely do."""

MATRIX_KEYS = ('BaseResolution', 'AcquisitionMatrixPE')
"""Acquired pixels along the readout, or along phase encoding."""


class ScannerFacts(NamedTuple):
    """Hold what the network is told, what had to be left out (one sentence each), and which
    of it the image header gave, not the sidecar.
    """

    metadata: dict[str, float]
    warnings: tuple[str, ...]
    derived: tuple[str, ...] = ()


def acquired_pixel(
    sidecar: Mapping[str, Any], shape: tuple[int, ...], zooms: tuple[float, ...], axis: int
) -> float | None:
    """Find the in-plane pixel that was measured, before any interpolation (mm).

    Parameters
    ----------
    sidecar : mapping
    shape, zooms : (I, J, K), mm
    axis : int
        slice axis

    Examples
    --------
    >>> acquired_pixel({'BaseResolution': 96}, (192, 192, 30), (1.25, 1.25, 4.0), 2)
    2.5
    >>> acquired_pixel({}, (256, 256, 30), (0.94, 0.94, 4.0), 2) is None
    True
    """
    canonical = number(sidecar.get('CanonicalResolutionFWHM'))
    if canonical:
        return canonical
    first, second = (ix for ix in range(3) if ix != axis)
    pixel = math.sqrt(zooms[first] * zooms[second])
    for key in MATRIX_KEYS:
        matrix = number(sidecar.get(key))
        if matrix and matrix >= 16:
            along = phase_axis(sidecar) if key == 'AcquisitionMatrixPE' else None
            axes = (along,) if along in (first, second) else (first, second)
            return max(max(shape[ix] * zooms[ix] for ix in axes) / matrix, pixel)
    return pixel if pixel >= UNINTERPOLATED else None


def phase_axis(sidecar: Mapping[str, Any]) -> int | None:
    """Find the image axis of the phase encoding, or None where the sidecar does not say.

    Examples
    --------
    >>> phase_axis({'PhaseEncodingDirection': 'j-'}), phase_axis({'PhaseEncodingAxis': 'i'})
    (1, 0)
    """
    for key in ('PhaseEncodingDirection', 'PhaseEncodingAxis'):
        value = sidecar.get(key)
        if isinstance(value, str) and re.fullmatch('[ijk]-?', value):
            return 'ijk'.index(value[0])
    return None


def scanner_facts(
    sidecar: Mapping[str, Any], shape: tuple[int, ...], zooms: tuple[float, ...], axis: int
) -> ScannerFacts:
    """Collect the numbers the network takes, leaving out those that cannot be true.

    Examples
    --------
    >>> sidecar = {'EchoTime': 80, 'MagneticFieldStrength': 3}
    >>> facts = scanner_facts(sidecar, (9, 9, 9), (2.0, 2.0, 2.0), 2)
    >>> facts.metadata['MagneticFieldStrength'], 'EchoTime' in facts.metadata
    (3.0, False)
    >>> facts.warnings
    ('EchoTime is 80 in the sidecar, which is no value in BIDS units: taken as missing.',)
    """
    metadata, warnings = {}, []
    for key, (low, high) in PLAUSIBLE.items():
        value = number(sidecar.get(key))
        if value is not None and low <= value <= high:
            metadata[key] = value
        elif key in sidecar:
            # text may hold anything, so only a number is repeated
            found = 'no number' if value is None else f'{value:g}'
            warnings.append(
                f'{key} is {found} in the sidecar, which is no value in BIDS units: '
                'taken as missing.'
            )
    derived = []
    if 'SliceThickness' not in metadata:
        metadata['SliceThickness'] = float(zooms[axis])
        derived.append('SliceThickness')
    profile = number(sidecar.get('CanonicalSliceProfileFWHM'))
    if profile and 'SliceThickness' not in derived:
        # slices that were averaged with their neighbours may be thicker than they are apart
        metadata['CanonicalSliceProfileFWHM'] = profile
    pixel = acquired_pixel(sidecar, shape, zooms, axis)
    if pixel is not None:
        metadata['AcquiredPixel'] = pixel
        if pixel == acquired_pixel({}, shape, zooms, axis):
            derived.append('AcquiredPixel')
    return ScannerFacts(metadata, tuple(warnings), tuple(derived))


def zero_filling(
    metadata: Mapping[str, float], zooms: tuple[float, float, float], axis: int
) -> int:
    """Count the reconstructed pixels for each acquired one, in plane; 1 where it is not known.

    Examples
    --------
    >>> zero_filling({'AcquiredPixel': 1.875}, (0.9375, 0.9375, 6.0), 2)
    2
    """
    inplane = min(zoom for i, zoom in enumerate(zooms) if i != axis)
    ratio = metadata.get('AcquiredPixel', inplane) / inplane
    # a coarser phase-encode axis alone, up to 1.43 times, is no zero-filling
    return max(round(ratio), 1)


def stated_b_value(sidecar: Mapping[str, Any]) -> float | None:
    """Find the b-value that a sidecar states for one image (s/mm2), under whatever key.

    Examples
    --------
    >>> stated_b_value({'DiffusionBValue': 1000}), stated_b_value({'B_value': '800'})
    (1000.0, 800.0)
    >>> stated_b_value({'BValue': [0, 1000]}), stated_b_value({'EchoTime': 0.07})  # which one?
    (None, None)
    """
    for key, value in sidecar.items():
        if re.sub('[^a-z]', '', key.lower()) not in B_VALUE_KEYS:
            continue
        only = value[0] if isinstance(value, list) and len(value) == 1 else value
        try:
            found = number(float(only) if isinstance(only, str) else only)
        except ValueError:
            continue
        if found is not None:
            return found
    return None


def trace_b_value(
    sidecar: Mapping[str, Any], b0_threshold: float = B0_THRESHOLD
) -> tuple[float, tuple[str, ...]]:
    """Take the b-value of a trace image (s/mm2) from its sidecar, or b=1000 and a warning.

    Parameters
    ----------
    sidecar : mapping
    b0_threshold : s/mm2
        b-values up to this one count as b=0

    Examples
    --------
    >>> trace_b_value({'DiffusionBValue': 800})
    (800.0, ())
    >>> trace_b_value({})[0]
    1000.0
    """
    stated = stated_b_value(sidecar)
    if stated is not None and b0_threshold < stated <= B_LARGEST_MAXIMUM:
        return stated, ()
    found = 'does not state' if stated is None else f'states as {stated:g}'
    warning = (
        f'The sidecar {found} the b-value of the trace image; {B_CANONICAL:g} s/mm2 is assumed, '
        'and the ADC depends on it.'
    )
    return B_CANONICAL, (warning,)


def is_preprocessed(sidecar: Mapping[str, Any], entities: Mapping[str, str]) -> bool:
    """Tell whether a series says that it is preprocessed, by its name or in its sidecar.

    ``SkullStripped`` is what BIDS requires of preprocessed images, and raw ones do not have.

    Examples
    --------
    >>> is_preprocessed({}, {'subject': '01', 'desc': 'preproc'})
    True
    >>> is_preprocessed({'SkullStripped': False}, {}), is_preprocessed({'EchoTime': 0.07}, {})
    (True, False)
    """
    return entities.get('desc') == 'preproc' or isinstance(sidecar.get('SkullStripped'), bool)


def reported_facts(facts: ScannerFacts, b_value: float) -> dict[str, Any]:
    """Split what the network can be told into what it was told and what it was not.

    Parameters
    ----------
    facts : ScannerFacts
    b_value : s/mm2
        of the shell that the trace image came from

    Examples
    --------
    >>> told = reported_facts(ScannerFacts({'EchoTime': 0.07}, ()), 1000.0)
    >>> told['used'], told['missing'][:2]
    ({'EchoTime': 0.07, 'BValue': 1000.0}, ['MagneticFieldStrength', 'RepetitionTime'])
    """
    entered = {**facts.metadata, 'BValue': b_value}
    return {
        'used': {key: entered[key] for key in TOLD if key in entered},
        'missing': [key for key in TOLD if key not in entered],
        'derived': list(facts.derived),
    }
