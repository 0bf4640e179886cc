"""Sidecars say what an image is now, and hold nothing that names a person, a place or a time."""

import json

import pytest

from bidsharmony.interfaces import sidecars
from bidsharmony.network import facts as facts_of
from bidsharmony.reports.facts import MEASURED_KEYS, MEASURED_POWERS
from tests.tiny_dataset import SIDECAR

SOURCES = ['bids:raw:sub-01/dwi/sub-01_dwi.nii.gz']
MADE = {'strength': 1.0, 'noise_gain': 1.0, 'fwhm_mm': {'after': [2.0, 2.0, 3.0]}}
CANONICAL = {'EchoTime': 0.08, 'RepetitionTime': 10.0, 'MagneticFieldStrength': 3.0, 'BValue': 1e3}


@pytest.mark.parametrize(
    'made',
    [
        sidecars.series_sidecar(SIDECAR, SOURCES, MADE),
        sidecars.canonical_sidecar(
            SIDECAR, SOURCES, canonical=CANONICAL, fwhm_mm=2.0, profile_mm=4.0, extrapolated=True
        ),
        sidecars.map_sidecar(SOURCES, 'a map'),
        sidecars.mask_sidecar(SOURCES),
        sidecars.public_sidecar({**SIDECAR, 'Sources': SOURCES, 'SkullStripped': False}),
    ],
    ids=['series', 'canonical', 'map', 'mask', 'public'],
)
def test_nothing_private(made):
    """Planted tokens reach no sidecar."""
    text = json.dumps(made)
    assert '4711' not in text
    assert '13:46' not in text


def test_canonical_values_stand_under_the_usual_keys():
    """Repeating the harmonization must read what the image is now."""
    made = sidecars.canonical_sidecar(
        SIDECAR, SOURCES, canonical=CANONICAL, fwhm_mm=2.5, profile_mm=4.0, extrapolated=True
    )
    assert (made['EchoTime'], made['AcquiredEchoTime']) == (0.08, 0.071)
    assert (made['RepetitionTime'], made['AcquiredRepetitionTime']) == (10.0, 5.2)
    assert made['Extrapolated'] is True
    assert made['SkullStripped'] is False
    assert made['Sources'] == SOURCES
    assert 'BValue' not in made
    assert 'Manufacturer' not in made


@pytest.mark.parametrize(
    ('sidecar', 'thickness', 'acquired'),
    [
        ({'SliceThickness': 2.2}, 5.0, 2.2),
        ({'SliceThickness': 6.0}, 6.0, 6.0),
        ({'SliceThickness': 'thin'}, 5.0, None),
        ({}, 5.0, None),
    ],
)
def test_slices_are_stated_as_they_are_and_as_they_were(sidecar, thickness, acquired):
    """The usual key holds what the image has now, beside the profile that was aimed at."""
    made = sidecars.canonical_sidecar(
        sidecar,
        SOURCES,
        canonical={**CANONICAL, 'SliceThickness': thickness},
        fwhm_mm=2.0,
        profile_mm=4.0,
        extrapolated=False,
    )
    assert made['SliceThickness'] == thickness
    assert made.get('AcquiredSliceThickness') == acquired
    assert made['CanonicalSliceProfileFWHM'] == 4.0


def test_averaged_slices_are_known_again():
    """A canonical image says that its slices may be thicker than they are apart."""
    made = sidecars.canonical_sidecar(
        {},
        SOURCES,
        canonical={**CANONICAL, 'SliceThickness': 5.0},
        fwhm_mm=2.0,
        profile_mm=4.0,
        extrapolated=False,
    )
    facts = facts_of.scanner_facts(made, (9, 9, 9), (1.0, 1.0, 2.0), 2)
    assert facts.metadata['SliceThickness'] == 5.0
    assert facts.metadata['CanonicalSliceProfileFWHM'] == 4.0
    del made['SliceThickness']
    facts = facts_of.scanner_facts(made, (9, 9, 9), (1.0, 1.0, 2.0), 2)
    assert 'CanonicalSliceProfileFWHM' not in facts.metadata
    series = sidecars.series_sidecar({'SliceThickness': 2.0}, SOURCES, MADE)
    assert series['SliceThickness'] == 2.0
    assert 'CanonicalSliceProfileFWHM' not in series


