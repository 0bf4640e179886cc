"""A scanner's way of sampling: coil, k-space, filters, noise, reconstruction, integer range."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import fft, ndimage, special

from bidsharmony.physics.signal import Contrast

FILTERS = ('none', 'fermi', 'tukey', 'hamming')
FWHM_PER_SD = 2 * np.sqrt(2 * np.log(2))


@dataclass(frozen=True)
class Protocol:
    """Everything about a diffusion scan that leaves a mark on its b=0 and trace images.

    Attributes
    ----------
    contrast : Contrast
    b_value : float
        s/mm2.
    pixel : float
        Acquired in-plane pixel along the readout, mm.
    phase_resolution : float
        Acquired pixel of the readout over that of the phase-encode axis, at most 1.
    thickness : float
        Full width at half maximum of the slice profile, mm.
    spacing : float
        Distance between slice centres, mm.
    partial_fourier : float
        Fraction of phase-encode lines acquired, .5 to 1.
    readout_decay : float
        Readout duration over T2': the EPI blur along the phase-encode axis.
    window : str
        One of `FILTERS`.
    zero_filling : float
        Reconstructed matrix over acquired matrix.
    snr : float
        White matter's b=0 signal of one image over the noise in each channel.
    b0_averages, directions : int
        Images averaged into the mean b=0, and directions averaged into the trace.
    turned : bool
        Whether the phase-encode axis runs along the image's columns instead of its rows.
    stated_pixel : float, optional
        mm; what the sidecar lets one conclude of the acquired pixel, `pixel` if None. Many tell
        the phase-encode matrix alone.
    """

    contrast: Contrast
    b_value: float = 1000.0
    pixel: float = 2.0
    phase_resolution: float = 1.0
    thickness: float = 3.0
    spacing: float = 3.0
    partial_fourier: float = 1.0
    readout_decay: float = 0.6
    window: str = 'none'
    zero_filling: float = 1.0
    snr: float = 30.0
    b0_averages: int = 1
    directions: int = 3
    turned: bool = False
    stated_pixel: float | None = None

    def metadata(self) -> dict[str, float]:
        """Return what a complete sidecar would tell of this protocol (BIDS keys, s, T, mm)."""
        return {
            'MagneticFieldStrength': self.contrast.field_strength,
            'EchoTime': self.contrast.echo_time,
            'RepetitionTime': self.contrast.repetition_time,
            'BValue': self.b_value,
            'SliceThickness': self.thickness,
            'AcquiredPixel': self.stated_pixel or self.pixel,
        }


def draw_protocol(rng: np.random.Generator) -> Protocol:
    """Draw a scanner and protocol from the ranges seen in public sidecars and clinical practice.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Protocol
    """
    field_strength = float(rng.choice([1.5, 3.0, 7.0], p=[0.35, 0.57, 0.08]))
    low, high = {1.5: (0.065, 0.125), 3.0: (0.050, 0.110), 7.0: (0.045, 0.075)}[field_strength]
    thickness = float(rng.uniform(1.5, 6.0))
    b_value = 1000.0 if rng.random() < 0.55 else float(rng.uniform(700, 2500))
    pixel = float(np.exp(rng.uniform(np.log(1.2), np.log(3.6))))
    phase_resolution = float(rng.uniform(0.7, 1.0))
    return Protocol(
        contrast=Contrast(
            field_strength, float(rng.uniform(low, high)), float(rng.uniform(3, 12))
        ),
        b_value=b_value,
        pixel=pixel,
        phase_resolution=phase_resolution,
        thickness=thickness,
        spacing=thickness * float(rng.choice([1.0, 1.1, 1.3])),
        partial_fourier=float(rng.choice([1.0, 0.875, 0.75, 0.65])),
        readout_decay=float(rng.uniform(0.2, 1.5)),
        window=str(rng.choice(FILTERS)),
        zero_filling=float(rng.choice([1.0, 1.0, 1.5, 2.0])),
        snr=float(np.exp(rng.uniform(np.log(8), np.log(60)))),
        b0_averages=int(rng.choice([1, 1, 2, 4, 8])),
        directions=int(rng.choice([3, 3, 6, 12, 30, 60])),
        turned=bool(rng.random() < 0.3),
        stated_pixel=pixel / phase_resolution if rng.random() < 0.5 else pixel,
    )


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


def averaged_magnitude(
    image: np.ndarray, averages: int, sd: float, *, geometric: bool = False
) -> np.ndarray:
    """Return the mean of `averages` magnitude images, given their complex mean and noise.

    The complex mean keeps ``sd / sqrt(averages)`` of noise; the rest, ``s**2 = sd**2 (1 - 1 /
    averages)``, enters as the expectation over a Rice distribution: its mean (Rice, Bell Syst
    Tech J 1945;24:46), or the exponential of the mean of its logarithm, ``ln A + E1(A^2 / 2 s^2)
    / 2``, since a trace image is a geometric mean. One average is the plain magnitude.

    Parameters
    ----------
    image : complex array
        The object plus noise of standard deviation ``sd / sqrt(averages)`` per channel.
    averages : int
    sd : float
        Noise of one image, per channel.
    geometric : bool

    Examples
    --------
    >>> float(averaged_magnitude(np.array([3 + 4j]), 1, 2.0)[0])
    5.0
    """
    signal = np.abs(image).astype(np.float64)
    rest = sd * np.sqrt(1 - 1 / averages)
    if rest == 0:
        return signal
    signal = np.maximum(signal, 1e-6 * rest)
    x = signal**2 / (2 * rest**2)
    if geometric:
        return signal * np.exp(0.5 * special.exp1(x))
    # ive is scaled by exp(-x / 2), so that large signals do not overflow
    bessel = (1 + x) * special.ive(0, x / 2) + x * special.ive(1, x / 2)
    return rest * np.sqrt(np.pi / 2) * bessel


def acquire(
    images: np.ndarray,
    kspace: KSpace,
    sd: float,
    averages: tuple[int, ...],
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
    averages : tuple of int
        Images averaged, one for each of C; all but the first geometrically.
    rng : numpy.random.Generator

    Returns
    -------
    (C, R, R) float32
    """
    k = kspace.sample(images)
    for i, n in enumerate(averages):
        k[i] += kspace.noise(sd / np.sqrt(n), 1, rng)[0]
    after_filter = sd * kspace.noise_factor()
    return np.stack(
        [
            averaged_magnitude(image, n, after_filter, geometric=i > 0)
            for i, (image, n) in enumerate(zip(kspace.reconstruct(k), averages, strict=True))
        ]
    ).astype(np.float32)


