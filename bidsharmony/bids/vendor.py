"""Write the sidecar of a scan with the keys that its vendor's headers give dcm2niix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

FAT_SHIFT_PPM = 3.4  # of fat against water, as dcm2niix reads Philips' WaterFatShift


@dataclass(frozen=True)
class Acquisition:
    """What an axial EPI scan measured, for its sidecar.

    Attributes
    ----------
    echo_time, repetition_time : float
        s.
    thickness, spacing : float
        Of slices, mm.
    n_slices : int
    lines, columns : int
        Matrix along phase encoding and readout, as acquired.
    recon : int
        Matrix as reconstructed.
    partial_fourier : float
        Fraction of the lines.
    acceleration : int
        In-plane, of parallel imaging.
    echo_spacing : float
        From one echo to the next, s.
    polarity : {'j', 'j-'}
        Phase-encode direction of BIDS.
    slope : float
        Of the image's header.
    """

    echo_time: float
    repetition_time: float
    thickness: float
    spacing: float
    n_slices: int
    lines: int
    columns: int
    recon: int
    partial_fourier: float
    acceleration: int
    echo_spacing: float
    polarity: str
    slope: float = 1.0


def vendor_sidecar(fixed: dict[str, Any], scan: Acquisition, converter: str) -> dict[str, Any]:
    """Complete a scanner's fixed entries with those that follow from the scan.

    Key names, and how one entry follows from others, were read off public sidecars of each vendor.

    Parameters
    ----------
    fixed : dict
        What does not depend on the scan, with Manufacturer, ImagingFrequency (MHz) and
        PixelBandwidth (Hz) where the vendor states them.
    scan : Acquisition
    converter : str
        Name and version of the program that wrote the files.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the vendor is none of those known.
    """
    maker = fixed['Manufacturer']
    if maker not in _VENDORS:
        raise ValueError(f'unknown vendor {maker!r}; choose one of {", ".join(_VENDORS)}')
    software, _, version = converter.partition(' ')
    sidecar = {
        'Modality': 'MR',
        **fixed,
        'PatientPosition': 'HFS',
        'MRAcquisitionType': '2D',
        'SeriesDescription': 'simulated diffusion',
        'ProtocolName': 'simulated diffusion',
        'SliceThickness': scan.thickness,
        'SpacingBetweenSlices': scan.spacing,
        'EchoTime': scan.echo_time,
        'RepetitionTime': scan.repetition_time,
        'FlipAngle': 90,
        'AcquisitionMatrixPE': scan.lines,
        'ReconMatrixPE': scan.recon,
        **_VENDORS[maker](fixed, scan),
        'ImageOrientationPatientDICOM': [1, 0, 0, 0, 1, 0],
        'InPlanePhaseEncodingDirectionDICOM': 'COL',
        'ConversionSoftware': software,
        'ConversionSoftwareVersion': version,
    }
    if scan.acceleration > 1:
        sidecar['ParallelReductionFactorInPlane'] = scan.acceleration
    return sidecar


def slice_times(n_slices: int, repetition_time: float) -> list[float]:
    """Return when each of interleaved slices is excited: odd ones first, even if their number is.

    Examples
    --------
    >>> slice_times(4, 2.0), slice_times(3, 3.0)
    ([1.0, 0.0, 1.5, 0.5], [0.0, 2.0, 1.0])
    """
    first = (n_slices + 1) % 2
    order = [*range(first, n_slices, 2), *range(1 - first, n_slices, 2)]
    times = [0.0] * n_slices
    for i, place in enumerate(order):
        times[place] = round(i * repetition_time / n_slices, 6)
    return times


def _siemens(fixed: dict[str, Any], scan: Acquisition) -> dict[str, Any]:
    effective = scan.echo_spacing / scan.acceleration
    acquired = round(scan.lines * scan.partial_fourier)
    return {
        'PercentPhaseFOV': 100,
        'PercentSampling': 100,
        'PartialFourier': scan.partial_fourier,
        'BaseResolution': scan.columns,
        'PhaseResolution': scan.lines / scan.columns,
        'EchoTrainLength': math.ceil(acquired / scan.acceleration),
        'PhaseEncodingSteps': acquired,
        'BandwidthPerPixelPhaseEncode': round(1 / (effective * scan.recon), 3),
        'EffectiveEchoSpacing': _rounded(effective),
        'DerivedVendorReportedEchoSpacing': _rounded(scan.echo_spacing),
        'TotalReadoutTime': _rounded(effective * (scan.recon - 1)),
        # the readout is oversampled twice
        'DwellTime': round(1 / (2 * fixed['PixelBandwidth'] * scan.columns), 7),
        'PhaseEncodingDirection': scan.polarity,
        'SliceTiming': slice_times(scan.n_slices, scan.repetition_time),
    }


def _ge(fixed: dict[str, Any], scan: Acquisition) -> dict[str, Any]:
    # echoes are counted in pairs; the readout is spread over the reconstructed matrix
    echoes = 2 * math.ceil(scan.lines / scan.acceleration / 2)
    readout = (echoes - 1) * scan.echo_spacing
    return {
        'PercentPhaseFOV': 100,
        'PercentSampling': 100,
        'EffectiveEchoSpacing': _rounded(readout / (scan.recon - 1)),
        'TotalReadoutTime': _rounded(readout),
        'PhaseEncodingDirection': scan.polarity,
    }


def _philips(fixed: dict[str, Any], scan: Acquisition) -> dict[str, Any]:
    # the polarity of phase encoding is not in the header, and echo spacing but an estimate
    echoes = math.ceil(scan.lines / scan.acceleration)
    shift = (echoes + 1) * scan.echo_spacing * fixed['ImagingFrequency'] * FAT_SHIFT_PPM
    readout = echoes * scan.echo_spacing
    partial = {
        'PartialFourierEnabled': 'YES',
        'PhaseEncodingStepsNoPartialFourier': scan.lines,
    }
    return {
        'PercentPhaseFOV': 100,
        'PercentSampling': 100,
        'EchoTrainLength': echoes,
        **(partial if scan.partial_fourier < 1 else {}),
        'WaterFatShift': _rounded(shift),
        'EstimatedEffectiveEchoSpacing': _rounded(readout / (scan.recon - 1)),
        'EstimatedTotalReadoutTime': _rounded(readout),
        'PhaseEncodingAxis': 'j',
        'PhilipsRescaleIntercept': 0,
        'PhilipsScaleSlope': _rounded(1 / scan.slope),
        'UsePhilipsFloatNotDisplayScaling': 1,
    }


def _canon(fixed: dict[str, Any], scan: Acquisition) -> dict[str, Any]:
    acquired = scan.lines * scan.partial_fourier
    return {
        'PercentPhaseFOV': 100,
        'EchoTrainLength': math.ceil(acquired / scan.acceleration),
        'PhaseEncodingAxis': 'j',
    }


def _uih(fixed: dict[str, Any], scan: Acquisition) -> dict[str, Any]:
    echoes = math.ceil(scan.lines * scan.partial_fourier / scan.acceleration)
    return {
        'EchoTrainLength': echoes,
        'TotalReadoutTime': _rounded((echoes - 1) * scan.echo_spacing),
        'PhaseEncodingAxis': 'j',
        'PhaseEncodingDirectionDisplayed': 'A->P' if scan.polarity == 'j-' else 'P->A',
        'SliceTiming': slice_times(scan.n_slices, scan.repetition_time),
    }


_VENDORS = {
    'Siemens': _siemens,
    'GE': _ge,
    'Philips': _philips,
    'Canon': _canon,
    'Toshiba': _canon,
    'UIH': _uih,
}


def _rounded(value: float) -> float:
    """Keep six significant digits, as dcm2niix writes."""
    return float(f'{value:.6g}')
