"""Run peers side by side with bidsharmony on simulated travelling heads, by the same measures.

    pip install --no-deps -r benchmarks/requirements-peers.txt
    python benchmarks/peers.py --anatomy DIR [--out peers.json] [--tables docs/_static/peers]

Individuals 13 to 17, whom training never saw, on seven scanners drawn from bands that training
left out; another seven for each seed. Every figure is simulated. README.md in this folder says
what each method is given and what each column means.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cohort import CHANNELS, Cohort, simulate
from csv_tables import write_table
from measures import (
    accuracy,
    batch_figures,
    by_head,
    derived,
    eta_squared,
    fidelity,
    lesion_figures,
    log_ratio,
    pooled,
    probe,
    probe_features,
    summary,
    worst_decile,
)
from peer_methods import AS_COARSE, OURS, Method, in_truths_unit, methods
from peer_series import compare
from quality import TRAINED_WELL, commit, say, table

from bidsharmony.evaluation import lesions
from bidsharmony.evaluation.batch import (
    between_scanner_cv,
    scanner_eta_squared,
    scanner_spectral_distance,
)
from bidsharmony.network.training import TESTING, load_individuals
from bidsharmony.network.weights import load_weights
from bidsharmony.physics.protocol import held_out_scanners

CONTROL, BASIS = 'destroyer', 'identity'
SERIES = 'series'
DICE = 0.90  # median, by either rule
PSNR_LOSS, SSIM_LOSS = 0.5, 0.02  # under the identity's, dB and index
HALF = 0.5  # of the best peer's remaining effect may remain
PASSES = (
    f'median lesion Dice by either rule at least {DICE:.2f}, or at least that of the identity '
    f'where the identity has less; PSNR at most {PSNR_LOSS:g} dB and SSIM at most {SSIM_LOSS:g} '
    'under those of the identity, on b=0 and on trace'
)
#: What remains of the scanner, above chance: figure and name.
REMAINING = {
    'probe_above_chance': 'forest, retrained, above 1/7',
    'eta2_above_chance': 'GLCM eta2 above chance',
    'psd_distance': 'PSD distance (dB)',
    'cv_b0': 'between-scanner CV, b=0',
    'cv_trace': 'between-scanner CV, trace',
}


def measure(
    cohorts: Sequence[Cohort],
    method: Method,
    seconds: float,
    limit: float,
    trees: int,
    before: Sequence[np.ndarray] | None,
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Measure one method by all columns.

    Parameters
    ----------
    cohorts : sequence of Cohort
        One per seed, whose only images are the method's.
    method : Method
    seconds : float
        Processor time of all runs.
    limit : float
        1/mm, up to which spectra are compared.
    trees : int
        Of a forest.
    before : sequence of array, optional
        Probe features of the identity; this is the identity if None.

    Returns
    -------
    figures : dict
    features : list of (H, S, N, features)
        Of the probe, by seed.
    """
    heads = cohorts[0].shape[0]
    # one affine fit over all runs is part of PSNR and SSIM
    figures = {name: summary(values) for name, values in fidelity(cohorts, 'bicubic').items()}
    if not method.keeps_unit:
        made = in_truths_unit(cohorts, [cohort.images['bicubic'] for cohort in cohorts])
        cohorts = [
            replace(cohort, images={'bicubic': image})
            for cohort, image in zip(cohorts, made, strict=True)
        ]
    batch = [batch_figures(cohort, 'bicubic', limit) for cohort in cohorts]
    cvs = np.stack([between_scanner_cv(b['means']) for b in batch])  # (seeds, H, 2, 2)
    for c, channel in enumerate(CHANNELS):
        figures[f'cv_{channel}'] = summary(cvs[:, :, c].mean(axis=-1))
    textures = [b['texture'] for b in batch]
    runs = sum(t.shape[0] * t.shape[1] for t in textures)
    figures['glcm_eta2'] = derived(
        lambda drawn: eta_squared(textures, drawn, within_heads=False), heads, runs
    )
    figures['eta2_above_chance'] = derived(
        lambda drawn: float(np.mean([eta2_above_chance(t, drawn) for t in textures])), heads, runs
    )
    distances = [[scanner_spectral_distance(b['spectra'][:, :, c]) for c in (0, 1)] for b in batch]
    figures['psd_distance'] = summary(np.moveaxis(np.array(distances), 1, 2))
    adc = np.stack([b['adc'] for b in batch])  # (seeds, H, S)
    true = np.array(
        [[log_ratio(t, w) for t, w in zip(c.truth, c.white, strict=True)] for c in cohorts]
    )
    figures['adc_error_percent'] = summary(100 * np.abs(adc / true[..., None] - 1))
    figures['adc_cv_percent'] = summary(100 * np.stack([between_scanner_cv(a) for a in adc]))
    figures.update(lesions_kept(cohorts))
    features = [probe_features(cohort, cohort.images['bicubic']) for cohort in cohorts]
    retrained = [probe(f, seed=k, trees=trees) for k, f in enumerate(features)]
    frozen = retrained
    if before is not None:
        frozen = [
            probe(old, new, seed=k, trees=trees)
            for k, (old, new) in enumerate(zip(before, features, strict=True))
        ]
    figures['probe_retrained'], figures['probe_frozen'] = accuracy(retrained), accuracy(frozen)
    chance = figures['probe_retrained']['chance']
    figures['probe_above_chance'] = {
        key: figures['probe_retrained'][key] - chance for key in ('value', 'low', 'high')
    }
    figures['seconds_per_run'] = seconds / runs
    return figures, features