def blur(image: np.ndarray, fwhm: float) -> np.ndarray:
    """Convolve the last two axes with a Gaussian of `fwhm` pixels (the canonical resolution)."""
    sigma = [0.0] * (image.ndim - 2) + [fwhm / FWHM_PER_SD] * 2
    return ndimage.gaussian_filter(image, sigma, mode='nearest', truncate=4)


def slice_profile(thickness: float, step: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return offsets (in steps of `step` mm) and weights of a slice profile of given FWHM.

    A box convolved with a Gaussian of a fifth of its width: the imperfect edges of a selective
    pulse.

    Examples
    --------
    >>> offsets, weights = slice_profile(3.0)
    >>> offsets.tolist(), round(float(weights.sum()), 6)
    ([-2, -1, 0, 1, 2], 1.0)
    """
    reach = max(int(np.ceil(0.5 * thickness / step)), 0)
    offsets = np.arange(-reach, reach + 1)
    fine = np.linspace(-thickness, thickness, 801)
    box = (np.abs(fine) <= thickness / 2).astype(float)
    profile = ndimage.gaussian_filter1d(box, 0.2 * thickness / FWHM_PER_SD / (fine[1] - fine[0]))
    weights = np.interp(offsets * step, fine, profile, left=0, right=0)
    return offsets, weights / weights.sum()
