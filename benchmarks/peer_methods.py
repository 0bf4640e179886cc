"""What peers make of simulated scans: the same robustly scaled, bicubic slices for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from cohort import CHANNELS, FOV, Cohort, destroyed, harmonized
from scipy import ndimage
from skimage.exposure import match_histograms

from bidsharmony.network.weights import Weights
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.scanner import FWHM_PER_SD, KSpace

OURS = 'bidsharmony'
AS_COARSE = 'bidsharmony, as coarse'
OVERSAMPLING = 64  # of a point-spread function, so that its width can be read off


@dataclass(frozen=True)
class Method:
    """A way to make scans of many scanners alike.

    Attributes
    ----------
    make : callable
        Takes a cohort and a generator, returns (H, S, N, 2, F, F) float32.
    keeps_unit : bool
        Whether zero stays zero and ratios of b=0 and trace mean what they meant. What does not
        is brought to the mean and deviation of the truth before ratios are read.
    """

    make: Callable[[Cohort, np.random.Generator], np.ndarray]
    keeps_unit: bool = True


def methods(weights: Weights) -> dict[str, Method]:
    """Return all methods of the table of images, in its order.

    `AS_COARSE` takes what `OURS` made from the images of the cohort.
    """
    return {
        'identity': Method(lambda cohort, rng: cohort.images['bicubic']),
        'blur-to-worst': Method(lambda cohort, rng: blurred_to_worst(cohort)),
        'histogram matching': Method(lambda cohort, rng: histograms_matched(cohort)),
        'z-score': Method(lambda cohort, rng: by_run(cohort, z_scored), keeps_unit=False),
        'Nyul': Method(lambda cohort, rng: nyul(cohort), keeps_unit=False),
        'WhiteStripe': Method(lambda cohort, rng: by_run(cohort, white_striped), keeps_unit=False),
        'destroyer': Method(destroyed),
        OURS: Method(lambda cohort, rng: harmonized(weights, cohort)),
        AS_COARSE: Method(lambda cohort, rng: as_coarse(cohort, weights.fwhm_mm)),
    }


def by_run(cohort: Cohort, change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Change every channel of every run, (N, F, F), with its masks; (H, S, N, 2, F, F)."""
    scans = cohort.images['bicubic']
    out = np.empty_like(scans)
    for h, s, c in np.ndindex(*scans.shape[:2], len(CHANNELS)):
        out[h, s, :, c] = change(scans[h, s, :, c], cohort.brain[h])
    return out


