"""Let a random forest guess scanners from the spectrum, texture and histogram of slices."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from bidsharmony.audit.sample import Sample
from bidsharmony.audit.scores import Probe
from bidsharmony.evaluation.forest import (
    cross_guesses,
    eight_bits,
    gray_window,
    probe_features,
)
from bidsharmony.numerics.planes import AUDIT_PIXEL

MOST_FOLDS = 10
"""Up to so many subjects, each is a fold of its own."""

TREES = 150

FEATURES = 'spectrum, texture and histogram'

_CHUNK = 50  # slices that a process is given at a time
_FEWEST_CHUNKS = 4  # below, processes take longer to start than they save

Windows = list[list[tuple[float, float]]]


def subject_folds(scanners: np.ndarray, subjects: np.ndarray) -> np.ndarray:
    """Deal subjects out to at most ten folds, those of one scanner to as many as possible.

    Parameters
    ----------
    scanners, subjects : (n,) int

    Returns
    -------
    (n,) int

    Examples
    --------
    >>> subject_folds(np.array([0, 0, 1, 1]), np.array([7, 8, 9, 8])).tolist()
    [0, 1, 2, 1]
    """
    # dict keeps the first scanner of each subject: one subject, one fold
    first = dict(sorted({(int(s), int(c)) for c, s in zip(scanners, subjects, strict=True)},
                        reverse=True))  # fmt: skip
    dealt = sorted(first, key=lambda subject: (first[subject], subject))
    fold = {subject: place % MOST_FOLDS for place, subject in enumerate(dealt)}
    return np.array([fold[int(subject)] for subject in subjects], int)


def sample_features(sample: Sample, *, jobs: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Describe the slices of a sample before and after, see `evaluation.forest.probe_features`.

    Images are cut to eight bits by one window for each channel and side.

    Parameters
    ----------
    sample : Sample
    jobs : int
        Processes. The features do not depend on it.

    Returns
    -------
    before, after : (n, p) float64
    """
    windows: Windows = [
        [gray_window(side[:, channel].astype(np.float32), sample.mask) for channel in (0, 1)]
        for side in (sample.before, sample.after)
    ]
    chunks = [slice(start, start + _CHUNK) for start in range(0, len(sample), _CHUNK)]
    parts = ((sample.before[one], sample.after[one], sample.mask[one]) for one in chunks)
    describe = partial(_describe, windows=windows)
    if jobs > 1 and len(chunks) > _FEWEST_CHUNKS:
        # libraries that hold threads do not survive a fork
        with ProcessPoolExecutor(min(jobs, len(chunks)), get_context('spawn')) as pool:
            found = np.concatenate(list(pool.map(describe, parts)))
    else:
        found = np.concatenate([describe(part) for part in parts])
    return found[:, 0], found[:, 1]


def _describe(part: tuple[np.ndarray, np.ndarray, np.ndarray], windows: Windows) -> np.ndarray:
    """Describe some slices; (m, 2, p), before and after."""
    return np.array(
        [
            [
                probe_features(
                    np.stack(
                        [
                            eight_bits(channel, *window)
                            for channel, window in zip(image, side, strict=True)
                        ]
                    ),
                    mask,
                    AUDIT_PIXEL,
                )
                for image, side in zip(images, windows, strict=True)
            ]
            for *images, mask in zip(*part, strict=True)
        ]
    )


def forest_probe(
    sample: Sample,
    before: np.ndarray,
    after: np.ndarray,
    *,
    jobs: int = 1,
    seed: int = 0,
    trees: int = TREES,
) -> Probe:
    """Guess the scanner of each slice by forests that never saw the subject.

    Parameters
    ----------
    sample : Sample
    before, after : (n, p) float
        See `sample_features`.
    jobs : int
        Trees that are grown at a time. The answers do not depend on it.
    seed, trees : int

    Returns
    -------
    Probe

    Raises
    ------
    ValueError
        With fewer than two subjects or two scanners.
    """
    folds = subject_folds(sample.scanners, sample.subjects)
    known = (sample.scanners, sample.subjects, folds)
    grown = {'seed': seed, 'jobs': jobs, 'trees': trees}
    guess, frozen = cross_guesses(before, [before, after], *known, **grown)
    (retrained,) = cross_guesses(after, [after], *known, **grown)
    return Probe('random forest', guess, frozen, retrained, before, after, FEATURES)
