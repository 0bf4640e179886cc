"""Run the group level's audit on simulated travelling heads, and say what must be reached.

Writes the two studies of ``study.py`` unless they are there, runs ``bidsharmony BIDS OUT group``
on each, and the autoencoder where that audit leaves it out. All is simulated but for ``--real``:
a dataset that the participant level is run on first. An interrupted run goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from csv_tables import write_table
from quality import commit
from study import STUDIES, write_study

from bidsharmony.audit.convergence import SEEDS, convergence
from bidsharmony.audit.document import Collector
from bidsharmony.audit.grouping import Grouping
from bidsharmony.audit.sample import Sample
from bidsharmony.cli.participant import main as bidsharmony
from bidsharmony.evaluation.finished import FinishedRun, read_runs
from bidsharmony.network.weights import load_weights
from bidsharmony.numerics.rounding import rounded

SLICES = {'travelling': 20, 'atrophy': 8}
AUDITS = {'travelling': 'standard', 'atrophy': 'quick'}


def audited(bids_dir: Path, out_dir: Path, audit: str, nprocs: int) -> dict[str, Any]:
    """Run the group level, and read what it found."""
    code = bidsharmony(
        [str(bids_dir), str(out_dir), 'group', '--audit', audit, '--nprocs', str(nprocs)]
    )
    if code:
        raise SystemExit(code)
    found = json.loads((out_dir / 'group_batcheffects.json').read_text())
    if found.get('embedding'):
        del found['embedding']['points']  # hundreds, for a picture
    return found


def sample_of(out_dir: Path) -> Sample:
    """Choose the slices that the audit looks at."""
    collector = Collector(Grouping())
    for run in read_runs(out_dir):
        if isinstance(run, FinishedRun):
            collector.add(run)
    return collector.sampler.draw()[0]


def learned(out_dir: Path, nprocs: int, seeds: int) -> dict[str, Any]:
    """Count how soon autoencoders learn the images, without their curves."""
    found = convergence(
        sample_of(out_dir), seeds=seeds, threads=nprocs, report=lambda line: say(line)
    )
    summary = found.summary()
    del summary['curves']
    return summary


def targets(travelling: dict[str, Any], atrophy: dict[str, Any]) -> list[dict[str, Any]]:
    """List what must be reached, what was, and what it was before; None where it was not run."""
    rows = []

    def row(name: str, value: Any, sign: str, bound: float, **more: Any) -> None:
        met = None
        if value is not None:
            met = value >= bound if sign == '>=' else value <= bound
        rows.append(
            {'row': name, 'value': value, 'target': f'{sign} {bound:g}', 'met': met, **more}
        )

    poor = {row['what'] for row in travelling.get('not_counted') or []}
    for name, (key, probe) in probes(travelling).items():
        before = probe['retrained']['before']
        row(f'{name}, before', before['accuracy'], '>=', 0.94, ci95=before['ci95'])
        for kind, bound in (('frozen', 0.35), ('retrained', 0.40)):
            after = probe[kind]['after']
            row(
                f'{name}, {kind} after',
                after['balanced_accuracy'],
                '<=',
                bound,
                ci95=after['ci95'],
                before=before['balanced_accuracy'],
                p_mcnemar=probe['mcnemar_p'][kind],
                p_permutation=probe['permutation_p'][kind],
            )
            if key in poor:
                # a probe that was not trained well says nothing by failing
                rows[-1]['met'] = None
                rows[-1]['why'] = 'does not count'
    learning = travelling.get('autoencoder')
    row(
        'autoencoder, iterations after over before',
        learning and learning['ratio'],
        '<=',
        0.5,
        ci95=learning and learning['ratio_ci95'],
    )
    kept = travelling.get('lesions') or {}
    for rule, name in (('trace_bright', 'trace-bright'), ('adc_dark', 'ADC-dark')):
        dice = kept.get('dice', {}).get(rule) or {}
        row(f'lesion Dice, {name}, median', dice.get('median'), '>=', 0.90, n=dice.get('n'))
    for name, block, figure, bound in (
        ('GLCM eta^2 reduction (%)', 'texture', 'eta2', 85),
        ('PSD distance reduction (%)', 'frequency', 'log_spectral_distance_db', 70),
    ):
        sides = (travelling.get(block) or {}).get(figure)
        reduction = 100 * (1 - sides['after'] / sides['before']) if sides else None
        row(name, reduction, '>=', bound)
    rows.extend(
        {
            'row': f'{covariate["name"]}, planted as atrophy: {covariate["measure"]}',
            'value': covariate['after'],
            'target': 'as before',
            # the interval of the change includes or exceeds 0
            'met': covariate['kept'],
            'before': covariate['before'],
            'ci95': covariate['after_ci95'],
            'change_ci95': covariate['change_ci95'],
        }
        for covariate in atrophy.get('covariates') or []
    )
    return rows


def probes(found: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return the probes of an audit by name, with their keys in ``not_counted``."""
    block = found.get('scanner_id') or {}
    named = {}
    if 'frozen' in block:
        named[block['model']] = 'scanner_id', block
    if 'forest' in block:
        named['random forest'] = 'scanner_id.forest', block['forest']
    return named


