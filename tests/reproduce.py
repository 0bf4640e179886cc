"""Run one study in many ways and see that it comes out the same, to the byte.

``python -m tests.reproduce --table docs/_static/reproduce.csv``
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests import tiny_dataset

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = ('logs/', '.bidsharmony/', 'dataset_description.json')
"""What the hash of a tree leaves out: what was said, unfinished work, and links to the input."""

HEADER = ('data', 'condition', 'sha256 of the output tree', 'files', 'same')
PATIENCE = 900  # seconds for one call
LOCALES = ('C', 'C.UTF-8', 'de_DE.UTF-8', 'tr_TR.UTF-8')
"""Decimal commas, and a language in which the small letter of I is no i."""


class NotReproducedError(RuntimeError):
    """A call that did not end as it must."""


def tree_hash(folder: Path) -> tuple[str, int]:
    """Hash the names and the bytes of an output, and count its files.

    One sha256 over a line for each file, sorted by name: its relative name, a blank and the
    sha256 of its bytes.

    Examples
    --------
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, 'a').write_text('1'), Path(folder, 'logs').mkdir()
    ...     _ = Path(folder, 'logs', 'a').write_text('2')
    ...     tree_hash(Path(folder))[0][:8], tree_hash(Path(folder))[1]
    ('c57763b2', 1)
    """
    lines = [f'{name} {digest}\n' for name, digest in sorted(file_hashes(folder).items())]
    return hashlib.sha256(''.join(lines).encode()).hexdigest(), len(lines)


def file_hashes(folder: Path) -> dict[str, str]:
    """Hash every file of an output that is promised to be the same."""
    files = {
        path.relative_to(folder).as_posix(): path
        for path in folder.rglob('*')
        if path.is_file() or path.is_symlink()
    }
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in files.items()
        if not name.startswith(OUTSIDE)
    }


@dataclass(frozen=True)
class Study:
    """A dataset with its weights, in a folder of its own.

    ``options`` are the same in every call; ``participants`` are the labels in their order.
    """

    name: str
    raw: Path
    options: tuple[str, ...]
    participants: tuple[str, ...]


@dataclass(frozen=True)
class Call:
    """Call the command on a study, in this environment."""

    study: Study
    environment: Mapping[str, str] = field(default_factory=dict)
    umask: int = 0o022

    def start(self, out: Path, *arguments: str) -> subprocess.Popen:
        """Start the command; without a level among the arguments it does both."""
        levels = [] if {'participant', 'group'} & {*arguments} else ['participant', 'group']
        return subprocess.Popen(
            [
                *(sys.executable, '-m', 'bidsharmony.cli.participant'),
                *(str(self.study.raw), str(out), *levels, *arguments, *self.study.options),
            ],
            env={**os.environ, 'PYTHONPATH': str(ROOT), **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            umask=self.umask,
        )

    def run(self, out: Path, *arguments: str) -> None:
        """Run the command to its end.

        Raises
        ------
        NotReproducedError
            if it does not say that all is done
        """
        process = self.start(out, *arguments)
        said, complained = process.communicate(timeout=PATIENCE)
        if process.returncode:
            raise NotReproducedError(f'exit code {process.returncode}: {said}{complained}')


def plainly(study: Study, out: Path) -> None:
    """Run the whole study in one call."""
    Call(study).run(out)


def with_options(*options: str) -> Callable[[Study, Path], None]:
    """Run it with further options."""
    return lambda study, out: Call(study).run(out, *options)


def with_environment(**variables: str) -> Callable[[Study, Path], None]:
    """Run it with other variables in the environment."""
    return lambda study, out: Call(study, variables).run(out)


def with_umask(study: Study, out: Path) -> None:
    """Run it where new files are for nobody else."""
    Call(study, umask=0o077).run(out)


def elsewhere(study: Study, out: Path) -> None:
    """Run it on a copy of the dataset whose files are newer, in a folder of another length."""
    folder = out.parent / 'another place, with blanks' / ('deep' * 20)
    raw = Path(shutil.copytree(study.raw, folder / 'renamed', copy_function=shutil.copyfile))
    Call(Study(study.name, raw, study.options, study.participants)).run(folder / 'o')
    (folder / 'o').rename(out)
    shutil.rmtree(folder.parent)


def one_by_one(study: Study, out: Path) -> None:
    """Run each participant in a call of its own, the last one first, then the group."""
    for label in reversed(study.participants):
        Call(study).run(out, 'participant', '--participant-label', label)
    Call(study).run(out, 'group')


def backwards(study: Study, out: Path) -> None:
    """Give the labels from the last to the first."""
    Call(study).run(out, '--participant-label', *reversed(study.participants))


def in_two_calls(study: Study, out: Path) -> None:
    """Run the two levels one after the other."""
    Call(study).run(out, 'participant')
    Call(study).run(out, 'group')


def again(study: Study, out: Path) -> None:
    """Run it over its own finished output."""
    Call(study).run(out)
    Call(study).run(out)


def repaired(study: Study, out: Path) -> None:
    """Lose a file and change another; then run it again."""
    Call(study).run(out)
    images = sorted(out.glob('sub-*/**/*_desc-harmonized_trace.nii.gz'))
    images[0].unlink()
    images[-1].write_bytes(b'changed')
    Call(study).run(out)


def interrupted(study: Study, out: Path) -> None:
    """End it by SIGTERM while the second participant is at work; then run it again.

    Raises
    ------
    NotReproducedError
        if it was not interrupted in the middle
    """
    process = Call(study).start(out)
    first = out / '.bidsharmony' / 'done' / f'sub-{study.participants[0]}.json'
    second = out / '.bidsharmony' / 'work' / f'sub-{study.participants[1]}'
    deadline = time.monotonic() + PATIENCE
    # in the middle: the second has begun to write intermediate files
    while not (first.exists() and list(second.glob('*/*'))):
        if process.poll() is not None or time.monotonic() > deadline:
            raise NotReproducedError('it ended before it could be interrupted')
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    if process.returncode != 128 + signal.SIGTERM:
        raise NotReproducedError(f'exit code {process.returncode} after SIGTERM')
    if (out / '.bidsharmony' / 'done' / f'sub-{study.participants[1]}.json').exists():
        raise NotReproducedError('the second participant was done already')
    Call(study).run(out)


def locales() -> list[str]:
    """List those of `LOCALES` that this machine has: they need not be installed."""
    ask = [sys.executable, '-c', 'import locale; locale.setlocale(locale.LC_ALL, "")']
    return [
        name
        for name in LOCALES
        if not subprocess.run(
            ask, env={**os.environ, 'LC_ALL': name}, capture_output=True, check=False
        ).returncode
    ]


def conditions() -> dict[str, Callable[[Study, Path], None]]:
    """List what is done; the first one is what the others are held against."""
    return {
        '1 process': plainly,
        '2 processes': with_options('--nprocs', '2'),
        '4 processes': with_options('--nprocs', '4'),
        '2 threads each': with_options('--omp-nthreads', '2'),
        'another folder, newer files': elsewhere,
        'another time zone': with_environment(TZ='Pacific/Kiritimati'),
        **{f'locale {name}': with_environment(LC_ALL=name) for name in locales()},
        'another PYTHONHASHSEED': with_environment(PYTHONHASHSEED='4711'),
        'another umask': with_umask,
        'labels backwards': backwards,
        'a call for each participant, last first': one_by_one,
        'participant and group in two calls': in_two_calls,
        'interrupted by SIGTERM, run again': interrupted,
        'run again over the finished output': again,
        'a file lost, one changed, run again': repaired,
    }


WITH_SHIPPED = (
    *('1 process', '2 processes', '4 processes', '2 threads each'),
    *('another folder, newer files', 'interrupted by SIGTERM, run again'),
)
"""Conditions for the network that ships, which takes longer."""


def tiny_study(folder: Path, n_participants: int = 4) -> Study:
    """Write heads of 24 voxels on two scanners, the first with opposite phase encodings."""
    raw = tiny_dataset.write_dataset(folder / 'raw')
    weights = tiny_dataset.write_weights(folder / 'w.safetensors')
    labels = tuple(f'{number:02}' for number in range(1, n_participants + 1))
    tiny_dataset.write_run(raw, 'sub-01_dir-AP', seed=0)
    tiny_dataset.write_run(raw, 'sub-01_dir-PA', seed=1)
    for number, label in enumerate(labels[1:], start=2):
        image = tiny_dataset.write_run(raw, f'sub-{label}', seed=number)
        if number % 2:
            sidecar = image.with_name(f'sub-{label}_dwi.json')
            sidecar.write_text(sidecar.read_text().replace('Prisma_fit', 'Avanto'))
    rows = [f'sub-{label}\t{30 + 7 * ix}' for ix, label in enumerate(labels)]
    (raw / 'participants.tsv').write_text('\n'.join(['participant_id\tage', *rows]) + '\n')
    options = ('--weights', str(weights), '--audit', 'quick')
    return Study('tiny heads', raw, options, labels)


def virtual_study(folder: Path) -> Study:
    """Write two virtual heads that travel between two scanners, for the shipped network.

    Raises
    ------
    NotReproducedError
        if they cannot be written
    """
    raw = folder / 'virtual'
    made = subprocess.run(
        [
            *(sys.executable, '-m', 'bidsharmony.cli.phantom', str(raw)),
            *('--heads', '2', '--scanners', '2'),
        ],
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise NotReproducedError(made.stderr)
    labels = sorted(path.name.removeprefix('sub-') for path in raw.glob('sub-*'))
    return Study('virtual heads, shipped network', raw, ('--audit', 'quick'), tuple(labels))


def compare(
    study: Study,
    folder: Path,
    chosen: Iterable[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> list[tuple[str, ...]]:
    """Run a study under each condition; a row for each, as `HEADER` names its cells."""
    rows: list[tuple[str, ...]] = []
    known = conditions()
    reference, files = '', {}
    for name in known if chosen is None else chosen:
        out = folder / 'out'
        known[name](study, out)
        found, count = tree_hash(out)
        here = file_hashes(out)
        reference, files = reference or found, files or here
        rows.append((study.name, name, found, str(count), 'yes' if found == reference else 'no'))
        report('  '.join(rows[-1]))
        if found != reference:
            # what differs is named, and can be looked at with --keep
            other = (one for one in sorted({*files, *here}) if files.get(one) != here.get(one))
            report('\n'.join(f'  differs: {one}' for one in other))
            out.rename(folder / f'differs {len(rows)}')
        else:
            shutil.rmtree(out)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Run both studies, write the table, and say whether all was the same."""
    parser = argparse.ArgumentParser(prog='python -m tests.reproduce', description=__doc__)
    parser.add_argument('--table', type=Path, help='CSV file to write')
    parser.add_argument('--keep', type=Path, metavar='DIR', help='work there, and leave it')
    parser.add_argument(
        '--studies', nargs='+', choices=('tiny', 'virtual'), default=('tiny', 'virtual')
    )
    parser.add_argument(
        '--only', nargs='+', metavar='CONDITION', help='these, by their names in the table'
    )
    options = parser.parse_args(argv)
    if unknown := {*(options.only or ())} - {*conditions()}:
        parser.error(f'{", ".join(unknown)}: choose from {", ".join(conditions())}')

    def say(line: str) -> None:
        sys.stdout.write(f'{line}\n')
        sys.stdout.flush()

    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        rows = []
        if 'tiny' in options.studies:
            (folder / 'tiny').mkdir(parents=True)
            rows += compare(tiny_study(folder / 'tiny'), folder / 'tiny', options.only, say)
        if 'virtual' in options.studies:
            (folder / 'shipped').mkdir(parents=True)
            virtual = virtual_study(folder / 'shipped')
            chosen = [name for name in WITH_SHIPPED if name in (options.only or WITH_SHIPPED)]
            rows += compare(virtual, folder / 'shipped', chosen, say)
    if options.table:
        with options.table.open('w', newline='', encoding='utf-8') as file:
            csv.writer(file, lineterminator='\n').writerows([HEADER, *rows])
    differing = [row for row in rows if row[-1] != 'yes']
    say(f'{len(rows)} runs, {len(differing)} differ.')
    return int(bool(differing))


if __name__ == '__main__':
    sys.exit(main())
