"""Collect what became of lesions that masks mark, over the runs of a study."""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from bidsharmony.evaluation.lesions import RULES
from bidsharmony.evaluation.preservation import CHANNELS
from bidsharmony.evaluation.summary import SIDES, numeric

SIZES_ML = (0.5, 2.0, 10.0)
"""Volumes that divide small from large lesions."""

WORST = 10
"""Percentile that is called the worst decile."""


class LesionFigures:
    """Contrast of each run's lesions, and overlap of each lesion, a few bytes each.

    A lesion is a patch of the masks of a run; `evaluation.preservation` lists the largest of each
    run. Its Dice compares what one rule finds of it after with what it finds before.
    """

    def __init__(self) -> None:
        self.n_runs = 0
        self._volumes = array('d')
        self._dice = {rule: array('d') for rule in RULES}
        self._cnr = {(channel, side): array('d') for channel in CHANNELS for side in SIDES}

    def add(self, qc: Mapping[str, Any]) -> None:
        """Take the block ``lesions`` of one qc.json; nothing without lesions in the brain."""
        block = qc.get('lesions')
        if not isinstance(block, Mapping) or not numeric(block, 'n_voxels'):
            return
        self.n_runs += 1
        for channel, side in self._cnr:
            value = numeric(block, 'contrast_to_noise', channel, side)
            self._cnr[channel, side].append(math.nan if value is None else value)
        patches = block.get('patches')
        for patch in patches if isinstance(patches, list) else ():
            volume = numeric(patch, 'volume_ml')
            self._volumes.append(math.nan if volume is None else volume)
            for rule, values in self._dice.items():
                value = numeric(patch, 'dice', rule)
                values.append(math.nan if value is None else value)

    def block(self) -> dict[str, Any] | None:
        """Summarise them as they stand in the JSON; None without any lesion."""
        if not self.n_runs or not len(self._volumes):
            return None
        volumes = np.array(self._volumes)
        dice = {rule: np.array(values) for rule, values in self._dice.items()}
        edges = (0.0, *SIZES_ML, math.inf)
        by_size = []
        for low, high in pairwise(edges):
            here = (volumes >= low) & (volumes < high)
            if here.any():
                by_size.append(
                    {
                        'from_ml': low,
                        'to_ml': high if math.isfinite(high) else None,
                        'n': int(here.sum()),
                        **{f'dice_{rule}': _median(dice[rule][here]) for rule in RULES},
                    }
                )
        return {
            'n_runs': self.n_runs,
            'n_lesions': len(volumes),
            'dice': {rule: _agreement(values) for rule, values in dice.items()},
            'cnr': {
                channel: dict(zip(SIDES, self._contrast(channel), strict=True))
                for channel in CHANNELS
            },
            'by_size': by_size,
        }

    def _contrast(self, channel: str) -> list[float | None]:
        """Return the medians before and after, over runs that have both."""
        sides = np.array([self._cnr[channel, side] for side in SIDES])
        both = sides[:, np.isfinite(sides).all(axis=0)]
        return [_median(side) for side in both]


def _median(values: np.ndarray) -> float | None:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _agreement(values: np.ndarray) -> dict[str, Any]:
    """Summarise the Dice of lesions that a rule sees."""
    seen = values[np.isfinite(values)]
    return {
        'median': _median(seen),
        'worst_decile': float(np.percentile(seen, WORST)) if len(seen) else None,
        'n': len(seen),
    }
