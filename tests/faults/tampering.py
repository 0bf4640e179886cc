"""Change or delete what a run read, left or had begun, behind its back."""

from __future__ import annotations

import gzip
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tests.faults.fault import Fault, Tried
from tests.faults.moments import wait_for_moment
from tests.faults.study import DEADLINE, PER_PARTICIPANT, Study, differences, droppings, tree


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path: Path) -> None:
    """Change one bit; size and time stay."""
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _one(folder: Path, pattern: str) -> Path:
    (path,) = folder.rglob(pattern)
    return path


OUTPUTS: dict[str, Callable[[Path, str], None]] = {
    'series cut': lambda out, who: _cut(_one(out / who, '*harmonized_dwi.nii.gz')),
    'series deleted': lambda out, who: _one(out / who, '*harmonized_dwi.nii.gz').unlink(),
    'map changed': lambda out, who: _flip(_one(out / who, '*_desc-gain_dwimap.nii.gz')),
    'sidecar changed': lambda out, who: _flip(_one(out / who, '*_desc-harmonized_ADC.json')),
    'figures in numbers emptied': lambda out, who: _one(out / who, '*_qc.json').write_text('{}'),
    'slices deleted': lambda out, who: _one(out / who, '*_slices.npz').unlink(),
    'figure changed': lambda out, who: _flip(_one(out / who, '*_desc-psd_dwi.png')),
    'page deleted': lambda out, who: (out / f'{who}.html').unlink(),
    'folder deleted': lambda out, who: shutil.rmtree(out / who),
    'marker deleted': lambda out, who: _marker(out, who).unlink(),
    'marker cut': lambda out, who: _cut(_marker(out, who)),
}


def _marker(out: Path, who: str) -> Path:
    return out / '.bidsharmony' / 'done' / f'{who}.json'


def _other_voxel(path: Path) -> None:
    """Make one voxel brighter; a name in the gzip header keeps the size."""
    size, content = path.stat().st_size, bytearray(gzip.decompress(path.read_bytes()))
    # inside the head, above what may be noise
    content[len(content) // 14 + 1] ^= 1
    smaller = gzip.compress(bytes(content), 9, mtime=0)
    name = b'x' * (size - len(smaller) - 1) + b'\0'
    path.write_bytes(smaller[:3] + b'\x08' + smaller[4:10] + name + smaller[10:])


def _digit(pattern: str, other: str) -> Callable[[Path], None]:
    """Make a function that changes the first number like that in a text."""

    def change(path: Path) -> None:
        path.write_text(re.sub(pattern, other, path.read_text(), count=1))

    return change


INPUTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    'image changed': ('.nii.gz', _other_voxel),
    'b-value changed': ('.bval', _digit('1000', '1010')),
    'b-vector changed': ('.bvec', _digit('0.707107', '0.707117')),
    'echo time changed': ('.json', _digit('0.071', '0.072')),
}
"""Ending of the file, and what is done to it; its size and time stay."""

BEGUN = 'unfinished work spoiled'
"""A participant that was killed while it was worked on; every file it had is cut to a half."""

UNTOUCHED = 'untouched'
"""Nothing is done; that one must not be made again."""

KINDS = (*OUTPUTS, *INPUTS, BEGUN)


def tampering(study: Study, count: int, rng: np.random.Generator, place: Path) -> Iterator[Tried]:
    """Tamper with a finished study, one kind for each participant, and run it again."""
    kinds = rng.permutation(KINDS)[:count].tolist()
    step = len(study.labels) - 1
    for begin in range(0, count, step):
        some = dict(zip(study.labels, [*kinds[begin : begin + step], UNTOUCHED], strict=False))
        yield from _tamper(study, some, rng, place / str(begin))


def _tamper(
    study: Study, kinds: dict[str, str], rng: np.random.Generator, place: Path
) -> Iterator[Tried]:
    labels, out, fresh, raw = list(kinds), place / 'out', place / 'fresh', place / 'raw'
    place.mkdir(parents=True)
    shutil.copytree(study.raw, raw)
    begun = [label for label, kind in kinds.items() if kind == BEGUN]
    study.copy(out, [label for label in labels if label not in begun])
    for label in begun:
        _leave_unfinished(study, label, out, raw, rng)
    changed = [label for label, kind in kinds.items() if kind in INPUTS]
    for label, kind in kinds.items():
        if kind in OUTPUTS:
            OUTPUTS[kind](out, f'sub-{label}')
        elif kind in INPUTS:
            ending, change = INPUTS[kind]
            path = raw / f'sub-{label}' / 'dwi' / f'sub-{label}_dwi{ending}'
            before = path.stat()
            change(path)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            if path.stat().st_size != before.st_size:
                raise RuntimeError(f'{kind}: the size changed too')
    expected = study.expected(labels)
    if changed:
        with study.start(fresh, changed, raw=raw) as command:
            command.wait(DEADLINE + PER_PARTICIPANT * len(changed))
        expected |= tree(fresh)
    with study.start(out, labels, raw=raw) as command:
        try:
            code = command.wait(DEADLINE + PER_PARTICIPANT * len(labels))
        except TimeoutError as error:
            yield from (Tried([str(error)]) for kind in kinds.values() if kind != UNTOUCHED)
            return
        said = command.said()
    wrong = [*differences(tree(out), expected), *droppings(out)]
    # what is wrong with all of them: nothing can be told from one that is made again in any case
    common = [f'exit code {code}, {said[-300:]}'] if code else []
    for label, kind in kinds.items():
        if (kind == UNTOUCHED) != _passed_over(label, said):
            if kind == UNTOUCHED:
                common.append('untouched, and made again')
            else:
                wrong.append(f'sub-{label}: not noticed')
    for label, kind in kinds.items():
        mine = [f'{kind}: {text}' for text in wrong if f'sub-{label}' in text]
        if kind in INPUTS and not _differs(expected, study.reference, label):
            mine.append(f'{kind}: no try, it changes no output')
        if kind != UNTOUCHED:
            yield Tried([*mine, *common])


def _passed_over(label: str, said: str) -> bool:
    """See whether a participant was found to be done already."""
    return bool(re.search(rf'sub-{label}/dwi/\S+: done, unchanged', said))


def _differs(one: dict[str, str], other: dict[str, str], label: str) -> bool:
    """See whether two trees differ in a participant."""
    return any(sha != other.get(name) for name, sha in one.items() if f'sub-{label}' in name)


def _leave_unfinished(
    study: Study, label: str, out: Path, raw: Path, rng: np.random.Generator
) -> None:
    """Kill a command while it works, and cut every file that it has begun to a half."""
    hidden = out / '.bidsharmony'
    with study.start(out, [label], raw=raw) as command:
        command.until((hidden / 'staging' / f'sub-{label}' / f'sub-{label}').exists)
        wait_for_moment('names', command, study, hidden / 'staging', label, rng)
    files = [path for name in ('staging', 'work') for path in (hidden / name).rglob('*')]
    files = [path for path in files if path.is_file() and not path.is_symlink()]
    for path in files:
        os.truncate(path, path.stat().st_size // 2)
    if not files:
        raise RuntimeError(f'{label}: was not begun when it was killed')


FAULT = Fault(
    'tampered',
    'an output, a marker, unfinished work or an input (same size and time) changed or deleted',
    'noticed and made again; the tree is that of a first run on what is there now',
    target=len(KINDS),
    trier=tampering,
)
