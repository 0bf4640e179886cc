"""Summarise a series: mean b=0, brain mask, and the trace-weighted image with its ADC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from dipy.segment.mask import multi_median
from scipy import ndimage
from skimage.filters import threshold_otsu

from bidsharmony.numerics.gradients import B_CANONICAL, NO_DIRECTION, trace_shell
from bidsharmony.numerics.tensor import VOXELS_AT_ONCE, fit_tensors

ADC_LIMIT = 5e-3
"""Faster than free water at 37 degrees Celsius (3e-3), as flow and noise can make it (mm2/s)."""

MASK_GROWS = 2
"""Voxels beyond the mask whose trace image comes from a tensor, too."""

B_NEAR_CANONICAL = (800.0, 1200.0)
"""Within these, going to b=1000 is no extrapolation (s/mm2)."""

DIRECTIONS_OF_A_TENSOR = 6

FIELD_OF_VIEW = 230.0
"""Longest side of a head's usual field of view, where the voxel size is not given (mm)."""

BRIGHTEST = 1.5
"""Signal counts as at most this multiple of the bright voxels' median when a head is found."""

NECK_RADIUS = 6.0
"""Bridges from the brain to eyes, muscles and mucosa are thinner than twice this (mm)."""

RIM = 1.0
"""How much further than `NECK_RADIUS` the core grows back, to keep corners (mm)."""

SULCUS_RADIUS = 4.0
"""Dents narrower than twice this are closed (mm)."""

_SAME_DIRECTION = 0.999  # cosine of 2.6 degrees
_DETERMINED = 1e-2  # ratio of smallest to largest singular value of six usable directions


@dataclass(frozen=True)
class TraceImage:
    """A trace-weighted image and what it was made from.

    Attributes
    ----------
    trace : (I, J, K) float32
        Unit of the series.
    adc : (I, J, K) float32
        mm2/s.
    method : 'tensor' or 'geometric'
        How the mean diffusivity was found in the brain.
    b_acquired : float
        Mean b-value of the shell that was used, s/mm2.
    extrapolated : bool
        Whether that shell is far from b=1000 s/mm2.
    n_directions : int
        Distinct directions of the shell; opposite ones are the same.
    """

    trace: np.ndarray
    adc: np.ndarray
    method: Literal['tensor', 'geometric']
    b_acquired: float
    extrapolated: bool
    n_directions: int

    @property
    def facts(self) -> dict[str, str | float | bool | int]:
        """Say how it was made, under the names of the qc file."""
        return {
            'trace_method': str(self.method),
            'b_acquired': float(self.b_acquired),
            'extrapolated': bool(self.extrapolated),
            'n_directions': int(self.n_directions),
        }


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
    total = np.zeros(series.shape[:3])
    for ix in b0_ixs:
        total += _finite(series[..., ix])
    return (total / len(b0_ixs)).astype(np.float32)


def brain_mask(b0: np.ndarray, *, zooms: Sequence[float] | None = None) -> np.ndarray:
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
    b0 = np.maximum(_finite(b0), 0)
    spacing = np.array(zooms if zooms is not None else [FIELD_OF_VIEW / max(b0.shape)] * 3, float)
    smooth = multi_median(b0, 1, 4)
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


def found_brain(b0: np.ndarray, *, zooms: Sequence[float] | None = None) -> np.ndarray:
    """Find the brain as `brain_mask` does, and refuse an image that shows none.

    Raises
    ------
    ValueError
    """
    mask = brain_mask(b0, zooms=zooms)
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
        planes = [ndimage.binary_fill_holes(plane) for plane in np.moveaxis(filled, ax, 0)]
        filled = np.stack(planes, axis=ax)
    return filled


