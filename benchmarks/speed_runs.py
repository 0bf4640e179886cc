"""Time whole runs of the program on drawn series, against the least that their work can take.

A *run* is timed from the fork of its participant's process to its done-marker; imports, which one
process makes for all, are told apart. What it is set against is measured in the same minutes, on
the same files: reading, N4, one multiplication, one pass of the network, writing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resources import SIDECAR, children, private_mb, resident_mb, write_series

CLINICAL = (256, 256, 30), 4
RESEARCH = (128, 128, 60), 100
FEWER = 60  # volumes of the series that tells what one more costs
WARM = (64, 64, 24), 4
#: steps of a run's graph that compute; all else is files, graph, hashes and pages
COMPUTING = (
    'mean_b0',
    'brain_mask',
    'measure_b0s',
    'trace_weighted',
    'estimate',
    'correct',
    'network',
    'series',
    'show_series',
    'show_maps',
    'compare',
    'measure',
)


@dataclass
class Clock:
    """Note when participants start and end."""

    began: dict[str, float] = field(default_factory=dict)
    over: dict[str, float] = field(default_factory=dict)

    def planned(self, runs: dict[str, int]) -> None:
        """Hear of all participants."""

    def started(self, participant: str) -> None:
        """Note the start."""
        self.began[participant] = time.perf_counter()

    def step(self, participant: str, step: object) -> None:
        """Hear of a step."""

    def ended(self, participant: str) -> None:
        """Note the end."""
        self.over[participant] = time.perf_counter()

    def look(self) -> None:
        """Do nothing."""

    def seconds(self, participant: str) -> float:
        """Return how long one took."""
        return self.over[participant] - self.began[participant]


def run(raw: Path, out: Path, work: Path, *options: str) -> Clock:
    """Harmonize a dataset in this process's children, and return when each began and ended."""
    from bidsharmony.bids import collect_dwi
    from bidsharmony.bids.description import write_dataset_description
    from bidsharmony.cli.parser import parse_args
    from bidsharmony.supervise.pool import run_participants

    settings = parse_args([str(raw), str(out), 'participant', '-w', str(work), *options])
    write_dataset_description(out, raw, version='0')
    clock = Clock()
    outcomes = run_participants(settings, collect_dwi(raw), watch=clock)
    failed = [outcome for outcome in outcomes if outcome.status != 'done']
    if failed:
        raise SystemExit(f'{failed[0].run}: {failed[0].reason}')
    return clock


def least(call: Callable[[], object], repeats: int = 3) -> float:
    """Return the least wall time of some calls."""
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        found.append(time.perf_counter() - began)
    return min(found)


@contextlib.contextmanager
def folders() -> Iterator[tuple[Path, Path, Path]]:
    """Give a raw, an output and a work folder that go away."""
    with tempfile.TemporaryDirectory() as folder:
        yield tuple(Path(folder) / name for name in ('raw', 'out', 'work'))


