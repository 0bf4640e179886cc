"""Trace images of tensors that are known."""

import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from bidsharmony.numerics.trace import trace_weighted

MD = 0.8e-3
AXES = np.eye(3)
SHAPE = (4, 3, 2)
MASK = np.ones(SHAPE, bool)


def sphere(count: int) -> np.ndarray:
    """Return directions spread over a half sphere, (count, 3)."""
    z = (np.arange(count) + 0.5) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    return np.stack(
        [np.sqrt(1 - z**2) * np.cos(turn), np.sqrt(1 - z**2) * np.sin(turn), z], axis=1
    )


# the last three are the volumes that clinical scanners make: along x, y and z
DIRECTIONS = {6: sphere(6), 30: sphere(30), 3: AXES}


def acquire(directions, b, *, b0s=2, s0=500.0, eigenvalues=(1.7e-3, 0.4e-3, 0.3e-3)):
    """Measure one tensor, turned against the axes, without noise."""
    turned, _ = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))
    tensor = turned @ np.diag(eigenvalues) @ turned.T
    bvecs = np.concatenate([np.zeros((b0s, 3)), directions])
    bvals = np.concatenate([np.zeros(b0s), np.full(len(directions), float(b))])
    decay = np.exp(-bvals * np.einsum('ni,ij,nj->n', bvecs, tensor, bvecs))
    return np.broadcast_to(s0 * decay, (*SHAPE, len(bvals))).copy(), bvals, bvecs


def summarise(series, bvals, bvecs, mask=MASK):
    """Call the function under test; b-values of at most 50 are b=0."""
    return trace_weighted(series, bvals, bvecs, b0_ixs=np.flatnonzero(bvals <= 50), mask=mask)


@pytest.mark.parametrize('b0s', [1, 3])
@pytest.mark.parametrize(
    ('count', 'b', 'extrapolated'),
    [(6, 1000, False), (30, 1000, False), (30, 800, False), (30, 700, True), (30, 2000, True)],
)
def test_trace_of_a_known_tensor(count, b, extrapolated, b0s):
    """The trace image is S0 exp(-1000 MD), however the directions lie and whatever b was."""
    found = summarise(*acquire(DIRECTIONS[count], b, b0s=b0s))
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    np.testing.assert_allclose(found.trace, 500 * np.exp(-1000 * MD), rtol=1e-5)
    assert (found.method, found.n_directions) == ('tensor', count)
    assert (found.b_acquired, found.extrapolated) == (b, extrapolated)
    assert found.trace.dtype == found.adc.dtype == np.float32


def test_geometric_mean_of_three_orthogonal_directions():
    """Three orthogonal directions give MD exactly; their arithmetic mean image would not."""
    series, bvals, bvecs = acquire(AXES, 1000)
    found = summarise(series, bvals, bvecs)
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert (found.method, found.n_directions) == ('geometric', 3)
    arithmetic = -np.log(series[0, 0, 0, 2:].mean() / 500) / 1000
    assert arithmetic < 0.95 * MD


@pytest.mark.parametrize(
    ('directions', 'n_directions'),
    [
        (np.zeros((1, 3)), 0),  # a directionless trace image
        (np.repeat(AXES, 3, axis=0), 3),
        (np.concatenate([AXES, -AXES]), 3),
        # ten directions in a plane say nothing about the third axis
        ([[np.cos(t), np.sin(t), 0] for t in np.linspace(0, 3, 10)], 10),
        (np.concatenate([DIRECTIONS[30], np.zeros((1, 3))]), 30),
    ],
)
def test_too_few_directions_for_a_tensor(directions, n_directions):
    """What does not determine a tensor falls back to the geometric mean, and counts rightly."""
    found = summarise(*acquire(np.array(directions), 1000, eigenvalues=(MD, MD, MD)))
    assert (found.method, found.n_directions) == ('geometric', n_directions)
    if np.any(directions, axis=1).all():
        np.testing.assert_allclose(found.adc, MD, rtol=1e-5)


def test_tensor_agrees_with_dipy(rng):
    """The fit is dipy's weighted least squares, with noise and uneven signals."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000, b0s=1)
    series += rng.normal(0, 10, series.shape)
    model = TensorModel(gradient_table(bvals, bvecs=bvecs), fit_method='WLS')
    np.testing.assert_allclose(
        summarise(series, bvals, bvecs).adc, model.fit(series).md, rtol=1e-4
    )


def test_only_the_shell_nearest_1000_counts():
    """A shell at 3000, where the noise floor is, changes nothing."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000)
    far, far_bvals, far_bvecs = acquire(DIRECTIONS[30], 3000, b0s=0)
    found = summarise(
        np.concatenate([series, 0 * far + 100], axis=-1),
        np.concatenate([bvals, far_bvals]),
        np.concatenate([bvecs, far_bvecs]),
    )
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert found.b_acquired == 1000


