"""Read the scanner facts of a sidecar, and write the sidecars of what was made from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

PLAUSIBLE = {
    'MagneticFieldStrength': (0.05, 12.0),  # T
    'EchoTime': (0.005, 0.5),  # s
    'RepetitionTime': (0.1, 60.0),  # s
    'SliceThickness': (0.3, 30.0),  # mm
}
"""BIDS unit ranges: outside of them a number is in another unit, or wrong."""

CARRIED = (
    'Manufacturer',
    'ManufacturersModelName',
    'MagneticFieldStrength',
    'MRAcquisitionType',
    'ScanningSequence',
    'SequenceVariant',
    'EchoTime',
    'RepetitionTime',
    'FlipAngle',
    'SliceThickness',
    'SpacingBetweenSlices',
    'SliceTiming',
    'SliceEncodingDirection',
    'MultibandAccelerationFactor',
    'ParallelReductionFactorInPlane',
    'ParallelAcquisitionTechnique',
    'PartialFourier',
    'PartialFourierDirection',
    'PhaseEncodingDirection',
    'EffectiveEchoSpacing',
    'TotalReadoutTime',
    'DwellTime',
    'ReceiveCoilName',
    'NonlinearGradientCorrection',
)
"""What later programs need. Names, dates, serial numbers and free text are not among them."""

EXTRA = ('BaseResolution', 'AcquisitionMatrixPE', 'CanonicalResolutionFWHM')
"""Read to find the acquired pixel, and not written again."""

REPORTED = (
    'Manufacturer',
    'ManufacturersModelName',
    'MagneticFieldStrength',
    'EchoTime',
    'RepetitionTime',
    'SliceThickness',
    'PartialFourier',
    'PhaseEncodingDirection',
    'TotalReadoutTime',
)
"""What the page lists as present or missing."""

ACQUIRED = ('EchoTime', 'RepetitionTime', 'MagneticFieldStrength')

UNINTERPOLATED = 1.4
"""Scanners interpolate to about 1 mm; at this voxel size (mm) and above they rarely do."""

_MATRIX_KEYS = EXTRA[:2]
_MAX_TEXT = 200


class ScannerFacts(NamedTuple):
    """Hold what the network is told, and what had to be left out (one sentence each)."""

    metadata: dict[str, float]
    warnings: tuple[str, ...]


def number(value: Any) -> float | None:
    """Take a finite number from a sidecar, or None.

    Examples
    --------
    >>> number(3), number('3'), number(True), number(float('nan'))
    (3.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


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
    for key in _MATRIX_KEYS:
        matrix = number(sidecar.get(key))
        if matrix and matrix >= 16:
            field_of_view = max(shape[first] * zooms[first], shape[second] * zooms[second])
            return max(field_of_view / matrix, pixel)
    return pixel if pixel >= UNINTERPOLATED else None


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
            warnings.append(
                f'{key} is {_short(sidecar[key])} in the sidecar, which is no value in BIDS '
                'units: taken as missing.'
            )
    metadata.setdefault('SliceThickness', float(zooms[axis]))
    pixel = acquired_pixel(sidecar, shape, zooms, axis)
    if pixel is not None:
        metadata['AcquiredPixel'] = pixel
    return ScannerFacts(metadata, tuple(warnings))


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


def public_sidecar(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what may leave the scanner; nodes, logs and crash files see nothing else.

    Examples
    --------
    >>> public_sidecar({'EchoTime': 0.07, 'DeviceSerialNumber': '12345'})
    {'EchoTime': 0.07}
    """
    return {key: _plain(sidecar[key]) for key in (*CARRIED, *EXTRA) if key in sidecar}


def reported_facts(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Split the facts that matter into those the sidecar gives and those it lacks.

    Examples
    --------
    >>> facts = reported_facts({'EchoTime': 0.07})
    >>> facts['used'], facts['missing'][0]
    ({'EchoTime': 0.07}, 'Manufacturer')
    """
    used = {key: _plain(sidecar[key]) for key in REPORTED if key in sidecar}
    return {'used': used, 'missing': [key for key in REPORTED if key not in used]}


def series_sidecar(sidecar: Mapping[str, Any], sources: list[str]) -> dict[str, Any]:
    """Describe the harmonized series: the scanner's facts, since it still holds its data."""
    carried = {key: _plain(sidecar[key]) for key in CARRIED if key in sidecar}
    return {**carried, **_derived(sources), 'Units': 'arbitrary'}


def canonical_sidecar(
    sidecar: Mapping[str, Any],
    sources: list[str],
    *,
    canonical: Mapping[str, float],
    fwhm_mm: float,
    extrapolated: bool,
    units: str = 'arbitrary',
) -> dict[str, Any]:
    """Describe a canonical image: the usual keys hold what it now is, ``Acquired*`` what it was.

    Examples
    --------
    >>> made = canonical_sidecar(
    ...     {'EchoTime': 0.07}, [], canonical={'EchoTime': 0.08}, fwhm_mm=2.0, extrapolated=False
    ... )
    >>> made['EchoTime'], made['AcquiredEchoTime'], made['CanonicalResolutionFWHM']
    (0.08, 0.07, 2.0)
    """
    return {
        **{key: canonical[key] for key in ACQUIRED if key in canonical},
        **{f'Acquired{key}': _plain(sidecar[key]) for key in ACQUIRED if key in sidecar},
        **_derived(sources),
        'CanonicalResolutionFWHM': fwhm_mm,
        'Extrapolated': extrapolated,
        'Units': units,
    }


def map_sidecar(sources: list[str], description: str, units: str = 'arbitrary') -> dict[str, Any]:
    """Describe a map or a mask."""
    return {**_derived(sources), 'Description': description, 'Units': units}


def mask_sidecar(sources: list[str]) -> dict[str, Any]:
    """Describe a brain mask."""
    return {**_derived(sources), 'Type': 'Brain', 'Description': 'Brain, found on the mean b=0.'}


def _derived(sources: list[str]) -> dict[str, Any]:
    """Give the keys that every derivative image has."""
    return {'Sources': list(sources), 'SkullStripped': False}


def _plain(value: Any) -> Any:
    """Pass on numbers, booleans, short text and flat lists of them; nothing else."""
    if isinstance(value, list):
        return [_plain(item) for item in value if not isinstance(item, (list, dict))]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, (bool, int, float)) else _short(value)


def _short(value: Any) -> str:
    """Write a value in one short printable line."""
    text = ''.join(char if char.isprintable() else ' ' for char in str(value)).strip()
    return text[:_MAX_TEXT]