def resources_of(out: Path, participant: str) -> dict[str, tuple[float, ...]]:
    """Read start and seconds, processor seconds and memory (MB) of a participant's steps."""
    table = next((out / 'logs').rglob(f'{participant}_resources.tsv'))
    rows = [line.split('\t') for line in table.read_text().splitlines()[1:]]
    return {name: tuple(map(float, figures)) for name, *figures in rows}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Add up the time that lies in at least one span.

    >>> covered([(3, 4), (0, 2), (1, 2.5)])
    3.5
    """
    total, until = 0.0, float('-inf')
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


class Memory:
    """Watch what participants hold: a process, and what its forks do not share with it."""

    def __init__(self) -> None:
        self.peak_mb = 0.0
        self._over = threading.Event()
        self._watch = threading.Thread(target=self._run)

    def __enter__(self) -> Memory:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._watch.join()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            participants = [pid for server in children(os.getpid()) for pid in children(server)]
            held = sum(
                resident_mb(pid) + sum(map(private_mb, children(pid))) for pid in participants
            )
            self.peak_mb = max(self.peak_mb, held)


def timed(shape: tuple[int, int, int], volumes: int, repeats: int) -> dict[str, Any]:
    """Time one run after a small one that has the libraries imported.

    Returns
    -------
    dict
        ``seconds`` (the least of some), ``compute`` of that run, ``processor`` (seconds of all
        its threads), ``steps`` (start and seconds of each), and ``memory_mb`` and ``usual_mb``,
        the largest and the middle peak of what its process and a fork beside it held in as many
        further runs, libraries included.
    """
    best: dict[str, Any] = {}
    with folders() as (raw, out, work):
        write_series(raw, *WARM, subject='00')
        write_series(raw, shape, volumes, subject='01')
        for _ in range(repeats):
            for folder in (out, work):
                shutil.rmtree(folder, ignore_errors=True)
            clock = run(raw, out, work, '--nprocs', '1', '--resource-monitor')
            seconds = clock.seconds('sub-01')
            steps = resources_of(out, 'sub-01')
            if not best or seconds < best['seconds']:
                best = {
                    'seconds': seconds,
                    'compute': covered(
                        (start, start + took)
                        for name, (start, took, *_) in steps.items()
                        if name.rsplit('.', 1)[-1] in COMPUTING
                    ),
                    # between steps one thread works
                    'processor': seconds
                    - covered((start, start + took) for start, took, *_ in steps.values())
                    + sum(cpu for *_, cpu, _ in steps.values()),
                    'steps': {name: times[:2] for name, times in steps.items()},
                }
        peaks = []
        for _ in range(repeats):  # apart, since looking at memory takes time
            for folder in (out, work):
                shutil.rmtree(folder, ignore_errors=True)
            with Memory() as memory:
                run(raw, out, work, '--nprocs', '1')
            peaks.append(memory.peak_mb)
        best |= {'memory_mb': max(peaks), 'usual_mb': statistics.median(peaks)}
    return best


def parts(shape: tuple[int, int, int], volumes: int) -> dict[str, float]:
    """Time the least that a run's work takes, one thread each, on the same kind of series.

    Returns
    -------
    dict
        Seconds: ``read`` (inflate, to float), ``n4`` (antspyx, shrink factor 4, on the b=0),
        ``network`` (one pass of all slices), ``write`` (deflate what was read), ``pass``
        (inflate, one multiplication, deflate: volume by volume), ``per_volume``.
    """
    import ants
    import nibabel as nb
    import numpy as np
    from isal import igzip

    from bidsharmony.network.inference import harmonize_summary
    from bidsharmony.network.weights import load_weights
    from bidsharmony.numerics.diffusion import found_brain

    with folders() as (raw, out, _):
        path = write_series(raw, shape, volumes)
        image = nb.load(path)
        header = 352
        out.mkdir()
        copy = out / 'copy.nii.gz'
        size = int(np.prod(shape))

        def read() -> np.ndarray:
            with igzip.open(path) as file:
                data = np.frombuffer(file.read(), np.int16, offset=header)
            return data.reshape((*shape, volumes), order='F').astype(np.float32)

        data = read()
        b0 = data[..., 0]
        mask = found_brain(b0, zooms=image.header.get_zooms()[:3])

        def n4() -> None:
            spacing = [float(zoom) for zoom in image.header.get_zooms()[:3]]
            ants.n4_bias_field_correction(
                ants.from_numpy(b0.astype(np.float64), spacing=spacing),
                mask=ants.from_numpy(mask.astype(np.float64), spacing=spacing),
                shrink_factor=4,
            )

        def write() -> None:
            with igzip.open(copy, 'wb', compresslevel=1) as file:
                for ix in range(volumes):
                    file.write(data[..., ix].tobytes(order='F'))

        def through() -> None:
            with igzip.open(path) as source, igzip.open(copy, 'wb', compresslevel=1) as target:
                source.read(header)
                for _ in range(volumes):
                    volume = np.frombuffer(source.read(2 * size), np.int16)
                    target.write((volume * np.float32(0.01)).tobytes())

        weights = load_weights()

        def network() -> None:
            harmonize_summary(
                b0,
                data[..., 1:].mean(axis=-1),
                image.affine,
                axis=2,
                scale=float(b0[mask].mean()),
                metadata=SIDECAR,
                mask=mask,
                weights=weights,
            )

        found = {name: least(call) for name, call in (
            ('read', read), ('n4', n4), ('network', network), ('write', write), ('pass', through),
        )}  # fmt: skip
    return {**found, 'per_volume': found['pass'] / volumes}


def gzipping() -> dict[str, float]:
    """Set ISA-L beside zlib at level 1, on one volume of floats as the program writes it.

    Returns
    -------
    dict
        How many times as fast ISA-L is: ``deflate`` and ``inflate``; ``size``, of its file over
        zlib's.
    """
    import zlib

    import numpy as np
    from isal import isal_zlib

    rng = np.random.default_rng(0)
    inside = np.zeros((128, 128, 60), bool)
    inside[20:108, 15:113, 5:55] = True
    signal = np.where(inside, 400.0, 0.0) + rng.normal(0, 8, inside.shape)
    volume = (np.rint(np.abs(signal)) * 0.00123).astype(np.float32).tobytes(order='F')
    theirs, ours = zlib.compress(volume, 1), isal_zlib.compress(volume, 1)
    return {
        'deflate': least(lambda: zlib.compress(volume, 1))
        / least(lambda: isal_zlib.compress(volume, 1)),
        'inflate': least(lambda: zlib.decompress(ours))
        / least(lambda: isal_zlib.decompress(ours)),
        'size': len(ours) / len(theirs),
    }


def imports() -> float:
    """Time what the server imports once for all participants."""
    code = (
        'from importlib import import_module as load\n'
        'from bidsharmony.supervise.pool import PRELOAD\n'
        '[load(name) for name in PRELOAD]'
    )
    return least(lambda: subprocess.run([sys.executable, '-c', code], check=True))


def at_once(participants: int = 4) -> float:
    """Tell how many times the throughput of one process two have, on equal participants.

    Each on one thread, but for N4, which has two in any case.
    """
    spans = {}
    with folders() as (raw, out, work):
        write_series(raw, *WARM, subject='00')
        first = write_series(raw, (128, 128, 40), 12, subject='1')
        for number in range(2, participants + 1):
            folder = raw / f'sub-{number}' / 'dwi'
            folder.mkdir(parents=True)
            for file in first.parent.iterdir():
                shutil.copy(file, folder / file.name.replace('sub-1_', f'sub-{number}_'))
        for nprocs in (1, 2):
            for folder in (out, work):
                shutil.rmtree(folder, ignore_errors=True)
            # else one alone would take both processors
            clock = run(raw, out, work, '--nprocs', str(nprocs), '--omp-nthreads', '1')
            counted = [p for p in clock.began if p != 'sub-00']
            spans[nprocs] = max(clock.over[p] for p in counted) - clock.over['sub-00']
    return spans[1] / spans[2]


def finding_one(subjects: int = 2000, sessions: int = 2) -> dict[str, float]:
    """Time the command for one participant of a large dataset up to its first work.

    Returns
    -------
    dict
        Seconds of ``--dry-run`` for one participant: of ``many`` and, beside it, of ``one``.
    """
    found = {}
    for name, number in (('many', subjects), ('one', 1)):
        with folders() as (raw, out, _):
            file = write_series(raw, (16, 16, 4), 7, subject='0001')
            for subject in range(1, number + 1):
                for session in range(1, sessions + 1):
                    stem = f'sub-{subject:04d}_ses-{session}'
                    folder = raw / f'sub-{subject:04d}' / f'ses-{session}' / 'dwi'
                    folder.mkdir(parents=True)
                    for source in file.parent.iterdir():
                        os.link(source, folder / source.name.replace('sub-0001', stem))
            shutil.rmtree(file.parent)
            command = [sys.executable, '-m', 'bidsharmony.cli.participant', str(raw), str(out)]
            command += ['participant', '--participant-label', '0001', '--dry-run']
            found[name] = least(
                lambda command=command: subprocess.run(
                    command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
                )
            )
    return found


def answering() -> dict[str, float | bool]:
    """Time ``--help`` and ``--version``, and see what they import."""
    heavy = ('torch', 'ants', 'nipype', 'niworkflows', 'pandas', 'matplotlib')
    code = (
        'import contextlib, io, sys\n'
        'from bidsharmony.cli.participant import main\n'
        'with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n'
        '    main(["--help"])\n'
        f'sys.exit(any(name in sys.modules for name in {heavy!r}))'
    )
    light = subprocess.run([sys.executable, '-c', code], check=False).returncode == 0
    took = max(
        least(
            lambda option=option: subprocess.run(
                [sys.executable, '-m', 'bidsharmony.cli.participant', option],
                check=True,
                stdout=subprocess.DEVNULL,
            ),
            5,
        )
        for option in ('--help', '--version')
    )
    return {'seconds': took, 'light': light}
