"""What harmonization leaves of lesions that somebody marked: contrast, noise and extent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from bidsharmony.evaluation.lesions import (
    REACH,
    RULES,
    contrast_to_noise,
    dice,
    relative_contrast,
    segment,
    surroundings,
)
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import FLUID_ADC

CHANNELS = ('b0', 'trace', 'adc')

LARGEST = 20
"""Patches that are listed one by one."""

PEAK = 95.0
"""Percentile of a patch that counts as its peak: the largest value would be the noise's."""

_TOUCHING = np.ones((3, 3, 3), int)

Measure = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Marked:
    """Hold the images of a run, slices first, and what is marked on them.

    Attributes
    ----------
    images : dict of (n, H, W) float
        ``b0``, ``trace`` and ``adc``.
    patches : (n, H, W) int
        Numbers of the patches, the largest first; 0 where there is no lesion.
    tissue : (n, H, W) bool
        Brain without fluid: what surroundings are made of.
    pixel : (2,) mm
    """

    images: dict[str, np.ndarray]
    patches: np.ndarray
    tissue: np.ndarray
    pixel: tuple[float, float]

    def average(self, measure: Measure, channel: str, patch: int | None = None) -> float:
        """Average what is measured on each slice, weighted by the area of the lesion there.

        Slices are measured one by one, since coil and slice profile set each at a level of its
        own, which would pass for noise if they were pooled.

        Parameters
        ----------
        measure : callable
            Image, lesion and surroundings of one slice to a number.
        channel : str
        patch : int, optional
            The lesion is this patch alone; surroundings keep away from all of them.

        Returns
        -------
        float
            nan if no slice has lesion and surroundings.
        """
        total, weight = 0.0, 0
        lesion = self.patches > 0 if patch is None else self.patches == patch
        for ix in np.flatnonzero(lesion.any(axis=(1, 2))):
            around = surroundings(lesion[ix], self._clear(ix), pixel=self.pixel)
            value = measure(self.images[channel][ix], lesion[ix], around)
            if np.isfinite(value):
                area = int(lesion[ix].sum())
                total, weight = total + area * value, weight + area
        return total / weight if weight else float('nan')

    def _clear(self, ix: int) -> np.ndarray:
        """Return the tissue of a slice that is not on the edge of any lesion, (H, W) bool."""
        return surroundings(self.patches[ix] > 0, self.tissue[ix], (REACH[0], np.inf), self.pixel)


def lesion_figures(
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
    lesion: np.ndarray,
    brain: np.ndarray,
    *,
    zooms: Sequence[float],
    axis: int,
) -> dict[str, Any]:
    """Compare a lesion that is marked before and after harmonization.

    Contrast before is measured on the grid of the scan, contrast after on the canonical one, where
    lesion and tissue are carried to the nearest pixel: so the places are the same, and nothing is
    interpolated that noise is read from. Extent is found by `segment` on the canonical grid, whose
    pixels the rules were made for; it is compared within the farther end of `REACH` from the
    lesion, in space: the rules find what else is bright in a head, which is not the lesion's.

    Parameters
    ----------
    before : mapping of (I, J, K) float
        ``b0``, ``trace`` and ``adc`` (mm2/s), as scanned.
    after : mapping of (I', J', K') float
        Likewise, canonical: the same field of view and slices.
    lesion, brain : (I, J, K) bool
    zooms : (3,) mm
    axis : int
        The slice axis.

    Returns
    -------
    dict
        ``n_voxels`` and ``volume_ml`` of the lesion in the brain, ``n_outside``, ``n_patches``;
        ``contrast_to_noise`` and ``contrast`` by channel, ``before`` and ``after``; ``dice`` by
        rule, ``before`` and ``after`` against the lesion and ``before_after`` of both;
        ``patches``, the largest first. nan for what cannot be measured.
    """
    lesion, brain = np.asarray(lesion, bool), np.asarray(brain, bool)
    shape = after['b0'].shape
    inside = lesion & brain
    patches, count = _numbered(inside)
    tissue = brain & (before['adc'] < FLUID_ADC)
    old = _marked(before, patches, tissue, zooms, axis)
    finer = [zoom * n / m for zoom, n, m in zip(zooms, brain.shape, shape, strict=True)]
    carried, fine_brain = _carried(patches, shape), _carried(brain, shape) > 0
    new = _marked(after, carried, _carried(tissue, shape) > 0, finer, axis)
    sides = {'before': old, 'after': new}
    coarse = [resample_to_shape(before[channel], shape) for channel in ('b0', 'trace')]
    pairs = {'before': coarse, 'after': [after['b0'], after['trace']]}
    nearest = _nearest_patch(carried, fine_brain, finer)
    extent = _extents(pairs, fine_brain, finer, axis)
    voxel_ml = float(np.prod(zooms)) / 1000
    sizes = np.bincount(patches.ravel(), minlength=count + 1)
    return {
        'n_voxels': int(inside.sum()),
        'volume_ml': float(inside.sum()) * voxel_ml,
        'n_outside': int((lesion & ~brain).sum()),
        'n_patches': count,
        'contrast_to_noise': _by_channel(sides, contrast_to_noise),
        'contrast': _by_channel(sides, relative_contrast),
        'dice': {
            rule: {
                **{when: dice(extent[when, rule] & (nearest > 0), carried > 0) for when in pairs},
                'before_after': _agreement(extent, rule, carried > 0, nearest > 0),
            }
            for rule in RULES
        },
        'patches': [
            {
                'volume_ml': float(sizes[number]) * voxel_ml,
                'peak': _both(sides, _peak, 'trace', number),
                'contrast_to_noise': _both(sides, contrast_to_noise, 'trace', number),
                'dice': {
                    rule: _agreement(extent, rule, carried == number, nearest == number)
                    for rule in RULES
                },
            }
            for number in range(1, min(count, LARGEST) + 1)
        ],
    }


