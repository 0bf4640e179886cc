"""Choose slices of a study: bounded, balanced, and the same whatever the order of the runs."""

from __future__ import annotations

import hashlib
from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import median_low

import numpy as np

from bidsharmony.evaluation.finished import QC_SUFFIX, FinishedRun, Unused, read_slices
from bidsharmony.numerics.planes import AUDIT_SIZE

MAX_SLICES = 2100
"""Of all scanners together."""

MOST_PER_RUN = 20
FEWEST_PER_RUN = 7
"""Where there are more subjects than slices can be taken of, each gives no fewer than these."""

MIN_SUBJECTS = 3
"""On a scanner, without which it is left out: one to test, and two to learn from."""

_KEPT = MAX_SLICES // FEWEST_PER_RUN  # runs of a scanner that could be chosen
_SHAPE = (AUDIT_SIZE, AUDIT_SIZE)


@dataclass(frozen=True)
class Sample:
    """Slices of several runs before and after harmonization, on one grid.

    Attributes
    ----------
    before, after : (n, 2, 160, 160) float16
        Channels b0 and trace.
    mask : (n, 160, 160) bool
        The brain, one for both sides.
    scanners, subjects, runs : (n,) int
        Positions in the labels.
    scanner_labels, subject_labels, run_labels : tuple of str
    """

    before: np.ndarray
    after: np.ndarray
    mask: np.ndarray
    scanners: np.ndarray
    subjects: np.ndarray
    runs: np.ndarray
    scanner_labels: tuple[str, ...]
    subject_labels: tuple[str, ...]
    run_labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.mask)

    def of(self, positions: np.ndarray) -> Sample:
        """Return some of the slices; the labels stay as they are.

        Parameters
        ----------
        positions : (m,) int, or (n,) bool
        """
        chosen = ('before', 'after', 'mask', 'scanners', 'subjects', 'runs')
        return replace(self, **{name: getattr(self, name)[positions] for name in chosen})


class _Scanner:
    """The runs of one scanner that may be chosen, best first.

    First comes one run of each subject, then a second one of each, and so on; among equals, the
    hash of a name decides. No run that drops out could come back, since each further run only
    adds to those ahead of it: so the choice does not depend on the order of the stream.
    """

    def __init__(self) -> None:
        self.n_runs = 0
        self.n_kept = 0
        self.subjects: dict[tuple[str, str], list[tuple[str, str, FinishedRun]]] = {}

    def add(self, name: str, subject: str, run: FinishedRun) -> None:
        """Take note of a run, and forget the last one if there are too many."""
        self.n_runs += 1
        self.n_kept += 1
        kept = self.subjects.setdefault((_digest(subject), subject), [])
        insort(kept, (_digest(name), name, run), key=lambda entry: entry[:2])
        if self.n_kept > _KEPT:
            last = max(self.subjects, key=lambda one: (len(self.subjects[one]), one))
            self.subjects[last].pop()
            self.n_kept -= 1
            if not self.subjects[last]:
                del self.subjects[last]

    def ordered(self) -> Iterator[tuple[str, str, FinishedRun]]:
        """Yield subject, name and run, best first."""
        ranked = [
            (rank, subject, kept[rank][1:])
            for subject, kept in self.subjects.items()
            for rank in range(len(kept))
        ]
        ranked.sort(key=lambda entry: entry[:2])
        for _, (_, subject), (name, run) in ranked:
            yield subject, name, run


