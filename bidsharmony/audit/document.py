"""Put the audit together as it stands in ``group_batcheffects.json``, with what could not run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from bidsharmony.audit.control import negative_control
from bidsharmony.audit.covariates import (
    MOST_COLUMNS,
    chance_of,
    covariate,
    find_covariates,
    unreadable,
)
from bidsharmony.audit.embedding import embedding
from bidsharmony.audit.forest_probe import forest_probe, sample_features
from bidsharmony.audit.grouping import UNKNOWN, Grouping
from bidsharmony.audit.lesions import LesionFigures
from bidsharmony.audit.outliers import FEWEST_RUNS, outliers
from bidsharmony.audit.sample import MIN_SUBJECTS, Sample, Sampler
from bidsharmony.audit.scores import Probe, probe_block, why_not_counted
from bidsharmony.evaluation.finished import FinishedRun, Unused
from bidsharmony.evaluation.summary import CHANNELS, SIDES, GroupSummary, ScannerSummary
from bidsharmony.numerics.rounding import rounded
from bidsharmony.numerics.spectrum import log_spectral_distance

VERSION = 1
"""Rises whenever the keys of the JSON change their meaning."""

DeepProbe = Callable[[Sample], Probe | str]
"""Probes a sample with a deep network; a str says why it cannot."""

Autoencoder = Callable[[Sample], Mapping[str, Any] | str]
"""Gives the block ``autoencoder``; a str says why it cannot."""

MOST_UNREAD = 50
"""Runs that are named one by one."""

_NOT_GIVEN = 'none was given'


class Collector:
    """Take note of the runs of a study one by one, in memory that does not grow with them."""

    def __init__(self, grouping: Grouping) -> None:
        self.grouping = grouping
        self.sampler = Sampler()
        self.lesions = LesionFigures()
        self.names: dict[str, set[str]] = {}
        self.n_unplaced = 0

    def add(self, run: FinishedRun) -> FinishedRun | Unused:
        """Take note of a run, and return it with the name of its scanner in its figures.

        Parameters
        ----------
        run : FinishedRun

        Returns
        -------
        FinishedRun or Unused
            see `Grouping.place`
        """
        placed = self.grouping.place(run)
        if isinstance(placed, Unused):
            self.n_unplaced += 1
            return placed
        label = placed.qc['scanner']['label']
        told = run.qc.get('scanner')
        name = told.get('label') if isinstance(told, Mapping) else None
        self.names.setdefault(label, set()).add(str(name or UNKNOWN))
        self.sampler.add(placed, label)
        self.lesions.add(placed.qc)
        return placed


@dataclass
class _Gaps:
    """What could not run, and what does not count."""

    not_run: list[dict[str, str]]
    not_counted: list[dict[str, str]]

    def add(self, what: str, reason: str) -> None:
        self.not_run.append({'what': what, 'reason': reason})


def audit_document(
    audit: str,
    summary: GroupSummary,
    collector: Collector,
    runs_table: Path,
    *,
    participants: Mapping[str, Mapping[str, str]] | None = None,
    columns: Mapping[str, Any] | None = None,
    deep_probe: DeepProbe | None = None,
    autoencoder: Autoencoder | None = None,
    jobs: int = 1,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Measure how much scanner was in the images of a study, how much is left, and what was lost.

    Parameters
    ----------
    audit : {'quick', 'standard', 'full', 'none'}
    summary : GroupSummary
    collector : Collector
        both after all runs
    runs_table : Path
        ``group_runs.tsv``
    participants, columns : mapping, optional
        see `bids.participants.participants_of`
    deep_probe, autoencoder : callable, optional
        of `standard` and `full`
    jobs : int
        processes, or trees, at a time; nothing depends on it
    seed : int
        of forests, permutations and bootstraps
    report : callable
        takes the name of each part before it is measured

    Returns
    -------
    dict
        as described by ``data/batcheffects.schema.json``, rounded to 6 digits
    """
    gaps = _Gaps([], [])
    measured = audit != 'none'
    report('slices to compare')
    sample, unread = (collector.sampler if measured else Sampler()).draw()
    found: dict[str, Any] = {
        'version': VERSION,
        'audit': audit,
        'seed': seed,
        'n_runs': summary.n_runs,
        'n_subjects': len(set().union(*(one.subjects for one in summary.scanners.values()))),
        'n_scanners': len(summary.scanners),
        'n_sampled_runs': len(sample.run_labels),
        'n_slices': len(sample),
        'chance': 1 / len(sample.scanner_labels) if len(sample.scanner_labels) > 1 else None,
        'grouping': _grouping(collector, summary, sample),
    }
    if collector.n_unplaced:
        gaps.add('runs', f'{collector.n_unplaced} have no scanner in {collector.grouping.source}')
    if not measured:
        gaps.add('audit', 'left out by --audit none')
        return rounded(
            found | {'outliers': [], 'not_run': gaps.not_run, 'not_counted': gaps.not_counted}
        )
    for item in unread[:MOST_UNREAD]:
        gaps.add(f'slices of {item.name}', item.reason)
    if len(unread) > MOST_UNREAD:
        gaps.add('slices', f'those of {len(unread) - MOST_UNREAD} more could not be read')
    deep = audit in ('standard', 'full')
    _say_who_is_missing(gaps, summary)
    report('scanner probes')
    found |= _learned(
        sample,
        gaps,
        deep_probe if deep else None,
        '' if deep else f'left out by --audit {audit}',
        jobs=jobs,
        seed=seed,
    )
    report('texture and spectra')
    found |= _by_run(summary, gaps)
    found['autoencoder'] = _autoencoder(
        sample, gaps, autoencoder if deep else None, audit if audit != 'full' else ''
    )
    found['lesions'] = collector.lesions.block()
    if found['lesions'] is None:
        gaps.add('lesions', 'no lesion mask of a run marks a voxel in the brain')
    report('age, sex and other columns')
    found |= _of_subjects(sample, found.pop('features'), participants, columns, gaps, jobs, seed)
    report('outliers')
    far = outliers(runs_table)
    if far is None:
        gaps.add('outliers', f'{summary.n_runs} runs, at least {FEWEST_RUNS} are needed')
    found['outliers'] = far or []
    return rounded(found | {'not_run': gaps.not_run, 'not_counted': gaps.not_counted})


