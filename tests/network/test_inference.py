"""Inference over volumes: grids, orientations, units."""

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform

from bidsharmony.network.inference import harmonize_summary
from bidsharmony.network.model import Harmonizer
from bidsharmony.network.weights import save_weights

RECIPE = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'spacing_mm': 1.0}
AFFINE = np.array([[2.0, 0, 0, -20], [0, 2.5, 0, -30], [0, 0, 5, 10], [0, 0, 0, 1]])
SHAPE = (20, 24, 4)


@pytest.fixture
def identity(tmp_path):
    path = tmp_path / 'identity.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, RECIPE)
    return path


@pytest.fixture
def restless(tmp_path):
    """Weights that change images, the same in every test."""
    model = Harmonizer((8, 8, 8))
    generator = torch.Generator().manual_seed(3)
    for parameter in model.parameters():
        parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
    path = tmp_path / 'restless.safetensors'
    save_weights(model, path, RECIPE)
    return path


@pytest.fixture
def volumes(rng):
    b0 = rng.uniform(50, 150, SHAPE).astype(np.float32)
    return b0, b0 * 0.5


def run(volumes, weights, affine=AFFINE, axis=2, **facts):
    return harmonize_summary(
        *volumes, affine, axis=axis, scale=100.0, metadata=facts, weights=weights
    )


def test_identity_weights_only_scale(volumes, identity):
    out = run(volumes, identity)
    np.testing.assert_allclose(out.gain, 0.01, rtol=1e-6)
    assert out.b0.shape == (40, 60, 4)
    np.testing.assert_allclose(out.trace, out.b0 / 2, rtol=1e-4, atol=1e-5)
    # five fine voxels over two coarse ones: the mean survives cubic interpolation
    assert out.b0.mean() == pytest.approx(volumes[0].mean() / 100, rel=0.01)
    assert out.fwhm_mm == 2.0


def test_corners_of_the_field_of_view_stay(volumes, identity):
    out = run(volumes, identity)
    for corner in ((0, 0, 0), (1, 1, 1), (1, 0, 1)):
        before = AFFINE @ [*(np.array(corner) * SHAPE - 0.5), 1]
        after = out.affine @ [*(np.array(corner) * out.b0.shape - 0.5), 1]
        np.testing.assert_allclose(after, before, atol=1e-9)


@pytest.mark.parametrize('codes', ['LAS', 'LPS', 'PSR', 'SAL', 'ARI'])
def test_storage_order_does_not_matter(volumes, restless, codes):
    straight = run(volumes, restless, EchoTime=0.09)
    turn = ornt_transform(axcodes2ornt('RAS'), axcodes2ornt(codes))
    turned = [apply_orientation(v, turn) for v in volumes]
    affine = AFFINE @ inv_ornt_aff(turn, SHAPE)
    axis = int(np.flatnonzero([c in 'SI' for c in codes])[0])
    out = run(turned, restless, affine, axis, EchoTime=0.09)
    assert nib.aff2axcodes(out.affine) == tuple(codes)
    np.testing.assert_allclose(out.b0, apply_orientation(straight.b0, turn), atol=2e-5)
    np.testing.assert_allclose(out.gain, apply_orientation(straight.gain, turn), rtol=1e-4)


def test_an_oblique_affine_keeps_its_axes(volumes, identity):
    angle = np.deg2rad(20)
    rotation = np.eye(4)
    rotation[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    out = run(volumes, identity, rotation @ AFFINE)
    before, after = (
        m[:3, :3] / np.linalg.norm(m[:3, :3], axis=0) for m in (rotation @ AFFINE, out.affine)
    )
    np.testing.assert_allclose(after, before, atol=1e-9)


def test_threads_and_repetition_change_nothing(volumes, restless):
    first = run(volumes, restless)
    two = harmonize_summary(
        *volumes, AFFINE, axis=2, scale=100.0, metadata={}, weights=restless, threads=2
    )
    np.testing.assert_allclose(first.b0, two.b0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(first.b0, run(volumes, restless).b0)


def test_facts_reach_the_network(volumes, restless):
    assert not np.allclose(run(volumes, restless).b0, run(volumes, restless, EchoTime=0.06).b0)
    assert (run(volumes, restless).gain > 0).all()
    assert (run(volumes, restless).b0 >= 0).all()


@pytest.mark.parametrize('shape', [(9, 9, 1), (64, 17, 3)])
def test_small_and_odd_volumes_pass(shape, identity):
    volumes = (np.ones(shape, np.float32), np.ones(shape, np.float32))
    out = run(volumes, identity, np.diag([3.3, 3.3, 4.0, 1.0]))
    assert np.isfinite(out.b0).all()
    assert out.gain.shape == shape
