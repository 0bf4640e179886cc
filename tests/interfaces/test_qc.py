"""Numbers are rounded, archives repeat, and the schema knows every key."""

import io
import json
import time
from importlib.resources import files

import numpy as np

from bidsharmony.interfaces.qc import dump_json, npz_bytes, rounded


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


def test_json_has_no_nan():
    """What is not finite is null."""
    text = dump_json(rounded({'a': np.float32('nan'), 'b': [np.int64(2), 1 / 3], 'c': (True,)}))
    assert json.loads(text) == {'a': None, 'b': [2, 0.333333], 'c': [True]}


def test_schema_is_json_and_closed():
    """The schema names its version and lets no unknown key in."""
    schema = json.loads(files('bidsharmony.data').joinpath('qc.schema.json').read_text())
    assert schema['properties']['version'] == {'const': 1}
    assert schema['additionalProperties'] is False
    assert set(schema['required']) == set(schema['properties'])
