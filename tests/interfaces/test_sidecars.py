"""Sidecars say what an image is now, and hold nothing that names a person, a place or a time."""

import json

import pytest

from bidsharmony.interfaces import sidecars
from tests.tiny_dataset import SIDECAR

SOURCES = ['bids:raw:sub-01/dwi/sub-01_dwi.nii.gz']
CANONICAL = {'EchoTime': 0.08, 'RepetitionTime': 10.0, 'MagneticFieldStrength': 3.0, 'BValue': 1e3}


@pytest.mark.parametrize(
    'made',
    [
        sidecars.series_sidecar(SIDECAR, SOURCES),
        sidecars.canonical_sidecar(
            SIDECAR, SOURCES, canonical=CANONICAL, fwhm_mm=2.0, extrapolated=True
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
        SIDECAR, SOURCES, canonical=CANONICAL, fwhm_mm=2.5, extrapolated=True
    )
    assert (made['EchoTime'], made['AcquiredEchoTime']) == (0.08, 0.071)
    assert (made['RepetitionTime'], made['AcquiredRepetitionTime']) == (10.0, 5.2)
    assert made['Extrapolated'] is True
    assert made['SkullStripped'] is False
    assert made['Sources'] == SOURCES
    assert 'BValue' not in made
    assert 'Manufacturer' not in made


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
    found = sidecars.acquired_pixel(sidecar, (120, 120, 30), (2.0, 2.0, 4.0), 2)
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
    facts = sidecars.scanner_facts({key: value}, (9, 9, 9), (2.0, 2.0, 3.0), 2)
    assert (key in facts.metadata) is known
    assert bool(facts.warnings) is not known
    assert facts.metadata['SliceThickness'] == 3.0


def test_values_are_made_plain():
    """Nested, endless and unprintable values do not pass."""
    made = sidecars.public_sidecar(
        {
            'ReceiveCoilName': 'a\x1b[31m' + 'b' * 999,
            'SliceTiming': [0.0, {'x': 1}, 1.5],
            'FlipAngle': float('nan'),
        }
    )
    assert '\x1b' not in made['ReceiveCoilName']
    assert len(made['ReceiveCoilName']) <= 200
    assert made['SliceTiming'] == [0.0, 1.5]
    assert made['FlipAngle'] == 'nan'
