"""What came or went in an image: patches beyond the noise, and ringing along clean edges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from bidsharmony.evaluation.forward import BEYOND, gradient, slices_first

STRUCTURE_AREA = 25.0
"""Smallest patch of a slice that counts as a structure (mm2): a disc of 6 mm has 28."""

STRUCTURE_CONTRAST = 0.1
"""Smallest mean residual of a patch that counts, as a share of the tissue's median signal."""

EDGES = 0.25
"""Share of the mask, where the gradient is largest, that counts as edges."""

PROFILE = np.arange(-8.0, 8.25, 0.5)
"""Where an edge's profile is read, mm from the edge towards its bright side."""

PLATEAU = 4.0
"""From this distance (mm) on, both ends of an edge's profile must be flat."""

FLAT = 0.15
"""Largest standard deviation of a plateau, and largest excess of what lies between, as shares of
the edge's height."""

SURROUNDINGS = 6.0
"""Standard deviation of the Gaussian that a patch's surroundings are averaged with (mm)."""


def structures(
    residual: np.ndarray,
    predicted: np.ndarray,
    sigma: float,
    mask: np.ndarray,
    affine: np.ndarray,
    *,
    axis: int = 2,
    area: float = STRUCTURE_AREA,
    contrast: float = STRUCTURE_CONTRAST,
) -> list[dict[str, Any]]:
    """List connected patches of a slice where the residual says that something came or went.

    A patch lies beyond `BEYOND` sigma with one sign, is at least `area` large and its mean is at
    least `contrast` of the tissue's median signal. It was *added* if the degraded output stands
    out there from its surroundings more than the input does, else *removed*: noise, ringing of
    the scanner, or detail that was lost.

    Parameters
    ----------
    residual, predicted : (I, J, K)
        Of one channel, see `Consistency`.
    sigma : float
        What the residual was divided by.
    mask : (I, J, K) bool
    affine : (4, 4)
        Voxel to RAS+ mm.
    axis : int
        The slice axis.
    area : mm2
    contrast : float

    Returns
    -------
    list of dict
        Largest contrast times area first: ``kind`` (added or removed), ``sign`` (+1 where the
        output is brighter than the input), ``voxel`` (nearest to the centre), ``ras_mm``,
        ``area_mm2``, ``sigma`` (mean), ``contrast`` (mean, share of the tissue's median) and
        ``edge_share`` (how much of it lies on the quarter of the brain that has the steepest
        gradients).
    """
    affine = np.asarray(affine, np.float64)
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    inplane = [zooms[ax] for ax in range(3) if ax != axis]
    values, inside = slices_first(residual, axis), slices_first(np.asarray(mask, bool), axis)
    after = slices_first(predicted, axis)
    before = after - values * np.float32(sigma)
    level = float(np.median(before[inside]))
    steepness = gradient(before, 0.7, inplane)
    edges = steepness >= np.quantile(steepness[inside], 1 - EDGES)
    stands_out = [_stands_out(image, inside, inplane) for image in (before, after)]
    pixel, flat = float(np.prod(inplane)), np.zeros((3, 3, 3), int)
    flat[1] = 1  # neighbours within a slice, corners too
    found = []
    for sign in (1, -1):
        labels, _ = ndimage.label(inside & (sign * values > BEYOND), structure=flat)
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            patch = np.argwhere(labels[box] == number) + [side.start for side in box]
            size, where = len(patch) * pixel, tuple(patch.T)
            mean = float(values[where].mean())
            if size < area or abs(mean) * sigma < contrast * level:
                continue
            middle = patch.mean(axis=0)
            voxel = np.insert(middle[1:], axis, middle[0])
            old, new = (abs(float(image[where].mean())) for image in stands_out)
            found.append(
                {
                    'kind': 'added' if new > old else 'removed',
                    'sign': sign,
                    'voxel': [round(float(v)) for v in voxel],
                    'ras_mm': (affine[:3, :3] @ voxel + affine[:3, 3]).round(1).tolist(),
                    'area_mm2': float(size),
                    'sigma': mean,
                    'contrast': mean * sigma / level,
                    'edge_share': float(edges[where].mean()),
                }
            )
    return sorted(found, key=lambda item: -abs(item['contrast']) * item['area_mm2'])