def eta2_above_chance(values: np.ndarray, drawn: np.ndarray | None = None) -> float:
    """Return by how much the scanners' share of variance exceeds that of shuffled labels.

    Shuffled within each of H heads, scanners hold on average 1 / H of what varies within heads;
    more where a head is drawn several times, since it brings the same labels each time.

    Parameters
    ----------
    values : (H, S, features) float
    drawn : (n,) int, optional
        Positions of heads, all of them once if None.

    Returns
    -------
    float
        Mean over features.

    Examples
    --------
    >>> heads, scanners = np.array([[-1.0], [1.0]]), np.array([[-1.0, 1.0]])
    >>> eta2_above_chance((heads + scanners)[..., None])  # half of all, a quarter by chance
    0.25
    """
    drawn = np.arange(len(values)) if drawn is None else np.asarray(drawn)
    values = np.asarray(values, np.float64)
    some = values[drawn]
    total = ((some - some.mean(axis=(0, 1))) ** 2).sum(axis=(0, 1))
    within = ((values - values.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)  # (H, features)
    times = np.bincount(drawn, minlength=len(values))
    by_chance = (times**2) @ within / len(drawn)
    share = scanner_eta_squared(some)
    return float(np.mean(np.where(share > 0, share - by_chance / np.maximum(total, 1e-300), 0)))


def lesions_kept(cohorts: Sequence[Cohort]) -> dict[str, dict[str, float]]:
    """Return Dice against the same rule on the truth, and inventions, by rule."""
    heads = cohorts[0].shape[0]
    found: dict[str, list] = {}
    for cohort in cohorts:
        for name, rows in lesion_figures(cohort, 'bicubic').items():
            found.setdefault(name, []).extend(rows)
    out = {}
    for rule in lesions.RULES:
        parts = by_head(found[f'dice_truth_{rule}'], heads)
        if sum(map(len, parts)):
            out[f'dice_{rule}'] = pooled(parts, lambda values: float(np.median(values)))
            out[f'dice_{rule}_worst_decile'] = pooled(parts, worst_decile)
        parts = by_head(found[f'invented_{rule}'], heads)
        if sum(map(len, parts)):
            out[f'invented_{rule}'] = pooled(parts, lambda values: float(np.mean(values)))
    return out


def failures(figures: Mapping[str, Any], basis: Mapping[str, Any]) -> list[str]:
    """List the fidelity columns that a method fails (`PASSES`)."""
    bounds = {f'dice_{rule}': DICE for rule in lesions.RULES}
    bounds = {
        key: min(bound, basis[key]['value']) for key, bound in bounds.items() if key in basis
    }
    for channel in CHANNELS:
        bounds[f'psnr_{channel}'] = basis[f'psnr_{channel}']['value'] - PSNR_LOSS
        bounds[f'ssim_{channel}'] = basis[f'ssim_{channel}']['value'] - SSIM_LOSS
    # also what is not a number fails
    return [key for key, bound in bounds.items() if not figures[key]['value'] >= bound]


def half_of_best(found: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Set what remains of the scanner beside the best peer that passes, and the best of all.

    Parameters
    ----------
    found : mapping
        Figures by method, each with ``fails``.
    """
    rows = []
    for key, name in REMAINING.items():
        remains = {m: max(figures[key]['value'], 0.0) for m, figures in found.items()}
        ours = remains.pop(OURS)
        remains.pop(CONTROL, None)
        row: dict[str, Any] = {'axis': name, 'ours': ours}
        row['ours_as_coarse'] = remains.pop(AS_COARSE, None)
        passing = {m: value for m, value in remains.items() if not found[m]['fails']}
        for which, peers in (('passing', passing), ('any', remains)):
            best = min(peers, key=peers.__getitem__, default=None)
            row[f'best_{which}'] = best
            row[f'best_{which}_remains'] = peers.get(best)
            row[f'at_most_half_of_{which}'] = (
                None if best is None else bool(ours <= HALF * peers[best])
            )
        rows.append(row)
    return rows


FIDELITY_COLUMNS = (
    ('psnr_b0', 'PSNR b=0 (dB)', '.1f'),
    ('psnr_trace', 'PSNR trace (dB)', '.1f'),
    ('ssim_b0', 'SSIM b=0', '.3f'),
    ('ssim_trace', 'SSIM trace', '.3f'),
    ('dice_adc_dark', 'Dice ADC-dark', '.3f'),
    ('dice_trace_bright', 'Dice trace-bright', '.3f'),
    ('adc_error_percent', 'ADC error (%)', '.1f'),
    ('seconds_per_run', 's per run', '.2f'),
)
SCANNER_COLUMNS = (
    ('probe_frozen', 'forest, frozen', '.2f'),
    ('probe_retrained', 'forest, retrained', '.2f'),
    ('glcm_eta2', 'GLCM eta2', '.3f'),
    ('psd_distance', 'PSD distance (dB)', '.2f'),
    ('cv_b0', 'CV b=0', '.3f'),
    ('cv_trace', 'CV trace', '.3f'),
)
SERIES_COLUMNS = (
    ('md_error', 'MD error (%)', '.1f'),
    ('fa_error', 'FA error (%)', '.1f'),
    ('fa_voxel_error', 'FA error of a voxel', '.3f'),
    ('md_cv', 'MD CV (%)', '.2f'),
    ('fa_cv', 'FA CV (%)', '.2f'),
    ('seconds_per_run', 's per run', '.2f'),
)


def value(figures: Mapping[str, Any], key: str) -> float | None:
    """Return a figure with or without an interval, None if it was not measured."""
    found = figures.get(key)
    return found['value'] if isinstance(found, dict) else found


def lines(
    found: Mapping[str, Mapping[str, Any]], columns: Iterable[tuple[str, str, str]]
) -> list[list[str]]:
    """Write figures as cells, methods down."""
    columns = list(columns)
    rows = [['method (simulated)', *(name for _, name, _ in columns)]]
    for method, figures in found.items():
        cells = [(value(figures, key), digits) for key, _, digits in columns]
        rows.append([method, *('n/a' if v is None else f'{v:{d}}' for v, d in cells)])
    return rows


def verdict_lines(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Write what remains, ours and the best peers', as cells."""
    said = {True: 'yes', False: 'no', None: 'n/a'}
    out = [['what remains (simulated)', OURS, AS_COARSE]]
    out[0] += ['best peer that passes', 'at most half', 'best of all peers', 'at most half']
    for row in rows:
        coarse = row['ours_as_coarse']
        cells = [row['axis'], f'{row["ours"]:.3f}']
        cells.append('n/a' if coarse is None else f'{coarse:.3f}')
        for which in ('passing', 'any'):
            best = row[f'best_{which}']
            text = 'none' if best is None else f'{best}: {row[f"best_{which}_remains"]:.3f}'
            cells += [text, said[row[f'at_most_half_of_{which}']]]
        out.append(cells)
    return out


def tables_of(document: Mapping[str, Any]) -> dict[str, list[list[str]]]:
    """Write the tables of the documentation, rows of cells by name."""
    shown = lines(document['methods'], FIDELITY_COLUMNS)
    shown[0].append('fidelity')
    for row, figures in zip(shown[1:], document['methods'].values(), strict=True):
        row.append('fails' if figures['fails'] else 'passes')
    tables = {'fidelity': shown, 'scanner': lines(document['methods'], SCANNER_COLUMNS)}
    if 'half_of_best' in document:
        tables['remaining'] = verdict_lines(document['half_of_best'])
    if 'series' in document:
        tables['series'] = lines(document['series'], SERIES_COLUMNS)
    return tables


def images_compared(
    options: argparse.Namespace, weights: Any, native: Sequence[Cohort]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Run and measure every method on images; and what could not be run."""
    found: dict[str, dict[str, Any]] = {}
    not_run = []
    before = None
    for number, (name, method) in enumerate(methods(weights).items()):
        if name not in {BASIS, *options.methods} or (name == AS_COARSE and OURS not in found):
            continue
        began = time.process_time()
        try:
            made = [
                method.make(cohort, np.random.default_rng([seed, 22, number]))
                for seed, cohort in enumerate(native, 1)
            ]
        except ImportError as error:
            not_run.append({'what': name, 'reason': str(error)})
            continue
        seconds = time.process_time() - began
        if name == OURS:
            for cohort, image in zip(native, made, strict=True):
                cohort.images[OURS] = image
        if name == AS_COARSE:
            seconds += found[OURS]['seconds_per_run'] * sum(m.shape[0] * m.shape[1] for m in made)
        cohorts = [
            replace(cohort, images={'bicubic': image}).at(options.resolution, weights.fwhm_mm)
            for cohort, image in zip(native, made, strict=True)
        ]
        limit = 1 / (2 * max(options.resolution, weights.fwhm_mm))
        figures, features = measure(cohorts, method, seconds, limit, options.trees, before)
        before = features if before is None else before
        figures['fails'] = failures(figures, found.get(BASIS, figures))
        found[name] = figures
        say(
            f'{name}: PSNR {figures["psnr_b0"]["value"]:.1f} / '
            f'{figures["psnr_trace"]["value"]:.1f} dB, forest '
            f'{figures["probe_retrained"]["value"]:.3f}; measured after '
            f'{time.process_time() - began:.0f} s'
        )
    if value(found[BASIS], 'probe_retrained') < TRAINED_WELL['before']:
        reason = f'it recognises fewer than {TRAINED_WELL["before"]:g} of the scans before'
        not_run.append({'what': 'forest: figures shown, not counted', 'reason': reason})
    return found, not_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the tables and write the JSON; 1 if the control passes the fidelity columns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--out', type=Path, default=Path('peers.json'))
    parser.add_argument('--tables', type=Path, help='folder for the CSV tables')
    parser.add_argument('--slices', type=int, default=8, help='of each individual and seed')
    parser.add_argument('--seeds', type=int, default=1, help='seven other scanners for each')
    parser.add_argument('--resolution', type=float, default=2.0, help='canonical FWHM, mm')
    parser.add_argument('--trees', type=int, default=300, help='of a forest')
    names = [*methods(None), SERIES]
    parser.add_argument('--methods', nargs='+', choices=names, default=names)
    options = parser.parse_args(arguments)
    if min(options.slices, options.seeds, options.trees) < 1:
        parser.error('--slices, --seeds and --trees are at least 1')
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    if options.resolution < weights.fwhm_mm:
        parser.error(f'--resolution: the weights reach {weights.fwhm_mm:g} mm, not less')
    heads = load_individuals(options.anatomy, TESTING)
    seeds = range(1, options.seeds + 1)
    protocols = {seed: held_out_scanners(np.random.default_rng([seed, 20])) for seed in seeds}
    native = []
    for seed in seeds:
        cohort = simulate(heads, protocols[seed], options.slices, seed)
        native.append(replace(cohort, images={'bicubic': cohort.images['bicubic']}))
        say(f'seed {seed}: scanned')
    found, not_run = images_compared(options, weights, native)
    document: dict[str, Any] = {
        'simulated': True,
        'command': f'python benchmarks/peers.py --anatomy DIR --slices {options.slices} '
        f'--seeds {options.seeds} --resolution {options.resolution:g} --trees {options.trees}'
        + ('' if options.methods == names else f' --methods {" ".join(options.methods)}'),
        'commit': commit(),
        'weights_sha256': weights.sha256,
        'canonical_fwhm_mm': options.resolution,
        'individuals': [head.name for head in heads],
        'seeds': list(seeds),
        'slices': options.slices,
        'n_scanners': len(protocols[1]),
        'passes_means': PASSES,
        'methods': found,
    }
    if OURS in found:
        document['half_of_best'] = half_of_best(found)
    if SERIES in options.methods:
        document['series'], missing = compare(heads, protocols[1], 1, options.weights)
        not_run += missing
    document['not_run'] = not_run
    for name, rows in tables_of(document).items():
        table(name, rows[0][1:], rows[1:])
        if options.tables:
            write_table(options.tables / f'{name}.csv', rows)
    say()
    say(f'passes: {PASSES}')
    for name, figures in found.items():
        if figures['fails']:
            say(f'{name} fails {", ".join(figures["fails"])}')
    for row in not_run:
        say(f'not run: {row["what"]}: {row["reason"]}')
    options.out.write_text(json.dumps(document, indent=1) + '\n')
    return int(CONTROL in found and not found[CONTROL]['fails'])


if __name__ == '__main__':
    sys.exit(main())
