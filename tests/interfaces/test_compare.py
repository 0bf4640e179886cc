"""What a run is compared by does not depend on when that is done."""

import io
import time

import numpy as np

from bidsharmony.interfaces.compare import npz_bytes


def test_npz_does_not_know_the_time(monkeypatch):
    """Two archives of the same arrays are the same bytes."""
    arrays = {'before': np.ones((2, 2), np.float16), 'version': np.int64(1)}
    first = npz_bytes(arrays)
    later = time.time() + 1e7
    monkeypatch.setattr(time, 'time', lambda: later)
    assert npz_bytes(arrays) == first
    with np.load(io.BytesIO(first), allow_pickle=False) as archive:
        assert archive['before'].dtype == np.float16
        assert int(archive['version']) == 1
