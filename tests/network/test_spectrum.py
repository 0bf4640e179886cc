"""Evening out what the network leaves: where it is done, and what it is measured on."""

import numpy as np
import pytest
import torch
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, ornt_transform
from safetensors import safe_open
from scipy import ndimage

from bidsharmony.cli.train import main
from bidsharmony.network.inference import harmonize_summary
from bidsharmony.network.model import Harmonizer
from bidsharmony.network.spectrum import even_out
from bidsharmony.network.weights import WeightsError, load_weights, save_weights, set_spectrum
from bidsharmony.numerics.equalise import CELLS, MOST, cell_spectrum
from tests.physics.heads import ball

RECIPE = {'widths': [8, 8, 8], 'fwhm_mm': 2.0, 'thickness_mm': 4.0, 'spacing_mm': 1.0}
SHAPE = (64, 72, 8)
AFFINE = np.diag([1.5, 1.5, 4.0, 1.0])


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / 'plain.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, RECIPE)
    return path


@pytest.fixture
def told(tmp_path):
    """The same weights, with a spectrum that falls less along rows' axis."""
    path = tmp_path / 'told.safetensors'
    save_weights(Harmonizer((8, 8, 8)), path, RECIPE)
    slope = np.linspace(0, -8, CELLS)
    set_spectrum(path, np.stack([0.8 * slope[:, None] + slope] * 2))
    return path


def scan(rng):
    """Texture in an ellipse, and the ellipse; (I, J, K)."""
    x, y, _ = np.indices(SHAPE)
    mask = np.hypot((x - 32) / 26, (y - 36) / 30) < 1
    texture = ndimage.gaussian_filter(rng.standard_normal(SHAPE), (1, 1, 0))
    b0 = (100 * mask * (1 + texture)).clip(0).astype(np.float32)
    return b0, 0.4 * b0, mask


def run(b0, trace, mask, affine, axis, weights):
    return harmonize_summary(
        b0, trace, affine, axis=axis, scale=100.0, metadata={}, mask=mask, weights=weights
    )


def test_the_file_keeps_its_weights(plain):
    before = safe_open(plain, framework='pt')
    tensors = {name: before.get_tensor(name).clone() for name in before.keys()}  # noqa: SIM118
    spectrum = np.random.default_rng(0).normal(size=(2, CELLS, CELLS))
    set_spectrum(plain, spectrum)
    loaded = load_weights(plain)
    np.testing.assert_allclose(loaded.spectrum, spectrum, atol=5e-4)
    after = safe_open(plain, framework='pt')
    assert all(torch.equal(tensor, after.get_tensor(name)) for name, tensor in tensors.items())
    assert loaded.fwhm_mm == 2.0


@pytest.mark.parametrize(
    'spectrum',
    [np.zeros((2, 3, 3)), np.full((2, CELLS, CELLS), np.nan), np.full((2, CELLS, CELLS), 1e9)],
)
def test_a_spectrum_that_is_none_is_refused(plain, spectrum):
    set_spectrum(plain, spectrum)
    with pytest.raises(WeightsError, match='spectrum in its header') as refused:
        load_weights(plain)
    assert '\n' not in str(refused.value)


def test_the_shipped_weights_know_their_spectrum():
    spectrum = load_weights().spectrum
    assert spectrum.shape == (2, CELLS, CELLS)
    # what a head holds falls from coarse to fine
    assert (spectrum[:, 3, 3] - spectrum[:, 14, 14] > 3).all()


def test_weights_without_one_leave_the_spectrum(rng, plain):
    found = run(*scan(rng), AFFINE, 2, plain)
    assert found.spectrum_factor is None


def test_axial_slices_are_evened_out(rng, plain, told):
    b0, trace, mask = scan(rng)
    before, after = (run(b0, trace, mask, AFFINE, 2, weights) for weights in (plain, told))
    bound = np.exp(MOST)
    for low, high in after.spectrum_factor:
        assert 1 / bound - 1e-6 <= low <= high <= bound + 1e-6
    wanted = load_weights(told).spectrum[0]
    pixels = np.linalg.norm(after.affine[:3, :2], axis=0)[::-1]
    shown = np.repeat(
        ndimage.zoom(mask[..., :1], (*np.array(before.b0.shape[:2]) / SHAPE[:2], 1), order=0),
        SHAPE[2],
        2,
    )
    errors = [
        np.abs(
            cell_spectrum(found.b0.transpose(2, 1, 0), shown.transpose(2, 1, 0), pixels) - wanted
        )[7:14, 7:14].mean()
        for found in (before, after)
    ]
    assert errors[1] < 0.8 * errors[0]
    # the series' gain is not touched
    np.testing.assert_array_equal(before.gain, after.gain)


@pytest.mark.parametrize('codes', ['LAS', 'SPL'])
def test_storage_order_does_not_matter(rng, told, codes):
    b0, trace, mask = scan(rng)
    straight = run(b0, trace, mask, AFFINE, 2, told)
    turn = ornt_transform(axcodes2ornt('RAS'), axcodes2ornt(codes))
    turned = [apply_orientation(v, turn) for v in (b0, trace, mask)]
    axis = int(np.flatnonzero([c in 'SI' for c in codes])[0])
    found = run(*turned, AFFINE @ inv_ornt_aff(turn, SHAPE), axis, told)
    np.testing.assert_allclose(found.b0, apply_orientation(straight.b0, turn), atol=1e-4)
    assert found.spectrum_factor == pytest.approx(np.array(straight.spectrum_factor), abs=1e-4)


def test_other_slices_are_left_alone(rng, plain, told):
    """The spectrum is of axial slices: it says nothing of coronal ones."""
    b0, trace, mask = (v.transpose(0, 2, 1) for v in scan(rng))
    affine = np.diag([1.5, 4.0, 1.5, 1.0])
    before, after = (run(b0, trace, mask, affine, 1, weights) for weights in (plain, told))
    assert after.spectrum_factor is None
    np.testing.assert_array_equal(before.b0, after.b0)


def test_a_few_slices_are_left_alone(rng, told):
    images = rng.uniform(1, 2, (2, 6, 64, 64)).astype(np.float32)
    masks = np.zeros((6, 64, 64), bool)
    masks[:3, 8:56, 8:56] = True
    out, factors = even_out(load_weights(told), images, masks, (1.0, 1.0))
    assert factors is None
    assert out is images


def test_a_command_measures_it(tmp_path, plain, monkeypatch):
    monkeypatch.setattr('bidsharmony.network.calibrate.training_heads', lambda *_: [ball()])
    monkeypatch.setattr('bidsharmony.network.calibrate.SCANNERS', 2)
    monkeypatch.setattr('bidsharmony.network.calibrate.SLICES', 2)
    command = ['--anatomy', str(tmp_path), '--out', str(plain), '--calibrate']
    assert main(command) == 0
    first = plain.read_bytes()
    assert load_weights(plain).spectrum[0, 2, 2] > load_weights(plain).spectrum[0, 15, 15]
    assert main(command) == 0
    assert plain.read_bytes() == first


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['--anatomy', '.', '--out', str(tmp_path / 'none.safetensors'), '--calibrate'])
    assert ended.value.code == 2
    assert 'none.safetensors' in capsys.readouterr().err
