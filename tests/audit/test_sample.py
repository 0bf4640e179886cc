"""The sample is bounded, balanced, the same in any order, and reads no more than it keeps."""

from pathlib import Path

import numpy as np
import pytest

from bidsharmony.audit import sample as module
from bidsharmony.audit.sample import FEWEST_PER_RUN, MAX_SLICES, MOST_PER_RUN, Sampler
from bidsharmony.evaluation.finished import FinishedRun, Unused

SHAPE = (160, 160)


def run(subject: int, scanner: int, session: int = 0) -> FinishedRun:
    """Name a run; its files are not there."""
    stem = f'sub-{subject:04d}_ses-{scanner}x{session}'
    folder = Path('absent')
    return FinishedRun(
        {'subject': f'{subject:04d}', 'large': 'x' * 1000},
        folder / f'{stem}_desc-harmonized_qc.json',
        folder / f'{stem}_desc-audit_slices.npz',
        'hash',
    )


@pytest.fixture
def archives(monkeypatch):
    """Pretend that each run has 20 slices; count the reads, and leave some runs unreadable."""
    reads, broken = [], set()

    def read(item):
        name = item.qc_file.name
        reads.append(name)
        if any(word in name for word in broken):
            return None
        images = np.full((20, 2, 1, 1), int(name[4:8]), np.float16) * np.ones((1, 1, *SHAPE))
        return images, images + 1, np.ones((20, *SHAPE), bool)

    monkeypatch.setattr(module, 'read_slices', read)
    return reads, broken


def sampler(runs: list[tuple[FinishedRun, str]]) -> Sampler:
    """Feed runs one by one."""
    fed = Sampler()
    for item, scanner in runs:
        fed.add(item, scanner)
    return fed


def test_all_slices_of_a_small_study(archives):
    """7 scanners, 10 heads: 1,400 slices, each with its truth."""
    runs = [
        (run(head, scanner), f'scanner {scanner}') for scanner in range(7) for head in range(10)
    ]
    found, unused = sampler(runs).draw()
    assert (len(found), len(found.run_labels), unused) == (1400, 70, [])
    assert found.before.shape == (1400, 2, *SHAPE)
    assert found.before.dtype == found.after.dtype == np.float16
    heads = [int(found.subject_labels[subject]) for subject in found.subjects]
    np.testing.assert_array_equal(found.before[:, 0, 0, 0], heads)
    np.testing.assert_array_equal(found.after[:, 0, 0, 0], np.array(heads) + 1)
    for name, scanner in zip(np.array(found.run_labels)[found.runs], found.scanners, strict=True):
        assert f'ses-{found.scanner_labels[scanner][-1]}x' in name


def test_memory_and_reads_do_not_grow_with_the_study(archives):
    """Of 1,200 runs on two scanners, no more are read or remembered than can be used."""
    reads, _ = archives
    runs = [(run(head, scanner), f'{scanner}') for scanner in range(2) for head in range(600)]
    fed = sampler(runs)
    kept = [
        entry[2] for one in fed._scanners.values() for of in one.subjects.values() for entry in of
    ]
    assert len(kept) == 2 * MAX_SLICES // FEWEST_PER_RUN
    assert not any(item.qc for item in kept)
    found, _ = fed.draw()
    assert len(found) <= MAX_SLICES
    assert len(reads) == len(found.run_labels) == 2 * (MAX_SLICES // 2 // FEWEST_PER_RUN)
    assert len(found.subject_labels) == len(found.run_labels) / 2  # the same heads on both


def test_order_of_runs_does_not_matter(archives, rng):
    """Scanners with far more runs than are kept, subjects with one to five runs."""
    runs = [
        (run(head, scanner, session), f'{scanner}')
        for scanner in range(3)
        for head in range(150)
        for session in range(1 + (head + scanner) % 5)
    ]
    first, _ = sampler(runs).draw(600)
    for _ in range(3):
        again, _ = sampler([runs[i] for i in rng.permutation(len(runs))]).draw(600)
        assert again.run_labels == first.run_labels
        np.testing.assert_array_equal(again.subjects, first.subjects)


def test_scanners_give_as_many_runs_as_the_middle_one(archives):
    """3, 5 and 40 runs; a scanner of two subjects is left out."""
    counts = {'few': 3, 'some': 5, 'many': 40, 'none': 2}
    runs = [
        (run(head, place), label)
        for place, (label, count) in enumerate(counts.items())
        for head in range(count)
    ]
    found, _ = sampler(runs).draw()
    assert found.scanner_labels == ('many', 'some', 'few')
    slices = np.bincount(found.scanners) / MOST_PER_RUN
    assert slices.tolist() == [5, 5, 3]


def test_one_run_of_each_subject_comes_first(archives):
    """Three subjects of one run beside one of a hundred."""
    runs = [(run(0, 0, session), 'a') for session in range(100)]
    runs += [(run(head, 0), 'a') for head in (1, 2, 3)]
    found, _ = sampler(runs).draw(6 * FEWEST_PER_RUN)
    assert set(found.subject_labels) == {'0000', '0001', '0002', '0003'}
    assert len(found.run_labels) == 6


def test_runs_that_cannot_be_read_are_told_and_replaced(archives):
    """The next run takes their place; a scanner without enough others is left out."""
    _, broken = archives
    runs = [(run(head, scanner), f'{scanner}') for scanner in range(3) for head in range(5)]
    broken.update({'0001_ses-0x', '0000_ses-1x', '0001_ses-1x', '0002_ses-1x'})
    found, unused = sampler(runs).draw()
    assert found.scanner_labels == ('0', '2')
    assert np.bincount(found.scanners).tolist() == [80, 100]
    names = [item.name for item in unused]
    assert names.count('1') == 1
    assert len(names) == 5
    assert all(isinstance(item, Unused) for item in unused)


def test_some_of_a_sample(archives):
    """Slices go, labels stay."""
    found, _ = sampler([(run(head, s), f'{s}') for s in range(2) for head in range(3)]).draw()
    half = found.of(found.scanners == 1)
    assert len(half) == len(found) / 2
    assert set(half.scanners) == {1}
    assert half.scanner_labels == found.scanner_labels
    np.testing.assert_array_equal(found.of(np.array([3, 1])).runs, found.runs[[3, 1]])


def test_nothing_is_a_sample_too():
    """A study whose scanners have two subjects each."""
    found, unused = sampler([(run(head, 0), 'a') for head in range(2)]).draw()
    assert (len(found), found.scanner_labels, unused) == (0, (), [])
    assert found.before.shape == (0, 2, *SHAPE)