def z_scored(run: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Subtract the mean in the masks and divide by the deviation.

    Examples
    --------
    >>> z_scored(np.array([1.0, 3.0, 9.0]), np.array([True, True, False])).tolist()
    [-1.0, 1.0, 7.0]
    """
    inside = run[masks].astype(np.float64)
    return (run - inside.mean()) / inside.std()


def matched(run: np.ndarray, masks: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Give the values in the masks the distribution of reference values (scikit-image).

    Values outside the masks go where their equals inside went.

    Examples
    --------
    >>> run, masks = np.array([1.0, 2.0, 3.0, 2.0]), np.array([True, True, True, False])
    >>> matched(run, masks, np.array([10.0, 40.0, 90.0])).tolist()
    [10.0, 40.0, 90.0, 40.0]
    """
    inside = run[masks]
    made = match_histograms(inside, reference)
    order = np.argsort(inside, kind='stable')
    return np.interp(run, inside[order], made[order])


def reference_scanner(protocols: Sequence[Protocol]) -> int:
    """Return the position of the scanner of the smallest voxel, which others are matched to."""
    return int(np.argmin([p.pixel**2 / p.phase_resolution * p.thickness for p in protocols]))


def histograms_matched(cohort: Cohort) -> np.ndarray:
    """Match every run to the first head's run on the reference scanner."""
    scans = cohort.images['bicubic']
    reference = scans[0, reference_scanner(cohort.protocols)]
    out = np.empty_like(scans)
    for h, s, c in np.ndindex(*scans.shape[:2], len(CHANNELS)):
        values = reference[:, c][cohort.brain[0]]
        out[h, s, :, c] = matched(scans[h, s, :, c], cohort.brain[h], values)
    return out


def spread_fwhm(weights: np.ndarray, step: float) -> float:
    """Measure the full width at half maximum of what a point becomes by k-space weights.

    Parameters
    ----------
    weights : (n,) float
        Of the acquired lines, zero where there is none.
    step : float
        Acquired pixel, mm.

    Returns
    -------
    float
        mm.

    Examples
    --------
    >>> round(spread_fwhm(np.ones(100), 1.0), 2)  # the main lobe of a sinc
    1.21
    """
    n = len(weights)
    point = np.abs(np.fft.fftshift(np.fft.ifft(weights, OVERSAMPLING * n)))
    top = int(point.argmax())
    half = point[top] / 2
    right = top + int(np.argmax(point[top:] < half))
    left = top - int(np.argmax(point[top::-1] < half))
    after = (point[right - 1] - half) / (point[right - 1] - point[right])
    before = (point[left + 1] - half) / (point[left + 1] - point[left])
    return float((right - left - 2 + after + before) * step / OVERSAMPLING)


def scanner_fwhm(protocol: Protocol) -> np.ndarray:
    """Return the resolution of a scanner's images along rows and columns, (2,) mm.

    Known from the simulated protocol: more than a user could know.
    """
    kspace = KSpace(protocol, FOV)
    rows, columns, _ = kspace.weights()
    widths = [spread_fwhm(w, FOV / n) for w, n in zip((rows, columns), kspace.matrix, strict=True)]
    return np.array(widths[::-1] if protocol.turned else widths)


def blurred_to(run: np.ndarray, own: np.ndarray, worst: np.ndarray) -> np.ndarray:
    """Blur slices of 1 mm pixels, (..., F, F), from their own resolution to another, mm by axis.

    Examples
    --------
    >>> point = np.zeros((9, 9))
    >>> point[4, 4] = 1
    >>> blurred_to(point, np.array([2.0, 2.0]), np.array([2.0, 3.0]))[:, 4].round(3).tolist()
    [0.0, 0.0, 0.0, 0.0, 0.42, 0.0, 0.0, 0.0, 0.0]
    """
    more = np.sqrt(np.maximum(worst**2 - own**2, 0)) / FWHM_PER_SD
    sigma = [0.0] * (run.ndim - 2) + more.tolist()
    return ndimage.gaussian_filter(run, sigma, mode='nearest', truncate=4)


def blurred_to_worst(cohort: Cohort) -> np.ndarray:
    """Blur all scans to the coarsest resolution of any scanner along either axis."""
    widths = np.array([scanner_fwhm(protocol) for protocol in cohort.protocols])
    worst = np.full(2, widths.max())
    scans = cohort.images['bicubic']
    return np.stack([blurred_to(scans[:, s], own, worst) for s, own in enumerate(widths)], axis=1)


def as_coarse(cohort: Cohort, fwhm: float) -> np.ndarray:
    """Blur what bidsharmony made, of `fwhm` mm, to the resolution that `blurred_to_worst` has."""
    worst = max(scanner_fwhm(protocol).max() for protocol in cohort.protocols)
    return blurred_to(cohort.images[OURS], np.full(2, fwhm), np.full(2, worst))


def nyul(cohort: Cohort) -> np.ndarray:
    """Normalize by the landmarks of all runs, with the package's settings."""
    from intensity_normalization import NyulNormalizer
    from intensity_normalization.adapters.images import NumpyImageAdapter as Image

    scans = cohort.images['bicubic']
    out = np.empty_like(scans)
    runs = list(np.ndindex(*scans.shape[:2]))
    masks = [Image(cohort.brain[h]) for h, _ in runs]
    for c in range(len(CHANNELS)):
        images = [Image(scans[h, s, :, c]) for h, s in runs]
        normalizer = NyulNormalizer().fit_population(images, masks)
        for (h, s), image, mask in zip(runs, images, masks, strict=True):
            out[h, s, :, c] = normalizer.transform(image, mask).get_data()
    return out


def white_striped(run: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Normalize by the largest tissue class, which is the package's rule for T2 weighting."""
    from intensity_normalization import Modality, WhiteStripeNormalizer
    from intensity_normalization.adapters.images import NumpyImageAdapter as Image

    image, mask = Image(run), Image(masks)
    normalizer = WhiteStripeNormalizer(modality=Modality.T2).fit(image, mask)
    return normalizer.transform(image, mask).get_data()


def in_truths_unit(cohorts: Sequence[Cohort], made: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Bring a method's images to the mean and deviation of the truth, one line per channel.

    Not the best fit: that would flatten what is noisy, and no ratio could be read from it.
    """
    out = [image.copy() for image in made]
    for c in range(len(CHANNELS)):
        ours, truths = values_in_mask(cohorts, made, c)
        slope = np.concatenate(truths).std() / np.concatenate(ours).std()
        intercept = np.concatenate(truths).mean() - slope * np.concatenate(ours).mean()
        for image in out:
            image[..., c, :, :] = slope * image[..., c, :, :] + intercept
    return out


def values_in_mask(
    cohorts: Sequence[Cohort], made: Sequence[np.ndarray], channel: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return values of every run in its masks and those of the truth, lists of (n,) float64."""
    ours, truths = [], []
    for cohort, images in zip(cohorts, made, strict=True):
        for h, s in np.ndindex(*images.shape[:2]):
            ours.append(images[h, s, :, channel][cohort.brain[h]].astype(np.float64))
            truths.append(cohort.truth[h, :, channel][cohort.brain[h]].astype(np.float64))
    return ours, truths
