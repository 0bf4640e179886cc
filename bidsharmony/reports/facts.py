"""Choose what a page may show of a sidecar: acquisition facts, never whose, where or when."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import number

# An allow-list: serial numbers, dates, names and institutions stay out by not being listed.
DISPLAYED_KEYS = {
    'MagneticFieldStrength': ('field strength', 'T'),
    'EchoTime': ('echo time', 's'),
    'RepetitionTime': ('repetition time', 's'),
    'InversionTime': ('inversion time', 's'),
    'FlipAngle': ('flip angle', 'degrees'),
    'BValue': ('b-value', 's/mm²'),
    'AcquiredPixel': ('acquired pixel', 'mm'),
    'SliceThickness': ('slice thickness', 'mm'),
    'SpacingBetweenSlices': ('spacing between slices', 'mm'),
    'PartialFourier': ('partial Fourier', ''),
    'ParallelReductionFactorInPlane': ('in-plane acceleration', ''),
    'MultibandAccelerationFactor': ('multiband factor', ''),
    'EffectiveEchoSpacing': ('effective echo spacing', 's'),
    'TotalReadoutTime': ('total readout time', 's'),
    'PixelBandwidth': ('pixel bandwidth', 'Hz'),
    'PhaseEncodingDirection': ('phase-encoding direction', ''),
}
DIRECTION = re.compile(r'[ijk]-?')


def used_facts(used: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List (BIDS key, name, value with unit) of the sidecar keys that were used.

    Keys that are not on the allow-list, and values that are not numbers (or a phase-encoding
    direction), are left out.

    Examples
    --------
    >>> used_facts({'EchoTime': 0.089, 'DeviceSerialNumber': '4711', 'FlipAngle': 'Dr Who'})
    [('EchoTime', 'echo time', '0.089 s')]
    """
    facts = []
    for key, (name, unit) in DISPLAYED_KEYS.items():
        value = used.get(key)
        if isinstance(value, str) and key == 'PhaseEncodingDirection':
            if DIRECTION.fullmatch(value):
                facts.append((key, name, value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            facts.append((key, name, number(value, digits=4, unit=unit)))
    return facts


def missing_facts(missing: Sequence[Any]) -> list[tuple[str, str]]:
    """List (BIDS key, name) of the displayed keys that the sidecar lacked.

    Examples
    --------
    >>> missing_facts(['PatientName', 'EchoTime'])
    [('EchoTime', 'echo time')]
    """
    return [(key, name) for key, (name, _) in DISPLAYED_KEYS.items() if key in missing]


def shells_text(shells: Sequence[Mapping[str, Any]]) -> str:
    """Say how many volumes stand at which b-value.

    Examples
    --------
    >>> shells_text([{'b': 1000.0, 'n': 30}, {'b': 929.75, 'n': 1}])
    '30 at b = 1000, 1 at b = 930'
    """
    return ', '.join(
        f'{int(shell["n"])} at b = {float(shell["b"]):.0f}'
        for shell in shells
        if isinstance(shell, Mapping)
        and isinstance(shell.get('n'), int | float)
        and isinstance(shell.get('b'), int | float)
    )
