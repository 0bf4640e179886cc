"""Read the scanner facts of a sidecar, and write the sidecars of what was made from it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from bidsharmony.bids.sidecar import PLAUSIBLE, number
from bidsharmony.reports.facts import DISPLAYED_KEYS

NUMBERS = (
    'MagneticFieldStrength',
    'EchoTime',
    'RepetitionTime',
    'FlipAngle',
    'SliceThickness',
    'SpacingBetweenSlices',
    'MultibandAccelerationFactor',
    'ParallelReductionFactorInPlane',
    'PartialFourier',
    'EffectiveEchoSpacing',
    'TotalReadoutTime',
    'DwellTime',
)
"""Keys that hold one number in BIDS."""

TEXTS = (
    'Manufacturer',
    'ManufacturersModelName',
    'MRAcquisitionType',
    'ScanningSequence',
    'SequenceVariant',
    'SliceEncodingDirection',
    'ParallelAcquisitionTechnique',
    'PartialFourierDirection',
    'PhaseEncodingDirection',
)
"""Keys that hold a short text in BIDS, or a list of them."""

CARRIED = (*NUMBERS, *TEXTS, 'SliceTiming', 'NonlinearGradientCorrection')
"""What later programs need. Names, dates, serial numbers and free text are not among them."""

EXTRA = (
    'BaseResolution',
    'AcquisitionMatrixPE',
    'CanonicalResolutionFWHM',
    'CanonicalSliceProfileFWHM',
    'PhaseEncodingAxis',
)
"""Read to find the acquired pixel and slice, and not written again."""

TOLD = tuple(DISPLAYED_KEYS)
"""What the network is told of a scan, and what the page lists as used or missing."""

B_VALUE_KEYS = ('diffusionbvalue', 'bvalue', 'bval', 'diffusionbfactor', 'bfactor')
"""Names of a b-value, letters only: DICOM's, Siemens' ``B_value``, Philips' b-factor."""

ACQUIRED = ('EchoTime', 'RepetitionTime', 'MagneticFieldStrength', 'SliceThickness')
"""What canonical images have under the usual key, and the scanner's under another."""

UNINTERPOLATED = 1.4
"""Scanners interpolate to about 1 mm; at this voxel size (mm) and above they rarely do."""

OF_SLICES = (
    'SliceThickness',
    'SpacingBetweenSlices',
    'SliceTiming',
    'SliceEncodingDirection',
    'MultibandAccelerationFactor',
)
"""Keys that tell of slices as they were acquired."""

_MATRIX_KEYS = EXTRA[:2]
_TEXT = re.compile(r'[\w .,\\/()+-]{1,64}')
_ABSOLUTE_PATH = re.compile(r'(?<![\w)])[/\\]')


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
    for key in _MATRIX_KEYS:
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


