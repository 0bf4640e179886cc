"""Write the sidecars of what was made: what each image is now, and nothing private."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bidsharmony.bids.sidecar import number
from bidsharmony.network.facts import MATRIX_KEYS

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
    *MATRIX_KEYS,
    'CanonicalResolutionFWHM',
    'CanonicalSliceProfileFWHM',
    'PhaseEncodingAxis',
)
"""Read to find the acquired pixel and slice, and not written again."""

ACQUIRED = ('EchoTime', 'RepetitionTime', 'MagneticFieldStrength', 'SliceThickness')
"""What canonical images have under the usual key, and the scanner's under another."""

OF_SLICES = (
    'SliceThickness',
    'SpacingBetweenSlices',
    'SliceTiming',
    'SliceEncodingDirection',
    'MultibandAccelerationFactor',
)
"""Keys that tell of slices as they were acquired."""

_TEXT = re.compile(r'[\w .,\\/()+-]{1,64}')
_ABSOLUTE_PATH = re.compile(r'(?<![\w)])[/\\]')


def public_sidecar(sidecar: Mapping[str, Any]) -> dict[str, Any]:
    """Keep what may leave the scanner; nodes, logs and crash files see nothing else.

    Examples
    --------
    >>> public_sidecar({'EchoTime': 0.07, 'DeviceSerialNumber': '12345'})
    {'EchoTime': 0.07}
    """
    return _plain(sidecar, (*CARRIED, *EXTRA))


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


def standard_sidecar(
    described: Mapping[str, Any], template: list[str], resolution: str
) -> dict[str, Any]:
    """Describe an image that was brought to the space of a template.

    Parameters
    ----------
    described : mapping
        sidecar of what was brought there
    template : list of str
        BIDS URIs: the image that the space is that of, and what else was used of the template
    resolution : str
        '' where the name has no ``res-``

    Examples
    --------
    >>> before = {'Sources': ['a'], 'Resolution': 'of the scan', 'SliceThickness': 4.0}
    >>> made = standard_sidecar(before, ['b', 'c'], '')
    >>> made
    {'Sources': ['a', 'b', 'c'], 'SpatialReference': 'b'}
    """
    # a template has no slices
    gone = {'Resolution', *OF_SLICES, *(f'Acquired{key}' for key in OF_SLICES)}
    kept = {key: value for key, value in described.items() if key not in gone}
    return {
        **kept,
        'Sources': [*described['Sources'], *template],
        'SpatialReference': template[0],
        **({'Resolution': resolution} if resolution else {}),
    }


def transform_sidecar(sources: list[str]) -> dict[str, Any]:
    """Describe the displacement field from a template to a scan."""
    text = (
        'Displacement, mm, of each place of the template to the same anatomy of the scan, in the '
        'axes of ITK (to the left, to the back, up): affine and diffeomorphic part in one. '
        'antsApplyTransforms -t FILE brings images of the scan to the template.'
    )
    return {'Sources': list(sources), 'Description': text, 'Units': 'mm'}


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
