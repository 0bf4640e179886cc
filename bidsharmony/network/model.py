"""The network: one file, contrast adjustment and super-resolution as two named parts.

::

    b0, trace (B, 2, H, W) ──── encoder ──┬── contrast:   log gain g (B, 1, H, W), smooth
    facts and marks (B, 2 C) ── FiLM ─────┤
                                          └── resolution: residual r (B, 2, H, W)

    harmonized = L(exp(g) * input + r)

L passes what the canonical resolution can hold and nothing finer (`band_limit`): no scan keeps
detail or noise there by which it could be told.

The gain is one field for both images, as the physics wants: it changes contrast and leaves the
ratio of trace to b=0, hence the ADC, alone. All that is not a shared gain (blur, noise, kurtosis)
is left to the residual. Either part can be switched off and measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from bidsharmony.numerics.marks import POWER_MARKS

# of log10 of power along rows and columns, six bands each
_POWER_CENTRES = (
    *2 * (-0.9, -1.7, -2.8, -4.0, -4.9, -5.6),  # b=0
    *2 * (-0.9, -1.5, -2.4, -3.3, -4.0, -4.9),  # trace
)
#: What the network is told of a scan: the sidecar's facts and the marks measured in the image
#: (`numerics.marks`), each with centre and spread of its standardisation.
CONDITIONS = (
    ('MagneticFieldStrength', 3.0, 1.5),  # T
    ('EchoTime', 0.080, 0.020),  # s
    ('RepetitionTime', 7.0, 3.0),  # s
    ('BValue', 1000.0, 400.0),  # s/mm2
    ('SliceThickness', 3.5, 1.5),  # mm
    ('AcquiredPixel', 2.2, 0.7),  # mm in plane
    ('MeasuredNoiseB0', -1.8, 0.5),  # log10 of robust scales
    ('MeasuredNoiseTrace', -2.3, 0.5),
    ('MeasuredSlopeB0', -7.0, 2.5),
    ('MeasuredSlopeTrace', -6.0, 3.0),
    *zip(POWER_MARKS, _POWER_CENTRES, 4 * (0.4, 0.8, 1.2, 1.3, 1.4, 1.2), strict=True),
)
FACTS = tuple(key for key, *_ in CONDITIONS[:6])  # the sidecar's
N_CONDITIONS = 2 * len(CONDITIONS)
WIDTHS = (48, 80, 112)  # features at 2, 4 and 8 mm
STRIDE = 8  # height and width must be multiples of it
#: cycles/pixel between which what leaves the network falls to nothing: at the upper a Gaussian of
#: 2 mm has .06 of its amplitude left
PASSED, STOPPED = 0.30, 0.44
_TAPS = 12  # pixels on either side that the limit reaches


def encode_metadata(metadata: Mapping[str, object]) -> Tensor:
    """Standardise facts and marks; what is missing or not a number becomes 0 with its flag set.

    Parameters
    ----------
    metadata : mapping
        BIDS keys with values in BIDS units; any may be absent.

    Returns
    -------
    (2 C,) float32
        Values, then flags (1 where missing).

    Examples
    --------
    >>> encoded = encode_metadata({'MagneticFieldStrength': 1.5})
    >>> encoded[:2].tolist(), encoded[len(CONDITIONS) :][:2].tolist()
    ([-1.0, 0.0], [0.0, 1.0])
    """
    values = torch.zeros(len(CONDITIONS))
    missing = torch.ones(len(CONDITIONS))
    for i, (key, centre, spread) in enumerate(CONDITIONS):
        value = metadata.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            standard = (float(value) - centre) / spread
            if abs(standard) < 1e3:  # also false for nan
                # a typing error in a sidecar must not drive the network out of its range
                values[i], missing[i] = min(max(standard, -4.0), 4.0), 0.0
    return torch.cat([values, missing])


def band_limit(n: int) -> Tensor:
    """Return the low-pass L along one axis as a matrix, (n, n) float32.

    A raised cosine from `PASSED` to `STOPPED`, cut at `_TAPS` pixels; beyond the edges the
    outermost value goes on.

    Examples
    --------
    >>> low = band_limit(64) @ torch.cos(2 * torch.pi * 0.25 * torch.arange(64))
    >>> high = band_limit(64) @ torch.cos(2 * torch.pi * 0.5 * torch.arange(64))
    >>> bool((low[20:44].abs().max() - 1).abs() < 0.02), bool(high[20:44].abs().max() < 0.02)
    (True, True)
    """
    # not the tensor is kept: one made in inference mode could not be trained through
    return torch.from_numpy(_band_limit(n))


@lru_cache(maxsize=64)
def _band_limit(n: int) -> np.ndarray:
    frequencies = (np.arange(4096) + 0.5) / 8192  # 0 to .5
    fall = np.clip((frequencies - PASSED) / (STOPPED - PASSED), 0, 1)
    response = 0.5 * (1 + np.cos(np.pi * fall))
    offsets = np.arange(-_TAPS, _TAPS + 1)
    taps = np.cos(2 * np.pi * np.outer(offsets, frequencies)) @ response
    taps *= np.hanning(2 * _TAPS + 3)[1:-1]
    taps /= taps.sum()
    matrix = np.zeros((n, n), np.float32)
    for offset, tap in zip(offsets, taps, strict=True):
        columns = np.clip(np.arange(n) + offset, 0, n - 1)
        np.add.at(matrix, (np.arange(n), columns), np.float32(tap))
    return matrix


class Modulated(nn.Module):
    """A residual block whose features are scaled and shifted by the condition (FiLM)."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.film = nn.Linear(condition, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[..., None, None].chunk(2, dim=1)  # (B, C, 1, 1)
        inner = functional.relu(self.first(features) * (1 + scale) + shift)
        return features + self.second(inner)


