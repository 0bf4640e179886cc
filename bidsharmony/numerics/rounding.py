"""Round what is written, so that it does not depend on the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

DIGITS = 6
"""Significant digits of every number: more would differ between machines."""


def rounded(value: Any, digits: int = DIGITS) -> Any:
    """Round every float of a nested structure to significant digits; nan and inf become None.

    Examples
    --------
    >>> rounded({'a': [1234567.8, float('nan')], 'b': True, 'c': 3})
    {'a': [1234570.0, None], 'b': True, 'c': 3}
    """
    if isinstance(value, Mapping):
        return {str(key): rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [rounded(item, digits) for item in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(f'{float(value):.{digits}g}') if math.isfinite(value) else None
    return value