@pytest.mark.parametrize(
    ('sidecar', 'pixel'),
    [
        ({}, 2.0),
        ({'BaseResolution': 96}, 2.5),
        ({'AcquisitionMatrixPE': 60}, 4.0),
        ({'BaseResolution': 200}, 2.0),
        ({'BaseResolution': 'many'}, 2.0),
        ({'CanonicalResolutionFWHM': 2.6}, 2.6),
    ],
)
def test_acquired_pixel(sidecar, pixel):
    """The matrix says what was measured; a pixel is never finer than the voxel."""
    found = facts_of.acquired_pixel(sidecar, (120, 120, 30), (2.0, 2.0, 4.0), 2)
    assert found == pytest.approx(pixel)


@pytest.mark.parametrize(
    ('key', 'value', 'known'),
    [
        ('EchoTime', 0.08, True),
        ('EchoTime', 80, False),
        ('EchoTime', None, False),
        ('RepetitionTime', 'fast', False),
        ('MagneticFieldStrength', 3, True),
        ('MagneticFieldStrength', 30000, False),
    ],
)
def test_impossible_numbers_count_as_missing(key, value, known):
    """A value in another unit is left out, and said so."""
    facts = facts_of.scanner_facts({key: value}, (9, 9, 9), (2.0, 2.0, 3.0), 2)
    assert (key in facts.metadata) is known
    assert bool(facts.warnings) is not known
    assert facts.metadata['SliceThickness'] == 3.0


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('EchoTime', None),
        ('EchoTime', '0.08'),
        ('EchoTime', [0.08]),
        ('EchoTime', {'a': 1}),
        ('EchoTime', True),
        ('FlipAngle', float('nan')),
        ('SliceTiming', [0.0, None, 1.5]),
        ('SliceTiming', 1.5),
        ('NonlinearGradientCorrection', 'yes'),
        ('Manufacturer', None),
        ('Manufacturer', 3),
        ('Manufacturer', 'a\x1b[31m'),
        ('Manufacturer', 'b' * 65),
        ('Manufacturer', '/data/jdoe'),
        ('ManufacturersModelName', 'Prisma (\\\\host/jdoe)'),
        ('ScanningSequence', ['SE', '/data/jdoe']),
        ('ScanningSequence', {'a': 'SE'}),
        ('ReceiveCoilName', 'Dr Who Hospital /data/jdoe'),
    ],
)
def test_values_of_another_kind_are_dropped(key, value):
    """What BIDS would not take, and free text, reach no output."""
    assert sidecars.public_sidecar({key: value}) == {}
    assert key not in sidecars.series_sidecar({key: value}, SOURCES, MADE)
    canonical = sidecars.canonical_sidecar(
        {key: value}, SOURCES, canonical=CANONICAL, fwhm_mm=2.0, profile_mm=4.0, extrapolated=False
    )
    assert f'Acquired{key}' not in canonical


@pytest.mark.parametrize(
    ('key', 'value'),
    [
        ('EchoTime', 0.08),
        ('MagneticFieldStrength', 3),
        ('SliceTiming', [0.0, 1.5]),
        ('NonlinearGradientCorrection', False),
        ('ManufacturersModelName', 'Signa HDxt (2, b) +1.0'),
        ('ScanningSequence', 'EP\\SE'),
        ('ScanningSequence', ['EP', 'SE']),
        ('PhaseEncodingDirection', 'j-'),
    ],
)
def test_values_of_their_kind_are_carried(key, value):
    """Numbers, flags and short names pass as they are."""
    assert sidecars.public_sidecar({key: value}) == {key: value}