def test_b_values_as_scanners_write_them():
    """b=0 at 1.25, b=1000 at 929.75 and b-vectors of nearly unit length are no error."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 928.5, b0s=1)
    found = summarise(series, bvals + 1.25, bvecs * 1.03)
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)
    assert not found.extrapolated


@pytest.mark.parametrize('count', [3, 30])
@pytest.mark.parametrize('value', [0, -5, np.nan, np.inf, 1e30])
def test_bad_signals_stay_where_they_are(count, value):
    """Zeros, negatives, NaN and inf give finite numbers, and leave their neighbours alone."""
    series, bvals, bvecs = acquire(DIRECTIONS[count], 1000)
    clean = summarise(series, bvals, bvecs)
    series[0, 0, 0] = value
    series[1, 0, 0, 0:2] = value
    series[2, 0, 0, 4] = value
    found = summarise(series, bvals, bvecs)
    for image in (found.trace, found.adc):
        assert np.isfinite(image).all()
        assert image.min() >= 0
    assert found.adc.max() <= 5e-3 * (1 + 1e-6)
    np.testing.assert_array_equal(found.trace[3], clean.trace[3])


def test_a_signal_that_no_float32_holds_counts_as_lost():
    """As what is not finite does."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000)
    huge, lost = series.copy(), series.copy()
    huge[2, 0, 0, 4], lost[2, 0, 0, 4] = 1e39, 0
    with np.errstate(over='ignore'):
        found = summarise(huge, bvals, bvecs)
    np.testing.assert_array_equal(found.adc, summarise(lost, bvals, bvecs).adc)


def test_outside_the_mask_there_is_an_image_too():
    """The network sees the whole slice: outside the mask the geometric mean goes on."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000, eigenvalues=(MD, MD, MD))
    found = summarise(series, bvals, bvecs, mask=np.zeros(SHAPE, bool))
    assert found.method == 'tensor'
    np.testing.assert_allclose(found.adc, MD, rtol=1e-5)


def test_a_series_on_a_disk_is_read_in_parts(rng):
    """Volumes come one at a time; voxels that are not held at once make no difference."""
    series, bvals, bvecs = acquire(DIRECTIONS[30], 1000)
    series = series * rng.uniform(0.8, 1.2, series.shape)
    mask = np.zeros(SHAPE, bool)
    mask[0, 0] = True
    options = {'b0_ixs': [0, 1], 'mask': mask}
    whole = trace_weighted(series, bvals, bvecs, **options)
    asked = []

    def read(ixs):
        asked.append(len(ixs))
        return (np.asfortranarray(series[..., ix]) for ix in ixs)

    parted = trace_weighted(read, bvals, bvecs, **options, held_mb=4 * 30 * 5 / 2**20)
    np.testing.assert_allclose(parted.trace, whole.trace, rtol=1e-6)
    np.testing.assert_allclose(parted.adc, whole.adc, rtol=1e-6)
    assert asked[0] == 2
    assert len(asked) > 2
    assert set(asked[1:]) == {30}


@pytest.mark.parametrize('kinds', [(np.uint16,), ('>i2',), (np.int16, np.float64)])
@pytest.mark.parametrize('count', [3, 30])
def test_volumes_may_be_of_any_kind(kinds, count):
    """Integers of two bytes, as files hold them, in either order, and kinds that change."""
    series, bvals, bvecs = acquire(DIRECTIONS[count], 1000, s0=60_000 if len(kinds) == 1 else 900)
    stored = np.rint(series / 2 if '>i2' in kinds else series)

    def read(ixs):
        return (stored[..., ix].astype(kinds[ix > 2 and len(kinds) > 1]) for ix in ixs)

    if len(kinds) > 1:
        stored[..., 4] *= 100  # more than two bytes hold
    options = {'b0_ixs': [0, 1], 'mask': MASK}
    found = trace_weighted(read, bvals, bvecs, **options)
    whole = trace_weighted(stored, bvals, bvecs, **options)
    np.testing.assert_array_equal(found.adc, whole.adc)
    np.testing.assert_array_equal(found.trace, whole.trace)
