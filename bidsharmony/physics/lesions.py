"""Lesions: what they do to the tissue they sit in, and random shapes of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bidsharmony.physics.fields import smooth_field

#: Ranges of the factor on T2, of the factor on diffusivity, and of the fraction turned to fluid.
#:
#: Ischaemia lowers diffusivity to .4-.8 of the tissue's within hours and T2 rises later (Schaefer
#: et al., Radiology 2000;217:331); oedema and tumour raise both, cellular tumours little (Kono et
#: al., AJNR 2001;22:1081); acute blood (deoxyhaemoglobin) shortens T2 and lowers the apparent
#: diffusivity (Kang et al., AJNR 2001;22:1698); a resection leaves a cavity filled with fluid.
RANGES = {
    'ischaemia': ((1.0, 1.6), (0.4, 0.8), (0.0, 0.0)),
    'oedema': ((1.3, 1.8), (1.3, 1.9), (0.0, 0.0)),
    'tumour': ((1.1, 1.6), (0.8, 1.4), (0.0, 0.0)),
    'haemorrhage': ((0.3, 0.7), (0.5, 0.9), (0.0, 0.0)),
    'resection': ((1.0, 1.0), (1.0, 1.0), (0.8, 1.0)),
}
KINDS = tuple(RANGES)
SHARES = (0.5, 0.2, 0.15, 0.1, 0.05)  # of each kind among drawn lesions


@dataclass(frozen=True)
class Lesion:
    """A lesion's place and what it does to the tissue it sits in.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    weight : (F, F) float32
        1 inside, falling to 0 over a soft rim.
    t2_scale, diffusivity_scale : float
        Factors on T2 and on the logarithm of the attenuation.
    fluid : float
        Fraction of the tissue replaced by fluid.
    """

    kind: str
    weight: np.ndarray
    t2_scale: float
    diffusivity_scale: float
    fluid: float = 0.0


def lesion_properties(kind: str, rng: np.random.Generator | None = None) -> dict[str, float]:
    """Draw what a lesion of a kind does, or return the middle of each range without a generator.

    Examples
    --------
    >>> properties = lesion_properties('ischaemia')
    >>> [round(properties[k], 3) for k in ('t2_scale', 'diffusivity_scale', 'fluid')]
    [1.3, 0.6, 0.0]
    """
    names = ('t2_scale', 'diffusivity_scale', 'fluid')
    return {
        name: float((low + high) / 2 if rng is None else rng.uniform(low, high))
        for name, (low, high) in zip(names, RANGES[kind], strict=True)
    }


def draw_lesion(brain: np.ndarray, rng: np.random.Generator, kind: str | None = None) -> Lesion:
    """Draw a lesion of 4 to 45 mm inside the brain of a slice.

    Parameters
    ----------
    brain : (F, F) float
        The brain's fraction of each pixel of 1 mm; at least one above one half.
    rng : numpy.random.Generator
    kind : str, optional
        One of `KINDS`, drawn by `SHARES` if None.

    Returns
    -------
    Lesion
    """
    kind = kind or str(rng.choice(KINDS, p=SHARES))
    inside = np.argwhere(brain > 0.5)
    row, column = inside[rng.integers(len(inside))]
    radius = 0.5 * float(np.exp(rng.uniform(np.log(4), np.log(45))))
    y, x = np.indices(brain.shape, dtype=np.float32)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.8)
    u = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
    v = -(x - column) * np.sin(angle) + (y - row) * np.cos(angle)
    distance = np.hypot(u / np.sqrt(stretch), v * np.sqrt(stretch))
    ragged = 1 + 0.25 * smooth_field(brain.shape, max(radius / 2, 3), rng)
    weight = np.clip((radius * ragged - distance) / 1.5 + 0.5, 0, 1) * brain
    return Lesion(kind, weight.astype(np.float32), **lesion_properties(kind, rng))