def document_text(document: Mapping[str, Any]) -> str:
    """Write the document the same way every time."""
    return json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + '\n'


def _grouping(collector: Collector, summary: GroupSummary, sample: Sample) -> dict[str, Any]:
    """Say what counts as one scanner."""
    slices = {
        label: int((sample.scanners == position).sum())
        for position, label in enumerate(sample.scanner_labels)
    }
    return {
        'rule': collector.grouping.rule,
        'scanners': [
            {
                'scanner': one.label,
                'n_runs': one.n_runs,
                'n_subjects': len(one.subjects),
                'n_slices': slices.get(one.label, 0),
                'names': sorted(collector.names.get(one.label, ())),
            }
            for one in summary.ordered()
        ],
    }


def _enough(summary: GroupSummary) -> list[ScannerSummary]:
    """Return the scanners with subjects enough to tell them from people."""
    return [one for one in summary.ordered() if len(one.subjects) >= MIN_SUBJECTS]


def _say_who_is_missing(gaps: _Gaps, summary: GroupSummary) -> None:
    """Name scanners with too few subjects, and say whether people can be told from scanners."""
    enough = _enough(summary)
    if len(summary.scanners) > 1:
        for one in summary.ordered():
            if one not in enough:
                count = f'{len(one.subjects)} subject' + ('' if len(one.subjects) == 1 else 's')
                reason = f'left out: {count}, at least {MIN_SUBJECTS} are needed'
                gaps.add(f'scanner {one.label}', reason)
    shared = any(a.subjects & b.subjects for a, b in combinations(enough, 2))
    if len(enough) > 1 and not shared:
        gaps.add(
            'scanners apart from people',
            'no subject was on two scanners: what differs between the people of two scanners '
            'counts as a difference between the scanners',
        )


def _learned(
    sample: Sample,
    gaps: _Gaps,
    deep_probe: DeepProbe | None,
    left_out: str,
    *,
    jobs: int,
    seed: int,
) -> dict[str, Any]:
    """Probe the scanner's identity, and lay the slices out by what was learned."""
    found: dict[str, Any] = {'scanner_id': None, 'embedding': None, 'features': None}
    if not len(sample):
        reason = f'no scanner has {MIN_SUBJECTS} subjects with audit slices'
        for what in ('scanner_id', 'embedding'):
            gaps.add(what, reason)
        return found
    found['features'] = before, after = sample_features(sample, jobs=jobs)
    if len(sample.scanner_labels) < 2:
        reason = f'only one scanner has {MIN_SUBJECTS} subjects or more'
        for what in ('scanner_id', 'embedding'):
            gaps.add(what, reason)
        return found
    n_scanners = len(sample.scanner_labels)
    forest = forest_probe(sample, before, after, jobs=jobs, seed=seed)
    block: dict[str, Any] = {
        'scanners': list(sample.scanner_labels),
        'forest': probe_block(forest, n_scanners, seed=seed),
    }
    _count(gaps, 'scanner_id.forest', forest)
    deep = deep_probe(sample) if deep_probe else left_out or _NOT_GIVEN
    if isinstance(deep, str):
        gaps.add('scanner_id (deep network)', deep)
    else:
        block = {'model': deep.model, **block, **probe_block(deep, n_scanners, seed=seed)}
        _count(gaps, 'scanner_id', deep)
    found['scanner_id'] = block
    points = embedding(forest if isinstance(deep, str) else deep, seed=seed)
    if isinstance(points, str):
        gaps.add('embedding', points)
    else:
        found['embedding'] = points
    return found


