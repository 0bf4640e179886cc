"""Numbers are rounded, archives repeat, and the schema knows every key."""

import io
import json
import time
from importlib.resources import files

import jsonschema
import numpy as np
import pytest

from bidsharmony.interfaces.qc import MeasureRun, dump_json, npz_bytes, rounded
from bidsharmony.interfaces.sidecars import TOLD
from tests.synthetic_runs import qc

SCHEMA = json.loads(files('bidsharmony.data').joinpath('qc.schema.json').read_text())


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
    assert SCHEMA['properties']['version'] == {'const': 1}
    assert SCHEMA['additionalProperties'] is False
    assert set(SCHEMA['required']) == set(SCHEMA['properties'])
    sidecar = SCHEMA['properties']['sidecar']['properties']
    assert tuple(sidecar['used']['propertyNames']['enum']) == TOLD
    assert tuple(sidecar['missing']['items']['enum']) == TOLD


@pytest.fixture
def assembled() -> dict:
    """Assemble a document as the interface does, of a sidecar with values of every kind."""
    drawn = qc('01', 'avanto', session='a')
    keys = ('run', 'subject', 'session', 'scanner', 'input', 'no_series', 'notes', 'warnings')
    measure = MeasureRun(
        run={key: drawn[key] for key in keys} | {'sidecar': {'EchoTime': 80, 'PartialFourier': 1}},
        trace_facts={key: drawn['summary'][key] for key in (
            'trace_method', 'b_acquired', 'extrapolated', 'n_directions'
        )},
        bias_facts=drawn['bias'],
        network_facts=drawn['network'] | {'robust_scale': 412.0},
        guarantee=drawn['guarantee'],
    )  # fmt: skip
    return measure._assemble(
        sigma=float('nan'),
        snr=None,
        volume_ml=1.0,
        shares={'tissue_share': 0.8, 'fluid_share': 0.1},
        gain=[0.9, 1.0, 1.1],
        adc=[8e-4, float('nan')],
        audit={key: drawn[key] for key in ('psd', 'glcm')},
    )


def test_documents_follow_the_schema(assembled):
    """Types, enums and ranges hold for what is written, and for what the page tests draw."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for document in (assembled, qc('01', 'prisma')):
        jsonschema.validate(document, SCHEMA)
    assert assembled['sidecar']['used'] == {
        'BValue': 1000.0,
        'SliceThickness': 2.2,
        'AcquiredPixel': 2.0,
    }
    assert 'EchoTime' in assembled['sidecar']['missing']


@pytest.mark.parametrize(
    ('part', 'key', 'value'),
    [
        ('sidecar', 'used', {'EchoTime': None}),
        ('sidecar', 'used', {'FlipAngle': 90}),
        ('sidecar', 'missing', ['PatientName']),
        ('summary', 'trace_method', 'median'),
        ('input', 'slice_axis', 3),
        ('network', 'weights_sha256', 'abc'),
    ],
)
def test_the_schema_refuses(assembled, part, key, value):
    """A wrong type, name or range is seen."""
    assembled[part][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(assembled, SCHEMA)
