"""Mutate the files of a good run at random, and hold each against the gate."""

from __future__ import annotations

import gzip
import json
import resource
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np

from bidsharmony.bids import BIDSError
from bidsharmony.bids.collect import Search
from bidsharmony.bids.images import check_name
from bidsharmony.bids.sidecar import Inheritance
from bidsharmony.interfaces.files import InputError
from bidsharmony.interfaces.inputs import CheckedRun, SkippedRunError, check_run
from bidsharmony.interfaces.volumes import geometry_header, grid_header, load_finite
from tests import tiny_dataset
from tests.corpus.case import PROCESSED, REFUSED, SKIPPED
from tests.corpus.dataset import Run
from tests.corpus.gate import Hang, recorded, time_limit

B0_THRESHOLD = 50.0  # s/mm2
MAX_BYTES = 10**9
LONGEST = 900_000  # characters that lines are multiplied to

HEADER = nb.Nifti1Header.template_dtype
CODES = [code for code in nb.nifti1.data_type_codes.value_set() if isinstance(code, int)]
WHOLE = (0, 1, -1, 2, 7, 255, 32767, -32768, 2**31 - 1, -(2**31))
REAL = (np.nan, np.inf, -np.inf, 0, -0.0, 1, -1, 1e-45, 3e38, -3e38, 1e9, 0.5, 352, 353.5)
WORDS = (
    *('nan', 'inf', '-inf', '1e999', '-1', '-0', '1e-320', '0x10', '1_000', '٣', '½', '1,5'),
    *('', '.', '+', 'e5', '--1', '1.2.3', '0' * 50, '9' * 400, 'Infinity', '\x00', '\ufeff'),
    *('1000', '0', '5', '2.5', '1e9', '\x1c', '\u2028', '\x85', '<b>', '../..', '🧠'),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 3, 71, 10**30, 10**400, -0.0, 1e-300, 1e308, 2.89),
    *(float('nan'), float('inf'), '', ' ', 'n/a', '3', '1e999', 'Siemens', 'GE', 'AP', 'j-'),
    *('\x00', '\ud800', '\u202e', '<script>', '/etc/passwd', 'x' * 5000, 'é', [], {}, [[]]),
    *([None], [1, 'a'], {'a': {'b': []}}, [0.0, float('inf')], {'': None}),
)
KEYS = (
    *tiny_dataset.SIDECAR,
    *('ImagingFrequency', 'SoftwareVersions', 'SliceThickness', 'BaseResolution', 'SliceTiming'),
    *('PhaseEncodingDirection', 'AcquisitionMatrixPE', 'SkullStripped', 'PartialFourier'),
    *('NonlinearGradientCorrection', 'CanonicalResolutionFWHM', 'DiffusionBValue', '', '\x00'),
)


@dataclass
class Fuzzed:
    """Count what became of mutated inputs; ``uncaught`` and ``slow`` tell how to repeat them."""

    counts: Counter[str] = field(default_factory=Counter)
    uncaught: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)
    slowest: float = 0.0
    megabytes: float = 0.0


Mutation = Callable[[Run, dict[str, bytes], np.random.Generator], None]


def fuzz(mutate: Mutation, folder: Path, count: int, seed: int = 0) -> Fuzzed:
    """Mutate a run ``count`` times; each time from the good one, by a seed of its own."""
    run = Run.write(tiny_dataset.write_dataset(folder / 'bids'))
    # a few voxels are enough: it is what surrounds them that is mutated
    run.set_array(run.array()[::4, ::4, ::4])
    good = {path.name: path.read_bytes() for path in run.folder.iterdir()}
    hold(run)
    result, before = Fuzzed(), _peak()
    for ix in range(count):
        for name, content in good.items():
            (run.folder / name).write_bytes(content)
        mutate(run, good, np.random.default_rng([seed, ix]))
        began = time.perf_counter()
        try:
            with time_limit(), warnings.catch_warnings():
                # nibabel warns of odd extensions; numbers that go wrong are another matter
                warnings.simplefilter('ignore')
                warnings.simplefilter('error', RuntimeWarning)
                result.counts[hold(run)] += 1
        except Hang:
            result.slow.append(f'seed {seed}, input {ix}')
        except Exception as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f'{Path(where.filename).name}:{where.lineno}'
            result.uncaught.append(
                f'seed {seed}, input {ix}: {type(error).__name__} at {place}: {error}'
            )
        result.slowest = max(result.slowest, time.perf_counter() - began)
    result.megabytes = _peak() - before
    return result


