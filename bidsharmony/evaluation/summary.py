"""Summarise finished runs for the group level, one at a time, in memory that does not grow."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bidsharmony.evaluation.finished import FinishedRun
from bidsharmony.numerics.spectrum import log_spectral_distance

CHANNELS = ('b0', 'trace')
SIDES = ('before', 'after')


def numeric(document: Any, *keys: str) -> float | None:
    """Walk into nested mappings to a finite number; None where there is none.

    Examples
    --------
    >>> numeric({'gain': {'median': 1.5}}, 'gain', 'median')
    1.5
    >>> numeric({'gain': None}, 'gain', 'median') is None
    True
    """
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    if isinstance(document, bool) or not isinstance(document, int | float):
        return None
    return document if math.isfinite(document) else None


def median_frequency(freqs: Sequence[float], psd: Sequence[float]) -> float:
    """Frequency below which half of the power lies.

    Parameters
    ----------
    freqs : (F,) 1/mm, ascending
    psd : (F,) power density

    Returns
    -------
    float
        1/mm; nan for an empty or powerless spectrum

    Examples
    --------
    >>> round(median_frequency([0.1, 0.2, 0.3, 0.4, 0.5], [1, 1, 1, 1, 1]), 3)
    0.3
    """
    freqs, psd = np.asarray(freqs, np.float64), np.asarray(psd, np.float64)
    if not freqs.size or freqs.shape != psd.shape or not np.isfinite(psd).all() or psd.sum() <= 0:
        return float('nan')
    # power up to the middle of each bin
    cumulative = (np.cumsum(psd) - psd / 2) / psd.sum()
    return float(np.interp(0.5, cumulative, freqs))


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of a stream (Welford 1962).

    Examples
    --------
    >>> moments = Moments()
    >>> for value in (1.0, 2.0, 3.0):
    ...     moments.add(value)
    >>> moments.mean, moments.sd
    (2.0, 1.0)
    """

    n: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Take one more value."""
        self.n += 1
        step = value - self.mean
        self.mean += step / self.n
        self.squares += step * (value - self.mean)

    @property
    def sd(self) -> float | None:
        """Sample standard deviation; None below two values."""
        return math.sqrt(self.squares / (self.n - 1)) if self.n > 1 else None


def eta_squared(groups: Sequence[Moments]) -> float | None:
    """Share of the variance that lies between groups (eta squared, Fisher 1925).

    Returns
    -------
    float or None
        None unless two groups have at least two values each, and where nothing varies

    Examples
    --------
    >>> apart, together = (Moments(2, 0.0, 1.0), Moments(2, 4.0, 1.0)), (Moments(2, 1.0, 1.0),) * 2
    >>> round(eta_squared(apart), 3), eta_squared(together), eta_squared([Moments(5, 1.0, 1.0)])
    (0.889, 0.0, None)
    """
    groups = [group for group in groups if group.n]
    if sum(group.n > 1 for group in groups) < 2:
        return None
    total = sum(group.n for group in groups)
    grand = sum(group.n * group.mean for group in groups) / total
    between = sum(group.n * (group.mean - grand) ** 2 for group in groups)
    within = sum(group.squares for group in groups)
    return between / (between + within) if between + within > 0 else None


@dataclass
class ScannerSummary:
    """What is kept of one scanner: counts, moments of each figure and the sum of its spectra."""

    label: str
    manufacturer: str | None
    model: str | None
    field_strength: float | None
    n_runs: int = 0
    n_warnings: int = 0
    subjects: set[str] = field(default_factory=set)
    figures: dict[str, Moments] = field(default_factory=dict)
    spectra: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    n_spectra: int = 0
    example: FinishedRun | None = None

    def mean(self, name: str) -> float | None:
        """Mean of a figure over the runs; None if no run has it."""
        moments = self.figures.get(name)
        return moments.mean if moments and moments.n else None

    def spectrum(self, channel: str, side: str) -> np.ndarray | None:
        """Mean power spectrum over the runs, (F,)."""
        total = self.spectra.get((channel, side))
        return None if total is None or not self.n_spectra else total / self.n_spectra


class GroupSummary:
    """Scanners of a study, fed run by run."""

    def __init__(self) -> None:
        self.scanners: dict[str, ScannerSummary] = {}
        self.freqs: np.ndarray | None = None
        self.fwhms: set[float] = set()
        self.n_runs = 0

    def add(self, run: FinishedRun, figures: Mapping[str, float | None]) -> None:
        """Take one more run.

        Parameters
        ----------
        run : FinishedRun
        figures : mapping
            the numbers of the run that are averaged per scanner
        """
        identity = run.qc.get('scanner')
        identity = identity if isinstance(identity, Mapping) else {}
        label = str(identity.get('label') or 'unknown scanner')
        facts = {
            'manufacturer': _text(identity.get('manufacturer')),
            'model': _text(identity.get('model')),
            'field_strength': numeric(identity, 'field_strength'),
        }
        scanner = self.scanners.setdefault(label, ScannerSummary(label, **facts))
        for name, value in facts.items():
            if getattr(scanner, name) != value:  # a table may take several machines for one
                setattr(scanner, name, None)
        self.n_runs += 1
        scanner.n_runs += 1
        scanner.n_warnings += len(run.qc.get('warnings') or ())
        scanner.subjects.add(str(run.qc.get('subject')))
        if scanner.example is None and run.audit_file:
            scanner.example = run
        fwhm = numeric(run.qc, 'network', 'canonical_fwhm_mm')
        if fwhm is not None:
            self.fwhms.add(fwhm)
        for name, value in figures.items():
            if value is not None:
                scanner.figures.setdefault(name, Moments()).add(value)
        self._add_spectra(scanner, run.qc.get('psd'))

    def _add_spectra(self, scanner: ScannerSummary, psd: Any) -> None:
        """Add the four spectra of a run, brought to the frequencies of the first run."""
        try:
            freqs = np.asarray(psd['freqs_per_mm'], np.float64)
            spectra = {
                (channel, side): np.asarray(psd[channel][side], np.float64)
                for channel in CHANNELS
                for side in SIDES
            }
        except (KeyError, TypeError, ValueError):
            return
        sound = freqs.ndim == 1 and freqs.size > 1 and (np.diff(freqs) > 0).all()
        if not sound or any(
            spectrum.shape != freqs.shape or not np.isfinite(spectrum).all()
            for spectrum in spectra.values()
        ):
            return
        if self.freqs is None:
            self.freqs = freqs
        for key, spectrum in spectra.items():
            shared = np.interp(self.freqs, freqs, spectrum)
            scanner.spectra[key] = scanner.spectra.get(key, 0) + shared
        scanner.n_spectra += 1

    def ordered(self) -> list[ScannerSummary]:
        """Scanners, those with most runs first."""
        return sorted(self.scanners.values(), key=lambda one: (-one.n_runs, one.label))

    @property
    def limit(self) -> float:
        """Frequency (1/mm) up to which spectra are compared; inf if no run states a resolution."""
        return 1 / (2 * max(self.fwhms)) if self.fwhms else math.inf

    def spectral_distance(self, channel: str, side: str) -> dict[str, float]:
        """Log-spectral distance (dB) of each scanner's mean spectrum to the mean of scanners.

        Up to the Nyquist frequency of the coarsest canonical resolution: beyond it, no harmonized
        image claims to hold anything.
        """
        spectra = {
            one.label: spectrum
            for one in self.ordered()
            if (spectrum := one.spectrum(channel, side)) is not None
        }
        if len(spectra) < 2:
            return {}
        centre = np.mean(list(spectra.values()), axis=0)
        kept = self.freqs <= self.limit
        return {
            label: float(log_spectral_distance(spectrum[kept], centre[kept]))
            for label, spectrum in spectra.items()
        }

    def texture_eta_squared(
        self, channel: str, side: str, among: Collection[str] | None = None
    ) -> float | None:
        """Mean over the texture features of the share of variance between scanners.

        Parameters
        ----------
        channel, side : str
        among : collection of str, optional
            labels of scanners; all if None
        """
        prefix = f'glcm_{channel}_{side}_'
        scanners = [one for one in self.scanners.values() if among is None or one.label in among]
        names = sorted({name for one in scanners for name in one.figures
                        if name.startswith(prefix)})  # fmt: skip
        shares = [
            eta_squared([one.figures[name] for one in scanners if name in one.figures])
            for name in names
        ]
        known = [share for share in shares if share is not None]
        return float(np.mean(known)) if known else None


def _text(value: Any) -> str | None:
    return str(value) if value else None
