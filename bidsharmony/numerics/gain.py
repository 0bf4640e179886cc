"""Multiply a series by one field, and see that diffusion is what it was."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bidsharmony.numerics.diffusion import (
    ADC_LIMIT,
    determines_tensor,
    log_ratio,
    unit_directions,
)
from bidsharmony.numerics.tensor import HAS_DIRECTION, PassingFit, v1_angles
from bidsharmony.numerics.threads import in_threads

SMALLEST_EXACT = float(np.finfo(np.float32).tiny) / 1e-7
"""Signals that the gain would bring under this have no seven digits in a float32, and are not
compared: they are rounding, not signal."""


_TINIEST = float(np.nextafter(0, 1))  # the least number above 0


@dataclass(frozen=True)
class RatioChange:
    """How far S_b / S_0 moved.

    Attributes
    ----------
    max_relative : float
        Largest relative change; inf where a positive signal was lost.
    n_voxels : int
        Voxels that were compared.
    """

    max_relative: float
    n_voxels: int


@dataclass(frozen=True)
class DiffusionChange:
    """What became of diffusivity and anisotropy in a mask.

    Attributes
    ----------
    method : 'tensor' or 'geometric'
        Least squares of the logarithm (not weighted: gains must not matter), or, with too few
        directions for a tensor, the mean of the directions' diffusivities.
    n_voxels : int
    md : (2,) float
        Median mean diffusivity before and after, mm2/s.
    md_change : float or None
        Largest relative change of a voxel; None where voxels have no counterpart.
    fa : (2,) float, or None
        Median fractional anisotropy; None without a tensor.
    fa_change : float or None
        Largest absolute change.
    v1_degrees : float or None
        Largest turn of a first eigenvector, of voxels that have one
        (`numerics.tensor.HAS_DIRECTION`).
    """

    method: str
    n_voxels: int
    md: tuple[float, float]
    md_change: float | None
    fa: tuple[float, float] | None
    fa_change: float | None
    v1_degrees: float | None


class PassingDiffusion:
    """Measure diffusivity and anisotropy of voxels whose volumes come one at a time.

    Parameters
    ----------
    s0 : (V,) float
        Mean signals of the b=0 volumes.
    bvals : (n,) s/mm2
        Of one shell, less the mean b-value of the b=0 volumes.
    bvecs : (n, 3)
    """

    def __init__(self, s0: np.ndarray, bvals: np.ndarray, bvecs: np.ndarray) -> None:
        self.s0, self.bvals = np.asarray(s0, np.float64), np.asarray(bvals, np.float64)
        directions = unit_directions(np.asarray(bvecs, np.float64))
        self.has_tensor = determines_tensor(directions)
        self.sound = np.isfinite(self.s0) & (self.s0 > 0)
        self._divisor = np.where(self.sound, self.s0, 1.0)
        self._fit = PassingFit(len(self.s0), self.bvals, directions) if self.has_tensor else None
        self._sum = np.zeros(0 if self.has_tensor else len(self.s0))

    def see(self, number: int, signal: np.ndarray) -> None:
        """Take the signals, (V,), of one volume of the shell; each volume comes once."""
        self.sound &= np.isfinite(signal)
        b = float(self.bvals[number])
        found = log_ratio(signal, self._divisor, b)
        if self._fit is None:
            self._sum -= found / b
        else:
            self._fit.add(number, found)

    def scalars(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give mean diffusivity and anisotropy of some voxels, (W,) int, after all volumes.

        Without directions enough for a tensor, no anisotropy is known, and it is 0.
        """
        if self._fit is not None:
            return self._fit.scalars(which)
        md = self._sum[which] / len(self.bvals)
        return md, np.zeros(len(md))

    def first_eigenvectors(self, which: np.ndarray) -> np.ndarray:
        """Give the first eigenvectors of some voxels, (W,) int, after all volumes, (W, 3).

        Raises
        ------
        ValueError
            Without directions enough for a tensor.
        """
        if self._fit is None:
            raise ValueError('these directions determine no tensor')
        return self._fit.first_eigenvectors(which)


def compare_diffusion(
    before: PassingDiffusion,
    after: PassingDiffusion,
    *,
    paired: bool = True,
    threads: int = 1,
) -> DiffusionChange:
    """Compare two series of one gradient table after all their volumes have passed.

    Voxels without a sound signal are left out.

    Parameters
    ----------
    before, after : PassingDiffusion
    paired : bool
        Whether voxel i is the same place before and after, so that voxels are compared one by one;
        if not, only medians are.
    threads : int
        The result does not depend on it.

    Returns
    -------
    DiffusionChange

    Raises
    ------
    ValueError
        If no voxel had a positive b=0 signal.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> before, after = (PassingDiffusion(np.full(50, s0), np.full(6, 1e3), axes) for s0 in (3, 9))
    >>> for number in range(6):
    ...     signal = np.exp(-rng.uniform(0.5, 1.0, 50))
    ...     before.see(number, 3 * signal)
    ...     after.see(number, 9 * signal)
    >>> found = compare_diffusion(before, after)
    >>> found.method, found.md_change < 1e-12, found.v1_degrees < 1e-6
    ('tensor', True, True)
    """
    tensor = before.has_tensor
    both = np.flatnonzero(before.sound & after.sound) if paired else None
    (old_md, old_fa), (new_md, new_fa) = in_threads(
        threads,
        lambda side: side.scalars(np.flatnonzero(side.sound) if both is None else both),
        (before, after),
    )
    if not len(old_md) or not len(new_md):
        raise ValueError('no voxel of the mask has a positive b=0 signal')
    md_change = fa_change = degrees = None
    if paired:
        lowest = 1e-3 * ADC_LIMIT  # a relative change of nothing says nothing
        md_change = float(np.max(np.abs(new_md - old_md) / np.maximum(np.abs(old_md), lowest)))
        if tensor:
            fa_change = float(np.abs(new_fa - old_fa).max())
            directed = both[old_fa >= HAS_DIRECTION]
            turns = v1_angles(
                *in_threads(
                    threads, lambda side: side.first_eigenvectors(directed), (before, after)
                )
            )
            degrees = float(turns.max(initial=0.0))
    return DiffusionChange(
        method='tensor' if tensor else 'geometric',
        n_voxels=len(old_md),
        md=(float(np.median(old_md)), float(np.median(new_md))),
        md_change=md_change,
        fa=(float(np.median(old_fa)), float(np.median(new_fa))) if tensor else None,
        fa_change=fa_change,
        v1_degrees=degrees,
    )


