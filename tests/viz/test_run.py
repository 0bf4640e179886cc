"""One call draws all pictures of a run."""

import numpy as np
import pytest

from bidsharmony.viz.run import figure_name, run_figures
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
        ({'gain': shading(2), 'bias': shading(2)}, {}, IMAGES | {'psd', 'glcm', 'gain', 'bias'}),
        ({}, {'psd': None, 'glcm': {}}, IMAGES),
        ({'blend': shading(2) / 2}, {}, IMAGES | {'psd', 'glcm', 'blend'}),
        ({'blend': 0 * shading(2)}, {}, IMAGES | {'psd', 'glcm'}),
        ({'uncertainty': shading(2)}, {}, IMAGES | {'psd', 'glcm', 'uncertainty'}),
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


def test_drawing_twice_gives_the_same_bytes(audit):
    """Pages have one hash on every run."""
    document = qc('01', 'avanto')
    assert run_figures(audit, document) == run_figures(audit, document)


def test_a_run_without_slices_has_charts_only():
    """A slab that misses every audit plane is no error."""
    empty = {'before': np.ones((0, 2, 160, 160)), 'after': np.ones((0, 2, 160, 160)),
             'mask': np.ones((0, 160, 160), bool)}  # fmt: skip
    assert set(run_figures(empty, qc('01', 'avanto'), gain=empty['mask'])) == {'psd', 'glcm'}


def test_every_desc_is_a_bids_label(audit):
    """Letters and digits, as BIDS wants them."""
    for desc in run_figures(audit, qc('01', 'avanto'), bias=shading(2)):
        assert desc.isalnum()
        assert figure_name('sub-01', desc) == f'sub-01_desc-{desc}_dwi.png'
