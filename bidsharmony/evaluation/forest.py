"""A random forest that guesses the scanner from what a slice's spectrum and texture betray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.ensemble import RandomForestClassifier

from bidsharmony.numerics.spectrum import kept_taper, run_psd
from bidsharmony.numerics.texture import glcm_features

TREES = 300
HISTOGRAM_BINS = 32
PSD_BINS = 32  # at most; small images hold fewer frequencies
QUANTILES = (1, 5, 25, 50, 75, 95, 99)
WINDOW = (0.1, 99.9)
"""Percentiles of all images' brains that black and white of eight bits stand for."""


@dataclass(frozen=True)
class Guesses:
    """What a probe said of slices of individuals that it had not seen.

    Attributes
    ----------
    scanners, guessed, individuals : (n,) int
        The truth, the answer, and whose slice it is.
    training_accuracy : float
        On the slices that the forests were grown from, mean over folds.
    """

    scanners: np.ndarray
    guessed: np.ndarray
    individuals: np.ndarray
    training_accuracy: float

    @property
    def accuracy(self) -> float:
        """Balanced accuracy: mean over scanners of the share of slices recognised."""
        return balanced_accuracy(self.scanners, self.guessed)

    def by_individual(self) -> np.ndarray:
        """Return the balanced accuracy of each individual's slices, in order of individual."""
        parts = [self.individuals == one for one in np.unique(self.individuals)]
        return np.array([balanced_accuracy(self.scanners[p], self.guessed[p]) for p in parts])


def balanced_accuracy(truth: np.ndarray, guessed: np.ndarray) -> float:
    """Compute the mean over classes of the share that was recognised.

    Examples
    --------
    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]))
    0.5
    """
    return float(np.mean([np.mean(guessed[truth == one] == one) for one in np.unique(truth)]))


