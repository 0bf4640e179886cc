"""A scanner's protocol: what leaves a mark on its images, and which ones training draws."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bidsharmony.physics.signal import Contrast

FILTERS = ('none', 'fermi', 'tukey', 'hamming')


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
    ghost : float
        Amplitude of the N/2 ghost: even and odd lines of an EPI differ in phase by twice it.
    g_factor : float
        Noise amplification of parallel imaging at the centre of the field of view, 1 at its edge.
    coils : int
        Channels whose squares add up without weights: noise of magnitude images is then
        noncentral chi of twice as many degrees of freedom (Dietrich et al., Magn Reson Imaging
        2008;26:754); 1, an adaptive combination, is Rician.
    warp_mm : float
        Peak shift along phase encoding near the air of the skull base.
    levels : int
        Integer levels up to the brightest pixel that the vendor stores, 0 for no rounding.
    vendor : str
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
    ghost: float = 0.0
    g_factor: float = 1.0
    coils: int = 1
    warp_mm: float = 0.0
    levels: int = 0
    vendor: str = ''
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


#: What training never draws, so that tests can: bands of echo time (s) by field strength (T), of
#: acquired pixel (mm) and of signal-to-noise ratio.
HELD_OUT = {
    'echo_time': {
        1.5: ((0.070, 0.074), (0.088, 0.094), (0.106, 0.112)),
        3.0: ((0.058, 0.062), (0.072, 0.078), (0.090, 0.096)),
        7.0: ((0.058, 0.062),),
    },
    'pixel': ((1.45, 1.60), (1.90, 2.10), (2.40, 2.60)),
    'snr': ((18.0, 22.0), (32.0, 38.0)),
}
_ECHO_TIMES = {1.5: (0.062, 0.125), 3.0: (0.050, 0.115), 7.0: (0.045, 0.075)}  # s


def _among(value: float, bands: tuple[tuple[float, float], ...]) -> bool:
    return any(low <= value <= high for low, high in bands)


def _outside(
    rng: np.random.Generator, low: float, high: float, bands: tuple[tuple[float, float], ...]
) -> float:
    """Draw log-uniformly from low to high, but from no band."""
    while True:
        value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
        if not _among(value, bands):
            return value


def draw_protocol(rng: np.random.Generator) -> Protocol:
    """Draw a scanner and protocol from the ranges seen in public sidecars and clinical practice.

    The bands of `HELD_OUT` are never drawn.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    Protocol
    """
    field_strength = float(rng.choice([1.5, 3.0, 7.0], p=[0.38, 0.55, 0.07]))
    thickness = float(rng.uniform(1.5, 6.0))
    b_value = 1000.0 if rng.random() < 0.6 else float(rng.uniform(700, 2500))
    pixel = _outside(rng, 1.1, 3.4, HELD_OUT['pixel'])
    phase_resolution = float(rng.uniform(0.75, 1.0))
    echo_time = _outside(rng, *_ECHO_TIMES[field_strength], HELD_OUT['echo_time'][field_strength])
    return Protocol(
        contrast=Contrast(field_strength, echo_time, float(rng.uniform(3, 12))),
        b_value=b_value,
        pixel=pixel,
        phase_resolution=phase_resolution,
        thickness=thickness,
        spacing=thickness * float(rng.choice([1.0, 1.1, 1.3])),
        partial_fourier=float(rng.choice([1.0, 0.875, 0.75, 0.65])),
        readout_decay=float(rng.uniform(0.2, 1.5)),
        window=str(rng.choice(FILTERS)),
        zero_filling=float(rng.choice([1.0, 1.0, 1.5, 2.0])),
        snr=_outside(rng, 9, 70, HELD_OUT['snr']),
        b0_averages=int(rng.choice([1, 1, 2, 4, 8])),
        directions=int(rng.choice([3, 3, 6, 12, 30, 60])),
        turned=bool(rng.random() < 0.3),
        ghost=float(rng.choice([0.0, rng.uniform(0, 0.05)])),
        g_factor=float(rng.choice([1.0, rng.uniform(1, 2)])),
        coils=int(rng.choice([1, 1, 2, 4])),
        levels=int(rng.choice([0, 255, 1000, 4095])),
        stated_pixel=pixel / phase_resolution if rng.random() < 0.5 else pixel,
    )


#: Habits of the vendors whose test scanners are drawn: k-space filter, zero-filling, partial
#: Fourier, channels of the noise floor, integer levels.
_HABITS = {
    'Siemens': ('none', 1.0, 0.75, 1, 4095),
    'GE': ('fermi', 2.0, 0.65, 1, 4095),
    'Philips': ('hamming', 1.5, 0.75, 2, 2000),
    'Canon': ('tukey', 1.0, 1.0, 2, 4095),
}
_SEVEN = (
    ('Siemens', 3.0),
    ('Siemens', 1.5),
    ('GE', 3.0),
    ('GE', 1.5),
    ('Philips', 3.0),
    ('Philips', 1.5),
    ('Canon', 3.0),
)


def _seven(
    rng: np.random.Generator,
    echo_times: dict[float, tuple[tuple[float, float], ...]],
    pixels: tuple[tuple[float, float], ...],
    snrs: tuple[tuple[float, float], ...],
    thicknesses: tuple[float, ...],
) -> list[Protocol]:
    """Draw seven scanners; pixels, thicknesses and echo times are dealt out, not drawn alike."""
    deals = [rng.permutation(7) for _ in range(4)]
    scanners = []
    for i, (vendor, field_strength) in enumerate(_SEVEN):
        window, zero_filling, partial_fourier, coils, levels = _HABITS[vendor]
        times = echo_times[field_strength]
        scanners.append(
            Protocol(
                Contrast(
                    field_strength,
                    float(rng.uniform(*times[deals[0][i] % len(times)])),
                    float(rng.uniform(4, 10)),
                ),
                pixel=float(rng.uniform(*pixels[deals[1][i] % len(pixels)])),
                phase_resolution=float(rng.uniform(0.85, 1.0)),
                thickness=thicknesses[deals[2][i]],
                spacing=thicknesses[deals[2][i]] * float(rng.choice([1.0, 1.2])),
                partial_fourier=partial_fourier,
                readout_decay=float(rng.uniform(0.3, 1.2)),
                window=window,
                zero_filling=zero_filling,
                snr=float(rng.uniform(*snrs[deals[3][i] % len(snrs)])),
                b0_averages=int(rng.choice([1, 2, 4])),
                directions=int(rng.choice([3, 6, 12, 30])),
                ghost=float(rng.uniform(0, 0.03)),
                g_factor=float(rng.uniform(1, 1.6)),
                coils=coils,
                levels=levels,
                vendor=vendor,
            )
        )
    return scanners


def held_out_scanners(rng: np.random.Generator) -> list[Protocol]:
    """Draw seven scanners of four vendors at 1.5 and 3 T from the bands training left out."""
    return _seven(
        rng,
        HELD_OUT['echo_time'],
        HELD_OUT['pixel'],
        HELD_OUT['snr'],
        (2.0, 2.5, 3.0, 4.0, 5.0, 5.0, 6.0),
    )


def beyond_scanners(rng: np.random.Generator) -> list[Protocol]:
    """Draw seven scanners beyond training's ranges: longer echoes, coarser pixels, more noise."""
    return _seven(
        rng,
        {1.5: ((0.126, 0.140),), 3.0: ((0.116, 0.130),)},
        ((3.45, 4.0), (1.0, 1.08)),
        ((6.0, 8.5), (75.0, 100.0)),
        (1.2, 1.4, 2.0, 5.0, 6.5, 7.0, 7.5),
    )