def hold(run: Run) -> str:
    """Search for a run, check its files, and read what the first steps of the work read of it."""
    try:
        search = Search(run.root, (), (), {}, B0_THRESHOLD, Inheritance(run.root))
        found = search.run(run.image, check_name(run.image))
        if found is None:
            return SKIPPED
        checked = check_run(found, B0_THRESHOLD, max_bytes=MAX_BYTES)
    except SkippedRunError:
        return SKIPPED
    except (BIDSError, InputError) as error:
        if '\n' in str(error) or str(run.root) in str(error):
            raise ValueError('a message of several lines, or with folders') from error
        return REFUSED
    recorded(checked)
    _begin(checked)
    return PROCESSED


def _begin(checked: CheckedRun) -> None:
    """Do with a run that was taken what its graph does first."""
    header = nb.load(checked.run.image).header
    geometry_header(header, checked.shape)
    grid_header(header, checked.shape, checked.affine)
    # mutated bits may be NaNs of a kind that the processor reports when they are cast
    with np.errstate(invalid='ignore'):
        b0 = load_finite(checked.run.image, checked.b0_ixs)
    if not np.isfinite(b0).all() or not b0.max() > 0:
        raise ValueError('a b=0 that shows nothing was taken')


def mutate_image(run: Run, good: dict[str, bytes], rng: np.random.Generator) -> None:
    """Change header, voxels or compression of the image."""
    content = bytearray(gzip.decompress(good[run.image.name]))
    for _ in range(rng.integers(0, 4)):
        rng.choice(
            [_flip_header, _set_field, _set_field, _set_type, _set_shape, _cut, _extend, _scatter]
        )(content, rng)
    pack = rng.choice([_whole, _whole, _whole, _flipped, _shortened, _members, _longer, _plain])
    run.image.write_bytes(pack(bytes(content), rng))


def mutate_text(run: Run, good: dict[str, bytes], rng: np.random.Generator) -> None:
    """Change b-values, b-vectors or sidecar."""
    for _ in range(rng.integers(1, 3)):
        ending = rng.choice(['.bval', '.bvec', '.json'])
        path = run.beside(ending)
        if ending == '.json' and rng.random() < 0.6:
            path.write_text(_sidecar(rng), encoding='utf-8', errors='surrogatepass')
        if rng.random() < 0.7:
            path.write_bytes(_text(path.read_bytes(), rng))


FUZZERS: dict[str, Mutation] = {
    'header and gz': mutate_image,
    'bval, bvec and JSON': mutate_text,
}


