"""Print what the network must reach and what it reaches, on simulated travelling heads.

    python benchmarks/quality.py --anatomy DIR [--weights FILE] [--out quality.json]

Individuals 13 to 17, whom training never saw, are scanned on seven scanners drawn from bands that
training left out, the same slabs on each; another seven for each seed. Every figure is simulated.
See README.md in this folder for what each row means.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cohort import BASELINES, CHANNELS, Cohort, destroyed, harmonized, repeated, simulate
from measures import (
    N_AXIS,
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
from scipy import stats

from bidsharmony.evaluation import lesions
from bidsharmony.evaluation.batch import between_scanner_cv, scanner_spectral_distance
from bidsharmony.evaluation.forest import Guesses
from bidsharmony.network.training import TESTING, load_individuals
from bidsharmony.network.weights import Weights, load_weights
from bidsharmony.numerics.marks import MARKS
from bidsharmony.physics.heads import Head
from bidsharmony.physics.protocol import Protocol, beyond_scanners, held_out_scanners
from bidsharmony.physics.signal import Contrast
from bidsharmony.viz.figure import AFTER, BEFORE, PANEL_WIDTH, new_figure, save_png, styled

METHODS = (*BASELINES, 'network', 'destroyer')
CANONICAL_RESOLUTIONS = (2.0, 2.35, 2.6, 3.0, 3.8)  # mm, of the trade-off
WITHOUT_AXES = ('before', 'after', 'frozen')  # of the probe that sees radial spectra alone
TRAINED_WELL = {'before': 0.94, 'training': 0.98}  # or a probe does not count (method, section 5)
MIDDLE = Protocol(
    Contrast(3.0, 0.085, 7.0),
    pixel=2.0,
    phase_resolution=1.0,
    thickness=4.0,
    spacing=4.0,
    partial_fourier=0.75,
    readout_decay=0.6,
    window='none',
    snr=25.0,
    b0_averages=2,
    directions=6,
)


def say(line: str = '') -> None:
    """Print a line at once: the whole takes minutes."""
    sys.stdout.write(line + '\n')
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers in four digits."""
    cells = [[_cell(value) for value in row] for row in rows]
    first = max((len(row[0]) for row in cells), default=0)
    widths = [max(9, len(name), *(len(row[i + 1]) for row in cells))
              for i, name in enumerate(columns)]  # fmt: skip
    say()
    say(f'{title} (simulated)')
    for row in [('', *columns), *cells]:
        tail = (f'{value:>{width}}' for value, width in zip(row[1:], widths, strict=True))
        say('  '.join([f'{row[0]:{first}}', *tail]).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return '-'
    return f'{value:.4g}' if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Setting:
    """What the command line asked for."""

    weights: Weights
    heads: list[Head]
    slices: int
    seeds: int
    resolution: float
    trees: int

    def fewer(self) -> int:
        """Slices of the side experiments: half, but lesions and free slices among them."""
        return max(self.slices // 2, 2)

    def cohort(self, protocols: list[Protocol], slices: int, seed: int, repeat: int = 0) -> Cohort:
        """Simulate, and harmonize by the whole network."""
        cohort = simulate(self.heads, protocols, slices, seed, repeat)
        cohort.images['network'] = harmonized(self.weights, cohort)
        return cohort

    def limit(self) -> float:
        """1/mm: the Nyquist frequency of pixels of the canonical size."""
        return 1 / (2 * max(self.resolution, self.weights.fwhm_mm))


def main_figures(setting: Setting, cohorts: list[Cohort]) -> dict[str, dict[str, Any]]:
    """Measure every method on the test scanners; ``{method: {figure: summary}}``."""
    heads = len(setting.heads)
    out: dict[str, dict[str, Any]] = {}
    raw: dict[str, dict[str, Any]] = {}
    for method in METHODS:
        near = fidelity(cohorts, method)
        figures = {name: summary(values) for name, values in near.items()}
        batch = [batch_figures(cohort, method, setting.limit()) for cohort in cohorts]
        cvs = np.stack([between_scanner_cv(b['means']) for b in batch])  # (seeds, H, 2, 2)
        for c, channel in enumerate(CHANNELS):
            figures[f'cv_{channel}'] = summary(cvs[:, :, c].mean(axis=-1))
            for t, tissue in enumerate(('white', 'cortex')):
                figures[f'cv_{channel}_{tissue}'] = summary(cvs[:, :, c, t])
        textures = [b['texture'] for b in batch]
        n_runs = sum(t.shape[0] * t.shape[1] for t in textures)
        for name, within in (('eta2', False), ('eta2_within_heads', True)):
            figures[f'glcm_{name}'] = derived(
                lambda drawn, w=within, t=textures: eta_squared(t, drawn, within_heads=w),
                heads,
                n_runs,
            )
        distances = np.stack(
            [[scanner_spectral_distance(b['spectra'][:, :, c]) for c in range(2)] for b in batch]
        )  # (seeds, 2, H)
        figures['psd_distance'] = summary(np.moveaxis(distances, 1, 2))
        true = np.stack(
            [
                [log_ratio(truth, white) for truth, white in zip(c.truth, c.white, strict=True)]
                for c in cohorts
            ]
        )  # (seeds, H)
        bias = 100 * (np.stack([b['adc'] for b in batch]) / true[..., None] - 1)
        figures['adc_bias_percent'] = summary(bias)
        figures['adc_bias_absolute_percent'] = summary(np.abs(bias))
        raw[method] = {'near': near, 'textures': textures, 'distances': distances, 'bias': bias}
        out[method] = figures
    before, after = raw['input'], raw['network']
    for channel in CHANNELS:
        key = f'psnr_{channel}'
        out['network'][f'{key}_over_bicubic'] = summary(
            after['near'][key] - raw['bicubic']['near'][key]
        )

    for name, within in (('eta2', False), ('eta2_within_heads', True)):

        def reduction(drawn: np.ndarray, within: bool = within) -> float:
            old, new = (
                eta_squared(r['textures'], drawn, within_heads=within) for r in (before, after)
            )
            return 100 * (1 - new / old)

        n_runs = out['network'][f'glcm_{name}']['n']
        out['network'][f'glcm_{name}_reduction_percent'] = derived(reduction, heads, n_runs)

    def nearer(drawn: np.ndarray) -> float:
        old, new = (r['distances'][:, :, drawn].mean() for r in (before, after))
        return float(100 * (1 - new / old))

    out['network']['psd_reduction_percent'] = derived(
        nearer, heads, out['network']['psd_distance']['n']
    )
    out['network']['adc_bias_worst_scanner_percent'] = {
        'value': float(np.abs(after['bias'].mean(axis=1)).max()),
        'n': int(after['bias'][:, 0].size),
    }
    out['per_run'] = {method: raw[method]['near'] for method in METHODS}
    return out


def per_scanner(figures: dict[str, Any], cohorts: list[Cohort]) -> list[dict[str, Any]]:
    """Return rows of fidelity for each scanner of each seed."""
    rows = []
    for k, cohort in enumerate(cohorts):
        for s, protocol in enumerate(cohort.protocols):
            row: dict[str, Any] = {'seed': k + 1, **describe(protocol)}
            for method in ('bicubic', 'network'):
                for name, values in figures['per_run'][method].items():
                    row[f'{method}_{name}'] = float(values[k, :, s].mean())
            rows.append(row)
    return rows


def describe(protocol: Protocol) -> dict[str, Any]:
    """Return what tells a scanner from the others."""
    return {
        'vendor': protocol.vendor,
        'field_strength': protocol.contrast.field_strength,
        'echo_time_ms': round(1000 * protocol.contrast.echo_time, 1),
        'pixel': round(protocol.pixel, 2),
        'thickness': protocol.thickness,
        'snr': round(protocol.snr, 1),
        'directions': protocol.directions,
    }


def lesion_summary(setting: Setting, cohorts: list[Cohort]) -> dict[str, dict[str, Any]]:
    """Return Dice, contrast and inventions of the input and the network."""
    out: dict[str, dict[str, Any]] = {}
    heads = len(setting.heads)
    for method in ('input', 'network'):
        found: dict[str, list] = {}
        for cohort in cohorts:
            for name, rows in lesion_figures(cohort, method).items():
                found.setdefault(name, []).extend(rows)
        figures: dict[str, Any] = {}
        for rule in lesions.RULES:
            for against in ('truth', 'mask'):
                parts = by_head(found[f'dice_{against}_{rule}'], heads)
                if sum(map(len, parts)):
                    figures[f'dice_{against}_{rule}_median'] = pooled(parts, _median)
                    figures[f'dice_{against}_{rule}_worst_decile'] = pooled(parts, worst_decile)
            parts = by_head(found[f'ceiling_{rule}'], heads)
            if sum(map(len, parts)):
                figures[f'dice_ceiling_{rule}_median'] = pooled(parts, _median)
            parts = by_head(found[f'invented_{rule}'], heads)
            if sum(map(len, parts)):
                figures[f'invented_{rule}_per_slice'] = pooled(parts, _mean)
        if found['cnr']:
            for name, column in (('cnr_truth', 1), ('cnr', 2)):
                figures[f'{name}_median'] = pooled(by_head(found['cnr'], heads, column), _median)
        out[method] = figures
    return out


def _median(values: np.ndarray) -> float:
    return float(np.median(values))


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def probes(setting: Setting, cohorts: list[Cohort]) -> dict[str, Any]:
    """Let forests guess scanners before and after, retrained and frozen."""
    names = ('before', 'after', 'frozen', 'destroyer', *(f'radial_{n}' for n in WITHOUT_AXES))
    guesses: dict[str, list[Guesses]] = {name: [] for name in names}
    for seed, cohort in enumerate(cohorts):
        found = {
            name: probe_features(cohort, cohort.images[name])
            for name in ('input', 'network', 'destroyer')
        }
        settings = {'seed': seed, 'trees': setting.trees}
        guesses['before'].append(probe(found['input'], **settings))
        guesses['after'].append(probe(found['network'], **settings))
        guesses['frozen'].append(probe(found['input'], found['network'], **settings))
        guesses['destroyer'].append(probe(found['destroyer'], **settings))
        # the weaker probe that cannot tell rows from columns
        old, new = (found[name][..., :-N_AXIS] for name in ('input', 'network'))
        for name, grown, tested in zip(
            WITHOUT_AXES, (old, new, old), (None, None, new), strict=True
        ):
            guesses[f'radial_{name}'].append(probe(grown, tested, **settings))
    return {name: accuracy(parts) for name, parts in guesses.items()}


def same_scanner_twice(setting: Setting, cohorts: list[Cohort]) -> dict[str, dict[str, Any]]:
    """Let a forest tell two sessions on one scanner apart, before and after: it must not."""
    out = {}
    sessions = []
    for seed, cohort in enumerate(cohorts):
        again = setting.cohort(cohort.protocols[:1], setting.slices, seed + 1, repeat=1)
        sessions.append((cohort, again.at(setting.resolution, setting.weights.fwhm_mm)))
    for side, method in (('before', 'input'), ('after', 'network')):
        guesses = []
        for seed, (first, second) in enumerate(sessions):
            both = np.concatenate([first.images[method][:, :1], second.images[method]], axis=1)
            guesses.append(probe(probe_features(first, both), seed=seed, trees=setting.trees))
        found = accuracy(guesses)
        # slices of a session share its scale, so that sessions are counted, not slices
        sessions_n = len(cohorts) * len(setting.heads) * 2
        found['limit'] = float(stats.binom.ppf(0.975, sessions_n, 0.5) / sessions_n)
        found['passes'] = found['value'] <= found['limit']
        out[side] = found
    return out


def beyond(setting: Setting) -> dict[str, dict[str, Any]]:
    """Measure fidelity on scanners outside of what training drew at all."""
    protocols = beyond_scanners(np.random.default_rng([1, 21]))
    cohort = setting.cohort(protocols, setting.fewer(), 101)
    cohort = cohort.at(setting.resolution, setting.weights.fwhm_mm)
    return {
        method: {name: summary(values) for name, values in fidelity([cohort], method).items()}
        for method in (*BASELINES, 'network')
    }


def one_cause_at_a_time() -> dict[str, list[Protocol]]:
    """Return seven scanners for each cause that differ in that cause alone."""
    contrasts = (
        Contrast(1.5, 0.075, 5.0),
        Contrast(1.5, 0.090, 9.0),
        Contrast(1.5, 0.110, 4.0),
        Contrast(3.0, 0.060, 8.0),
        Contrast(3.0, 0.075, 4.0),
        Contrast(3.0, 0.092, 6.0),
        Contrast(3.0, 0.105, 10.0),
    )
    return {
        'slice thickness, 2-6 mm': [
            replace(MIDDLE, thickness=float(t), spacing=float(t)) for t in np.linspace(2, 6, 7)
        ],
        'pixel, 1.4-3.2 mm': [replace(MIDDLE, pixel=float(p)) for p in np.geomspace(1.4, 3.2, 7)],
        'SNR, 10-60': [replace(MIDDLE, snr=float(r)) for r in np.geomspace(10, 60, 7)],
        'contrast (field, TE, TR)': [replace(MIDDLE, contrast=c) for c in contrasts],
    }


def causes(setting: Setting) -> dict[str, dict[str, Any]]:
    """Measure what is left of each cause when scanners differ in nothing else."""
    out: dict[str, dict[str, Any]] = {}
    for k, (cause, protocols) in enumerate(one_cause_at_a_time().items()):
        cohort = setting.cohort(protocols, setting.fewer(), 201 + k)
        cohort = cohort.at(setting.resolution, setting.weights.fwhm_mm)
        row: dict[str, Any] = {}
        for side, method in (('before', 'input'), ('after', 'network')):
            guesses = probe(
                probe_features(cohort, cohort.images[method]), seed=k, trees=setting.trees
            )
            row[f'probe_{side}'] = accuracy([guesses])
            for name, values in fidelity([cohort], method).items():
                row[f'{name}_{side}'] = summary(values)
        out[cause] = row
    return out


def ablation(setting: Setting, cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Switch parts of the network off, hide what it is told, and measure fidelity."""
    few = slice(0, None, 3) if cohort.shape[2] > 3 else slice(None)
    some = replace(
        cohort,
        truth=cohort.truth[:, few],
        brain=cohort.brain[:, few],
        images={name: cohort.images[name][:, :, few] for name in ('bicubic', 'network')},
        scans=[[scan[:, few] for scan in scans] for scans in cohort.scans],
    )
    whole = some.at(setting.resolution, setting.weights.fwhm_mm)
    out = {'whole network': {n: summary(v) for n, v in fidelity([whole], 'network').items()}}
    model = setting.weights.model
    for name, contrast, resolution, hidden in (
        ('contrast part off', False, True, lambda key: False),
        ('resolution part off', True, False, lambda key: False),
        ('sidecar facts hidden', True, True, lambda key: key not in MARKS),
        ('measured marks hidden', True, True, lambda key: key in MARKS),
        ('both hidden', True, True, lambda key: True),
    ):
        model.contrast, model.resolution = contrast, resolution
        try:
            some.images['network'] = harmonized(setting.weights, some, hidden)
        finally:
            model.contrast, model.resolution = True, True
        blurred = some.at(setting.resolution, setting.weights.fwhm_mm)
        out[name] = {n: summary(v) for n, v in fidelity([blurred], 'network').items()}
    return out


def tradeoff(setting: Setting, cohorts: list[Cohort]) -> list[dict[str, Any]]:
    """Return retrained-probe accuracy and PSNR over canonical resolutions."""
    rows = []
    native = setting.weights.fwhm_mm
    for resolution in CANONICAL_RESOLUTIONS:
        if resolution < native:
            continue
        row: dict[str, Any] = {'fwhm_mm': resolution}
        for side, method in (('before', 'input'), ('after', 'network')):
            guesses, blurred = [], []
            for seed, cohort in enumerate(cohorts):
                only = replace(cohort, images={'bicubic': cohort.images[method]})
                only = only.at(resolution, native)
                found = probe_features(only, only.images['bicubic'])
                guesses.append(probe(found, seed=seed, trees=setting.trees))
                blurred.append(only)
            row[f'probe_{side}'] = accuracy(guesses)
            for name, values in fidelity(blurred, 'bicubic').items():
                row[f'{name}_{side}'] = summary(values)
        rows.append(row)
    return rows


def draw_tradeoff(rows: list[dict[str, Any]]) -> bytes:
    """Draw the retrained probe against PSNR over canonical resolutions; PNG."""

    @styled
    def figure() -> bytes:
        canvas = new_figure(PANEL_WIDTH, 3.4)
        axes = canvas.subplots()
        for side, colour, label in (('before', BEFORE, 'scan'), ('after', AFTER, 'harmonized')):
            psnrs = [np.mean([row[f'psnr_{c}_{side}']['value'] for c in CHANNELS]) for row in rows]
            guessed = [row[f'probe_{side}']['value'] for row in rows]
            axes.plot(psnrs, guessed, 'o-', color=colour, label=label)
            for i, (row, x, y) in enumerate(zip(rows, psnrs, guessed, strict=True)):
                place = (3, 5) if i % 2 else (-10, -13)  # above and below, or labels meet
                label = f'{row["fwhm_mm"]:g}'
                axes.annotate(label, (x, y), place, textcoords='offset points', fontsize=8.5)
        axes.axhline(rows[0]['probe_after']['chance'], color='#888888', ls=':', label='chance')
        axes.set_ylim(0, 1.1)
        axes.set_xlabel('PSNR against the truth at the same FWHM (dB), simulated')
        axes.set_ylabel('scanner recognised (retrained)')
        axes.set_title('Labels: canonical in-plane FWHM (mm)')
        axes.legend(loc='center left')
        canvas.subplots_adjust(left=0.13, right=0.97, top=0.9, bottom=0.16)
        return save_png(canvas)

    return figure()


# --- the table of what must be reached -------------------------------------------------------


def targets(
    figures: dict[str, Any],
    kept: dict[str, Any],
    guessed: dict[str, Any],
    again: dict[str, Any],
) -> list[dict[str, Any]]:
    """Set what must be reached beside what is reached.

    Returns
    -------
    list of dict
        ``row``, ``value``, ``low``, ``high``, ``n``, ``target``, ``reached`` and ``before``, the
        same figure of the robustly scaled input. `reached` is None where a probe does not count.
    """
    network, before = figures['network'], figures['input']
    rows = []

    def row(
        name: str,
        found: dict | None,
        sign: str,
        bound: float,
        old: dict | None = None,
        counts: bool = True,
    ) -> None:
        if found is None:
            return
        value = found['value']
        reached = {'>=': value >= bound, '<=': value <= bound, '<': value < bound}[sign]
        rows.append(
            {
                'row': name,
                **{key: found.get(key) for key in ('value', 'low', 'high', 'n')},
                'before': old['value'] if old else None,
                'target': f'{sign} {bound:g}',
                'reached': bool(reached) if counts else None,
                'simulated': True,
            }
        )

    for channel in CHANNELS:
        key = f'psnr_{channel}'
        row(f'PSNR {channel} (dB)', network[key], '>=', 30, before[key])
    for channel in CHANNELS:
        key = f'ssim_{channel}'
        row(f'SSIM {channel}', network[key], '>=', 0.95, before[key])
    for channel in CHANNELS:
        row(f'PSNR {channel} over bicubic (dB)', network[f'psnr_{channel}_over_bicubic'], '>=', 3)
    for channel in CHANNELS:
        key = f'cv_{channel}'
        row(f'between-scanner CV {channel}', network[key], '<=', 0.05, before[key])
    row('GLCM eta^2 reduction (%)', network['glcm_eta2_reduction_percent'], '>=', 85)
    row('PSD distance reduction (%)', network['psd_reduction_percent'], '>=', 70)
    for name, key, bound in (('retrained', 'after', 0.40), ('frozen', 'frozen', 0.35)):
        counts = badly_trained(guessed, name) is None
        row(f'forest, {name}', guessed[key], '<=', bound, guessed['before'], counts)
    names = {'adc_dark': 'ADC-dark', 'trace_bright': 'trace-bright'}
    for reduced, bound in (('median', 0.90), ('worst_decile', 0.80)):
        for rule, name in names.items():
            key = f'dice_truth_{rule}_{reduced}'
            label = f'lesion Dice {name}, {reduced.replace("_", " ")}'
            row(label, kept['network'].get(key), '>=', bound, kept['input'].get(key))
    for rule, name in names.items():
        key = f'invented_{rule}_per_slice'
        row(
            f'invented lesions {name}, per slice',
            kept['network'].get(key), '<=', 0, kept['input'].get(key),
        )  # fmt: skip
    key = 'adc_bias_absolute_percent'
    row('ADC bias in white matter (%)', network[key], '<', 2, before[key])
    for channel in CHANNELS:
        row(f'H(H(x)) nRMSE {channel} (%)', again[channel], '<', 1)
    return rows


def badly_trained(guessed: dict[str, Any], name: str) -> str | None:
    """Say why a probe does not count (method, section 5), or None if it does."""
    before = guessed['before']['value']
    if before < TRAINED_WELL['before']:
        return f'accuracy before {before:.3f} < {TRAINED_WELL["before"]}'
    training = guessed['after' if name == 'retrained' else 'before']['training_accuracy']
    if training < TRAINED_WELL['training']:
        return f'training accuracy {training:.3f} < {TRAINED_WELL["training"]}'
    return None


def not_run(guessed: dict[str, Any]) -> list[dict[str, str]]:
    """Say what could not be measured here, and why."""
    rows = [
        {
            'what': 'scanner identity by ResNet-50',
            'reason': 'too few slices to train it well; the group level runs it on a whole study',
        }
    ]
    rows += [
        {'what': f'forest, {name}: figures shown, not counted', 'reason': reason}
        for name in ('retrained', 'frozen')
        if (reason := badly_trained(guessed, name))
    ]
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write the JSON; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument('--out', type=Path, default=Path('quality.json'))
    parser.add_argument('--slices', type=int, default=8, help='of each individual and seed')
    parser.add_argument('--seeds', type=int, default=3, help='seven other scanners for each')
    parser.add_argument('--resolution', type=float, default=2.0, help='canonical FWHM, mm')
    parser.add_argument('--trees', type=int, default=300, help='of a forest')
    parser.add_argument('--tradeoff', action='store_true', help='probe against PSNR over FWHM')
    parser.add_argument('--figure', type=Path, help='PNG of the trade-off')
    options = parser.parse_args(arguments)
    if min(options.slices, options.seeds, options.trees) < 1:
        parser.error('--slices, --seeds and --trees are at least 1')
    torch.set_num_threads(1)
    weights = load_weights(options.weights)
    if options.resolution < weights.fwhm_mm:
        parser.error(f'--resolution: the weights reach {weights.fwhm_mm:g} mm, not less')
    setting = Setting(
        weights,
        load_individuals(options.anatomy, TESTING),
        options.slices,
        options.seeds,
        options.resolution,
        options.trees,
    )
    document = {
        'command': f'python benchmarks/quality.py --anatomy DIR --slices {options.slices} '
        f'--seeds {options.seeds} --resolution {options.resolution:g} --trees {options.trees}',
        'commit': commit(),
        **run(setting, tradeoff_too=options.tradeoff or options.figure is not None),
    }
    options.out.write_text(json.dumps(document, indent=1) + '\n')
    if options.figure is not None:
        options.figure.write_bytes(draw_tradeoff(document['tradeoff']))
    return 0 if all(row['reached'] for row in document['targets']) else 1


def commit() -> str | None:
    """Return the commit of this checkout, None if git or the checkout is missing."""
    git = shutil.which('git')
    if git is None:
        return None
    folder = Path(__file__).resolve().parent
    said = subprocess.run([git, 'rev-parse', 'HEAD'], cwd=folder, capture_output=True, text=True)
    return said.stdout.strip() if said.returncode == 0 else None


def run(setting: Setting, *, tradeoff_too: bool = False) -> dict[str, Any]:
    """Measure everything, print it, and return it for the file."""
    began = time.monotonic()
    weights, seeds = setting.weights, setting.seeds
    say(
        f'simulated; weights {weights.sha256[:12]}; individuals '
        f'{", ".join(head.name.rsplit("_", 1)[-1] for head in setting.heads)}; {setting.slices} '
        f'slices each on seven scanners, {seeds} seeds; canonical FWHM {setting.resolution:g} mm'
    )
    native = []
    for seed in range(1, seeds + 1):
        protocols = held_out_scanners(np.random.default_rng([seed, 20]))
        cohort = setting.cohort(protocols, setting.slices, seed)
        cohort.images['destroyer'] = destroyed(cohort, np.random.default_rng([seed, 22]))
        native.append(cohort)
        say(f'seed {seed}: scanned and harmonized after {time.monotonic() - began:.0f} s')
    cohorts = [cohort.at(setting.resolution, weights.fwhm_mm) for cohort in native]
    figures = main_figures(setting, cohorts)
    kept = lesion_summary(setting, cohorts)
    guessed = probes(setting, cohorts)
    changed = np.stack([repeated(weights, cohort) for cohort in native[:1]])
    again = {name: summary(100 * changed[..., c]) for c, name in enumerate(CHANNELS)}
    rows = targets(figures, kept, guessed, again)
    missing = not_run(guessed)
    document: dict[str, Any] = {
        'simulated': True,
        'weights_sha256': weights.sha256,
        'weights_fwhm_mm': weights.fwhm_mm,
        'canonical_fwhm_mm': setting.resolution,
        'individuals': [head.name for head in setting.heads],
        'seeds': list(range(1, seeds + 1)),
        'slices': setting.slices,
        'n_runs': seeds * len(setting.heads) * len(cohorts[0].protocols),
        'n_scanners': len(cohorts[0].protocols),
        'targets': rows,
        'methods': {method: figures[method] for method in METHODS},
        'per_scanner': per_scanner(figures, cohorts),
        'lesions': kept,
        'probe': guessed,
        'repeated_nrmse_percent': again,
        'not_run': missing,
    }
    table(
        'What must be reached',
        ('input', 'reached', '95 %', 'target', 'met'),
        [
            (r['row'], r['before'], r['value'], _range(r), r['target'],
             {True: 'yes', False: 'NO', None: 'not run'}[r['reached']])
            for r in rows
        ],
    )  # fmt: skip
    names = list(figures['destroyer'])
    table(
        'Methods',
        METHODS,
        [(name, *(figures[m].get(name, {}).get('value') for m in METHODS)) for name in names],
    )
    extra = [name for name in figures['network'] if name not in names]
    table(
        'Network against the input',
        ('value', '95 %'),
        [(n, figures['network'][n]['value'], _range(figures['network'][n])) for n in extra],
    )
    table(
        'Lesions',
        ('input', 'network', '95 %', 'n'),
        [
            (n, kept['input'].get(n, {}).get('value'), f['value'], _range(f), f['n'])
            for n, f in kept['network'].items()
        ],
    )
    table(
        'Scanner probe (random forest, leave one individual out)',
        ('accuracy', '95 %', 'training', 'chance', 'n'),
        [
            (n, f['value'], _range(f), f['training_accuracy'], f['chance'], f['n'])
            for n, f in guessed.items()
        ],
    )
    columns = list(document['per_scanner'][0])
    table(
        'Scanner by scanner', columns[1:],
        [[f'seed {r["seed"]}', *list(r.values())[1:]] for r in document['per_scanner']],
    )  # fmt: skip
    document['controls'] = {
        'same_scanner_twice': same_scanner_twice(setting, cohorts),
        'destroyer': {
            'probe': guessed['destroyer'],
            'fails_fidelity': bool(
                figures['destroyer']['psnr_b0']['value'] < 30
                and figures['destroyer']['ssim_b0']['value'] < 0.95
            ),
        },
    }
    twice = document['controls']['same_scanner_twice']
    table(
        'Control: one scanner, two sessions',
        ('accuracy', '95 %', 'limit', 'passes'),
        [(n, f['value'], _range(f), f['limit'], str(f['passes'])) for n, f in twice.items()],
    )
    say(
        'Control: the destroyer of texture fails the fidelity rows: '
        f'{document["controls"]["destroyer"]["fails_fidelity"]} (probe '
        f'{guessed["destroyer"]["value"]:.3f})'
    )
    for key, title, measure in (
        ('beyond', 'Beyond the ranges of training (extrapolation)', beyond),
        ('causes', 'What is left of each cause alone', causes),
    ):
        document[key] = measure(setting)
        _fidelity_table(title, document[key])
    document['ablation'] = ablation(setting, native[0])
    _fidelity_table('Parts switched off, facts hidden', document['ablation'])
    if tradeoff_too:
        document['tradeoff'] = tradeoff(setting, native)
        _fidelity_table(
            'Canonical resolution (mm): probe against PSNR',
            {f'{row["fwhm_mm"]:g}': row for row in document['tradeoff']},
        )
    say()
    for row in missing:
        say(f'not run: {row["what"]}: {row["reason"]}')
    say(f'{time.monotonic() - began:.0f} s')
    return document


def _range(found: dict[str, Any]) -> str | None:
    if found.get('low') is None:
        return None
    return f'{found["low"]:.4g}..{found["high"]:.4g}'


def _fidelity_table(title: str, rows: dict[str, dict[str, Any]]) -> None:
    columns = [
        name for name, found in next(iter(rows.values())).items() if isinstance(found, dict)
    ]
    table(
        title, columns, [(name, *(row[c]['value'] for c in columns)) for name, row in rows.items()]
    )


if __name__ == '__main__':
    sys.exit(main())
