"""A slice through a head before any scanner, and the signal that a slice profile sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bidsharmony.numerics.slices import slice_profile
from bidsharmony.physics.fields import Texture
from bidsharmony.physics.lesions import Lesion
from bidsharmony.physics.signal import Contrast, TissueTable, tissue_signal
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES

REACH = 6  # mm: sub-slices on either side of a slab's centre


@dataclass(frozen=True)
class Slab:
    """A slice through a head before any scanner: tissue codes of its sub-slices, and its texture.

    Which of the sub-slices a scanner averages, and how, is its slice profile: (P,) weights.

    Attributes
    ----------
    codes : (P, F, F) uint8
        Sub-slices 1 mm apart about the slice's centre, warped in plane; F is the field of view in
        mm.
    textures : three Texture, optional
        Relative variation of proton density, 1/T2 and diffusivity within tissue. A thick slice
        averages over it, as it does over everything.
    lesions : tuple of Lesion
    grain : (P, F, F) float32, optional
        Factor on the signal: what a head's real texture says (`Head.texture`).
    squeeze : (F, F) float32, optional
        Logarithm of the signal that the susceptibility warp piles up.
    """

    codes: np.ndarray
    textures: tuple[Texture, Texture, Texture] | None = None
    lesions: tuple[Lesion, ...] = ()
    grain: np.ndarray | None = None
    squeeze: np.ndarray | None = None

    @cached_property
    def _mixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Pixels that are not one tissue throughout, (M,), and their codes, (P, M)."""
        codes = self.codes.reshape(len(self.codes), -1)
        pixels = np.flatnonzero((codes != codes[0]).any(axis=0))
        return pixels, codes[:, pixels]

    @cached_property
    def _fractions(self) -> dict[bytes, np.ndarray]:
        return {}

    def _mixed_fractions(self, profile: np.ndarray) -> np.ndarray:
        """Return each tissue's fraction of each mixed pixel; (T, M) float32."""
        key = np.asarray(profile, np.float32).tobytes()
        if key not in self._fractions:
            pixels, codes = self._mixed
            out = np.zeros((len(TISSUE_NAMES), len(pixels)), np.float32)
            index = np.arange(len(pixels))
            for tissues, weight in zip(codes, profile, strict=True):
                if weight > 0:
                    out[tissues, index] += np.float32(weight)
            self._fractions[key] = out
        return self._fractions[key]

    def mean(self, profile: np.ndarray, *per_tissue: np.ndarray) -> np.ndarray:
        """Average properties of tissues over a slice profile; n of (T,) to (n, F, F) float32."""
        properties = np.stack(per_tissue).astype(np.float32)
        out = properties[:, self.codes[0].ravel()]
        out[:, self._mixed[0]] = properties @ self._mixed_fractions(profile)
        return out.reshape(-1, *self.codes.shape[1:])

    def fractions(self, profile: np.ndarray) -> np.ndarray:
        """Return each tissue's fraction of each pixel under a slice profile; (T, F, F) float32."""
        return self.mean(profile, *np.eye(len(TISSUE_NAMES)))

    def brain(self, profile: np.ndarray) -> np.ndarray:
        """Return the brain's fraction of each pixel; (F, F) float32."""
        return self.mean(profile, BRAIN_TISSUES)[0]

    def head(self, profile: np.ndarray) -> np.ndarray:
        """Return the fraction of each pixel that is not air; (F, F) float32."""
        return self.mean(profile, np.arange(len(TISSUE_NAMES)) > 0)[0]

    def images(
        self,
        table: TissueTable,
        contrast: Contrast,
        b_values: tuple[float, ...],
        profile: np.ndarray,
    ) -> np.ndarray:
        """Compute the noise-free images at 1 mm.

        Texture and lesions act on the slab's signal-weighted mean relaxation rate and
        attenuation: exact where a pixel is one tissue, a first-order mixture elsewhere.

        Parameters
        ----------
        table : TissueTable
        contrast : Contrast
        b_values : tuple of float
            s/mm2, one image each.
        profile : (P,) float
            Weights of the sub-slices, of sum 1.

        Returns
        -------
        (len(b_values), F, F) float32
        """
        base, rate = tissue_signal(table, contrast)
        signals = [tissue_signal(table, contrast, b)[0] for b in b_values]
        mean, rated, *means = self.mean(profile, base, base * rate, *signals)
        safe = np.maximum(mean, 1e-6)
        te_rate = contrast.echo_time * rated / safe
        density, t2, diffusivity = (
            (np.zeros_like(safe),) * 3
            if self.textures is None
            else (texture.under(profile) for texture in self.textures)
        )
        log_b0 = -te_rate * t2
        for lesion in self.lesions:
            log_b0 = log_b0 + te_rate * (1 - 1 / lesion.t2_scale) * lesion.weight
        factor = 1 + density
        if self.grain is not None:
            factor = factor * np.tensordot(profile.astype(np.float32), self.grain, axes=(0, 0))
        out = []
        for image, signal, b_value in zip(means, signals, b_values, strict=True):
            log_signal = log_b0
            if b_value > 0:
                attenuation = np.log(safe / np.maximum(image, 1e-6))
                log_signal = log_signal - attenuation * diffusivity
                for lesion in self.lesions:
                    log_signal = (
                        log_signal + attenuation * (1 - lesion.diffusivity_scale) * lesion.weight
                    )
            shown = image * factor * np.exp(log_signal)
            for lesion in self.lesions:
                if lesion.fluid > 0:
                    fluid = np.float32(signal[TISSUE_NAMES.index('ventricle')])
                    shown += lesion.fluid * lesion.weight * (fluid - shown)
            out.append(shown)
        return np.stack(out).astype(np.float32)


def profile_weights(thickness: float, kernel: np.ndarray, spacing: float) -> np.ndarray:
    """Return the profile of slices that were averaged by a through-plane kernel.

    Parameters
    ----------
    thickness : float
        mm, full width at half maximum of a single slice's profile.
    kernel : (2 r + 1,) float
        Weights of neighbouring slices, of sum 1.
    spacing : float
        mm between them.

    Returns
    -------
    (2 REACH + 1,) float32
        Weights of sub-slices 1 mm apart, of sum 1; what lies further than `REACH` is left out.

    Examples
    --------
    >>> weights = profile_weights(3.0, np.ones(1), 3.0)
    >>> len(weights), round(float(weights.sum()), 5), bool(weights[0] == 0)
    (13, 1.0, True)
    """
    offsets = np.arange(-REACH, REACH + 1)
    out = np.zeros(len(offsets))
    middle = len(kernel) // 2
    for i, share in enumerate(kernel):
        out += share * slice_profile(thickness, offsets - (i - middle) * spacing)
    return (out / out.sum()).astype(np.float32)
