"""A scanner's way of sampling: coil, k-space, filters, noise, reconstruction, integer range."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy import fft, ndimage, special

from bidsharmony.numerics.slices import FWHM_PER_SD
from bidsharmony.physics.protocol import FILTERS, Protocol


def window_1d(name: str, n: int) -> np.ndarray:
    """Return a vendor-like k-space filter over `n` centred samples, 1 at the centre.

    Examples
    --------
    >>> [float(window_1d(name, 8)[4]) for name in FILTERS]
    [1.0, 1.0, 1.0, 1.0]
    """
    k = np.abs(np.arange(n) - n // 2) / (n / 2)  # 0 at the centre, 1 at the edge
    if name == 'none':
        return np.ones(n)
    if name == 'hamming':
        return 0.54 + 0.46 * np.cos(np.pi * k)
    if name == 'tukey':
        return np.where(k <= 0.5, 1.0, 0.5 + 0.5 * np.cos(np.pi * (k - 0.5) / 0.5))
    if name == 'fermi':
        fermi = 1 / (1 + np.exp((k - 0.85) / 0.06))
        return fermi / fermi[n // 2]
    raise ValueError(f'unknown k-space filter {name!r}; choose one of {", ".join(FILTERS)}')


def _even(value: float) -> int:
    return max(2 * round(value / 2), 8)


@dataclass(frozen=True)
class KSpace:
    """The separable sampling of one protocol over a square field of view of `fov` mm.

    Attributes
    ----------
    protocol : Protocol
    fov : int
        Field of view in mm, the matrix of the 1 mm object.
    """

    protocol: Protocol
    fov: int
    matrix: tuple[int, int] = field(init=False)  # phase-encode rows, readout columns
    recon: int = field(init=False)

    def __post_init__(self) -> None:
        columns = min(_even(self.fov / self.protocol.pixel), self.fov)
        rows = min(_even(columns * self.protocol.phase_resolution), columns)
        object.__setattr__(self, 'matrix', (rows, columns))
        object.__setattr__(self, 'recon', _even(columns * self.protocol.zero_filling))

    def weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return signal weights of rows (with T2' decay) and columns, and noise weights of rows.

        Partial Fourier leaves the first lines unacquired and zero; the echo time is at the centre
        line, about which a spin echo decays with T2' on either side.
        """
        rows, columns = self.matrix
        line = np.arange(rows)
        acquired = line >= round(rows * (1 - self.protocol.partial_fourier))
        time = np.abs(line - rows // 2) / rows
        decay = np.exp(-time * self.protocol.readout_decay)
        row_window = window_1d(self.protocol.window, rows) * acquired
        return row_window * decay, window_1d(self.protocol.window, columns), row_window

    def sample(self, images: np.ndarray) -> np.ndarray:
        """Sample images into k-space.

        Parameters
        ----------
        images : (C, F, F) float
            Object at 1 mm, rows along the phase-encode axis.

        Returns
        -------
        (C, rows, columns) complex64
            Centred k-space, scaled so that image intensity survives reconstruction.
        """
        k = fft.fftshift(fft.fft2(images.astype(np.complex64)), axes=(-2, -1))
        rows, columns = self.matrix
        top, left = self.fov // 2 - rows // 2, self.fov // 2 - columns // 2
        k = k[:, top : top + rows, left : left + columns]
        signal_rows, signal_columns, _ = self.weights()
        if self.protocol.ghost:
            # a phase error between even and odd lines; half a field of view away, in quadrature
            odd = np.arange(rows) % 2 * 2 - 1
            signal_rows = signal_rows * (1 + 1j * self.protocol.ghost * odd)
        return (k * np.outer(signal_rows, signal_columns) / self.fov**2).astype(np.complex64)

    def noise(self, sd: float, n_images: int, rng: np.random.Generator) -> np.ndarray:
        """Draw k-space noise that has standard deviation `sd` per channel before filtering.

        Returns
        -------
        (n_images, rows, columns) complex64
        """
        rows, columns = self.matrix
        scale = sd / np.sqrt(rows * columns)
        draw = rng.standard_normal((n_images, rows, columns, 2), dtype=np.float32)
        _, signal_columns, noise_rows = self.weights()
        coloured = (draw[..., 0] + 1j * draw[..., 1]) * np.outer(noise_rows, signal_columns)
        return (scale * coloured).astype(np.complex64)

    def noise_factor(self) -> float:
        """Return the noise of a reconstructed image over that before filtering."""
        _, columns, rows = self.weights()
        return float(np.sqrt(np.mean(rows**2) * np.mean(columns**2)))

    def reconstruct(self, kspace: np.ndarray) -> np.ndarray:
        """Zero-fill to the reconstruction matrix and transform back.

        The object's pixel centres lie at half pixels of the field of view and so do the
        reconstruction's: a linear phase moves the grid by the difference, so that corners agree.

        Returns
        -------
        (C, R, R) complex64
        """
        rows, columns = self.matrix
        n = self.recon
        padded = np.zeros((kspace.shape[0], n, n), np.complex64)
        top, left = n // 2 - rows // 2, n // 2 - columns // 2
        padded[:, top : top + rows, left : left + columns] = kspace
        shift = (self.fov / n - 1) / 2  # mm
        phase = np.exp(2j * np.pi * (np.arange(n) - n // 2) * shift / self.fov)
        padded *= np.outer(phase, phase).astype(np.complex64)
        return fft.ifft2(fft.ifftshift(padded, axes=(-2, -1))) * np.float32(n**2)


_STEPS = 200  # of a ratio of 1, in the tables of `averaged_magnitude`
_RATIOS = np.arange(12 * _STEPS + 1) / _STEPS  # signal over noise


@lru_cache(maxsize=2)
def _expected_magnitude(geometric: bool) -> np.ndarray:
    """Return the mean magnitude over noise at `_RATIOS`, arithmetic or geometric."""
    ratio = np.maximum(_RATIOS, 1e-6)
    x = ratio**2 / 2
    if geometric:
        return ratio * np.exp(0.5 * special.exp1(x))
    # ive is scaled by exp(-x / 2), so that large signals do not overflow
    bessel = (1 + x) * special.ive(0, x / 2) + x * special.ive(1, x / 2)
    return np.sqrt(np.pi / 2) * bessel


def _look_up(table: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """Interpolate a table at `_RATIOS` linearly; even steps spare `numpy.interp`'s search."""
    place = np.minimum(ratio, _RATIOS[-1]) * _STEPS
    below = np.minimum(place.astype(np.intp), len(table) - 2)
    return table[below] + (place - below) * (table[below + 1] - table[below])


def averaged_magnitude(
    image: np.ndarray, averages: float, sd: float | np.ndarray, *, geometric: bool = False
) -> np.ndarray:
    """Return the mean of `averages` magnitude images, given their complex mean and noise.

    The complex mean keeps ``sd / sqrt(averages)`` of noise; the rest, ``s**2 = sd**2 (1 - 1 /
    averages)``, enters as the expectation over a Rice distribution: its mean (Rice, Bell Syst
    Tech J 1945;24:46), or the exponential of the mean of its logarithm, ``ln A + E1(A^2 / 2 s^2)
    / 2``, since a trace image is a geometric mean. One average is the plain magnitude. Beyond 12
    s both are ``A + c s^2 / A``, c being 1/2 and 0.

    Parameters
    ----------
    image : complex array
        The object plus noise of standard deviation ``sd / sqrt(averages)`` per channel.
    averages : float
        At least 1; averages of slices count too.
    sd : float or array like `image`
        Noise of one image, per channel.
    geometric : bool

    Examples
    --------
    >>> float(averaged_magnitude(np.array([3 + 4j]), 1, 2.0)[0])
    5.0
    """
    signal = np.abs(image).astype(np.float64)
    if averages == 1:
        return signal
    rest = np.maximum(np.asarray(sd) * np.sqrt(1 - 1 / averages), 1e-12)
    ratio = signal / rest
    low = rest * _look_up(_expected_magnitude(geometric), ratio)
    high = signal if geometric else signal + rest / (2 * np.maximum(ratio, 1))
    return np.where(ratio < _RATIOS[-1], low, high)


def noise_map(kspace: KSpace) -> np.ndarray:
    """Return how parallel imaging amplifies noise over the reconstruction, (R, R) float.

    A smooth hump over the centre, where coils tell apart least (Pruessmann et al., Magn Reson Med
    1999;42:952); its shape is our own.
    """
    offset = (np.arange(kspace.recon) + 0.5) / kspace.recon - 0.5
    hump = np.exp(-((offset / 0.3) ** 2))
    return 1 + (kspace.protocol.g_factor - 1) * np.outer(hump, hump)


def acquire(
    images: np.ndarray,
    kspace: KSpace,
    sd: float,
    averages: tuple[float, ...],
    rng: np.random.Generator,
) -> np.ndarray:
    """Acquire and reconstruct magnitude images: the first averaged, the others as a trace.

    Parameters
    ----------
    images : (C, F, F) float
        Noise-free object at 1 mm.
    kspace : KSpace
    sd : float
        Noise of a single image per channel before filtering, in the object's units.
    averages : tuple of float
        Images averaged, one for each of C; all but the first geometrically.
    rng : numpy.random.Generator

    Returns
    -------
    (C, R, R) float32
    """
    protocol = kspace.protocol
    amplified = noise_map(kspace)
    after_filter = sd * kspace.noise_factor() * amplified
    clean = kspace.reconstruct(kspace.sample(images))
    noise = kspace.reconstruct(kspace.noise(sd, len(images), rng)) * amplified
    out = []
    for i, n in enumerate(averages):
        seen = clean[i] + noise[i] / np.sqrt(n)
        if protocol.coils > 1:
            # power that the other channels add: chi squared of 2 (coils - 1), mean of n images
            shape = (protocol.coils - 1) * n
            others = rng.standard_gamma(shape, seen.shape) * (2 / n)
            seen = np.sqrt(np.abs(seen) ** 2 + after_filter**2 * others)
        out.append(averaged_magnitude(seen, n, after_filter, geometric=i > 0))
    stacked = np.stack(out)
    if protocol.levels:
        # a vendor scales a whole series alike, and b=0 is its brightest image
        step = stacked.max() / protocol.levels
        stacked = np.rint(stacked / step) * step
    return stacked.astype(np.float32)


def blur(image: np.ndarray, fwhm: float) -> np.ndarray:
    """Convolve the last two axes with a Gaussian of `fwhm` pixels (the canonical resolution)."""
    sigma = [0.0] * (image.ndim - 2) + [fwhm / FWHM_PER_SD] * 2
    return ndimage.gaussian_filter(image, sigma, mode='nearest', truncate=4)
