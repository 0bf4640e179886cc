"""Degrade the canonical images as the scanner would, and see whether its own images come back.

What a network invents, loses or rings at shows where its output, brought back to the scanner's
contrast by the gain and to the scanner's grid by an estimated blur, leaves the input by more than
the input's noise. Nothing here needs a truth, so it works on real scans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize

from bidsharmony.numerics.forward import contrast_weights, degrade, sampling
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.slices import through_plane

BEYOND = 3.0
"""Residuals further out than this many sigma count: .27 % of white noise does."""

WIDTHS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
"""FWHM tried first, along both axes at once (mm)."""

WIDEST = 12.0
"""FWHM at which the fit stops (mm)."""

FITTED_SLICES = 12
"""Slices, evenly spaced, that the widths are fitted on."""


@dataclass(frozen=True)
class Consistency:
    """How far the degraded output is from the input; C channels, b=0 and trace.

    Attributes
    ----------
    fwhm_mm : (2,) float
        Fitted blur along the two in-plane axes, from the canonical resolution to the scanner's.
    predicted : (C, I, J, K) float32
        Degraded output with fitted contrast, the scanner's unit.
    residual : (C, I, J, K) float32
        The former less the input, in sigma.
    slope : (C,) float
        Factor that would bring the output over the gain, degraded, nearest to the input.
    beyond_gain, nrmse_gain : (C,) float
        As `beyond` and `nrmse`, of the output over the gain, degraded, with nothing fitted but
        the blur.
    beyond : (C,) float
        Share of the mask beyond `BEYOND` sigma.
    nrmse, nrmse_noise : (C,) float
        Root mean square residual over that of the input, and what the noise alone would give.
    high_frequency : (C,) float
        Power of the residual in sigma^2 above half the grid's highest frequency: 1 for white
        noise, more for ringing and for lost detail.
    edge_correlation : (C,) float
        Of the residual's magnitude with the gradient of the degraded output.
    smoothing : (C,) float
        Correlation of the residual with the Laplacian of the degraded output: positive where the
        output is smoother than the fitted blur explains, negative where it is sharper.
    freqs, spectrum : (F,), (C, F) float
        Cycles per pixel, and the residual's power there: white noise of 1 sigma has 1.
    """

    fwhm_mm: tuple[float, float]
    predicted: np.ndarray
    residual: np.ndarray
    slope: tuple[float, ...]
    beyond_gain: tuple[float, ...]
    nrmse_gain: tuple[float, ...]
    beyond: tuple[float, ...]
    nrmse: tuple[float, ...]
    nrmse_noise: tuple[float, ...]
    high_frequency: tuple[float, ...]
    edge_correlation: tuple[float, ...]
    smoothing: tuple[float, ...]
    freqs: np.ndarray
    spectrum: np.ndarray


def forward_consistency(
    output: np.ndarray,
    gain: np.ndarray,
    measured: np.ndarray,
    mask: np.ndarray,
    sigma: Sequence[float],
    *,
    zooms: Sequence[float],
    axis: int = 2,
    kernel: np.ndarray | None = None,
) -> Consistency:
    """Bring the output back to the scanner's contrast and resolution, and compare.

    The contrast is a sum of all canonical images, with and without the gain, with weights fitted
    over the whole brain (`numerics.forward.contrast_weights`); what the gain alone gives is
    reported too.

    Parameters
    ----------
    output : (C, I', J', K') float
        Canonical images, over the same field of view, with the same number of slices.
    gain : (I, J, K) float
        Canonical over scanner's unit.
    measured : (C, I, J, K) float
        Bias-corrected input, the scanner's unit.
    mask : (I, J, K) bool
    sigma : (C,) float
        Noise of the input before `kernel`, the scanner's unit.
    zooms : (3,) mm
        Of the input.
    axis : int
        The slice axis.
    kernel : (2r + 1,) float, optional
        Through-plane kernel that the output has seen, `numerics.slices.throughplane_kernel`; it
        is applied to the input, whose noise falls with it.

    Returns
    -------
    Consistency

    Raises
    ------
    ValueError
        If the mask is empty or a sigma is not positive.

    Examples
    --------
    >>> image = np.random.default_rng(0).random((1, 12, 12, 2))
    >>> found = forward_consistency(image, np.ones((12, 12, 2)), image,
    ...                             np.ones((12, 12, 2), bool), [0.01], zooms=(2, 2, 5))
    >>> found.beyond, [round(fwhm, 1) for fwhm in found.fwhm_mm]
    ((0.0,), [0.0, 0.0])
    """
    kernel = np.ones(1) if kernel is None else np.asarray(kernel, np.float64)
    sigma = np.asarray(sigma, np.float64) * np.sqrt(np.sum(kernel**2))
    mask = np.asarray(mask, bool)
    if not mask.any():
        raise ValueError('the mask is empty')
    if not (np.isfinite(sigma) & (sigma > 0)).all():
        raise ValueError(f'sigma {sigma.tolist()}: noise must be positive')
    fine_gain = np.exp(resample_to_shape(np.log(gain), output.shape[1:]))
    own = np.stack([slices_first(image / fine_gain, axis) for image in output])
    own = np.concatenate([own, [slices_first(image, axis) for image in output]])
    given = np.stack([slices_first(through_plane(i, axis, kernel), axis) for i in measured])
    inside = slices_first(mask, axis)
    inplane = [float(zoom) for ax, zoom in enumerate(zooms) if ax != axis]
    fwhm = fit_blur(own, given, inside, sigma, inplane)
    degraded = degrade(own, given.shape[2:], inplane, fwhm)
    weights = contrast_weights(degraded, given, inside)
    predicted = np.tensordot(weights, degraded, axes=1).astype(np.float32)
    units = sigma[:, None, None, None].astype(np.float32)
    residual = (predicted - given) / units
    plain = (degraded[: len(given)] - given) / units
    freqs, spectrum = residual_spectrum(residual, inside)
    mean_power = [np.sqrt(np.mean(image[inside].astype(np.float64) ** 2)) for image in given]
    gradients = np.stack([gradient(image, 0.5, inplane) for image in predicted])
    laplacian = np.stack([ndimage.gaussian_laplace(image, (0, 0.7, 0.7)) for image in predicted])
    return Consistency(
        fwhm_mm=fwhm,
        predicted=_slices_back(predicted, axis),
        residual=_slices_back(residual, axis),
        slope=tuple(
            float(np.vdot(p[inside], g[inside]) / np.vdot(p[inside], p[inside]))
            for p, g in zip(degraded, given, strict=False)
        ),
        beyond_gain=_share_beyond(plain, inside),
        nrmse_gain=_relative(plain, inside, sigma / mean_power),
        beyond=_share_beyond(residual, inside),
        nrmse=_relative(residual, inside, sigma / mean_power),
        nrmse_noise=tuple(float(s / p) for s, p in zip(sigma, mean_power, strict=True)),
        high_frequency=tuple(float(power[freqs > 0.25].mean()) for power in spectrum),
        edge_correlation=tuple(
            _correlation(np.abs(r[inside]), g[inside])
            for r, g in zip(residual, gradients, strict=True)
        ),
        smoothing=tuple(
            _correlation(r[inside], x[inside]) for r, x in zip(residual, laplacian, strict=True)
        ),
        freqs=freqs,
        spectrum=spectrum,
    )


def fit_blur(
    own: np.ndarray,
    given: np.ndarray,
    mask: np.ndarray,
    sigma: np.ndarray,
    zooms: Sequence[float],
) -> tuple[float, float]:
    """Fit the Gaussian that a scanner adds to the canonical resolution, by least squares.

    The contrast is fitted with it, so that one that is off does not pass for a blur.

    Parameters
    ----------
    own : (D, S, H', W')
        Images whose weighted sums the given ones are, but for the blur.
    given : (C, S, H, W)
    mask : (S, H, W) bool
    sigma : (C,)
    zooms : (2,) mm
        Of `given`, in plane.

    Returns
    -------
    (2,) float
        FWHM along rows' and columns' axes, mm.
    """
    full = np.flatnonzero(mask.any(axis=(1, 2)))
    few = full[np.unique(np.linspace(0, len(full) - 1, FITTED_SLICES).round().astype(int))]
    own, given, mask = own[:, few], given[:, few], mask[few]

    def misfit(widths: Sequence[float]) -> float:
        degraded = degrade(own, given.shape[2:], zooms, np.clip(widths, 0, WIDEST))
        weights = contrast_weights(degraded, given, mask)
        left = np.tensordot(weights, degraded[:, mask], axes=1) - given[:, mask]
        return float(np.sum((left / sigma[:, None]) ** 2, dtype=np.float64))

    start = max(min(WIDTHS, key=lambda width: misfit((width, width))), 0.5)
    simplex = [(start, start), (start + 0.7, start), (start, start + 0.7)]
    found = optimize.minimize(
        misfit,
        (start, start),
        method='Nelder-Mead',
        bounds=[(0, WIDEST)] * 2,
        options={'initial_simplex': simplex, 'xatol': 0.02, 'fatol': 1.0},
    )
    return float(found.x[0]), float(found.x[1])


def beyond_band(images: np.ndarray, shape: Sequence[int], mask: np.ndarray) -> float:
    """Measure the detail finer than the scanner's grid can hold: what it never saw.

    Such detail is inferred, by interpolation or by learned anatomy, and no comparison with the
    input can confirm or refute it.

    Parameters
    ----------
    images : (S, H', W')
    shape : (2,) int
        Of the scanner's grid, over the same field of view.
    mask : (S, H', W') bool

    Returns
    -------
    float
        Root mean square of that detail over the root mean square of the image in the mask.

    Examples
    --------
    >>> beyond_band(np.ones((1, 8, 8)), (4, 4), np.ones((1, 8, 8), bool)) < 1e-6
    True
    """
    images = np.asarray(images, np.float32)
    rows, columns = (
        sampling(n, n, 1.0, 0.0, int(m)) for n, m in zip(images.shape[1:], shape, strict=True)
    )
    finer = images - rows @ images @ columns.T
    return float(np.sqrt(np.mean(finer[mask] ** 2) / np.mean(images[mask] ** 2)))


def residual_spectrum(residual: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average the residual's power spectrum over slices and rings of equal frequency.

    Each slice is weighted by a Hann taper from the edge of its mask to its deepest point.

    Parameters
    ----------
    residual : (C, S, H, W)
        In sigma.
    mask : (S, H, W) bool

    Returns
    -------
    freqs : (F,) cycles per pixel, up to .5
    spectrum : (C, F)
        White noise of 1 sigma has 1 throughout.
    """
    height, width = residual.shape[2:]
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    side = min(height, width)
    rings = np.minimum(np.rint(radius * side).astype(int), side // 2 + 1).ravel()
    count = side // 2 + 1
    total, weight = np.zeros((len(residual), count + 1)), 0.0
    for index, inside in enumerate(mask):
        depth = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        if depth.max() < 2:
            continue
        window = np.sin(0.5 * np.pi * depth / depth.max()) ** 2
        # weighed by the window's area, as its slice weighs in the brain
        weight += (window**2).sum()
        for channel, image in enumerate(residual[:, index]):
            power = np.abs(np.fft.fft2(image * window)) ** 2
            total[channel] += np.bincount(rings, power.ravel(), minlength=count + 1)
    members = np.bincount(rings, minlength=count + 1)
    if not weight > 0:
        return np.arange(1, count) / side, np.zeros((len(residual), count - 1))
    return np.arange(1, count) / side, (total / members / weight)[:, 1:count]


def _share_beyond(residual: np.ndarray, inside: np.ndarray) -> tuple[float, ...]:
    """Return the share of each channel's mask beyond `BEYOND` sigma."""
    return tuple(float(np.mean(np.abs(r[inside]) > BEYOND)) for r in residual)


def _relative(residual: np.ndarray, inside: np.ndarray, unit: np.ndarray) -> tuple[float, ...]:
    """Return the root mean square residual of each channel in a unit."""
    return tuple(
        float(np.sqrt(np.mean(r[inside].astype(np.float64) ** 2)) * u)
        for r, u in zip(residual, unit, strict=True)
    )


def slices_first(volume: np.ndarray, axis: int) -> np.ndarray:
    """Put the slice axis first."""
    moved = np.moveaxis(np.asarray(volume), axis, 0)
    return np.ascontiguousarray(moved, bool if moved.dtype == bool else np.float32)


def _slices_back(volumes: np.ndarray, axis: int) -> np.ndarray:
    """Put the slice axis of (C, S, H, W) where it was."""
    return np.ascontiguousarray(np.moveaxis(volumes, 1, axis + 1))


def gradient(slices: np.ndarray, sd: float, zooms: Sequence[float]) -> np.ndarray:
    """Return the in-plane gradient's magnitude of (S, H, W) slices smoothed by `sd` pixels."""
    smooth = ndimage.gaussian_filter(slices, (0, sd, sd))
    return np.hypot(*np.gradient(smooth, *zooms, axis=(1, 2)))


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation; 0 if one of the two is constant."""
    a, b = a.astype(np.float64) - a.mean(), b.astype(np.float64) - b.mean()
    size = np.sqrt(np.vdot(a, a) * np.vdot(b, b))
    return float(np.vdot(a, b) / size) if size > 0 else 0.0