def say(line: str = '') -> None:
    """Print a line at once."""
    sys.stdout.write(line + '\n')
    sys.stdout.flush()


def lines(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Turn the rows into cells."""
    cells = [['', 'before', 'reached', '95 %', 'target', 'met']]
    for row in rows:
        interval = row.get('ci95')
        cells.append(
            [
                row['row'],
                _cell(row.get('before')),
                _cell(row['value']),
                f'{interval[0]:.3g} to {interval[1]:.3g}' if interval else '',
                row['target'],
                {True: 'yes', False: 'no', None: row.get('why', 'not run')}[row['met']],
            ]
        )
    return cells


def _cell(value: float | None) -> str:
    return '' if value is None else f'{value:.3g}'


def main() -> int:
    """Print the table and write the JSON; 1 if a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--anatomy', type=Path, required=True, help='folder with the label maps')
    parser.add_argument('--work', type=Path, required=True, help='folder that gets the studies')
    parser.add_argument('--weights', type=Path, help='the shipped weights by default')
    parser.add_argument(
        '--audit', default=AUDITS['travelling'], choices=('quick', 'standard', 'full')
    )
    parser.add_argument('--seeds', type=int, default=SEEDS, help='of the autoencoder; 0: none')
    parser.add_argument('--nprocs', type=int, default=2)
    parser.add_argument('--real', type=Path, help='a BIDS dataset of real scans, audited as well')
    parser.add_argument('--out', type=Path, default=Path('audit.json'))
    parser.add_argument('--table', type=Path, help='CSV for the documentation')
    options = parser.parse_args()
    found: dict[str, dict[str, Any]] = {}
    for study in STUDIES:
        folder = options.work / study
        if not (folder / 'bids' / 'participants.tsv').is_file():
            torch.set_num_threads(1)
            write_study(folder, study, options.anatomy, SLICES[study], options.weights)
        audit = options.audit if study == 'travelling' else AUDITS[study]
        found[study] = audited(folder / 'bids', folder / 'out', audit, options.nprocs)
    if not found['travelling'].get('autoencoder') and options.seeds:
        out_dir = options.work / 'travelling' / 'out'
        found['travelling']['autoencoder'] = learned(out_dir, options.nprocs, options.seeds)
    rows = targets(found['travelling'], found['atrophy'])
    document = {
        'command': f'python benchmarks/audit.py --anatomy DIR --work DIR --audit {options.audit}',
        'commit': commit(),
        'simulated': True,
        'weights_sha256': load_weights(options.weights).sha256,
        'targets': rows,
        **found,
    }
    if options.real:
        document['real'] = real(options.real, options.work / 'real', options.nprocs)
    cells = lines(rows)
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    for line in cells:
        say(
            '  '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )
    options.out.write_text(json.dumps(rounded(document, 5), indent=1) + '\n')
    if options.table:
        write_table(options.table, cells)
    return 0 if all(row['met'] for row in rows) else 1


def real(bids_dir: Path, out_dir: Path, nprocs: int) -> dict[str, Any]:
    """Harmonize a real dataset and audit it: what is too small says so in ``not_run``."""
    code = bidsharmony([str(bids_dir), str(out_dir), 'participant', '--nprocs', str(nprocs)])
    if code not in (0, 1):  # 1: some runs were refused, which the audit lists
        raise SystemExit(code)
    return {'simulated': False, **audited(bids_dir, out_dir, 'standard', nprocs)}


if __name__ == '__main__':
    sys.exit(main())