def edge_profile(
    images: np.ndarray, reference: np.ndarray, mask: np.ndarray, pixel: float
) -> tuple[np.ndarray, int]:
    """Average the profiles across clean edges: dark plateau 0, bright plateau 1.

    Edges are the steepest quarter of the mask in `reference`, where its gradient has a ridge. An
    edge is clean if both ends of the reference's profile (beyond `PLATEAU`) are flat, and nothing
    between them leaves their range by more than `FLAT`: anatomy, such as the fluid of a sulcus,
    must not pass for ringing. The same places are read off `images`.

    Parameters
    ----------
    images, reference, mask : (S, H, W)
    pixel : mm

    Returns
    -------
    profile : (len(PROFILE),) float
        nan where there is no clean edge.
    count : int
        Edges averaged.
    """
    dark, bright = PROFILE <= -PLATEAU, PROFILE >= PLATEAU
    profiles = []
    for image, ref, inside in zip(images, reference, mask, strict=True):
        smooth = ndimage.gaussian_filter(np.asarray(ref, np.float64), 1.5 / pixel)
        slope = np.stack(np.gradient(smooth))
        steep = np.hypot(*slope)
        if not inside.any():
            continue
        ridge = inside & (steep >= np.quantile(steep[inside], 1 - EDGES)) & (steep > 0)
        places = np.argwhere(ridge).T
        direction = slope[:, ridge] / steep[ridge]
        beside = [
            ndimage.map_coordinates(steep, places + sign * direction, order=1, mode='nearest')
            for sign in (1, -1)
        ]
        keep = (steep[ridge] >= beside[0]) & (steep[ridge] >= beside[1])
        places, direction = places[:, keep], direction[:, keep]
        points = places[..., None] + direction[..., None] * PROFILE / pixel
        lines = ndimage.map_coordinates(np.asarray(ref, np.float64), points, order=1)
        low, high = lines[:, dark].mean(axis=1), lines[:, bright].mean(axis=1)
        uneven = np.maximum(lines[:, bright].std(axis=1), lines[:, dark].std(axis=1))
        leaves = np.maximum(lines.max(axis=1) - high, low - lines.min(axis=1))
        clean = np.maximum(uneven, leaves) < FLAT * (high - low)
        if not clean.any():
            continue
        lines = ndimage.map_coordinates(np.asarray(image, np.float64), points[:, clean], order=1)
        low, high = lines[:, dark].mean(axis=1), lines[:, bright].mean(axis=1)
        height = high - low
        whole = height > FLAT * np.median(height)
        profiles.append((lines[whole] - low[whole, None]) / height[whole, None])
    gathered = np.concatenate([*profiles, np.zeros((0, len(PROFILE)))])
    if not len(gathered):
        return np.full(len(PROFILE), np.nan), 0
    return gathered.mean(axis=0), len(gathered)


def overshoot(profile: np.ndarray) -> float:
    """Measure how far an edge's mean profile rises above its bright and dips below its dark end.

    Parameters
    ----------
    profile : (len(PROFILE),) float
        See `edge_profile`.

    Returns
    -------
    float
        Mean of both, as a share of the edge's height; a step cut off in k-space rings by .09.

    Examples
    --------
    >>> overshoot(np.where(PROFILE > 0, 1.0, 0.0))
    0.0
    """
    return float((max(profile.max() - 1, 0) + max(-profile.min(), 0)) / 2)


def _stands_out(slices: np.ndarray, mask: np.ndarray, zooms: Sequence[float]) -> np.ndarray:
    """Subtract from each pixel the mean of its slice's mask around it (`SURROUNDINGS`)."""
    sd = (0, *(SURROUNDINGS / zoom for zoom in zooms))
    weight = ndimage.gaussian_filter(mask.astype(np.float32), sd)
    around = ndimage.gaussian_filter(np.where(mask, slices, 0), sd)
    return np.where(mask, slices - around / np.maximum(weight, 1e-6), 0)
