"""One machine has one name, however its sidecars spell it."""

import json

import pytest

from bidsharmony.bids import Scanner, scanner_identity

LABELS_OF_REAL_SIDECARS = {
    'Canon Galan 3 T',
    'GE Discovery MR750 3 T',
    'GE Signa HDxt 1.5 T',
    'GE Signa Pioneer 3 T',
    'Philips Achieva 1.5 T',
    'Philips Achieva 3 T',
    'Philips Achieva dStream 3 T',
    'Philips Ingenia 3 T',
    'Philips Ingenia Ambition X 1.5 T',
    'Philips Ingenia Elition X 3 T',
    'Siemens Avanto 1.5 T',
    'Siemens Cima.X 3 T',
    'Siemens Prisma 3 T',
    'Siemens Terra.X 7 T',
    'Siemens Trio 3 T',
    'Siemens Vida 3 T',
    'Toshiba Galan 3 T',
    'UIH uMR 770 3 T',
    'unknown scanner',
}


@pytest.mark.parametrize(
    ('maker', 'model', 'field', 'label'),
    [
        ('Siemens', 'Prisma', 3, 'Siemens Prisma 3 T'),
        ('SIEMENS', 'Prisma_fit', 2.89362, 'Siemens Prisma 3 T'),
        ('Siemens Healthineers', 'MAGNETOM Prisma Fit', '3', 'Siemens Prisma 3 T'),
        ('siemens ', 'Siemens PRISMA', 2.8936, 'Siemens Prisma 3 T'),
        ('Siemens', 'Avanto ', 1.494, 'Siemens Avanto 1.5 T'),
        ('Siemens', 'Avanto_fit', 1.5, 'Siemens Avanto fit 1.5 T'),
        ('Siemens', 'TrioTim', 3, 'Siemens Trio 3 T'),
        ('Siemens', 'MAGNETOM Trio A Tim System', 3, 'Siemens Trio 3 T'),
        ('GE MEDICAL SYSTEMS', 'SIGNA Premier', 30000, 'GE Signa Premier 3 T'),
        ('GE', 'Signa HDxt', 15000, 'GE Signa HDxt 1.5 T'),
        ('Genetix', 'One', 1, 'Genetix One 1 T'),
        ('Philips Medical Systems', 'Achieva dStream', 3, 'Philips Achieva dStream 3 T'),
        ('TOSHIBA_MEC', 'Galan 3T', 3, 'Toshiba Galan 3 T'),
        ('Canon', 'Galan 3T', 3, 'Canon Galan 3 T'),
        ('United Imaging Healthcare', 'uMR 770', 3, 'UIH uMR 770 3 T'),
        ('Hyperfine', 'Swoop', 0.064, 'Hyperfine Swoop 0.064 T'),
        ('n/a', None, None, 'unknown scanner'),
        (None, None, 3, 'unknown scanner 3 T'),
        (['Siemens'], {'a': 1}, True, 'unknown scanner'),
        ('Siemens', '', 'strong', 'Siemens'),
        ('Siemens', '\x1b[31mPrisma\n', float('inf'), 'Siemens [31mPrisma'),
        ('Siemens', 'Prisma', -3, 'Siemens Prisma'),
    ],
)
def test_spelling(maker, model, field, label):
    """Trade names, blanks, capitals and measured fields do not make another scanner."""
    sidecar = {
        'Manufacturer': maker,
        'ManufacturersModelName': model,
        'MagneticFieldStrength': field,
    }
    assert scanner_identity(sidecar).label == label


def test_field_from_the_proton_frequency():
    """123.2 MHz is a 3 T machine."""
    assert scanner_identity({'ImagingFrequency': 123.213411}) == Scanner('', '', 3.0)


def test_real_sidecars(shared_data):
    """57 sidecars of 7,991 come down to the 18 machines that made them, and the unknown."""
    labels = set()
    for path in (shared_data / 'sidecars').rglob('*.json'):
        labels.add(scanner_identity(json.loads(path.read_text(encoding='utf-8'))).label)
    assert labels == LABELS_OF_REAL_SIDECARS


def test_canon_and_toshiba_stay_two_makers():
    """The name on the machine changed; the record does not pretend otherwise."""
    canon, toshiba = (
        scanner_identity({'Manufacturer': maker, 'ManufacturersModelName': 'Galan 3T'})
        for maker in ('Canon', 'Toshiba')
    )
    assert canon != toshiba
    assert canon.model == toshiba.model == 'Galan'


@pytest.mark.parametrize(
    ('told', 'software'),
    [
        ('syngo_MR_E11', 'syngo MR E11'),
        ('DV26.0\\LX', 'DV26.0\\LX'),
        (None, ''),
        (['a'], ''),
        ('n/a', ''),
    ],
)
def test_software_is_told_and_no_part_of_the_name(told, software):
    """An update does not make another machine."""
    facts = {'Manufacturer': 'GE', 'ManufacturersModelName': 'Signa'}
    found = scanner_identity({**facts, 'SoftwareVersions': told})
    assert found.software == software
    assert found == scanner_identity(facts)
    assert found.label == scanner_identity(facts).label
