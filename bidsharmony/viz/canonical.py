"""Read the range of spectra and textures that simulated canonical images have.

`benchmarks/canonical.py` measured it, and its command stands in the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

SAME_FWHM = 0.02
"""Canonical resolutions that differ by less (mm) are one: the range holds for one only."""


@lru_cache
def canonical_range() -> Mapping[str, Any]:
    """Load the shipped range.

    Examples
    --------
    >>> found = canonical_range()
    >>> sorted(found['psd']['b0']), found['canonical_fwhm_mm']
    (['high', 'low'], 2.0)
    """
    text = files('bidsharmony.data').joinpath('canonical_range.json').read_text(encoding='utf-8')
    return json.loads(text)


def applies(fwhm: Any) -> bool:
    """Tell whether the range holds for images of this resolution (mm).

    Examples
    --------
    >>> applies(2.0), applies(3.5), applies(None)
    (True, False, False)
    """
    if not isinstance(fwhm, int | float) or isinstance(fwhm, bool):
        return False
    return abs(fwhm - canonical_range()['canonical_fwhm_mm']) < SAME_FWHM


def half_amplitude_frequency(fwhm: float) -> float:
    """Frequency (1/mm) at which a Gaussian blur of this FWHM (mm) halves the amplitude.

    The transfer function is exp(-(pi f FWHM)^2 / (4 ln 2)), hence f = 2 ln 2 / (pi FWHM).

    Examples
    --------
    >>> round(half_amplitude_frequency(2.0), 3)
    0.221
    """
    return 2 * math.log(2) / (math.pi * fwhm)


def share_inside(values: Sequence[Any], low: Sequence[float], high: Sequence[float]) -> float:
    """Count how many values lie in their range; nan without any value.

    Examples
    --------
    >>> share_inside([1.0, 5.0, None, 2.0], [0.5, 0.5, 0.5, 0.5], [1.5, 1.5, 1.5, 2.0])
    0.5
    """
    inside = [
        isinstance(value, int | float) and bottom <= value <= top
        for value, bottom, top in zip(values, low, high, strict=False)
    ]
    return sum(inside) / len(inside) if inside else math.nan
