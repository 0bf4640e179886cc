"""Tensors of known shape are found again; turns are measured in degrees."""

import tracemalloc

import numpy as np
import pytest
from dipy.core.gradients import gradient_table
from dipy.reconst.dti import TensorModel

from bidsharmony.numerics import tensor
from bidsharmony.numerics.diffusion import ADC_LIMIT
from bidsharmony.numerics.gain import PassingDiffusion, apply_gain, compare_diffusion
from bidsharmony.numerics.tensor import (
    _weighted,
    fit_mean_diffusivities,
    fit_tensors,
    v1_angles,
)
from tests.ratios import ratio_change

B = 1000.0


def diffusion_change(before, after, n_b0, bvals, bvecs, *, paired=True):
    """Compare two series of voxels, (V, n): first the b=0 volumes, then a shell."""
    sides = []
    for signal in (before, after):
        sides.append(PassingDiffusion(signal[:, :n_b0].mean(axis=1, dtype=float), bvals, bvecs))
        for number, volume in enumerate(signal[:, n_b0:].T):
            sides[-1].see(number, volume)
    return compare_diffusion(*sides, paired=paired)


@pytest.fixture
def directions(rng):
    """Draw 20 unit vectors."""
    vectors = rng.standard_normal((20, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def prolate(axes, along, across):
    """Return tensors (V, 3, 3) with one long axis."""
    outer = axes[:, :, None] * axes[:, None, :]
    return across * np.eye(3) + (along - across) * outer


def signals(tensors, directions):
    """Return exp(-b g'Dg), (V, n)."""
    return np.exp(-B * np.einsum('ni,vij,nj->vn', directions, tensors, directions))


def test_known_tensors_are_found(directions, rng):
    """Mean diffusivity, anisotropy and axis, of known eigenvalues."""
    axes = rng.standard_normal((50, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    along, across = 1.7e-3, 0.3e-3
    found = fit_tensors(
        signals(prolate(axes, along, across), directions), np.full(20, B), directions
    )
    md = (along + 2 * across) / 3
    fa = np.sqrt(1.5) * np.linalg.norm(np.array([along, across, across]) - md)
    fa /= np.linalg.norm([along, across, across])
    np.testing.assert_allclose(found.md, md, rtol=1e-6)
    np.testing.assert_allclose(found.fa, fa, rtol=1e-6)
    np.testing.assert_allclose(np.abs(np.einsum('ij,ij->i', found.v1, axes)), 1, rtol=1e-9)


def table_of(directions, b):
    """Put a b=0 before a shell, for dipy."""
    bvecs = np.concatenate([np.zeros((1, 3)), directions])
    return gradient_table(np.concatenate([[0.0], np.full(len(directions), b)]), bvecs=bvecs)


def test_the_weighted_fit_is_that_of_dipy(directions, rng):
    """Normal equations and singular values, on signals in noise and on lost ones."""
    axes = rng.standard_normal((2000, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    signal = signals(prolate(axes, 2.5e-3, 0.3e-3), directions)
    signal = np.maximum(np.abs(signal + rng.normal(0, 0.1, signal.shape)), np.exp(-5))
    signal[:100] = np.exp(-5)
    theirs = TensorModel(table_of(directions, B), fit_method='WLS').fit(
        np.insert(signal, 0, 1.0, axis=1)
    )
    ours = fit_tensors(signal, np.full(20, B), directions)
    np.testing.assert_allclose(ours.md, theirs.md, rtol=1e-9)
    np.testing.assert_allclose(ours.fa, theirs.fa, atol=1e-9)


def test_mean_diffusivities_alone_are_those_of_the_fit(directions, rng, monkeypatch):
    """Where eigenvalues are not positive and are raised, and where equations have no solution."""
    axes = rng.standard_normal((500, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    signal = signals(prolate(axes, 2.5e-3, 0.02e-3), directions)
    signal = np.maximum(np.abs(signal + rng.normal(0, 0.1, signal.shape)), np.exp(-5))
    signal[:50] = rng.uniform(0.1, 1.9, (50, 20))
    model = TensorModel(table_of(directions, B), fit_method='WLS')
    theirs = model.fit(np.insert(signal, 0, 1.0, axis=1))
    assert (theirs.evals[:, 2] < 1.1e-6 / B).any()
    found = fit_mean_diffusivities(signal, np.full(20, B), directions)
    np.testing.assert_allclose(found, theirs.md, rtol=1e-9)
    monkeypatch.setattr(tensor, '_solve', lambda *_: None)
    found = fit_mean_diffusivities(signal, np.full(20, B), directions)
    np.testing.assert_allclose(found, theirs.md, rtol=1e-9)


def test_equations_that_cannot_be_solved_are_dipys():
    """One direction determines no tensor: dipy's answer of least length is given."""
    design = np.ones((4, 7))
    found, _ = _weighted(-design, np.full((2, 4), 0.5))
    assert np.isfinite(found).all()


@pytest.mark.parametrize('degrees', [1e-5, 1.0, 60.0, 90.0])
def test_turns_are_measured(degrees):
    """Small ones, too, whatever the sign."""
    turn = np.radians(degrees)
    found = v1_angles(np.array([[1.0, 0, 0]]), np.array([[-np.cos(turn), -np.sin(turn), 0]]))
    assert found == pytest.approx([degrees], rel=1e-4)


def phantom(directions, rng):
    """Return a noisy series with two b=0 volumes, (8, 8, 4, 22) float32, and its axes."""
    axes = rng.standard_normal((256, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    weighted = signals(prolate(axes, 1.7e-3, 0.3e-3), directions)
    series = np.concatenate([np.ones((256, 2)), weighted], axis=1)
    series = 400 * rng.uniform(0.5, 2, (256, 1)) * series
    return np.abs(series + rng.normal(0, 8, series.shape)).reshape(8, 8, 4, 22).astype(np.float32)


def test_one_field_changes_no_tensor(directions, rng):
    """The product with a positive field has the same diffusivity, anisotropy and directions."""
    series = phantom(directions, rng)
    gained = apply_gain(series, rng.uniform(1e-3, 5e-3, series.shape[:3]))
    change = diffusion_change(
        series.reshape(-1, 22), gained.reshape(-1, 22), 2, np.full(20, B), directions
    )
    assert change.method == 'tensor'
    assert change.n_voxels == 256
    assert change.md_change < 1e-5
    assert change.fa_change < 1e-5
    assert change.v1_degrees < 1e-3
    assert change.fa[0] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize('what', ['one volume', 'one voxel'])
def test_what_is_changed_is_seen(directions, rng, what):
    """A volume that fell by 5 %, and a voxel whose two directions were exchanged."""
    series = phantom(directions, rng).reshape(-1, 22)
    broken = series.copy()
    if what == 'one volume':
        broken[:, 5] *= 0.95
    else:
        broken[7, 2:] = series[7, 2:][::-1]
    change = diffusion_change(series, broken, 2, np.full(20, B), directions)
    assert change.md_change > 1e-3
    assert change.fa_change > 1e-3
    assert change.v1_degrees > 0.1


def test_turns_count_where_tissue_has_a_direction(directions, rng):
    """Where diffusion is the same in all directions, the first of them is a matter of chance."""
    signal = np.concatenate([np.ones((9, 2)), np.exp(-B * np.full((9, 20), 0.8e-3))], axis=1)
    turned = signal * rng.normal(1, 0.01, signal.shape)
    change = diffusion_change(signal, turned, 2, np.full(20, B), directions)
    assert change.fa_change > 1e-3
    assert change.v1_degrees == 0


def test_three_directions_give_a_mean_diffusivity_only():
    """The mean over the directions, as in clinical series; no anisotropy is claimed."""
    series = 100 * np.exp(-B * np.array([[0, 0.5e-3, 0.7e-3, 0.9e-3]]))
    change = diffusion_change(series, 3 * series, 1, np.full(3, B), np.eye(3))
    assert (change.method, change.fa, change.fa_change, change.v1_degrees) == (
        'geometric',
        None,
        None,
        None,
    )
    assert change.md == pytest.approx((0.7e-3, 0.7e-3))


def test_other_grids_compare_medians_only(directions, rng):
    """Voxels without a counterpart are not subtracted from each other."""
    series = phantom(directions, rng).reshape(-1, 22)
    change = diffusion_change(series, series[::2], 2, np.full(20, B), directions, paired=False)
    assert (change.md_change, change.fa_change, change.v1_degrees) == (None, None, None)
    assert change.md[1] == pytest.approx(change.md[0], rel=0.05)


def test_a_mask_without_signal_is_an_error():
    """There is nothing to compare."""
    with pytest.raises(ValueError, match='no voxel of the mask'):
        diffusion_change(np.zeros((4, 4)), np.zeros((4, 4)), 1, np.full(3, B), np.eye(3))


def test_tails_too_small_for_a_float32_do_not_break_the_promise():
    """A signal of 3e-37 cannot keep seven digits; one that was lost at a real height is seen."""
    before = np.array([[100.0, 3e-37], [100.0, 50.0]]).reshape(2, 1, 1, 2)
    after = apply_gain(before, np.full((2, 1, 1), 1.3e-3))
    mask = np.ones((2, 1, 1), bool)
    found = ratio_change(before, after, [0], mask)
    assert found.max_relative < 1e-6
    assert found.n_voxels == 1
    after[1, 0, 0, 1] = 0
    assert ratio_change(before, after, [0], mask).max_relative == pytest.approx(1)


def test_memory_of_the_comparison_does_not_grow_with_volumes(rng):
    """Of each volume a sum is kept, and no signal."""
    peaks = []
    for count in (16, 160):
        vectors = rng.standard_normal((count, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        tracemalloc.start()
        passing = PassingDiffusion(np.full(50_000, 2.0), np.full(count, B), vectors)
        for number in range(count):
            passing.see(number, rng.uniform(0.5, 1.5, 50_000))
        compare_diffusion(passing, passing)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.02 * peaks[0]


def test_memory_of_the_weighted_fit_does_not_grow_with_directions(rng):
    """Beside the signals that come in, as many are held at a time however many there are."""
    peaks = []
    for count in (30, 240):
        vectors = rng.standard_normal((count, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        signal = rng.uniform(0.2, 0.6, (3_000_000 // count, count))
        tracemalloc.start()
        fit_tensors(signal, np.full(count, B), vectors)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]


@pytest.mark.parametrize('b', [1000.0, 3000.0])
def test_volumes_that_pass_are_fitted_as_dipy_does(directions, rng, b):
    """The unweighted fit, in any order of the volumes, with signals that were lost."""
    series = phantom(directions, rng).reshape(-1, 22).astype(float)
    series[:50, 2:8] = 0
    s0 = series[:, :2].mean(axis=1)
    passing = PassingDiffusion(s0, np.full(20, b), directions)
    for number in rng.permutation(20):
        passing.see(number, series[:, 2 + number])
    md, fa = passing.scalars(np.arange(256))
    v1 = passing.first_eigenvectors(np.arange(256))
    ratio = np.maximum(series[:, 2:] / s0[:, None], np.exp(-b * ADC_LIMIT))
    model = TensorModel(table_of(directions, b), fit_method='OLS', min_signal=1e-30)
    expected = model.fit(np.insert(ratio, 0, 1.0, axis=1))
    np.testing.assert_allclose(md, expected.md, rtol=1e-9)
    np.testing.assert_allclose(fa, expected.fa, rtol=1e-9)
    turned = np.abs((v1 * expected.evecs[..., 0]).sum(axis=1))
    np.testing.assert_allclose(turned, 1, rtol=1e-9)