def series_factor(gain: np.ndarray, bias: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """Return the one field that every volume of a series is multiplied by.

    Parameters
    ----------
    gain, bias : (I, J, K)
        What multiplies, and the receive field that divides.
    strength : float
        From 1 to 0, which leaves the series as it is.

    Returns
    -------
    (I, J, K) float64

    Examples
    --------
    >>> series_factor(np.array(8.0), np.array(2.0), 0.5).item()
    2.0
    """
    return (np.asarray(gain, np.float64) / np.asarray(bias, np.float64)) ** strength


def apply_gain(
    series: np.ndarray, field: np.ndarray, *, out: np.ndarray | None = None
) -> np.ndarray:
    """Multiply every volume by the same positive field.

    The product is taken in double precision and rounded once, so that S_b / S_0 changes by no more
    than two roundings of float32 (1.2e-7).

    Parameters
    ----------
    series : (I, J, K) or (I, J, K, N)
    field : (I, J, K)
    out : like series, float32 or float64, optional
        Where the result is put, for instance a memory map; it may be the series itself.

    Returns
    -------
    like series, float32
        `out`, where it is given.

    Raises
    ------
    ValueError
        If the shapes differ, or the field is not finite and positive everywhere.

    Examples
    --------
    >>> apply_gain(np.full((1, 1, 1, 2), 3), np.full((1, 1, 1), 0.5)).ravel().tolist()
    [1.5, 1.5]
    """
    series, field = np.asarray(series), positive_field(field)
    if series.shape[:3] != field.shape:
        raise ValueError(f'a field of shape {field.shape} for a series of shape {series.shape}')
    if out is not None and (
        out.shape != series.shape or out.dtype.kind != 'f' or out.dtype.itemsize < 4
    ):
        raise ValueError(
            f'out holds {out.dtype.name} of shape {out.shape}, where float32 or float64 of shape '
            f'{series.shape} is needed'
        )
    gained = np.empty_like(series, np.float32) if out is None else out
    if series.ndim == 3:
        gained[...] = multiplied(series, field)
        return gained
    for ix in range(series.shape[3]):
        gained[..., ix] = multiplied(series[..., ix], field)
    return gained


def positive_field(field: np.ndarray) -> np.ndarray:
    """Give a field in double precision.

    Raises
    ------
    ValueError
        If it is not finite and positive everywhere.
    """
    field = np.asarray(field, np.float64)
    bad = ~(np.isfinite(field) & (field > 0))
    if bad.any():
        raise ValueError(
            f'the field is not finite and positive in {int(bad.sum())} voxels, '
            f'the first is {field[bad][0]:g}'
        )
    return field


def multiplied(volume: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Multiply one volume in double precision, and round once to float32, stored as it was.

    What it holds that is not finite stays so, and is counted by the caller.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if volume.shape != field.shape:
        raise ValueError(f'a field of shape {field.shape} for a volume of shape {volume.shape}')
    with np.errstate(over='ignore', invalid='ignore'):
        # numpy casts a piece at a time: no whole product in double precision is held
        out = np.empty_like(volume, np.float32)
        return np.multiply(volume, field, out=out, dtype=np.float64, casting='unsafe')


class PassingRatios:
    """Compare S_b / S_0 of voxels whose volumes come one at a time.

    Parameters
    ----------
    old_s0, new_s0 : (V,) float64
        Mean signals of the b=0 volumes, before and after.
    sound : (V,) bool
        Whether all of the first were positive.

    Examples
    --------
    >>> passing = PassingRatios(np.array([2.0]), np.array([14.0]), np.array([True]))
    >>> passing.see(np.array([1.0]), np.array([7.0]))
    >>> passing.change
    RatioChange(max_relative=0.0, n_voxels=1)
    """

    def __init__(self, old_s0: np.ndarray, new_s0: np.ndarray, sound: np.ndarray) -> None:
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            # of an old signal, whose product with S_0' / S_0 would be too small
            smallest = np.where(
                new_s0 >= SMALLEST_EXACT, SMALLEST_EXACT / (new_s0 / old_s0), -np.inf
            )
            self._scale = old_s0 / new_s0
        # the least signal that is compared: a positive one
        self._least = np.where(sound & np.isfinite(old_s0), np.fmax(smallest, _TINIEST), np.inf)
        self._compared = np.zeros(len(old_s0), bool)
        self._largest = 0.0

    def see(self, old: np.ndarray, new: np.ndarray) -> None:
        """Take the signals, (V,), of one volume before and after."""
        use = (old >= self._least) & (old < np.inf)
        self._compared |= use
        with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
            change = np.abs(new * self._scale / old - 1)
        largest = float((change if use.all() else change[use]).max(initial=0.0))
        self._largest = max(self._largest, np.inf if np.isnan(largest) else largest)

    @property
    def change(self) -> RatioChange:
        """How far it moved in the volumes that were seen."""
        return RatioChange(max_relative=self._largest, n_voxels=int(self._compared.sum()))