class Sampler:
    """Take note of runs one by one, and read slices of some of them in the end.

    What is kept of a run is its name and where its slices are, and this of no more than 300 runs
    of a scanner; the slices of one run at a time are read beside those that were chosen.
    """

    def __init__(self) -> None:
        self._scanners: dict[str, _Scanner] = {}

    def add(self, run: FinishedRun, scanner: str) -> None:
        """Take note of one run.

        Parameters
        ----------
        run : FinishedRun
        scanner : str
            What it counts as.
        """
        name = run.qc_file.name.removesuffix(QC_SUFFIX)
        subject = str(run.qc.get('subject'))
        of_scanner = self._scanners.setdefault(scanner, _Scanner())
        of_scanner.add(name, subject, replace(run, qc={}))

    def draw(self, max_slices: int = MAX_SLICES) -> tuple[Sample, list[Unused]]:
        """Read the slices of the runs that are chosen.

        Each scanner gives as many runs as the middle one of them has, or all if it has fewer; as
        many subjects as possible; of each run, slices at equal distances.

        Parameters
        ----------
        max_slices : int

        Returns
        -------
        sample : Sample
            Scanners with most runs first; without those of fewer than `MIN_SUBJECTS` subjects.
        unused : list of Unused
            Runs that were chosen and whose slices could not be read, and scanners that have too
            few others.
        """
        found = {
            label: one
            for label, one in self._scanners.items()
            if len(one.subjects) >= MIN_SUBJECTS
        }
        labels = sorted(found, key=lambda label: (-found[label].n_runs, label))
        labels = labels[: max_slices // MIN_SUBJECTS]
        unused: list[Unused] = []
        quota = max_slices // max(len(labels), 1)
        n_runs = median_low([found[label].n_kept for label in labels] or [0])
        n_runs = max(min(n_runs, quota // FEWEST_PER_RUN), min(n_runs, MIN_SUBJECTS))
        per_run = min(MOST_PER_RUN, quota // max(n_runs, 1))
        size = n_runs * per_run * len(labels)
        # pages that stay empty are never taken from memory
        before, after = (np.empty((size, 2, *_SHAPE), np.float16) for _ in range(2))
        mask = np.empty((size, *_SHAPE), bool)
        rows: list[tuple[int, str, str]] = []
        kept: list[str] = []
        for label in labels:
            n = len(rows)
            for subject, name, slices in _readable(found[label], n_runs, per_run, unused):
                here = slice(len(rows), len(rows) + len(slices[2]))
                before[here], after[here], mask[here] = slices
                rows += [(len(kept), subject, name)] * len(slices[2])
            if len({subject for _, subject, _ in rows[n:]}) >= MIN_SUBJECTS:
                kept.append(label)
            else:
                del rows[n:]
                reason = f'fewer than {MIN_SUBJECTS} subjects whose audit slices can be read'
                unused.append(Unused(label, reason))
        n = len(rows)
        subjects = sorted({subject for _, subject, _ in rows})
        runs = list(dict.fromkeys((position, name) for position, _, name in rows))
        sample = Sample(
            before[:n],
            after[:n],
            mask[:n],
            scanners=np.array([position for position, *_ in rows], int),
            subjects=np.array([subjects.index(subject) for _, subject, _ in rows], int),
            runs=np.array([runs.index((position, name)) for position, _, name in rows], int),
            scanner_labels=tuple(kept),
            subject_labels=tuple(subjects),
            run_labels=tuple(name for _, name in runs),
        )
        return sample, unused


def _readable(
    scanner: _Scanner, n_runs: int, per_run: int, unused: list[Unused]
) -> Iterator[tuple[str, str, tuple[np.ndarray, ...]]]:
    """Read runs until there are enough: subject, name and slices of each."""
    for subject, name, run in scanner.ordered():
        if not n_runs:
            return
        slices = read_slices(run)
        if slices is None or slices[2].shape[1:] != _SHAPE:
            unused.append(Unused(name, 'its audit slices are missing or damaged'))
            continue
        filled = np.flatnonzero(slices[2].any(axis=(1, 2)))
        if not len(filled):
            unused.append(Unused(name, 'its audit slices hold no brain'))
            continue
        places = np.linspace(0, len(filled) - 1, min(per_run, len(filled)))
        kept = filled[np.rint(places).astype(int)]
        n_runs -= 1
        yield subject, name, tuple(array[kept] for array in slices)


def _digest(name: str) -> str:
    """Return what stands for chance in the choice: the same on every machine."""
    return hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()
