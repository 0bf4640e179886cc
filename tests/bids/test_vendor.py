"""Sidecars by vendor: the keys that real ones have, and values that follow as real ones do."""

import json
from collections import Counter

import pytest

from bidsharmony.bids.vendor import Acquisition, slice_times, vendor_sidecar

# physics only lends its scanners here
from bidsharmony.physics.phantom import phantom_scanners

SCANNERS = {scanner.label: scanner for scanner in phantom_scanners()}
#: Who was scanned where and when, and by whom: nothing that a simulated scan could tell.
PRIVATE = {
    'AcquisitionNumber',
    'AcquisitionTime',
    'BidsGuess',
    'DeviceSerialNumber',
    'InstitutionAddress',
    'InstitutionName',
    'InstitutionalDepartmentName',
    'ProcedureStepDescription',
    'SAR',
    'SeriesNumber',
    'StationName',
    'StudyDescription',
}
#: Toshiba became Canon.
SAME_MAKER = {'Canon': ('Canon', 'Toshiba')}
COMMON = 0.8  # share of a vendor's sidecars in which a key is taken to be a rule


@pytest.fixture(scope='module')
def real(shared_data) -> list[dict]:
    """Return real sidecars that name their maker, and are no mere excerpt."""
    found = [json.loads(p.read_text()) for p in sorted(shared_data.glob('sidecars/*/*.json'))]
    return [sidecar for sidecar in found if 'Manufacturer' in sidecar and len(sidecar) > 20]


@pytest.mark.parametrize('label', SCANNERS)
def test_keys_are_those_of_the_vendor(real, label):
    """No key that the vendor never has, none missing that it nearly always has."""
    ours = SCANNERS[label].metadata(20, 'program 1.0')
    makers = SAME_MAKER.get(ours['Manufacturer'], (ours['Manufacturer'],))
    theirs = [sidecar for sidecar in real if sidecar['Manufacturer'] in makers]
    counts = Counter(key for sidecar in theirs for key in sidecar)
    assert set(ours) <= set(counts)
    rules = {key for key, n in counts.items() if n >= COMMON * len(theirs)}
    assert rules - PRIVATE <= set(ours)


@pytest.mark.parametrize('label', SCANNERS)
def test_values_are_of_the_kind_of_real_ones(real, label):
    """A number where real ones have a number, text where they have text."""
    for key, value in SCANNERS[label].metadata(20, 'program 1.0').items():
        kinds = {_kind(sidecar[key]) for sidecar in real if key in sidecar}
        assert _kind(value) in kinds, (key, value)


def _kind(value: object) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 'number'
    return type(value).__name__


