"""Summarise a series: mean b=0, brain mask, and the diffusivity of two images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from skimage.filters import threshold_otsu

from bidsharmony.numerics.gradients import B_CANONICAL, NO_DIRECTION
from bidsharmony.numerics.threads import in_threads

ADC_LIMIT = 5e-3
"""Faster than free water at 37 degrees Celsius (3e-3), as flow and noise can make it (mm2/s)."""

DIRECTIONS_OF_A_TENSOR = 6

FIELD_OF_VIEW = 230.0
"""Longest side of a head's usual field of view, where the voxel size is not given (mm)."""

BRIGHTEST = 1.5
"""Signal counts as at most this multiple of the bright voxels' median when a head is found."""

MEDIAN_PASSES = 4
"""Of the filter before a head is found, over 3 x 3 x 3 voxels."""

NECK_RADIUS = 6.0
"""Bridges from the brain to eyes, muscles and mucosa are thinner than twice this (mm)."""

RIM = 1.0
"""How much further than `NECK_RADIUS` the core grows back, to keep corners (mm)."""

SULCUS_RADIUS = 4.0
"""Dents narrower than twice this are closed (mm)."""

_SAME_DIRECTION = 0.999  # cosine of 2.6 degrees
_DETERMINED = 1e-2  # ratio of smallest to largest singular value of six usable directions


def mean_b0(series: np.ndarray, b0_ixs: Sequence[int] | np.ndarray) -> np.ndarray:
    """Average the b=0 volumes; what is not finite counts as 0.

    Parameters
    ----------
    series : (I, J, K, N)
    b0_ixs : (n,) int

    Returns
    -------
    (I, J, K) float32

    Examples
    --------
    >>> mean_b0(np.array([[[[1.0, 9.0, 2.0]]]]), [0, 2]).ravel().tolist()
    [1.5]
    """
    return mean_of(series[..., ix] for ix in b0_ixs)


def mean_of(volumes: Iterable[np.ndarray]) -> np.ndarray:
    """Average volumes that come one at a time; what is not finite counts as 0, float32."""
    total, count = 0.0, 0
    for volume in volumes:
        total, count = total + finite(volume), count + 1
    return (total / count).astype(np.float32)


def brain_mask(
    b0: np.ndarray, *, zooms: Sequence[float] | None = None, threads: int = 1
) -> np.ndarray:
    """Find the brain on a mean b=0 image: whole heads, partial slabs and any slice direction.

    A median filter and Otsu's threshold (the two steps of dipy's ``median_otsu``, radius 1, four
    passes: a larger radius swells the vertex of thick slices) leave the brain, eyes and some
    muscle. What hangs on by a neck thinner than 12 mm is cut off, the largest piece is kept, its
    dents and holes are filled. The border of the volume is never taken for the border of the
    brain, so a slab keeps its first and last slice.

    Parameters
    ----------
    b0 : (I, J, K)
    zooms : (3,) mm, optional
        Without it, cubic voxels and a field of view of 230 mm are assumed.
    threads : int
        Of the median filter; the mask does not depend on it.

    Returns
    -------
    (I, J, K) bool
        Empty where the image is constant.

    Examples
    --------
    >>> ball = sum((axis - 16) ** 2 for axis in np.indices((32, 32, 3))[:2]) < 100
    >>> bool((brain_mask(100.0 * ball) == ball).mean() > 0.99)
    True
    """
    b0 = np.maximum(finite(b0), 0)
    spacing = np.array(zooms if zooms is not None else [FIELD_OF_VIEW / max(b0.shape)] * 3, float)
    smooth = _smooth(b0, threads)
    found = np.zeros(b0.shape, bool)
    if smooth.min() == smooth.max():
        return found
    # else fluid and eyes, several times as bright, make a class of their own in a thin slab
    brain_level = np.median(smooth[smooth > smooth.mean()])
    capped = np.minimum(smooth, BRIGHTEST * brain_level)
    # raveled, because a volume of three slices is taken for an RGB picture
    bright = smooth > threshold_otsu(capped.ravel())
    box = _bounding_box(bright, spacing)
    bright = _fill_holes(bright[box])
    core = _largest(_distance(bright, spacing) > NECK_RADIUS)
    if core.any():
        near = _distance(~core, spacing) <= NECK_RADIUS + RIM
        brain = _largest(bright & near)
    else:
        brain = _largest(bright)
    grown = _distance(~brain, spacing) <= SULCUS_RADIUS
    brain |= _distance(grown, spacing) > SULCUS_RADIUS
    found[box] = _fill_holes(brain)
    return found


def _smooth(b0: np.ndarray, threads: int) -> np.ndarray:
    """Pass a median filter of 3 x 3 x 3 voxels `MEDIAN_PASSES` times.

    Borders are mirrored. scipy's filter, which dipy uses, finds the same medians in twice the
    time: numpy selects them with the processor's vector instructions.
    """
    for _ in range(MEDIAN_PASSES):
        around = sliding_window_view(np.pad(b0, 1, mode='symmetric'), (3, 3, 3))

        def medians(windows: np.ndarray) -> np.ndarray:
            values = np.array(windows, order='C').reshape(*windows.shape[:2], 27)
            values.partition(13, axis=-1)
            return values[..., 13].copy()

        b0 = np.stack(in_threads(threads, medians, around))
    return b0


