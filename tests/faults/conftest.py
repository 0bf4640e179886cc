"""The study that faults are done to, made once for each file of tests."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.__main__ import seeded
from tests.faults.fault import NotPermittedError
from tests.faults.study import Study
from tests.faults.tables import FAULTS


@pytest.fixture(scope='module')
def study(request: pytest.FixtureRequest) -> Iterator[Study]:
    """Make a study of as many participants as the file of tests says."""
    with tempfile.TemporaryDirectory() as folder:
        yield Study(Path(folder) / 'study', request.module.PARTICIPANTS)


@pytest.fixture
def survives(study: Study) -> Iterator[Callable[[str, int], None]]:
    """Return what does a fault some times, and fails with what was wrong."""
    with tempfile.TemporaryDirectory() as folder:

        def survive(name: str, count: int) -> None:
            (fault,) = (fault for fault in FAULTS if fault.name == name)
            place = Path(folder) / name
            try:
                tries = list(fault.tries(study, count, seeded(fault, 1), place))
            except NotPermittedError as error:
                pytest.skip(str(error))
            assert len(tries) == count
            assert not [text for tried in tries for text in tried.wrong]

        yield survive