def test_warnings_repeat_no_text():
    """A field that holds text may hold anything."""
    facts = facts_of.scanner_facts({'EchoTime': 'Doe^Jane'}, (9, 9, 9), (2.0, 2.0, 3.0), 2)
    assert 'no number' in facts.warnings[0]
    assert 'Doe' not in facts.warnings[0]


def test_told_is_what_the_network_takes():
    """The page lists each condition of the network, but counts the powers, and nothing else."""
    from bidsharmony.network.model import CONDITIONS
    from bidsharmony.numerics.marks import MARKS, POWER_MARKS

    told = (*facts_of.TOLD, *MEASURED_KEYS, *POWER_MARKS)
    assert told == tuple(key for key, *_ in CONDITIONS)
    assert (*MEASURED_KEYS, *POWER_MARKS) == MARKS
    assert all(key.startswith(MEASURED_POWERS) for key in POWER_MARKS)


@pytest.mark.parametrize(
    ('sidecar', 'used', 'missing', 'derived'),
    [
        ({'EchoTime': 80}, {}, {'EchoTime'}, {'SliceThickness', 'AcquiredPixel'}),
        ({'PartialFourier': 0.75}, {}, {'EchoTime'}, {'SliceThickness', 'AcquiredPixel'}),
        ({'SliceThickness': 2.5}, {'SliceThickness': 2.5}, set(), {'AcquiredPixel'}),
        ({'BaseResolution': 48}, {'AcquiredPixel': 2.5}, set(), {'SliceThickness'}),
    ],
)
def test_used_is_what_entered(sidecar, used, missing, derived):
    """A value that counts as missing is not used, and what was worked out is marked."""
    facts = facts_of.scanner_facts(sidecar, (60, 60, 9), (2.0, 2.0, 3.0), 2)
    told = facts_of.reported_facts(facts, 900.0)
    assert told['used'].items() >= {'BValue': 900.0, **used}.items()
    assert set(told['used']).isdisjoint(told['missing'])
    assert {*told['used'], *told['missing']} == set(facts_of.TOLD)
    assert set(told['missing']) >= missing
    assert set(told['derived']) == derived
    public = sidecars.public_sidecar(sidecar)
    again = facts_of.scanner_facts(public, (60, 60, 9), (2.0, 2.0, 3.0), 2)
    assert again.metadata == facts.metadata


@pytest.mark.parametrize(
    ('sidecar', 'pixel'),
    [
        ({}, 4.0),
        ({'PhaseEncodingDirection': 'i-'}, 4.0),
        ({'PhaseEncodingDirection': 'j'}, 3.0),
        ({'PhaseEncodingAxis': 'j'}, 3.0),
        ({'PhaseEncodingAxis': 'k'}, 4.0),
        ({'PhaseEncodingDirection': 3}, 4.0),
    ],
)
def test_the_phase_encode_matrix_covers_its_own_axis(sidecar, pixel):
    """A rectangular field of view has fewer lines than columns."""
    sidecar = {'AcquisitionMatrixPE': 60, **sidecar}
    found = facts_of.acquired_pixel(sidecar, (120, 90, 30), (2.0, 2.0, 4.0), 2)
    assert found == pytest.approx(pixel)


@pytest.mark.parametrize(('strength', 'echo'), [(1.0, 0.08), (0.5, None), (0.0, None)])
def test_half_way_no_echo_time_is_claimed(strength, echo):
    """Only what is canonical all the way holds canonical values; each says how far it went."""
    made = sidecars.canonical_sidecar(
        SIDECAR,
        SOURCES,
        canonical=CANONICAL,
        fwhm_mm=2.0,
        profile_mm=4.0,
        extrapolated=False,
        strength=strength,
    )
    assert made.get('EchoTime') == echo
    assert made['AcquiredEchoTime'] == 0.071
    assert made['HarmonizationStrength'] == strength
