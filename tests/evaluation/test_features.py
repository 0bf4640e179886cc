"""Audit slices are cut alike before and after, and described as qc.json wants it."""

import json

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.evaluation.features import AUDIT_VERSION, audit_arrays, describe
from bidsharmony.numerics.grids import inplane_grid, resample_to_shape
from bidsharmony.numerics.texture import FEATURES

AFFINE = np.array([[-3.0, 0, 0, 40], [0, 2.9, 0.5, -30], [0, -0.5, 4.9, 10], [0, 0, 0, 1]])


@pytest.fixture
def run(rng) -> dict[str, np.ndarray]:
    """Return the arguments of `audit_arrays`: a textured head, and it on a finer grid."""
    shape = (24, 24, 9)
    i, j, k = (np.indices(shape).T - (np.array(shape) - 1) / 2).T
    mask = (i / 11) ** 2 + (j / 11) ** 2 + (k / 5) ** 2 < 1
    b0 = resample_to_shape(1 + 0.2 * rng.normal(size=(12, 12, 9)), shape)
    finer_shape, finer_affine = inplane_grid(shape, AFFINE, 2, 1.0)
    finer = resample_to_shape(b0, finer_shape)
    return {
        'b0_before': b0,
        'trace_before': b0 / 2,
        'affine_before': AFFINE,
        'mask_before': mask,
        'b0_after': finer,
        'trace_after': finer / 2,
        'affine_after': finer_affine,
    }


def test_before_and_after_lie_on_one_another(run):
    """The same image on two grids gives the same slices, in the mask, channel by channel."""
    audit = audit_arrays(**run)
    n = len(audit['mask'])
    assert n > 3
    assert audit['before'].shape == audit['after'].shape == (n, 2, 160, 160)
    assert audit['before'].dtype == audit['after'].dtype == np.float16
    assert audit['mask'].shape == (n, 160, 160)
    assert audit['mask'].dtype == bool
    assert audit['mask'].any(axis=(1, 2)).all()
    assert audit['version'] == AUDIT_VERSION
    inside = np.repeat(audit['mask'][:, None], 2, axis=1)
    before, after = (audit[side][inside].astype(float) for side in ('before', 'after'))
    assert np.abs(before - after).mean() < 0.03
    assert np.corrcoef(before, after)[0, 1] > 0.98
    np.testing.assert_allclose(audit['before'][:, 1] * 2, audit['before'][:, 0], atol=1e-3)


def test_broken_and_huge_values_fit_into_float16(run):
    """Neither NaN nor values over 65504 leave the slices infinite."""
    run['b0_before'] = run['b0_before'] * 1e6
    run['trace_after'] = np.where(run['trace_after'] > 0.5, np.nan, run['trace_after'])
    audit = audit_arrays(**run)
    for side in ('before', 'after'):
        assert np.isfinite(audit[side]).all()


def test_an_empty_mask_is_refused(run):
    """There is nothing to cut."""
    run['mask_before'] = np.zeros_like(run['mask_before'])
    with pytest.raises(ValueError, match='mask is empty'):
        audit_arrays(**run)


def test_describe_has_the_layout_of_qc_json(run):
    """Lists of finite numbers by channel and side, the same when computed again."""
    audit = audit_arrays(**run)
    found = describe(audit)
    assert describe(audit) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {'psd', 'glcm'}
    assert set(found['psd']) == {'freqs_per_mm', 'b0', 'trace'}
    freqs = found['psd']['freqs_per_mm']
    assert freqs[0] == pytest.approx(0.005)
    assert freqs[-1] == pytest.approx(0.4)
    for channel in ('b0', 'trace'):
        for side in ('before', 'after'):
            psd = found['psd'][channel][side]
            assert len(psd) == len(freqs)
            assert sum(psd) * freqs[0] == pytest.approx(1)
            names = {f'{name}_d{distance}' for name in FEATURES for distance in (1, 2, 4)}
            assert set(found['glcm'][channel][side]) == names


def test_describe_a_blurred_run(run):
    """Blur lowers contrast and high frequencies: the figures tell before from after."""
    run['b0_after'] = ndimage.gaussian_filter(run['b0_after'], (3, 3, 0))
    found = describe(audit_arrays(**run))
    texture = found['glcm']['b0']
    assert texture['after']['contrast_d1'] < texture['before']['contrast_d1']
    spectrum = found['psd']['b0']
    assert sum(spectrum['after'][30:]) < sum(spectrum['before'][30:])
