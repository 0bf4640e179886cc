"""Choose what a page may show of a sidecar: acquisition facts, never whose, where or when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bidsharmony.reports.page import number

# What the network is told. An allow-list: serial numbers, dates, names and institutions stay out
# by not being listed.
DISPLAYED_KEYS = {
    'MagneticFieldStrength': ('field strength', 'T'),
    'EchoTime': ('echo time', 's'),
    'RepetitionTime': ('repetition time', 's'),
    'BValue': ('b-value', 's/mm²'),
    'SliceThickness': ('slice thickness', 'mm'),
    'AcquiredPixel': ('acquired pixel', 'mm'),
}
# What it is told of the image itself, as `network.measured` of a qc.json holds it.
MEASURED_KEYS = {
    'MeasuredNoiseB0': 'noise at b = 0',
    'MeasuredNoiseTrace': 'noise of the trace image',
    'MeasuredSlopeB0': 'slope of the spectrum at b = 0',
    'MeasuredSlopeTrace': "slope of the trace image's spectrum",
}
# By rows and columns, image and band: too many to list.
MEASURED_POWERS = 'MeasuredPower'
FROM_HEADER = ', from the image header'
FROM_IMAGE = ', measured on the image'


def used_facts(used: Mapping[str, Any], derived: Sequence[Any] = ()) -> list[tuple[str, str, str]]:
    """List (BIDS key, name, value with unit) of what the network was told.

    Keys that are not on the allow-list, and values that are not numbers, are left out.

    Examples
    --------
    >>> used_facts({'EchoTime': 0.089, 'DeviceSerialNumber': '4711', 'BValue': 'Dr Who'})
    [('EchoTime', 'echo time', '0.089 s')]
    >>> used_facts({'SliceThickness': 4}, ['SliceThickness'])[0][2]
    '4 mm, from the image header'
    """
    return [
        (key, name, number(used[key], digits=4, unit=unit) + FROM_HEADER * (key in derived))
        for key, (name, unit) in DISPLAYED_KEYS.items()
        if isinstance(used.get(key), int | float) and not isinstance(used[key], bool)
    ]


def measured_facts(measured: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """List (key, name, value) of what the network was told of the image itself.

    Noise comes as a logarithm and is shown as a share of the mean tissue signal at b = 0. Powers
    are counted.

    Examples
    --------
    >>> measured_facts({'MeasuredNoiseB0': -2.0, 'MeasuredSlopeTrace': -3.2})[0][2]
    '1 % of the tissue, measured on the image'
    >>> measured_facts({'MeasuredSlopeTrace': -3.2, 'MeasuredNoiseB0': None, 'PatientName': 1.0})
    [('MeasuredSlopeTrace', "slope of the trace image's spectrum", '-3.2, measured on the image')]
    """
    found = []
    for key, name in MEASURED_KEYS.items():
        value = measured.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            noise = key.startswith('MeasuredNoise')
            text = (
                number(100 * 10.0 ** min(value, 6), digits=2) + ' % of the tissue' if noise else ''
            )
            found.append((key, name, (text or number(value, digits=2)) + FROM_IMAGE))
    powers = sum(key.startswith(MEASURED_POWERS) for key in measured)
    if powers:
        text = f'{powers} powers{FROM_IMAGE}, in the qc file'
        found.append((MEASURED_POWERS, 'spectrum along rows and columns', text))
    return found


def missing_facts(missing: Sequence[Any]) -> list[tuple[str, str]]:
    """List (BIDS key, name) of what the network could not be told.

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