def _numbered(lesion: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the patches of a lesion from the largest on, voxels that touch being of one."""
    labels, count = ndimage.label(lesion, _TOUCHING)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    rank = np.zeros(count + 1, int)
    rank[1 + np.argsort(-sizes, kind='stable')] = np.arange(1, count + 1)
    return rank[labels], count


def _carried(data: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Bring numbers or a mask to another grid of the field of view by its nearest voxels."""
    return np.rint(resample_to_shape(data, shape, order=0)).astype(int)


def _marked(
    images: Mapping[str, np.ndarray],
    patches: np.ndarray,
    tissue: np.ndarray,
    zooms: Sequence[float],
    axis: int,
) -> Marked:
    """Put the slices of everything first."""
    first, second = (zoom for ax, zoom in enumerate(zooms) if ax != axis)
    return Marked(
        {channel: np.moveaxis(images[channel], axis, 0) for channel in CHANNELS},
        np.moveaxis(patches, axis, 0),
        np.moveaxis(tissue, axis, 0),
        (float(first), float(second)),
    )


def _nearest_patch(patches: np.ndarray, brain: np.ndarray, zooms: Sequence[float]) -> np.ndarray:
    """Give the voxels around lesions the number of the nearest patch; 0 elsewhere."""
    if not patches.any():
        return np.zeros(patches.shape, int)
    distance, place = ndimage.distance_transform_edt(
        patches == 0, sampling=zooms, return_indices=True
    )
    return np.where(brain & (distance <= REACH[1]), patches[tuple(place)], 0)


def _extents(
    pairs: Mapping[str, Sequence[np.ndarray]],
    brain: np.ndarray,
    zooms: Sequence[float],
    axis: int,
) -> dict[tuple[str, str], np.ndarray]:
    """Segment b=0 and trace of either side by each rule, (I', J', K') bool."""
    pixel = float(np.sqrt(np.prod([zoom for ax, zoom in enumerate(zooms) if ax != axis])))
    mask = np.moveaxis(brain, axis, 0)
    found = {}
    for when, pair in pairs.items():
        b0, trace = (np.moveaxis(image, axis, 0) for image in pair)
        for rule in RULES:
            extent = segment(b0, trace, mask, rule, pixel=pixel)
            found[when, rule] = np.moveaxis(extent, 0, axis)
    return found


def _agreement(
    extent: Mapping[tuple[str, str], np.ndarray], rule: str, lesion: np.ndarray, where: np.ndarray
) -> float:
    """Compute the Dice of what a rule finds somewhere before and after.

    A rule that finds nothing of the lesion either time is blind to it, as to small or faint ones:
    nan, since what it finds nearby is something else.
    """
    after, before = (extent[when, rule] & where for when in ('after', 'before'))
    return dice(after, before) if ((after | before) & lesion).any() else float('nan')


def _by_channel(sides: Mapping[str, Marked], measure: Measure) -> dict[str, dict[str, float]]:
    return {channel: _both(sides, measure, channel) for channel in CHANNELS}


def _both(
    sides: Mapping[str, Marked], measure: Measure, channel: str, patch: int | None = None
) -> dict[str, float]:
    """Measure before and after."""
    return {when: side.average(measure, channel, patch) for when, side in sides.items()}


def _peak(image: np.ndarray, lesion: np.ndarray, around: np.ndarray) -> float:
    """Compute how many times brighter the peak of a lesion is than its surroundings."""
    level = float(image[around].mean()) if around.any() else 0.0
    return float(np.percentile(image[lesion], PEAK)) / level if level > 0 else float('nan')
