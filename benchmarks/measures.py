"""What the table is made of: figures of a cohort, and their intervals by individual."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from cohort import CHANNELS, Cohort

from bidsharmony.evaluation import forest, lesions
from bidsharmony.evaluation.batch import scanner_eta_squared
from bidsharmony.evaluation.fidelity import affine_fit, psnr, ssim
from bidsharmony.evaluation.forest import (
    PSD_BINS,
    Guesses,
    eight_bits,
    gray_window,
    guess_scanners,
)
from bidsharmony.numerics.spectrum import run_psd
from bidsharmony.numerics.statistics import bootstrap_interval
from bidsharmony.numerics.texture import glcm_features
from bidsharmony.physics.pairs import GRID_SPACING

N_AXIS = len(CHANNELS) * 2 * PSD_BINS


def fidelity(cohorts: Sequence[Cohort], method: str) -> dict[str, np.ndarray]:
    """Compute PSNR and SSIM of every run, after one affine fit per channel over all of them.

    Returns
    -------
    dict of (seeds, H, S) float64
        ``psnr_b0``, ``psnr_trace`` (dB), ``ssim_b0``, ``ssim_trace``.
    """
    found: dict[str, np.ndarray] = {}
    for c, channel in enumerate(CHANNELS):
        ours, truths = [], []
        for cohort in cohorts:
            heads, scanners, _ = cohort.shape
            for h in range(heads):
                for s in range(scanners):
                    ours.append(cohort.images[method][h, s, :, c][cohort.brain[h]])
                    truths.append(cohort.truth[h, :, c][cohort.brain[h]])
        # in double precision: a fit of millions of values in single precision loses its rank
        slope, intercept = affine_fit(
            [part.astype(np.float64) for part in ours],
            [part.astype(np.float64) for part in truths],
        )
        scores = [
            [
                [
                    _run_fidelity(
                        slope * cohort.images[method][h, s, :, c] + intercept,
                        cohort.truth[h, :, c],
                        cohort.brain[h],
                    )
                    for s in range(cohort.shape[1])
                ]
                for h in range(cohort.shape[0])
            ]
            for cohort in cohorts
        ]
        both = np.array(scores)
        found[f'psnr_{channel}'], found[f'ssim_{channel}'] = both[..., 0], both[..., 1]
    return found


def _run_fidelity(run: np.ndarray, truth: np.ndarray, masks: np.ndarray) -> tuple[float, float]:
    """Compute the PSNR of a run's brain and the mean SSIM of its slices, all (N, F, F)."""
    similar = []
    for image, true, mask in zip(run, truth, masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (
            slice(max(rows[0] - 8, 0), rows[-1] + 9),
            slice(max(columns[0] - 8, 0), columns[-1] + 9),
        )
        similar.append(ssim(image[box], true[box], mask[box]))
    return psnr(run, truth, masks), float(np.mean(similar))


def batch_figures(cohort: Cohort, method: str, limit: float) -> dict[str, np.ndarray]:
    """Measure what between-scanner figures are made of.

    Parameters
    ----------
    cohort : Cohort
    method : str
    limit : float
        1/mm, up to which spectra are compared.

    Returns
    -------
    dict
        ``means`` (H, S, 2 channels, 2 tissues), ``texture`` (H, S, features), ``spectra`` (H, S,
        2, F) and ``adc`` (H, S), log(b0 / trace) in white matter.
    """
    heads, scanners, _ = cohort.shape
    means = np.empty((heads, scanners, 2, 2))
    adc = np.empty((heads, scanners))
    texture, spectra = [], []
    for h in range(heads):
        masks = cohort.brain[h]
        for s in range(scanners):
            run = cohort.images[method][h, s]
            for c in range(2):
                for t, tissue in enumerate((cohort.white[h], cohort.cortex[h])):
                    means[h, s, c, t] = run[:, c][tissue].mean()
                found = glcm_features(run[:, c], masks)
                freqs, power = run_psd(run[:, c], masks, GRID_SPACING)
                texture.append(list(found.values()))
                spectra.append(power[freqs <= limit])
            adc[h, s] = log_ratio(run, cohort.white[h])
    return {
        'means': means,
        'texture': np.reshape(texture, (heads, scanners, -1)),
        'spectra': np.reshape(spectra, (heads, scanners, 2, -1)),
        'adc': adc,
    }


def log_ratio(run: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean of log(b0 / trace) in a mask, i.e. the ADC in 1e-3 mm2/s."""
    b0, trace = run[:, 0][mask], run[:, 1][mask]
    return float(np.mean(np.log(np.maximum(b0, 1e-3) / np.maximum(trace, 1e-3))))


def probe_features(cohort: Cohort, images: np.ndarray) -> np.ndarray:
    """Describe every slice of (H, S, N, 2, F, F) images in eight bits; (H, S, N, features).

    The last `N_AXIS` are those of `axis_features`.
    """
    heads, scanners, slices = images.shape[:3]
    masks = np.broadcast_to(cohort.brain[:, None], images.shape[:3] + images.shape[-2:])
    bits = np.stack(
        [
            eight_bits(images[:, :, :, c], *gray_window(images[:, :, :, c], masks))
            for c in range(len(CHANNELS))
        ],
        axis=3,
    )
    return np.array(
        [
            [
                [
                    forest.probe_features(bits[h, s, n], cohort.brain[h, n], GRID_SPACING)
                    for n in range(slices)
                ]
                for s in range(scanners)
            ]
            for h in range(heads)
        ]
    )  # fmt: skip


def probe(
    features: np.ndarray, tested: np.ndarray | None = None, *, seed: int, trees: int
) -> Guesses:
    """Let a forest guess the scanner from (H, S, N, features), by head left out."""
    heads, scanners, slices, width = features.shape
    who, which, _ = np.indices((heads, scanners, slices))
    return guess_scanners(
        features.reshape(-1, width),
        which.ravel(),
        who.ravel(),
        tested=None if tested is None else tested.reshape(-1, width),
        seed=seed,
        trees=trees,
    )


def accuracy(guesses: Sequence[Guesses]) -> dict[str, float]:
    """Summarise probes over seeds: balanced accuracy, interval by individual."""
    by_individual = np.stack([g.by_individual() for g in guesses])
    return {
        **summary(by_individual),
        'n': int(sum(len(g.guessed) for g in guesses)),
        'training_accuracy': float(np.mean([g.training_accuracy for g in guesses])),
        'chance': 1 / len(np.unique(guesses[0].scanners)),
    }


def lesion_figures(cohort: Cohort, method: str) -> dict[str, list]:
    """Segment every slice on the truth and on a method's images and compare.

    Returns
    -------
    dict of lists
        For each rule: ``dice_truth_<rule>`` and ``dice_mask_<rule>``, rows of (head, Dice) against
        the rule on the truth, where that sees a lesion, and the simulator's ischaemia;
        ``ceiling_<rule>``, the rule on the truth against that mask; ``invented_<rule>``, patches
        on each lesion-free slice. ``cnr``: rows of (head, truth's, method's) on the trace image.
    """
    found: dict[str, list] = {'cnr': []}
    heads, scanners, slices = cohort.shape
    for rule in lesions.RULES:
        for name in ('dice_truth', 'dice_mask', 'ceiling', 'invented'):
            found[f'{name}_{rule}'] = []
        for h in range(heads):
            masks = cohort.brain[h]
            true = lesions.segment(*np.moveaxis(cohort.truth[h], 1, 0), masks, rule)
            clear = lesions.without_specks(true, smallest=lesions.CLEAR)
            real = lesions.without_specks(cohort.ischaemia[h], smallest=lesions.CLEAR)
            for s in range(scanners):
                ours = lesions.segment(
                    *np.moveaxis(cohort.images[method][h, s], 1, 0), masks, rule
                )
                for n in range(slices):
                    if not cohort.lesion[h, n].any():
                        count = lesions.invented(ours[n], true[n])
                        found[f'invented_{rule}'].append((h, count))
                    elif (clear[n] & cohort.lesion[h, n]).any():
                        found[f'dice_truth_{rule}'].append((h, lesions.dice(ours[n], true[n])))
                    if real[n].any():
                        found[f'dice_mask_{rule}'].append((h, lesions.dice(ours[n], real[n])))
                        found[f'ceiling_{rule}'].append((h, lesions.dice(true[n], real[n])))
    for h in range(heads):
        real = lesions.without_specks(cohort.ischaemia[h], smallest=lesions.CLEAR)
        for n in np.flatnonzero(real.any(axis=(1, 2))):
            around = lesions.surroundings(cohort.lesion[h, n], cohort.white[h, n])
            true = lesions.contrast_to_noise(cohort.truth[h, n, 1], real[n], around)
            for s in range(scanners):
                image = cohort.images[method][h, s, n, 1]
                ours = lesions.contrast_to_noise(image, real[n], around)
                found['cnr'].append((h, true, ours))
    return found


def summary(values: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Return the mean of (seeds, H, ...) values and its interval by individual."""
    values = np.asarray(values, np.float64)
    low, high = bootstrap_interval(
        lambda drawn: values[:, drawn].mean(), values.shape[1], np.random.default_rng(seed)
    )
    return {'value': float(values.mean()), 'low': low, 'high': high, 'n': int(values.size)}


def derived(
    statistic: Callable[[np.ndarray], float], individuals: int, n: int, seed: int = 0
) -> dict[str, float]:
    """Return a statistic of drawn individuals, for all of them and with its interval."""
    low, high = bootstrap_interval(statistic, individuals, np.random.default_rng(seed), draws=300)
    value = statistic(np.arange(individuals))
    return {'value': float(value), 'low': low, 'high': high, 'n': n}


def eta_squared(textures: list[np.ndarray], drawn: np.ndarray, *, within_heads: bool) -> float:
    """Return the mean over seeds and features of the scanners' share of variance."""
    return float(
        np.mean([scanner_eta_squared(t[drawn], within_heads=within_heads) for t in textures])
    )


def by_head(rows: Sequence[tuple], heads: int, column: int = 1) -> list[np.ndarray]:
    """Sort rows of (head, values ...) into an array for each head."""
    return [np.array([row[column] for row in rows if row[0] == h]) for h in range(heads)]


def pooled(parts: list[np.ndarray], reduce: Callable[[np.ndarray], float]) -> dict[str, float]:
    """Return a statistic of all heads' values, with its interval by head."""

    def statistic(drawn: np.ndarray) -> float:
        values = np.concatenate([parts[i] for i in drawn])
        values = values[np.isfinite(values)]
        return reduce(values) if len(values) else float('nan')

    return derived(statistic, len(parts), sum(len(part) for part in parts))


def worst_decile(values: np.ndarray) -> float:
    """Return the 10th percentile."""
    return float(np.percentile(values, 10))