def repeated(sidecar: dict) -> dict:
    """Return what we derive for a real scan, from what it says of itself."""
    acceleration = sidecar.get('ParallelReductionFactorInPlane', 1)
    lines, recon = sidecar['AcquisitionMatrixPE'], sidecar['ReconMatrixPE']
    if sidecar['Manufacturer'] == 'Philips':
        total = sidecar['WaterFatShift'] / (sidecar['ImagingFrequency'] * 3.4)
        spacing = total / (sidecar['EchoTrainLength'] + 1)
    elif sidecar['Manufacturer'] == 'GE':
        echoes = 2 * -(-lines // (2 * acceleration))
        spacing = sidecar['TotalReadoutTime'] / (echoes - 1)
    else:
        spacing = sidecar['DerivedVendorReportedEchoSpacing']
    scan = Acquisition(
        echo_time=sidecar['EchoTime'],
        repetition_time=sidecar['RepetitionTime'],
        thickness=sidecar['SliceThickness'],
        spacing=sidecar['SpacingBetweenSlices'],
        n_slices=len(sidecar.get('SliceTiming', [0])),
        lines=lines,
        columns=sidecar.get('BaseResolution', recon),
        recon=recon,
        partial_fourier=sidecar.get('PartialFourier', 0.75),
        acceleration=acceleration,
        echo_spacing=spacing,
        polarity=sidecar.get('PhaseEncodingDirection', 'j'),
        slope=1 / sidecar.get('PhilipsScaleSlope', 1),
    )
    return vendor_sidecar(sidecar, scan, 'program 1.0')


@pytest.mark.parametrize(
    ('name', 'keys'),
    [
        (
            'OpenNeuroDatasets-ds004884/Siemens_TrioTim_3_1',
            'BandwidthPerPixelPhaseEncode EffectiveEchoSpacing TotalReadoutTime DwellTime '
            'BaseResolution PhaseResolution',
        ),
        (
            'OpenNeuroDatasets-ds004712/Siemens_Prisma_3_1',
            'BandwidthPerPixelPhaseEncode EffectiveEchoSpacing TotalReadoutTime DwellTime '
            'EchoTrainLength PhaseEncodingSteps',
        ),
        ('OpenNeuroDatasets-ds004712/GE_DISCOVERY-MR750_3_1', 'EffectiveEchoSpacing'),
        ('neurolabusc-dcm-qa-ge/GE_SIGNA-Pioneer_3_2', 'EffectiveEchoSpacing'),
        (
            'neurolabusc-dcm-qa-philips-dwi/Philips_Ingenia-Elition-X_3_1',
            'EchoTrainLength WaterFatShift EstimatedEffectiveEchoSpacing '
            'EstimatedTotalReadoutTime PhilipsScaleSlope PhaseEncodingStepsNoPartialFourier',
        ),
        (
            'OpenNeuroDatasets-ds004712/Philips_Ingenia_3_1',
            'EchoTrainLength WaterFatShift EstimatedEffectiveEchoSpacing '
            'EstimatedTotalReadoutTime',
        ),
    ],
)
def test_values_follow_as_in_real_sidecars(shared_data, name, keys):
    """What we derive for a real scan is what its sidecar says."""
    sidecar = json.loads((shared_data / 'sidecars' / f'{name}.json').read_text())
    ours = repeated(sidecar)
    for key in keys.split():
        # dwell times have two digits in the sidecars
        assert ours[key] == pytest.approx(sidecar[key], rel=0.02 if key == 'DwellTime' else 2e-4)


def test_readout_is_spread_over_the_reconstructed_matrix():
    """As BIDS defines it: TotalReadoutTime = EffectiveEchoSpacing (ReconMatrixPE - 1)."""
    for scanner in SCANNERS.values():
        sidecar = scanner.metadata(20, 'program 1.0')
        for start in ('', 'Estimated'):
            if f'{start}EffectiveEchoSpacing' in sidecar:
                spread = sidecar[f'{start}EffectiveEchoSpacing'] * (sidecar['ReconMatrixPE'] - 1)
                assert sidecar[f'{start}TotalReadoutTime'] == pytest.approx(spread, rel=1e-4)


@pytest.mark.parametrize(
    ('maker', 'absent', 'present'),
    [
        ('philips3t', 'EffectiveEchoSpacing PhaseEncodingDirection SliceTiming', 'WaterFatShift'),
        ('ge15t', 'SliceTiming PartialFourier EchoTrainLength', 'PhaseEncodingPolarityGE'),
        ('canon15t', 'TotalReadoutTime PhaseEncodingDirection SliceTiming', 'PhaseEncodingAxis'),
        ('uih3t', 'ImagingFrequency EffectiveEchoSpacing', 'PhaseEncodingDirectionDisplayed'),
        ('siemens3t', 'PhaseEncodingAxis', 'BaseResolution'),
    ],
)
def test_what_vendors_tell_and_what_not(maker, absent, present):
    sidecar = SCANNERS[maker].metadata(20, 'program 1.0')
    assert not set(absent.split()) & set(sidecar)
    assert present in sidecar


@pytest.mark.parametrize('n', [1, 2, 5, 8])
def test_slices_are_excited_one_after_the_other(n):
    times = slice_times(n, 4.0)
    assert sorted(times) == pytest.approx([4.0 * i / n for i in range(n)])
    if n > 1:
        assert abs(times[0] - times[1]) > 4.0 / n - 1e-9


def test_unknown_vendor_is_named():
    scan = Acquisition(0.08, 8, 2, 2, 30, 96, 96, 96, 1.0, 1, 8e-4, 'j')
    with pytest.raises(ValueError, match="'Acme'; choose one of Siemens"):
        vendor_sidecar({'Manufacturer': 'Acme'}, scan, 'program 1.0')