def found_brain(
    b0: np.ndarray, *, zooms: Sequence[float] | None = None, threads: int = 1
) -> np.ndarray:
    """Find the brain as `brain_mask` does, and refuse an image that shows none.

    Raises
    ------
    ValueError
    """
    mask = brain_mask(b0, zooms=zooms, threads=threads)
    if not mask.any():
        raise ValueError('no brain was found in the mean b=0. Check that the image shows a head.')
    return mask


def _bounding_box(mask: np.ndarray, spacing: np.ndarray) -> tuple[slice, ...]:
    """Return slices around a mask, with room for it to be closed."""
    (box,) = ndimage.find_objects(mask.astype(np.int8))
    margins = np.ceil(2 * SULCUS_RADIUS / spacing).astype(int) + 1
    return tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(box, margins, strict=True)
    )


def _distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Return how far each voxel of a mask lies from its outside, mm; the border is not outside."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return ndimage.distance_transform_edt(mask, sampling=spacing)


def _largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected piece."""
    labels, count = ndimage.label(mask)
    if count < 2:
        return mask.copy()
    return labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _fill_holes(mask: np.ndarray) -> np.ndarray:
    """Fill holes of the volume, then of each plane: those of a slab are open at its ends."""
    filled = ndimage.binary_fill_holes(mask)
    for ax in range(3):
        neighbours = ndimage.generate_binary_structure(3, 1)
        np.moveaxis(neighbours, ax, 0)[[0, 2]] = False
        labels, count = ndimage.label(~filled, neighbours)
        open_ = np.zeros(count + 1, bool)
        for other in {0, 1, 2} - {ax}:
            open_[labels.take([0, -1], axis=other)] = True
        filled |= ~open_[labels]
    return filled


def log_ratio(signal: np.ndarray, s0: np.ndarray, b: float) -> np.ndarray:
    """Take ln(S / S0), float64; what an ADC of `ADC_LIMIT` leaves is the least that S counts as.

    Parameters
    ----------
    signal : (V,) float
    s0 : (V,) float
        Positive.
    b : float
        s/mm2.

    Examples
    --------
    >>> log_ratio(np.array([5.0, -1.0, np.nan]), np.full(3, 5.0), 1000.0).tolist()
    [0.0, -5.0, -5.0]
    """
    ratio = finite(signal) / s0
    np.maximum(ratio, np.exp(-b * ADC_LIMIT), out=ratio)
    return np.log(ratio, out=ratio)


def finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values, 0 where they are not finite; the same array if all are."""
    values = np.asarray(values, np.float64)
    if np.isfinite(values).all():
        return values
    return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)


def unit_directions(bvecs: np.ndarray) -> np.ndarray:
    """Scale b-vectors to unit length, those without a direction to 0."""
    vectors = np.nan_to_num(bvecs)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norms > NO_DIRECTION, vectors / np.maximum(norms, NO_DIRECTION), 0.0)


def count_directions(directions: np.ndarray) -> int:
    """Count distinct directions; opposite ones are the same, null vectors are none."""
    distinct: list[np.ndarray] = []
    for vector in directions:
        if vector.any() and all(abs(vector @ other) < _SAME_DIRECTION for other in distinct):
            distinct.append(vector)
    return len(distinct)


def determines_tensor(directions: np.ndarray) -> bool:
    """Tell whether directions determine the six numbers of a tensor, and all of them are known."""
    if not directions.any(axis=1).all() or count_directions(directions) < DIRECTIONS_OF_A_TENSOR:
        return False
    x, y, z = directions.T
    rows = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    sizes = np.linalg.svd(rows, compute_uv=False)
    return bool(sizes[-1] > _DETERMINED * sizes[0])


def apparent_diffusion(
    b0: np.ndarray, trace: np.ndarray, mask: np.ndarray, b: float = B_CANONICAL
) -> np.ndarray:
    """Compute the ADC of a b=0 and a trace-weighted image.

    Parameters
    ----------
    b0, trace, mask : (I, J, K)
    b : float
        s/mm2.

    Returns
    -------
    (I, J, K) float32
        mm2/s, within 0 and `ADC_LIMIT`; 0 outside the mask and where b=0 is not positive.

    Examples
    --------
    >>> b0, mask = np.full((1, 1, 2), 2.0), np.array([[[True, False]]])
    >>> np.round(apparent_diffusion(b0, b0 * np.exp(-0.8), mask), 7).ravel().tolist()
    [0.0007999999797903001, 0.0]
    """
    s0 = finite(b0)
    inside = np.asarray(mask, bool) & (s0 > 0)
    adc = np.zeros(s0.shape, np.float32)
    logs = log_ratio(np.asarray(trace)[inside], s0[inside], b)
    adc[inside] = np.clip(-logs / b, 0, ADC_LIMIT)
    return adc