def _peak() -> float:
    """Tell the most memory that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _flip_header(content: bytearray, rng: np.random.Generator) -> None:
    if content:
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(min(len(content), 352))] ^= 1 << int(rng.integers(8))


def _set_field(content: bytearray, rng: np.random.Generator) -> None:
    name = str(rng.choice(HEADER.names))
    part, start = HEADER[name], HEADER.fields[name][1]
    raw = bytearray(content[start : start + part.itemsize].ljust(part.itemsize, b'\0'))
    if part.base.kind == 'S':
        raw[:] = rng.bytes(len(raw))
    else:
        items = np.frombuffer(raw, part.base)
        value = rng.choice(REAL) if part.base.kind == 'f' else rng.choice(WHOLE)
        with np.errstate(over='ignore'):
            items[rng.integers(items.size)] = np.asarray(value).astype(items.dtype)
    content[start : start + len(raw)] = raw


def _set_type(content: bytearray, rng: np.random.Generator) -> None:
    content[70:72] = int(rng.choice(CODES)).to_bytes(2, 'little')


def _set_shape(content: bytearray, rng: np.random.Generator) -> None:
    dim = rng.integers(-1, 9, 8).astype('<i2')
    dim[0] = rng.integers(0, 9)
    content[40:56] = dim.tobytes()


def _cut(content: bytearray, rng: np.random.Generator) -> None:
    del content[rng.integers(len(content) + 1) :]


def _extend(content: bytearray, rng: np.random.Generator) -> None:
    """State a header extension of some size, or of none that can be."""
    size = int(rng.choice([0, 8, 16, 32, 64, 1 << 20, (1 << 31) - 1, -8, 17]))
    content[348:352] = b'\1\0\0\0'
    content[352:360] = size.to_bytes(4, 'little', signed=True) + bytes([0, 2, 4, 6])
    if rng.random() < 0.5:
        content[108:112] = np.float32(352 + max(size, 0) % 4096).tobytes()


def _scatter(content: bytearray, rng: np.random.Generator) -> None:
    """Write any bits for voxels, and sometimes say that they are real numbers."""
    content[352:] = rng.bytes(max(len(content) - 352, 0))
    if rng.random() < 0.7:
        content[70:72] = int(rng.choice([16, 64])).to_bytes(2, 'little')
        content += rng.bytes(3 * len(content))


def _whole(content: bytes, _: np.random.Generator) -> bytes:
    return gzip.compress(content, 1, mtime=0)


def _flipped(content: bytes, rng: np.random.Generator) -> bytes:
    packed = bytearray(gzip.compress(content, 1, mtime=0))
    for _ in range(rng.integers(1, 4)):
        packed[rng.integers(len(packed))] ^= 1 << int(rng.integers(8))
    return bytes(packed)


def _shortened(content: bytes, rng: np.random.Generator) -> bytes:
    packed = gzip.compress(content, 1, mtime=0)
    return packed[: rng.integers(len(packed))]


def _members(content: bytes, rng: np.random.Generator) -> bytes:
    at = int(rng.integers(len(content) + 1))
    parts = [gzip.compress(part, 1, mtime=0) for part in (content[:at], content[at:])]
    return bytes(9).join(parts)


def _longer(content: bytes, rng: np.random.Generator) -> bytes:
    behind = bytes(int(rng.choice([1, 1000, 3_000_000]))) if rng.random() < 0.5 else b''
    packed = gzip.compress(content + behind, 1, mtime=0)
    return packed if behind else packed + rng.bytes(20)


def _plain(content: bytes, _: np.random.Generator) -> bytes:
    return content


def _sidecar(rng: np.random.Generator) -> str:
    entries = dict(tiny_dataset.SIDECAR)
    for _ in range(rng.integers(1, 5)):
        value = VALUES[rng.integers(len(VALUES))]
        for _ in range(rng.choice([0, 0, 0, 1, 60])):
            value = [value] if rng.random() < 0.5 else {'a': value}
        entries[KEYS[rng.integers(len(KEYS))]] = value
    whole: Any = entries if rng.random() < 0.9 else VALUES[rng.integers(len(VALUES))]
    return json.dumps(whole, ensure_ascii=bool(rng.random() < 0.5))


def _text(raw: bytes, rng: np.random.Generator) -> bytes:
    """Change words, lines, bytes or the encoding of a text."""
    text = raw.decode('utf-8', 'replace')
    for _ in range(rng.integers(1, 4)):
        words = text.split(' ')
        at = int(rng.integers(len(words)))
        change = rng.integers(7)
        if change == 0:
            words[at] = WORDS[rng.integers(len(WORDS))]
        elif change == 1:
            del words[at]
        elif change == 2:
            words[at:at] = words[at : at + 3]
        elif change == 3:
            words[at] += WORDS[rng.integers(len(WORDS))]
        text = ' '.join(words)
        if change == 4:
            times = int(rng.choice([1, 2, 300])) if len(text) < LONGEST // 300 else 1
            text = '\n'.join(text.splitlines()[::-1] * times)
        elif change == 5:
            text = text[: rng.integers(len(text) + 1)]
        elif change == 6:
            text = text.replace(' ', str(rng.choice([',', '\t', '\n', '', '\xa0', '\r\n'])))
    coding = str(rng.choice(['utf-8', 'utf-8', 'utf-8', 'utf-8-sig', 'utf-16', 'utf-32']))
    content = bytearray(text.encode(coding, 'surrogatepass'))
    if content and rng.random() < 0.2:
        content[rng.integers(len(content))] = rng.integers(256)
    return bytes(content)
