"""Make the trace-weighted image at b=1000 of a series, and its ADC."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from scipy import ndimage

from bidsharmony.numerics.diffusion import (
    ADC_LIMIT,
    count_directions,
    determines_tensor,
    finite,
    log_ratio,
    mean_of,
    unit_directions,
)
from bidsharmony.numerics.gradients import B_CANONICAL, trace_shell
from bidsharmony.numerics.grids import places_in_file
from bidsharmony.numerics.tensor import chunks, fit_mean_diffusivities
from bidsharmony.numerics.threads import in_threads

IN_CACHE = 50_000
"""Voxels whose logarithms are taken at once, so that the steps on the way stay in the cache."""

MASK_GROWS = 2
"""Voxels beyond the mask whose trace image comes from a tensor, too."""

B_NEAR_CANONICAL = (800.0, 1200.0)
"""Within these, going to b=1000 is no extrapolation (s/mm2)."""

Reader = Callable[[Sequence[int]], Iterable[np.ndarray]]
"""Gives the volumes at increasing positions, one at a time, (I, J, K)."""


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


def trace_weighted(
    series: np.ndarray | Reader,
    bvals: np.ndarray,
    bvecs: np.ndarray,
    *,
    b0_ixs: Sequence[int] | np.ndarray,
    mask: np.ndarray,
    b_target: float = B_CANONICAL,
    held_mb: float = np.inf,
    threads: int = 1,
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
    series : (I, J, K, N), or callable
        Values that are not finite count as 0. A series that is on a disk is a function that reads
        some of its volumes.
    bvals : (N,) s/mm2
    bvecs : (N, 3)
    b0_ixs : (n,) int
        Positions of the b=0 volumes; all others are diffusion-weighted.
    mask : (I, J, K) bool
        The brain.
    b_target : float
        s/mm2.
    held_mb : float
        Signals of the dilated mask that are held at once (2^20 bytes): if there are more, the
        volumes of the shell are read again for the voxels that are left.
    threads : int
        Of the fit; the result does not depend on it.

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
    read = series if callable(series) else lambda ixs: (series[..., ix] for ix in ixs)
    bvals, b0_ixs = np.array(bvals, np.float64), np.array(b0_ixs, int)
    b_zero = float(bvals[b0_ixs].mean())
    without_b0 = bvals.copy()
    without_b0[b0_ixs] = 0
    shell = trace_shell(without_b0, b0_threshold=0.0)
    found = np.array(shell.ixs)
    directions = unit_directions(np.asarray(bvecs, np.float64))[found]
    b0s = iter(read(b0_ixs.tolist()))
    first = np.asarray(next(b0s))
    s0 = np.maximum(mean_of(chain([first], b0s)), 0).astype(np.float64)
    fitted = determines_tensor(directions)
    near = np.zeros(s0.shape, bool)
    if fitted:
        near = ndimage.binary_dilation(np.asarray(mask, bool), iterations=MASK_GROWS) & (s0 > 0)
    adc = _diffusivity(
        lambda: read(found.tolist()),
        s0,
        near,
        bvals[found] - b_zero,
        directions,
        held_mb=held_mb,
        held_type=first.dtype if first.dtype in (np.int16, np.uint16) else np.dtype(np.float32),
        threads=threads,
    )
    adc = np.clip(adc, 0, ADC_LIMIT)
    return TraceImage(
        trace=(s0 * np.exp(-b_target * adc)).astype(np.float32),
        adc=adc.astype(np.float32),
        method='tensor' if fitted else 'geometric',
        b_acquired=shell.b,
        extrapolated=not B_NEAR_CANONICAL[0] <= shell.b <= B_NEAR_CANONICAL[1],
        n_directions=count_directions(directions),
    )


def _diffusivity(
    shell: Callable[[], Iterable[np.ndarray]],
    s0: np.ndarray,
    near: np.ndarray,
    bvals: np.ndarray,
    directions: np.ndarray,
    *,
    held_mb: float,
    held_type: np.dtype,
    threads: int,
) -> np.ndarray:
    """Find mean diffusivities, by tensors where `near` is, (I, J, K) mm2/s; 0 without a signal.

    As the volumes of the shell pass, those outside are averaged and the signals near are kept.
    Integers of two bytes are kept as such, in half of the memory of numbers that hold any.
    """
    adc = np.zeros(s0.size)
    flat = s0.reshape(-1, order='F')
    outside, inside = places_in_file((s0 > 0) & ~near), places_in_file(near)
    level, total = flat[outside], np.zeros(len(outside))
    lowest = np.exp(-bvals * ADC_LIMIT)[:, None]
    size = held_type.itemsize * len(inside) * len(bvals)
    parts = max(1, int(np.ceil(size / (held_mb * 2**20))))
    for part, places in enumerate(np.array_split(inside, parts)):
        kept = np.empty((len(bvals), len(places)), held_type)
        for ix, volume in enumerate(shell()):
            values = volume.reshape(-1, order='F')
            if values.dtype != kept.dtype and kept.dtype != np.float32:
                kept = kept.astype(np.float32)  # whoever reads gives volumes of several kinds
            kept[ix] = finite(values[places])
            if part == 0:
                for start in range(0, len(outside), IN_CACHE):
                    some = slice(start, start + IN_CACHE)
                    logs = log_ratio(values[outside[some]], level[some], bvals[ix])
                    total[some] -= logs / bvals[ix]

        def fit(some: slice, places: np.ndarray = places, kept: np.ndarray = kept) -> None:
            s0_here = flat[places[some]]
            # once more: what a float64 holds may be too large for a float32
            ratio = np.maximum(finite(kept[:, some]) / s0_here, lowest)
            adc[places[some]] = fit_mean_diffusivities(ratio.T, bvals, directions)

        in_threads(threads, fit, chunks(len(places), len(bvals)))
    adc[outside] = total / len(bvals)
    return adc.reshape(s0.shape, order='F')
