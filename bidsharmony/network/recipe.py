"""How a network is trained: light, so that the command line can show it."""

from __future__ import annotations

from dataclasses import dataclass

RECIPES = ('individuals', 'one-individual')


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; written into its weights.

    Attributes
    ----------
    name : str
        One of `RECIPES`: whole-head label maps of ten individuals, or the T2-weighted volume of
        one, as Wada et al. had (J Magn Reson Imaging 2024;60:510).
    steps : int
        Optimiser steps.
    hours : float
        If positive, the time that training takes instead; the learning rate then follows the
        clock, and how many steps were made is written into the weights.
    batch, patch : int
        Slices a step (an even number: each is scanned on two scanners), pixels a side.
    learning_rate : float
        At its height; it rises over the first 3 % and falls along a cosine.
    seed : int
    missing : float
        Chance that a scanner fact is hidden from the network in training.
    average : float
        Decay of the running average of weights that is kept.
    consistency : float
        Weight of the difference between the two scanners' outputs.
    spectrum : float
        Weight of the difference between the logarithms of output's and truth's power spectra, in
        rings and along either axis.
    similarity : float
        Weight of what structural similarity lacks of 1.
    ratio : float
        Weight of the error of log(b0 / trace), hence of the ADC.
    lesion : float
        How many times more a lesion's pixels weigh.
    squared : float
        Weight of the squared error beside the absolute one.
    repeat : bool
        Whether a batch's last scan is the network's own output, which shall come back unchanged.
    validation_slices : int
        Of each validation individual, each on `VALIDATION_SCANNERS` scanners.
    bfloat16 : bool
        Compute convolutions in bfloat16, which pays on processors that have it.
    """

    name: str = 'individuals'
    steps: int = 12000
    hours: float = 0.0
    batch: int = 8
    patch: int = 128
    learning_rate: float = 1.5e-3
    seed: int = 20261124
    missing: float = 0.2
    average: float = 0.998
    consistency: float = 0.5
    spectrum: float = 0.3
    similarity: float = 0.2
    ratio: float = 0.3
    lesion: float = 2.0
    squared: float = 1.0
    repeat: bool = True
    validation_slices: int = 4
    bfloat16: bool = False