def _count(gaps: _Gaps, what: str, probe: Probe) -> None:
    """Say so where a probe was not trained well enough to count."""
    if reason := why_not_counted(probe.before, probe.retrained):
        gaps.not_counted.append({'what': what, 'reason': reason})


def _by_run(summary: GroupSummary, gaps: _Gaps) -> dict[str, Any]:
    """Compare texture and spectra of the scanners, from the figures of their runs."""
    enough = _enough(summary)
    if len(enough) < 2:
        reason = (
            'only one scanner'
            if len(summary.scanners) == 1
            else f'fewer than two scanners have {MIN_SUBJECTS} subjects or more'
        )
        for what in ('texture', 'frequency'):
            gaps.add(what, reason)
        return {'texture': None, 'frequency': None}
    labels = {one.label for one in enough}
    shares = {
        channel: {side: summary.texture_eta_squared(channel, side, labels) for side in SIDES}
        for channel in CHANNELS
    }
    texture = _overall('eta2', shares)
    if texture is None:
        gaps.add('texture', 'no texture features in the qc files')
    else:
        # expectation of eta squared if no scanner differed
        texture['chance'] = (len(enough) - 1) / (sum(one.n_runs for one in enough) - 1)
    distances = {
        channel: {side: _distance(summary, enough, channel, side) for side in SIDES}
        for channel in CHANNELS
    }
    frequency = _overall('log_spectral_distance_db', distances)
    if frequency is None:
        gaps.add('frequency', 'fewer than two scanners have spectra in the qc files')
    else:
        frequency['limit_per_mm'] = float(min(summary.limit, summary.freqs[-1]))
    return {'texture': texture, 'frequency': frequency}


def _overall(name: str, shares: dict[str, dict[str, float | None]]) -> dict[str, Any] | None:
    """Average over channels, before and after; None where something is missing."""
    if any(value is None for sides in shares.values() for value in sides.values()):
        return None
    means = {side: float(np.mean([sides[side] for sides in shares.values()])) for side in SIDES}
    return {name: means, 'by_channel': shares}


def _distance(
    summary: GroupSummary, scanners: list[ScannerSummary], channel: str, side: str
) -> float | None:
    """Average the distance of two scanners' mean spectra (dB) over pairs."""
    spectra = [one.spectrum(channel, side) for one in scanners]
    known = [spectrum for spectrum in spectra if spectrum is not None]
    if len(known) < 2:
        return None
    kept = summary.freqs <= summary.limit
    pairs = combinations(known, 2)
    return float(np.mean([log_spectral_distance(a[kept], b[kept]) for a, b in pairs]))


def _autoencoder(
    sample: Sample, gaps: _Gaps, autoencoder: Autoencoder | None, audit: str
) -> Mapping[str, Any] | None:
    """Run the autoencoder, or say why not."""
    if autoencoder is None:
        gaps.add('autoencoder', f'left out by --audit {audit}' if audit else _NOT_GIVEN)
        return None
    block = autoencoder(sample) if len(sample) else 'no audit slices'
    if isinstance(block, str):
        gaps.add('autoencoder', block)
        return None
    return block


def _of_subjects(
    sample: Sample,
    features: tuple[np.ndarray, np.ndarray] | None,
    participants: Mapping[str, Mapping[str, str]] | None,
    columns: Mapping[str, Any] | None,
    gaps: _Gaps,
    jobs: int,
    seed: int,
) -> dict[str, Any]:
    """Predict what the participants' table says, and look for a scanner where there is none."""
    if features is None:
        for what in ('covariates', 'negative_control'):
            gaps.add(what, f'no scanner has {MIN_SUBJECTS} subjects with audit slices')
        return {'covariates': None, 'negative_control': None}
    before, after = features
    rows = []
    every = find_covariates(participants or {}, columns or {})
    for one in every[:MOST_COLUMNS]:
        row = covariate(one, sample, before, after, seed=seed)
        if isinstance(row, str):
            gaps.add(f'covariates: {one.name}', row)
            continue
        rows.append(row)
        if unreadable(row, chance_of(row, one)):
            reason = 'it could not be told from the images before harmonization either'
            gaps.not_counted.append({'what': f'covariates: {one.name}', 'reason': reason})
    if not every:
        gaps.add('covariates', 'no participants.tsv with further columns in the dataset')
    for one in every[MOST_COLUMNS:]:
        gaps.add(f'covariates: {one.name}', f'only the first {MOST_COLUMNS} columns are looked at')
    control = negative_control(sample, before, jobs=jobs, seed=seed)
    if isinstance(control, str):
        gaps.add('negative_control', control)
        control = None
    return {'covariates': rows or None, 'negative_control': control}