class Stage(nn.Module):
    """Two modulated blocks at one scale."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Modulated(channels, condition) for _ in range(2))

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features, condition)
        return features


class Output(NamedTuple):
    """What the network says of a batch; all (B, ., H, W)."""

    images: Tensor  # (B, 2, H, W) canonical b=0 and trace
    log_gain: Tensor  # (B, 1, H, W) canonical over scanner contrast
    log_error: Tensor  # (B, 2, H, W) logarithm of the expected absolute error


class Harmonizer(nn.Module):
    """Bring a slice's b=0 and trace to the canonical scanner.

    Parameters
    ----------
    widths : tuple of int
        Features at 2, 4 and 8 mm.
    contrast, resolution : bool
        Switch the named parts off for ablation.
    """

    def __init__(
        self,
        widths: tuple[int, int, int] = WIDTHS,
        *,
        contrast: bool = True,
        resolution: bool = True,
    ) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.contrast, self.resolution = contrast, resolution
        self.facts = nn.Sequential(nn.Linear(N_CONDITIONS, 64), nn.ReLU(), nn.Linear(64, 32))
        self.enter = nn.Conv2d(8, fine, 3, padding=1)
        self.encode_fine = Stage(fine, 32)
        self.to_middle = nn.Conv2d(fine, middle, 2, stride=2)
        self.encode_middle = Stage(middle, 32)
        self.to_coarse = nn.Conv2d(middle, coarse, 2, stride=2)
        self.encode_coarse = Stage(coarse, 32)
        # what the whole slice looks like joins what the sidecar says, for the way back up
        self.scene = nn.Linear(coarse, 32)
        self.from_coarse = nn.Conv2d(coarse, middle, 1)
        self.decode_middle = Stage(middle, 32)
        self.from_middle = nn.Conv2d(middle, fine, 1)
        self.decode_fine = Stage(fine, 32)
        self.gain_head = nn.Conv2d(fine, 1, 3, padding=1)
        self.residual_head = nn.Conv2d(fine, 8, 3, padding=1)
        self.error_head = nn.Conv2d(fine, 2, 3, padding=1)
        for head in (self.gain_head, self.residual_head, self.error_head):
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        nn.init.constant_(self.error_head.bias, -3.0)  # an error of exp(-3) = .05 to begin with

    def forward(self, images: Tensor, condition: Tensor) -> Output:
        """Harmonize slices.

        Parameters
        ----------
        images : (B, 2, H, W) float
            b=0 and trace in units of the robust b=0 scale at 1 mm; H and W multiples of 8.
        condition : (B, 2 C) float
            From `encode_metadata`.

        Returns
        -------
        Output
        """
        facts = self.facts(condition)  # (B, 32)
        fine = self.enter(functional.pixel_unshuffle(images, 2))  # (B, 48, H/2, W/2)
        fine = self.encode_fine(fine, facts)
        middle = self.encode_middle(self.to_middle(fine), facts)  # (B, 80, H/4, W/4)
        coarse = self.encode_coarse(self.to_coarse(middle), facts)  # (B, 112, H/8, W/8)
        facts = facts + self.scene(self._mean_inside(coarse, images))
        middle = self.decode_middle(middle + self._double(self.from_coarse(coarse)), facts)
        fine = self.decode_fine(fine + self._double(self.from_middle(middle)), facts)
        log_gain = self._double(self.gain_head(fine)).clamp(-2.5, 2.5)
        residual = functional.pixel_shuffle(self.residual_head(fine), 2)
        log_error = self._double(self.error_head(fine)).clamp(-8, 2)
        out = images
        if self.contrast:
            out = torch.exp(log_gain) * out
        if self.resolution:
            out = out + residual
        rows, columns = (band_limit(n) for n in out.shape[-2:])
        with torch.autocast(out.device.type, enabled=False):  # eight bits would leave grain
            out = rows @ out.float() @ columns.T
        return Output(out, log_gain, log_error)

    @staticmethod
    def _mean_inside(features: Tensor, images: Tensor) -> Tensor:
        """Average features over what shines in b=0, so that air around a head does not count."""
        inside = functional.avg_pool2d(images[:, :1], STRIDE).clamp(0.01, 1)
        return (features * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3))

    @staticmethod
    def _double(features: Tensor) -> Tensor:
        return functional.interpolate(
            features, scale_factor=2, mode='bilinear', align_corners=False
        )