def public_sidecar(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what may leave the scanner; nodes, logs and crash files see nothing else.

    Examples
    --------
    >>> public_sidecar({'EchoTime': 0.07, 'DeviceSerialNumber': '12345'})
    {'EchoTime': 0.07}
    """
    return _plain(sidecar, (*CARRIED, *EXTRA))


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


def series_sidecar(
    sidecar: Mapping[str, Any], sources: list[str], made: Mapping[str, Any]
) -> dict[str, Any]:
    """Describe the harmonized series: the scanner's facts, since it still holds its data.

    Parameters
    ----------
    sidecar : mapping
    sources : list of str
    made : mapping
        ``strength``; ``fwhm_mm`` before and after; ``noise_gain``, below 1 where the series was
        brought to another grid, whose slices were not acquired one by one

    Examples
    --------
    >>> made = {'strength': 1.0, 'noise_gain': 0.6, 'fwhm_mm': {'after': [3, 3, 5]}}
    >>> found = series_sidecar({'SliceTiming': [0, 1], 'SliceThickness': 5}, [], made)
    >>> found['ResolutionFWHM'], 'SliceTiming' in found, 'SliceThickness' in found
    ([3, 3, 5], False, False)
    """
    carried = _plain(sidecar, CARRIED)
    if made['noise_gain'] < 1:
        carried = {key: value for key, value in carried.items() if key not in OF_SLICES}
    return {
        **carried,
        **_derived(sources),
        'HarmonizationStrength': made['strength'],
        'ResolutionFWHM': made['fwhm_mm']['after'],
        'Units': 'arbitrary',
    }


def canonical_sidecar(
    sidecar: Mapping[str, Any],
    sources: list[str],
    *,
    canonical: Mapping[str, float],
    fwhm_mm: float,
    profile_mm: float,
    extrapolated: bool,
    strength: float = 1.0,
    units: str = 'arbitrary',
) -> dict[str, Any]:
    """Describe a canonical image: the usual keys hold what it now is, ``Acquired*`` what it was.

    Examples
    --------
    >>> made = canonical_sidecar(
    ...     {'EchoTime': 0.07},
    ...     [],
    ...     canonical={'EchoTime': 0.08, 'SliceThickness': 6.0},
    ...     fwhm_mm=2.0,
    ...     profile_mm=4.0,
    ...     extrapolated=False,
    ... )
    >>> made['EchoTime'], made['AcquiredEchoTime'], made['CanonicalResolutionFWHM']
    (0.08, 0.07, 2.0)
    >>> made['CanonicalSliceProfileFWHM'], made['SliceThickness']  # nothing makes slices thinner
    (4.0, 6.0)
    """
    scanner = _plain(sidecar, ACQUIRED)
    # half-way the image is neither the one nor the other: no echo time is its own
    now = {key: canonical[key] for key in ACQUIRED if key in canonical} if strength == 1 else {}
    return {
        **now,
        **{f'Acquired{key}': value for key, value in scanner.items()},
        **_derived(sources),
        'HarmonizationStrength': strength,
        'CanonicalResolutionFWHM': fwhm_mm,
        'CanonicalSliceProfileFWHM': profile_mm,
        'Extrapolated': extrapolated,
        'Units': units,
    }


def map_sidecar(sources: list[str], description: str, units: str = 'arbitrary') -> dict[str, Any]:
    """Describe a map or a mask."""
    return {**_derived(sources), 'Description': description, 'Units': units}


def denoising_sidecar(*, mppca: bool, rician: bool) -> dict[str, str]:
    """Say how noise was taken out of a series; what was not done has no key.

    Examples
    --------
    >>> denoising_sidecar(mppca=True, rician=False)
    {'Denoising': 'MP-PCA (dipy.denoise.localpca.mppca)'}
    """
    done = {
        'Denoising': 'MP-PCA (dipy.denoise.localpca.mppca)' if mppca else '',
        'RicianBiasCorrection': 'sqrt(M^2 - sigma^2), 0 where M < sigma' if rician else '',
    }
    return {key: text for key, text in done.items() if text}


def noise_sidecar(sources: list[str], *, mppca: bool, rician: bool) -> dict[str, Any]:
    """Describe the noise map: whose noise, in which unit, and how it was measured."""
    how = (
        'Measured place by place by MP-PCA, which has taken most of it out since.'
        if mppca
        else 'Measured on the b=0 volumes, as one number for all places.'
    )
    text = (
        'Standard deviation of the noise of one volume as acquired, times gain over bias field: '
        f'in the unit of the harmonized series. {how}'
    )
    return {
        **map_sidecar(sources, text, 'arbitrary, as the harmonized series'),
        **denoising_sidecar(mppca=mppca, rician=rician),
    }


def mask_sidecar(sources: list[str], *, given: bool = False) -> dict[str, Any]:
    """Describe a brain mask: found here, or given with the series."""
    origin = 'from the preprocessed dataset' if given else 'found on the mean b=0'
    return {**_derived(sources), 'Type': 'Brain', 'Description': f'Brain, {origin}.'}


def _derived(sources: list[str]) -> dict[str, Any]:
    """Give the keys that every derivative image has."""
    return {'Sources': list(sources), 'SkullStripped': False}


def _plain(sidecar: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """Pass on these keys where the value is of the kind that BIDS asks for."""
    found = {key: _value(key, sidecar.get(key)) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def _value(key: str, value: Any) -> Any:
    """Return a value as it was, or None where it is not of its key's kind.

    Examples
    --------
    >>> _value('EchoTime', 0.07), _value('EchoTime', '0.07'), _value('ScanningSequence', 'SE/EP')
    (0.07, None, 'SE/EP')
    """
    if key == 'NonlinearGradientCorrection':
        return value if isinstance(value, bool) else None
    if key == 'SliceTiming':
        whole = isinstance(value, list) and all(number(item) is not None for item in value)
        return list(value) if whole else None
    if key not in (*TEXTS, 'PhaseEncodingAxis'):
        return None if number(value) is None else value
    if isinstance(value, list):
        return value if value and all(_harmless(item) for item in value) else None
    return value if _harmless(value) else None


def _harmless(text: Any) -> bool:
    """Tell short plain text from sentences, paths and control characters."""
    return (
        isinstance(text, str)
        and _TEXT.fullmatch(text) is not None
        and _ABSOLUTE_PATH.search(text) is None
    )