def trace_weighted(
    series: np.ndarray,
    bvals: np.ndarray,
    bvecs: np.ndarray,
    *,
    b0_ixs: Sequence[int] | np.ndarray,
    mask: np.ndarray,
    b_target: float = B_CANONICAL,
) -> TraceImage:
    """Make the image S0 exp(-b MD), which no choice of directions can turn.

    S0 is the mean b=0 as it is; where its b-value is not quite 0, both images carry that.

    MD comes from a tensor (weighted least squares) in the dilated mask where the shell nearest
    b=1000 has six usable directions; else, and outside, it is the mean over the directions of
    -ln(S_i / S0) / b_i, which is their geometric mean. The arithmetic mean of the images would
    bias ADC by -10 % in white matter. Signals lost in the noise count as if their ADC were
    `ADC_LIMIT`.

    Parameters
    ----------
    series : (I, J, K, N)
        Values that are not finite count as 0.
    bvals : (N,) s/mm2
    bvecs : (N, 3)
    b0_ixs : (n,) int
        Positions of the b=0 volumes; all others are diffusion-weighted.
    mask : (I, J, K) bool
        The brain.
    b_target : float
        s/mm2.

    Returns
    -------
    TraceImage

    Raises
    ------
    GradientError
        Without a diffusion-weighted volume.

    Examples
    --------
    >>> series = np.exp(-1e-3 * np.array([0.0, 500, 1000, 1500]))[None, None, None] * 100
    >>> axes = [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    >>> mask = np.ones((1, 1, 1), bool)
    >>> found = trace_weighted(series, np.array([0, 1e3, 1e3, 1e3]), axes, b0_ixs=[0], mask=mask)
    >>> found.method, round(found.adc.item(), 9), round(found.trace.item(), 4)
    ('geometric', 0.001, 36.7879)
    """
    bvals, b0_ixs = np.array(bvals, np.float64), np.array(b0_ixs, int)
    b_zero = float(bvals[b0_ixs].mean())
    without_b0 = bvals.copy()
    without_b0[b0_ixs] = 0
    shell = trace_shell(without_b0, b0_threshold=0.0)
    directions, found = unit_directions(np.asarray(bvecs, np.float64)), np.array(shell.ixs)
    s0 = np.maximum(mean_b0(series, b0_ixs), 0).astype(np.float64)
    near = ndimage.binary_dilation(np.asarray(mask, bool), iterations=MASK_GROWS) & (s0 > 0)
    fitted = determines_tensor(directions[found])
    inside = (s0 > 0) & ~near if fitted else s0 > 0
    adc = _geometric_adc(series, s0, found, bvals - b_zero, inside)
    if fitted and near.any():
        adc[near] = _tensor_md(series, near, s0[near], found, bvals - b_zero, directions)
    adc = np.clip(adc, 0, ADC_LIMIT)
    return TraceImage(
        trace=(s0 * np.exp(-b_target * adc)).astype(np.float32),
        adc=adc.astype(np.float32),
        method='tensor' if fitted else 'geometric',
        b_acquired=shell.b,
        extrapolated=not B_NEAR_CANONICAL[0] <= shell.b <= B_NEAR_CANONICAL[1],
        n_directions=_count_directions(directions[found]),
    )


def _geometric_adc(
    series: np.ndarray, s0: np.ndarray, ixs: np.ndarray, bvals: np.ndarray, inside: np.ndarray
) -> np.ndarray:
    """Average -ln(S_i / S0) / b_i over the volumes inside, (I, J, K) mm2/s; 0 elsewhere."""
    total = np.zeros(s0.shape)
    for ix in ixs:
        signal = floored(series[..., ix][inside], s0[inside], bvals[ix])
        total[inside] -= np.log(signal / s0[inside]) / bvals[ix]
    return total / len(ixs)


def _tensor_md(
    series: np.ndarray,
    inside: np.ndarray,
    s0: np.ndarray,
    ixs: np.ndarray,
    bvals: np.ndarray,
    directions: np.ndarray,
) -> np.ndarray:
    """Fit a tensor in some voxels (dipy, weighted) and return its mean diffusivity, mm2/s."""
    md, voxels = np.empty(len(s0)), np.flatnonzero(inside)
    for start in range(0, len(s0), VOXELS_AT_ONCE):
        part = slice(start, start + VOXELS_AT_ONCE)
        places = np.unravel_index(voxels[part], inside.shape)
        signal = floored(series[places][:, ixs], s0[part, None], bvals[ixs]) / s0[part, None]
        md[part] = fit_tensors(signal, bvals[ixs], directions[ixs]).md
    return md


def floored(signal: np.ndarray, s0: np.ndarray, b: float) -> np.ndarray:
    """Raise signals to what an ADC of `ADC_LIMIT` would leave: a logarithm must exist."""
    return np.maximum(_finite(signal), s0 * np.exp(-b * ADC_LIMIT))


def _finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values, 0 where they are not finite."""
    return np.nan_to_num(np.asarray(values, np.float64), nan=0.0, posinf=0.0, neginf=0.0)


def unit_directions(bvecs: np.ndarray) -> np.ndarray:
    """Scale b-vectors to unit length, those without a direction to 0."""
    vectors = np.nan_to_num(bvecs)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(norms > NO_DIRECTION, vectors / np.maximum(norms, NO_DIRECTION), 0.0)


def _count_directions(directions: np.ndarray) -> int:
    """Count distinct directions; opposite ones are the same, null vectors are none."""
    distinct: list[np.ndarray] = []
    for vector in directions:
        if vector.any() and all(abs(vector @ other) < _SAME_DIRECTION for other in distinct):
            distinct.append(vector)
    return len(distinct)


def determines_tensor(directions: np.ndarray) -> bool:
    """Tell whether directions determine the six numbers of a tensor, and all of them are known."""
    if not directions.any(axis=1).all() or _count_directions(directions) < DIRECTIONS_OF_A_TENSOR:
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
    s0 = _finite(b0)
    inside = np.asarray(mask, bool) & (s0 > 0)
    adc = np.zeros(s0.shape, np.float32)
    signal = floored(np.asarray(trace)[inside], s0[inside], b)
    adc[inside] = np.clip(-np.log(signal / s0[inside]) / b, 0, ADC_LIMIT)
    return adc
