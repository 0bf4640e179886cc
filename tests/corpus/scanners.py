"""Scanners spelled in several ways, or not told: that of the good run is a Siemens Prisma, 3 T."""

from tests.corpus.case import Table

TABLE = Table('multi-scanner')


@TABLE.processed('"scanner": "Siemens Prisma 3 T"')
def in_capitals(run):
    """Write the good run's scanner in capitals."""
    run.sidecar(Manufacturer='SIEMENS', ManufacturersModelName='PRISMA')


@TABLE.processed('"scanner": "Siemens Prisma 3 T"')
def trade_name(run):
    """Write it with its maker's trade name, as later software does."""
    run.sidecar(Manufacturer='Siemens Healthineers', ManufacturersModelName='MAGNETOM Prisma Fit')


@TABLE.processed('"scanner": "Siemens Prisma 3 T"')
def measured_field(run):
    """Give the field strength as it was measured."""
    run.sidecar(MagneticFieldStrength=2.8936)


@TABLE.processed('"scanner": "Siemens Prisma 3 T"')
def frequency_only(run):
    """Give the frequency, and no field strength."""
    run.sidecar(('MagneticFieldStrength',), ImagingFrequency=123.25)


@TABLE.processed('"scanner": "Siemens Avanto 1.5 T"')
def trailing_blank(run):
    """Be an Avanto, with a blank behind its name."""
    run.sidecar(ManufacturersModelName='Avanto ', MagneticFieldStrength=1.494)


# One company now, and two names in the files: which software wrote them may matter.
@TABLE.processed('"scanner": "Toshiba Galan 3 T"')
def former_name(run):
    """Be a Galan from before its maker's name changed."""
    run.sidecar(Manufacturer='TOSHIBA', ManufacturersModelName='Galan 3T')


@TABLE.processed('"scanner": "GE Signa HDxt 1.5 T"')
def gauss(run):
    """Be a GE whose field strength is in gauss."""
    run.sidecar(
        Manufacturer='GE MEDICAL SYSTEMS',
        ManufacturersModelName='Signa HDxt',
        MagneticFieldStrength=15000,
    )


@TABLE.processed('"scanner": "unknown scanner"')
def not_told(run):
    """Have nothing but the phase encoding in the sidecar, as MASiVar."""
    run.write_text('.json', '{"PhaseEncodingDirection": "j-"}')
