"""One call draws all pictures of a run."""

import numpy as np
import pytest

from bidsharmony.viz.run import figure_name, map_figures, run_figures
from tests.synthetic_runs import audit_slices, qc, shading

IMAGES = {'b0before', 'b0after', 'tracebefore', 'traceafter'}


@pytest.fixture(scope='module')
def audit():
    """Audit slices of a noisy scanner."""
    return audit_slices('avanto', n_slices=2)


@pytest.mark.parametrize(
    ('maps', 'changes', 'expected'),
    [
        ({}, {}, IMAGES | {'psd', 'glcm'}),
        ({}, {'psd': None, 'glcm': {}}, IMAGES),
        ({'blend': shading(2) / 2}, {}, IMAGES | {'psd', 'glcm', 'blend'}),
        ({'blend': 0 * shading(2)}, {}, IMAGES | {'psd', 'glcm'}),
        (
            {'adc': (shading(2), shading(2))},
            {},
            IMAGES | {'psd', 'glcm', 'adcbefore', 'adcafter'},
        ),
    ],
)
def test_what_is_there_is_drawn(audit, maps, changes, expected):
    """Each input brings its picture, none is drawn from nothing."""
    drawn = run_figures(audit, qc('01', 'avanto') | changes, **maps)
    assert set(drawn) == expected
    assert all(png.startswith(b'\x89PNG') for png in drawn.values())


@pytest.mark.parametrize('names', [(), ('gain', 'bias'), ('uncertainty',)])
def test_maps_that_are_there_are_drawn(audit, names):
    """Each has its picture."""
    drawn = map_figures(audit['mask'], **dict.fromkeys(names, shading(2)))
    assert list(drawn) == list(names)
    assert all(png.startswith(b'\x89PNG') for png in drawn.values())


def test_drawing_twice_gives_the_same_bytes(audit):
    """Pages have one hash on every run."""
    document = qc('01', 'avanto')
    assert run_figures(audit, document) == run_figures(audit, document)


def test_a_run_without_slices_has_charts_only():
    """A slab that misses every audit plane is no error."""
    empty = {'before': np.ones((0, 2, 160, 160)), 'after': np.ones((0, 2, 160, 160)),
             'mask': np.ones((0, 160, 160), bool)}  # fmt: skip
    assert set(run_figures(empty, qc('01', 'avanto'))) == {'psd', 'glcm'}
    assert map_figures(empty['mask'], gain=empty['mask']) == {}


def test_every_desc_is_a_bids_label(audit):
    """Letters and digits, as BIDS wants them."""
    maps = map_figures(audit['mask'], bias=shading(2))
    for desc in run_figures(audit, qc('01', 'avanto')) | maps:
        assert desc.isalnum()
        assert figure_name('sub-01', desc) == f'sub-01_desc-{desc}_dwi.png'