def eight_bits(images: np.ndarray, low: float, high: float) -> np.ndarray:
    """Quantise images to 256 levels between two values.

    Examples
    --------
    >>> eight_bits(np.array([-1.0, 0.0, 0.5, 1.0, 2.0]), 0.0, 1.0).tolist()
    [0, 0, 128, 255, 255]
    """
    scaled = (np.asarray(images, np.float64) - low) / max(high - low, 1e-12)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def gray_window(images: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Return the values of black and white for eight bits, one window for all images.

    One window for every scanner: each image's own would hide that one is brighter.
    """
    low, high = np.percentile(np.asarray(images)[np.asarray(masks, bool)], WINDOW)
    return float(low), float(high)


def slice_features(images: np.ndarray, mask: np.ndarray, pixel: float = 1.0) -> np.ndarray:
    """Describe a slice for the probe: spectrum, texture and histogram of each channel.

    Parameters
    ----------
    images : (C, H, W) uint8
        See `eight_bits`.
    mask : (H, W) bool
        The same for every scanner, lest its edge tell the scanner.
    pixel : float
        mm.

    Returns
    -------
    (n,) float64

    Examples
    --------
    >>> slice_features(np.zeros((2, 80, 80), np.uint8), np.ones((80, 80), bool)).shape
    (184,)
    """
    parts = []
    for image in images:
        _, power = run_psd(image[None].astype(np.float64), mask[None], pixel)
        rings = np.array_split(power, min(PSD_BINS, len(power)))
        parts.append(np.log10(np.maximum([ring.mean() for ring in rings], 1e-8)))
        parts.append(list(glcm_features(image[None], mask[None]).values()))
        inside = image[mask]
        counts, _ = np.histogram(inside, bins=HISTOGRAM_BINS, range=(0, 256))
        parts.append(counts / max(inside.size, 1))
        parts.append(np.percentile(inside, QUANTILES) if inside.size else np.zeros(7))
    return np.concatenate(parts)


def axis_features(images: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Describe how sharp a slice is along its rows and along its columns, for the probe.

    A radial spectrum averages over directions, but scanners sample phase encoding and readout
    unlike. Power along one axis is summed over the low frequencies of the other, relative to all.

    Parameters
    ----------
    images : (C, H, W)
    mask : (H, W) bool

    Returns
    -------
    (C * 2 * `PSD_BINS`,) float64
        Logarithm (base 10), by channel, rows then columns; smaller images have fewer bins.

    Examples
    --------
    >>> stripes = np.tile(np.arange(64) % 4, (64, 1))
    >>> rows, columns = axis_features(stripes[None], np.ones((64, 64), bool)).reshape(2, -1)
    >>> bool(columns[len(columns) // 2] > rows[len(rows) // 2] + 3)
    True
    """
    window = kept_taper(mask)
    parts = []
    for image in np.asarray(images, np.float64):
        centred = (image - (image * window).sum() / max(window.sum(), 1e-12)) * window
        power = np.abs(np.fft.fft2(centred)) ** 2
        total = max(power.sum(), 1e-12)
        for along in (power, power.T):
            count, low = len(along) // 2, max(along.shape[1] // 10, 1)
            rings = np.array_split(along[1 : count + 1, :low].sum(axis=1), min(PSD_BINS, count))
            parts.append(np.log10(np.array([ring.mean() for ring in rings]) / total + 1e-12))
    return np.concatenate(parts)


def probe_features(images: np.ndarray, mask: np.ndarray, pixel: float = 1.0) -> np.ndarray:
    """Describe a slice by all that the probe is shown: `slice_features`, then `axis_features`."""
    return np.concatenate([slice_features(images, mask, pixel), axis_features(images, mask)])


def guess_scanners(
    features: np.ndarray,
    scanners: np.ndarray,
    individuals: np.ndarray,
    *,
    tested: np.ndarray | None = None,
    trees: int = TREES,
    seed: int = 0,
) -> Guesses:
    """Grow a forest on all individuals but one and let it guess the scanners of that one's slices.

    Parameters
    ----------
    features : (n, p) float
        The forests are grown from these.
    scanners, individuals : (n,) int
    tested : (n, p) float, optional
        The same slices after something was done to them: the forest stays as it is (frozen) and
        is asked about these. `features` if None, which is the retrained probe.
    trees : int
    seed : int

    Returns
    -------
    Guesses

    Raises
    ------
    ValueError
        With fewer than two individuals or two scanners.

    Examples
    --------
    >>> scanners, individuals = np.arange(12) % 2, np.arange(12) // 4
    >>> guess_scanners(scanners[:, None] * 1.0, scanners, individuals, trees=5).accuracy
    1.0
    """
    tested = features if tested is None else tested
    return cross_guesses(
        features, [tested], scanners, individuals, individuals, trees=trees, seed=seed
    )[0]


def cross_guesses(
    features: np.ndarray,
    tested: Sequence[np.ndarray],
    scanners: np.ndarray,
    individuals: np.ndarray,
    folds: np.ndarray,
    *,
    trees: int = TREES,
    seed: int = 0,
    jobs: int = 1,
) -> list[Guesses]:
    """Grow a forest on all folds but one and let it guess the scanners of that one's slices.

    Parameters
    ----------
    features : (n, p) float
        The forests are grown from these.
    tested : sequence of (n, p) float
        The forest of a fold is asked about the fold in each of these.
    scanners, individuals, folds : (n,) int
        An individual lies in one fold.
    trees, seed : int
    jobs : int
        Trees that are grown at a time; the answers do not depend on it.

    Returns
    -------
    list of Guesses
        One for each of ``tested``.

    Raises
    ------
    ValueError
        With fewer than two folds or two scanners.
    """
    scanners, individuals = np.asarray(scanners), np.asarray(individuals)
    for name, labels in (('individuals', folds), ('scanners', scanners)):
        if len(np.unique(labels)) < 2:
            raise ValueError(f'{len(np.unique(labels))} {name}; a probe needs at least two')
    guessed = [np.empty_like(scanners) for _ in tested]
    training = []
    for fold in np.unique(folds):
        held_out = folds == fold
        forest = RandomForestClassifier(
            trees, class_weight='balanced', random_state=seed, n_jobs=jobs
        )
        forest.fit(features[~held_out], scanners[~held_out])
        forest.n_jobs = 1  # threads would add up the votes in another order each time
        training.append(forest.score(features[~held_out], scanners[~held_out]))
        for answers, asked in zip(guessed, tested, strict=True):
            answers[held_out] = forest.predict(asked[held_out])
    return [Guesses(scanners, one, individuals, float(np.mean(training))) for one in guessed]
