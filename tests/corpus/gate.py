"""Hold a dataset against the input gate, as the command does before any work is planned."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids import collect_dwi
from bidsharmony.cli.listing import printable
from bidsharmony.interfaces.inputs import CheckedRun
from bidsharmony.interfaces.sidecars import public_sidecar
from bidsharmony.network.facts import scanner_facts
from bidsharmony.settings import Settings
from bidsharmony.supervise.child import check_runs
from bidsharmony.supervise.pool import make_jobs
from tests.corpus.case import PROCESSED, REFUSED, SKIPPED, Case
from tests.corpus.dataset import GOOD, Run, write_good

LIMIT = 5.0
"""Seconds that the gate may take for a dataset of two tiny runs."""


_CAUSE_REMEDY = re.compile(r'\w.*[.:] [A-Z].*\.$')


class Hang(BaseException):
    """Say that the gate took too long; no ``except Exception`` of the product stops it."""


@dataclass(frozen=True)
class Verdict:
    """Hold what became of an image, and what is said or recorded of it."""

    status: str
    text: str


@contextmanager
def time_limit(seconds: float = LIMIT) -> Iterator[None]:
    """Interrupt what takes too long, also where it waits for a pipe."""

    def stop(*_: object) -> None:
        raise Hang(f'more than {seconds:g} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def judge(root: Path) -> dict[str, Verdict]:
    """Find every image of a dataset and say what becomes of it; image to verdict."""
    found = collect_dwi(root)
    verdicts = {item.relative: Verdict(SKIPPED, item.reason) for item in found.skipped}
    verdicts |= {item.relative: Verdict(REFUSED, item.reason) for item in found.refused}
    settings = Settings(bids_dir=root, output_dir=root.parent / 'out')
    for job in make_jobs(settings, found):
        checked, outcomes = check_runs(job)
        verdicts |= {name: Verdict(o.status, o.reason) for name, o in outcomes.items()}
        for item in checked:
            verdicts[item.run.relative] = Verdict(PROCESSED, recorded(item))
    return verdicts


def recorded(checked: CheckedRun) -> str:
    """Write what the report of a run will say of its input."""
    run = checked.run
    facts = scanner_facts(run.sidecar, checked.shape, checked.zooms, checked.slice_axis)
    content = {
        'scanner': run.scanner.label,
        'shape': checked.shape,
        'zooms': [round(zoom, 4) for zoom in checked.zooms],
        'orientation': checked.orientation,
        'shells': checked.shells,
        'sidecar': public_sidecar(run.sidecar),
        'no_series': checked.no_series,
        'notes': checked.notes,
        'warnings': (*checked.warnings, *facts.warnings),
    }
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def line(image: str, verdict: Verdict) -> str:
    """Write what the command says of an image."""
    return printable(f'{image}: {verdict.text}')


def shortcomings(case: Case, folder: Path, good: Verdict) -> list[str]:
    """Write the dataset of a case, hold it against the gate, and say what is not as it must be.

    Parameters
    ----------
    case : Case
    folder : Path
        an empty one
    good : Verdict
        that of the good run when it is alone
    """
    root = write_good(folder / 'bids')
    run = Run.write(root)
    image = case.change(run) or run.relative
    try:
        with time_limit():
            verdicts = judge(root)
    except Hang as error:
        return [f'it hangs: {error}']
    verdict = verdicts.get(image, Verdict('missed', ''))
    said = line(image, verdict)
    checks = {
        f'it is {verdict.status}: {said}': verdict.status == case.outcome,
        f'{case.said!r} is not said: {said}': case.said in verdict.text,
        f'what is private is told: {said}': not any(word in verdict.text for word in case.absent),
        f'folders of the machine are told: {said}': str(folder) not in verdict.text,
        f'it takes more than a line: {said}': '\n' not in said,
        f'no file is named: {said}': said.startswith(f'{printable(image)}: '),
        f'no cause and remedy: {said}': case.outcome != REFUSED or _CAUSE_REMEDY.search(said),
        'the good run fares otherwise': _of(verdicts, GOOD) == [good],
    }
    if case.outcome != REFUSED:
        refused = [name for name, other in verdicts.items() if other.status == REFUSED]
        checks[f'refused are {refused}'] = not refused
    return [what for what, holds in checks.items() if not holds]


def verdict_of_good(folder: Path) -> Verdict:
    """Hold the good run alone against the gate."""
    (verdict,) = judge(write_good(folder / 'bids')).values()
    return verdict


def _of(verdicts: dict[str, Verdict], participant: str) -> list[Verdict]:
    return [verdict for image, verdict in verdicts.items() if image.startswith(participant)]
