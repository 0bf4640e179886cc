"""Measure the resolution of a scan from its spectrum, and bring a series to a coarser one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import sparse, special

from bidsharmony.numerics.marks import ACROSS
from bidsharmony.numerics.slices import FWHM_PER_SD
from bidsharmony.numerics.spectrum import taper
from bidsharmony.numerics.threads import in_threads

#: cycles/mm between which spectra are compared: below lie contrast and shading, above noise
FITTED_BAND = (0.03, 0.22)
ABOVE_NOISE = 2.0  # times the noise's power: weaker frequencies do not count
_EXPONENT = np.pi**2 / (2 * np.log(2))  # power behind a Gaussian of FWHM w: exp(-_EXPONENT f2 w2)
_NEGLIGIBLE = 1e-6  # weights under this are left out
_FEWEST = 4  # frequencies that a slope is taken from


@dataclass(frozen=True)
class Operator:
    """One linear map for every volume of a series: to another grid and a coarser resolution.

    Separable; its weights are positive and sum to 1, so that a signal stays between the signals it
    is made of, ratios of volumes stay positive, and noise never grows.

    Attributes
    ----------
    rows : three (n_out, n_in) sparse arrays
        Weights along each axis.
    fwhm_mm : (3,) float
        Resolution behind it, along each axis.
    """

    rows: tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]
    fwhm_mm: tuple[float, float, float]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the volumes that come out."""
        return tuple(weights.shape[0] for weights in self.rows)

    @property
    def noise_gain(self) -> float:
        """Standard deviation of white noise behind it, over that before; mean over voxels."""
        return float(
            np.sqrt(np.prod([weights.power(2).sum(axis=1).mean() for weights in self.rows]))
        )

    def apply(self, volume: np.ndarray) -> np.ndarray:
        """Map a volume.

        Parameters
        ----------
        volume : (I, J, K) float
            What is not finite counts as not measured.

        Returns
        -------
        (I', J', K') float64
            The weighted mean of what was measured; nan where that has less than half the weight.
        """
        finite = np.isfinite(volume)
        if finite.all():
            return _along_axes(self.rows, volume)
        covered = _along_axes(self.rows, finite)
        known = covered >= 0.5
        total = _along_axes(self.rows, np.where(finite, volume, 0.0))
        return np.where(known, total / np.where(known, covered, 1.0), np.nan)

    def propagate(self, sigma: np.ndarray) -> np.ndarray:
        """Tell what becomes of noise that is independent from voxel to voxel.

        Parameters
        ----------
        sigma : (I, J, K) float
            Standard deviation.

        Returns
        -------
        (I', J', K') float64
            Of the mapped volume; neighbours there share some of it.
        """
        squares = tuple(weights.power(2) for weights in self.rows)
        return np.sqrt(_along_axes(squares, np.asarray(sigma, np.float64) ** 2))


def _along_axes(rows: Sequence[sparse.csr_array], volume: np.ndarray) -> np.ndarray:
    """Multiply a volume by one matrix along each axis."""
    data = np.asarray(volume, np.float64)
    for axis, weights in enumerate(rows):
        moved = np.moveaxis(data, axis, 0)
        # a sparse product, unlike a dense one, has the same bits at any number of threads
        flat = weights @ np.ascontiguousarray(moved).reshape(len(moved), -1)
        data = np.moveaxis(flat.reshape(-1, *moved.shape[1:]), 0, axis)
    return np.ascontiguousarray(data)


def series_operator(
    shape: Sequence[int],
    zooms: Sequence[float],
    native_mm: Sequence[float],
    voxel_mm: float,
    canonical_mm: float,
) -> Operator:
    """Design the operator that brings a series to cubic voxels over the same field of view.

    Along each axis the resolution becomes the coarsest of what the scan has, the canonical one and
    the new voxel (finer detail would alias). What is added is a Gaussian, over straight lines
    between the voxels as they are (together a positive kernel); lines blur, too, and that is taken
    off. Where they blur more than is wanted, the resolution is what they leave.

    Parameters
    ----------
    shape : (3,) int
    zooms : (3,) mm
    native_mm : (3,) float
        Full width at half maximum that the scan resolves.
    voxel_mm : float
        Wanted; the nearest size that divides the field of view is taken.
    canonical_mm : float

    Returns
    -------
    Operator

    Examples
    --------
    >>> operator = series_operator((64, 64, 20), (3, 3, 5), (3.2, 3.2, 5), 2.5, 2.0)
    >>> operator.shape, operator.noise_gain <= 1
    ((77, 77, 40), True)
    """
    rows, reached = [], []
    for n, zoom, native in zip(shape, zooms, native_mm, strict=True):
        length = n * zoom
        n_out = max(1, round(length / voxel_mm))
        wanted = max(native, canonical_mm, length / n_out)
        # lines between voxels: variance zoom^2 / 6, none where voxels stay where they are
        lines = 0.0 if n_out == n else FWHM_PER_SD**2 * zoom**2 / 6
        added = wanted**2 - native**2 - lines
        rows.append(_weights(n, n_out, zoom, np.sqrt(max(added, 0.0))))
        reached.append(float(np.sqrt(native**2 + lines + max(added, 0.0))))
    return Operator(tuple(rows), tuple(reached))


