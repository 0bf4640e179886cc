"""Files that are mutated at random are refused, skipped or processed; nothing else happens."""

import pytest

from tests.corpus.case import PROCESSED, REFUSED
from tests.corpus.fuzz import FUZZERS, fuzz

COUNT = 500
MEMORY = 300.0
"""MB that checking tiny files may add: a header or a gradient file can claim far more."""


@pytest.mark.parametrize('name', FUZZERS)
def test_fuzz(name, tmp_path):
    """No exception that nobody foresaw, no hang, no memory that a file only claims."""
    found = fuzz(FUZZERS[name], tmp_path, COUNT)
    assert not found.uncaught
    assert not found.slow
    assert found.megabytes < MEMORY
    assert sum(found.counts.values()) == COUNT
    # mutations that break everything, or nothing, would show little
    assert min(found.counts[REFUSED], found.counts[PROCESSED]) > COUNT / 20


def test_a_failure_would_be_told(tmp_path, monkeypatch):
    """The fuzzer notices what it is there for, and says which input it was."""

    def fail(path, *_, **__):
        raise IndexError('planted')

    def leave(run, good, rng):
        """Mutate nothing."""

    assert fuzz(leave, tmp_path / 'a', 2).uncaught == []
    # 'hold' reads the good run once before it counts: fail after that
    monkeypatch.setattr('tests.corpus.fuzz.load_finite', _after(1, fail))
    (told, again) = fuzz(leave, tmp_path / 'b', 2).uncaught
    assert told.startswith('seed 0, input 0: IndexError at test_fuzz.py:')
    assert again.startswith('seed 0, input 1: ')


def _after(calls, function):
    """Return what answers a number of times as it should, and then calls a function."""
    from tests.corpus.fuzz import load_finite

    count = iter(range(10**6))
    return lambda *given: (load_finite if next(count) < calls else function)(*given)
