"""What every test may use: the development data, a seeded generator, one thread per process."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import numpy as np

# Set before numpy is first imported: results and timing must not depend on the machine.
for variable in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(variable, '1')
# No library calls home from a test.
os.environ.update(NO_ET='1', NIPYPE_NO_ET='1', TEMPLATEFLOW_AUTOUPDATE='off')

ROOT = Path(__file__).resolve().parents[1]
SEED = 20240512


@pytest.fixture(scope='session')
def repository() -> Path:
    """Return the root of the repository."""
    return ROOT


@pytest.fixture(scope='session')
def benchmark_script() -> Callable[[str], ModuleType]:
    """Return what imports a script of `benchmarks/`, as they import one another: by bare name."""

    def load(name: str) -> ModuleType:
        folder = str(ROOT / 'benchmarks')
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(folder)

    return load


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """Return the folder of real data beside the repository, or skip with the reason."""
    folder = ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip('the real data is not here: no folder ../shared/data beside the repository')
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts from the same seed in every test."""
    import numpy as np

    return np.random.default_rng(SEED)