def _weights(n_in: int, n_out: int, zoom: float, fwhm_mm: float) -> sparse.csr_array:
    """Return a Gaussian over straight lines between samples, as a matrix (n_out, n_in).

    Sample i of the input lies at (i + .5) zoom; the ends go on beyond the field of view.
    """
    places = (np.arange(n_out) + 0.5) * n_in / n_out - 0.5  # in samples of the input
    sd = fwhm_mm / FWHM_PER_SD / zoom
    reach = int(np.ceil(1 + 5 * sd))
    samples = np.arange(-reach, n_in + reach)
    apart = places[:, None] - samples

    def ramp(x: np.ndarray) -> np.ndarray:
        """Return a ramp max(x, 0) behind the Gaussian."""
        if sd == 0:
            return np.maximum(x, 0.0)
        density = np.exp(-((x / sd) ** 2) / 2) / np.sqrt(2 * np.pi)
        return x * special.ndtr(x / sd) + sd * density

    # a hat is three ramps; their sum cancels, but for rounding
    hats = np.maximum(ramp(apart + 1) - 2 * ramp(apart) + ramp(apart - 1), 0.0)
    weights = np.zeros((n_out, n_in))
    np.add.at(weights.T, np.clip(samples, 0, n_in - 1), hats.T)
    weights[weights < _NEGLIGIBLE] = 0
    return sparse.csr_array(weights / weights.sum(axis=1, keepdims=True))


def effective_fwhm(
    images: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    reference_mask: np.ndarray,
    *,
    lengths_mm: Sequence[float],
    reference_fwhm_mm: float,
    sigma: float,
    threads: int = 1,
) -> tuple[float | None, float | None]:
    """Measure the in-plane resolution of a scan against images of one that is known.

    Behind a Gaussian of FWHM w the power at frequency f falls as exp(-pi^2 f^2 w^2 / (2 ln 2)),
    so that the log-ratio of two spectra of one brain is a straight line over f^2.
    A scanner's point spread is no Gaussian: the width is of the one that falls as fast between the
    frequencies of `FITTED_BAND`.

    Parameters
    ----------
    images : (S, H, W) float
        Slices as scanned.
    reference : (S, H', W') float
        The same slices and field of view, of about the same contrast.
    mask, reference_mask : (S, H, W), (S, H', W') bool
        The brain.
    lengths_mm : (2,) float
        Field of view along rows' and columns' axes.
    reference_fwhm_mm : float
    sigma : float
        Standard deviation of the noise of `images`; its power is taken off.
    threads : int
        The result does not depend on it.

    Returns
    -------
    two float or None
        Along either axis, mm; None where too few frequencies stand out of the noise.
    """
    found = []
    windows, their_windows = (
        in_threads(threads, lambda one: taper(one, tuple(np.array(lengths_mm) / one.shape)), some)
        for some in (mask, reference_mask)
    )
    for axis in (0, 1):
        ours, floor = _power_along(images, windows, axis, lengths_mm)
        theirs, _ = _power_along(reference, their_windows, axis, lengths_mm)
        count = min(len(ours), len(theirs))
        frequencies = np.arange(count) / lengths_mm[axis]
        noise = sigma**2 * floor
        signal = ours[:count] - noise
        seen = (signal > ABOVE_NOISE * noise) & (theirs[:count] > 0)
        seen &= np.arange(count) < 0.95 * images.shape[1 + axis] / 2
        use = (frequencies >= FITTED_BAND[0]) & (frequencies <= FITTED_BAND[1])
        # up to where noise takes over: those that stand out beyond do so by chance
        use &= frequencies < np.append(frequencies[use & ~seen], np.inf)[0]
        if np.count_nonzero(use) < _FEWEST:
            found.append(None)
            continue
        weights = signal[use] / (signal[use] + noise)
        ratio = np.log(signal[use] / theirs[:count][use])
        slope = np.polyfit(frequencies[use] ** 2, ratio, 1, w=weights)[0]
        squared = reference_fwhm_mm**2 - slope / _EXPONENT
        found.append(float(np.sqrt(max(squared, 0.0))))
    return found[0], found[1]


def _power_along(
    slices: np.ndarray, windows: Sequence[np.ndarray], axis: int, lengths_mm: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Sum the power of tapered slices by frequency along one axis, low frequencies across.

    Returns
    -------
    power : (n // 2 + 1,) float
        Per squared mm of pixels, so that grids of one field of view compare.
    floor : float
        What white noise of variance 1 has there.
    """
    total, floor = 0.0, 0.0
    for image, window in zip(slices, windows, strict=True):
        if not window.any():
            continue
        centred = (image - np.sum(image * window) / window.sum()) * window
        if axis == 1:
            centred, window = centred.T, window.T
        waves = _low_waves(centred.shape[1], int(ACROSS * lengths_mm[1 - axis]))
        spectrum = np.fft.rfft(centred @ waves, axis=0)
        area = np.prod(lengths_mm) / window.size
        total = total + area**2 * np.sum(np.abs(spectrum) ** 2, axis=1)
        floor += area**2 * waves.shape[1] * np.sum(window**2)
    return np.asarray(total), float(floor)


@lru_cache(maxsize=32)
def _low_waves(n: int, low: int) -> np.ndarray:
    """Return the waves of a Fourier transform up to a frequency index, (n, 2 low + 1) float64.

    Power of a frequency and its negative is twice that of cosine and sine.
    """
    phase = 2 * np.pi * np.outer(np.arange(n), np.arange(1, low + 1)) / n
    pairs = np.sqrt(2) * np.concatenate([np.cos(phase), np.sin(phase)], axis=1)
    return np.concatenate([np.ones((n, 1)), pairs], axis=1)
