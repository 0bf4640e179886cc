"""Noise is found, leaves on request, and follows the gain; how far a head moved is told."""

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.noise import (
    CorrectRician,
    DenoiseSeries,
    MeasureB0s,
)
from tests.ratios import ratio_change

OBLIQUE = np.array([[1.9, -0.7, 0.2, -30], [0.6, 2.3, -0.6, 20], [0.0, 0.6, 2.9, 5], [0, 0, 0, 1]])


def write(path, data, affine=OBLIQUE) -> str:
    """Write an image and give its path."""
    nb.save(nb.Nifti1Image(data, affine), path)
    return str(path)


def read(path) -> np.ndarray:
    """Read an image."""
    return nb.load(path).get_fdata()


@pytest.fixture
def ball() -> np.ndarray:
    """Draw a ball in the dark, (32, 32, 16)."""
    x, y, z = (
        axis - size / 2 for axis, size in zip(np.indices((32, 32, 16)), (32, 32, 16), strict=True)
    )
    return 100.0 * (np.sqrt(x**2 + y**2 + (2 * z) ** 2) < 12)


def measure_b0s(tmp_path, volumes, mask, **options):
    """Measure b=0 volumes."""
    return (
        MeasureB0s(
            dwi_file=write(tmp_path / 'dwi.nii.gz', np.stack(volumes, axis=-1).astype(np.float32)),
            mask_file=write(tmp_path / 'mask.nii.gz', mask.astype(np.uint8)),
            slice_axis=2,
            **options,
        )
        .run(cwd=tmp_path)
        .outputs
    )


@pytest.mark.parametrize('step', [(1, 0, 0), (0, -2, 0), (0, 0, 1), (2, 1, -1)])
def test_a_step_is_measured_in_mm(tmp_path, ball, rng, step):
    """On an oblique grid, over noise, whichever b=0 volume it is; others do not count."""
    moved = np.roll(ball, step, axis=(0, 1, 2))
    volumes = [image + rng.normal(0, 3, ball.shape) for image in (ball, 0 * ball, ball, moved)]
    found = measure_b0s(tmp_path, volumes, ball > 0, b0_ixs=[0, 2, 3])
    expected = np.linalg.norm(OBLIQUE[:3, :3] @ step)
    assert found.agreement['shift_mm'] == pytest.approx(expected, abs=0.05)


def test_a_drift_is_measured_as_a_difference(tmp_path, ball):
    """A head that stays in its place and dims by 8 percent."""
    found = measure_b0s(tmp_path, [ball, 0.97 * ball, 0.92 * ball], ball > 0, b0_ixs=[0, 1, 2])
    assert found.agreement['shift_mm'] == pytest.approx(0, abs=1e-6)
    assert found.agreement['difference'] == pytest.approx(0.08, rel=1e-5)


def test_one_b0_agrees_with_nothing(tmp_path, ball):
    """There is no figure, not a perfect one."""
    found = measure_b0s(tmp_path, [ball, ball], ball > 0, b0_ixs=[1])
    assert np.isnan([found.agreement['shift_mm'], found.agreement['difference']]).all()


def test_noise_is_that_of_one_volume(tmp_path, rng):
    """Not that of the mean b=0, which is half of it with four; zero-filling is looked through."""
    shape = (48, 48, 6)
    volumes = [500 + rng.normal(0, 7, shape) for _ in range(4)]
    found = measure_b0s(tmp_path, volumes, np.ones(shape), b0_ixs=[0, 1, 2, 3])
    noise = read(found.noise_file)
    assert noise.shape == shape
    assert np.ptp(noise) == 0
    assert noise[0, 0, 0] == pytest.approx(7, rel=0.05)
    coarse = [np.kron(v[:24, :24], np.ones((2, 2, 1))) for v in volumes]
    found = measure_b0s(tmp_path, coarse, np.ones(shape), b0_ixs=[0, 1, 2, 3], zero_filling=2)
    assert read(found.noise_file)[0, 0, 0] == pytest.approx(7, rel=0.1)


@pytest.mark.parametrize(('b0_ixs', 'found'), [([0, 1, 2], 7), ([0], 59)])
def test_tissue_is_no_noise_where_volumes_can_be_compared(tmp_path, rng, b0_ixs, found):
    """A board of 15 up and down is 40 in the second difference, a sigma of 59."""
    lines = 500 + 30.0 * (np.indices((48, 48, 6))[:2].sum(axis=0) % 2)
    volumes = [lines + rng.normal(0, 7, lines.shape) for _ in b0_ixs]
    measured = measure_b0s(tmp_path, volumes, np.ones(lines.shape), b0_ixs=b0_ixs)
    assert read(measured.noise_file)[0, 0, 0] == pytest.approx(found, rel=0.1)


@pytest.fixture
def noisy(tmp_path, rng):
    """Write a flat series of 12 volumes, noise of 20 and a hole, and give path and array."""
    level = 300 * np.exp(-np.array([0, 0, *rng.uniform(0.3, 1.0, 10)]))
    series = (level + rng.normal(0, 20, (8, 8, 8, 12))).astype(np.float32)
    series[3, 3, 3, 5] = np.nan
    return write(tmp_path / 'scan.nii.gz', series), series, level


def test_mppca_denoises_the_file_and_keeps_its_holes(tmp_path, noisy):
    """Sigma is that of a volume; what is not finite is neither filled nor spread."""
    path, series, level = noisy
    found = DenoiseSeries(dwi_file=path).run(cwd=tmp_path).outputs
    after = read(found.dwi_file)
    np.testing.assert_array_equal(np.isnan(after), np.isnan(series))
    far = np.ones(series.shape[:3], bool)
    far[1:6, 1:6, 1:6] = False  # around the hole, which counts as 0 in its patches
    assert np.median(read(found.noise_file)[far]) == pytest.approx(20, rel=0.05)
    assert (after - level)[far].std() < 0.35 * 20
    assert nb.load(found.dwi_file).get_data_dtype() == np.float32
    np.testing.assert_allclose(nb.load(found.dwi_file).affine, OBLIQUE, atol=1e-6)
    # against the input, the promise does not hold: that is why it is given after denoising
    assert ratio_change(series, after, [0, 1], far).max_relative > 0.05


def test_rician_correction_takes_the_local_sigma(tmp_path, noisy):
    """Voxel by voxel, in every volume."""
    path, series, _ = noisy
    sigma = np.linspace(0, 400, 512).reshape(8, 8, 8).astype(np.float32)
    noise_file = write(tmp_path / 'sigma.nii.gz', sigma)
    found = CorrectRician(dwi_file=path, noise_file=noise_file).run(cwd=tmp_path).outputs
    expected = np.sqrt(np.maximum(series.astype(float) ** 2 - sigma[..., None] ** 2.0, 0))
    np.testing.assert_allclose(read(found.dwi_file), expected, rtol=1e-5, atol=1e-3)
