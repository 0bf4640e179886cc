"""Tell scanners apart by what their sidecars say, however it is spelled."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MAKERS = {
    'siemens': 'Siemens',
    'ge': 'GE',
    'general electric': 'GE',
    'philips': 'Philips',
    'canon': 'Canon',
    'toshiba': 'Toshiba',
    'uih': 'UIH',
    'united imaging': 'UIH',
    'hitachi': 'Hitachi',
    'fujifilm': 'Fujifilm',
    'bruker': 'Bruker',
    'hyperfine': 'Hyperfine',
    'neusoft': 'Neusoft',
}
"""How a maker's entry starts, to the name we use (Toshiba became Canon; both names stay)."""

NOMINAL_FIELDS = (0.55, 1.0, 1.5, 3.0, 5.0, 7.0, 9.4, 10.5, 11.7)
"""Field strengths that are sold (T); 2.89 T and 2.8936 T are all sold as 3 T."""

FIELD_TOLERANCE = 0.06
"""Relative distance within which a measured field counts as a nominal one."""

PROTON_MHZ_PER_TESLA = 42.577
"""Proton gyromagnetic ratio over 2 pi (MHz/T, CODATA 2018)."""

LARGEST_FIELD = 30.0
"""Above this a number is in gauss, as old GE headers have it (T)."""

LONGEST_NAME = 64
"""Characters kept of a maker or model that we do not know."""


@dataclass(frozen=True)
class Scanner:
    """Name a scanner by maker, model and field strength (T), spelling normalised.

    What the sidecar does not say is ``''`` (maker, model, software) or None (field strength). The
    software is told, but no part of the name: an update does not make another machine.

    Examples
    --------
    >>> Scanner('Siemens', 'Prisma', 3.0).label
    'Siemens Prisma 3 T'
    >>> Scanner().label
    'unknown scanner'
    """

    manufacturer: str = ''
    model: str = ''
    field_strength: float | None = None
    software: str = field(default='', compare=False)

    @property
    def label(self) -> str:
        """Write the scanner as people say it."""
        words = [word for word in (self.manufacturer, self.model) if word] or ['unknown scanner']
        if self.field_strength is not None:
            words.append(f'{self.field_strength:g} T')
        return ' '.join(words)


def scanner_identity(sidecar: Mapping[str, Any]) -> Scanner:
    """Read the scanner from a sidecar, so that one machine has one spelling.

    Nothing is required and nothing is raised: an entry that is missing or of the wrong type
    counts as unknown. Without ``MagneticFieldStrength`` the field comes from
    ``ImagingFrequency`` (MHz).

    Examples
    --------
    >>> scanner_identity({'Manufacturer': 'SIEMENS', 'ManufacturersModelName': 'Prisma_fit',
    ...                   'MagneticFieldStrength': 2.89}).label
    'Siemens Prisma 3 T'
    >>> scanner_identity({'Manufacturer': 'Canon', 'ManufacturersModelName': 'Galan 3T',
    ...                   'MagneticFieldStrength': 3}).label
    'Canon Galan 3 T'
    """
    maker = _maker(_text(sidecar.get('Manufacturer')))
    model = _model(_text(sidecar.get('ManufacturersModelName')), maker)
    tesla = _field(sidecar.get('MagneticFieldStrength'))
    if tesla is None:
        frequency = _number(sidecar.get('ImagingFrequency'))
        tesla = _field(frequency / PROTON_MHZ_PER_TESLA) if frequency else None
    return Scanner(maker, model, tesla, _text(sidecar.get('SoftwareVersions')))


def _text(value: Any) -> str:
    """Give an entry as one printable line, or '' when it is none."""
    if not isinstance(value, str):
        return ''
    printable = ''.join(char if char.isprintable() else ' ' for char in value)
    text = ' '.join(printable.replace('_', ' ').split())[:LONGEST_NAME].strip()
    return '' if text.lower() in {'n/a', 'na', 'none', 'null', 'unknown', 'redacted'} else text


def _number(value: Any) -> float | None:
    """Give an entry as a finite positive number, or None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number > 0 else None


def _maker(text: str) -> str:
    lowered = text.lower()
    for start, name in MAKERS.items():
        if re.match(rf'{start}\b', lowered):
            return name
    return text


def _model(text: str, maker: str) -> str:
    """Drop what does not tell machines apart: trade names, field strength, upgrade marks."""
    text = re.sub(rf'^{re.escape(maker)}\s+', '', text, flags=re.IGNORECASE) if maker else text
    text = re.sub(r'^magnetom\s+', '', text, flags=re.IGNORECASE)
    text = re.sub(r'\s*\b\d+(\.\d+)?\s?T\b', '', text).strip()
    if re.match(r'trio(\s*a)?(\s*tim)?(\s+system)?$', text, flags=re.IGNORECASE):
        return 'Trio'
    # 'fit' marks a Trio or Verio rebuilt as a Prisma or Skyra. An Avanto fit is another machine
    # than an Avanto, so only these two lose the mark.
    text = re.sub(r'^(prisma|skyra)[\s-]*fit$', r'\1', text, flags=re.IGNORECASE)
    return re.sub(r'[A-Za-z]{4,}', _capitalise, text)


def _capitalise(match: re.Match[str]) -> str:
    """Write PRISMA and prisma as Prisma; leave dStream and HDxt alone."""
    word = match.group()
    return word.capitalize() if word.isupper() or word.islower() else word


def _field(value: Any) -> float | None:
    tesla = _number(value)
    if tesla is None:
        return None
    if tesla > LARGEST_FIELD:
        tesla /= 1e4
    nearest = min(NOMINAL_FIELDS, key=lambda nominal: abs(nominal - tesla))
    close = abs(nearest - tesla) <= FIELD_TOLERANCE * nearest
    return nearest if close else float(f'{tesla:.2g}')
