"""What is written can be read back, with its geometry, and its bytes depend on nothing else."""

import errno
import threading
import time

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.interfaces.volumes import (
    geometry_header,
    grid_header,
    iterate_volumes,
    load_finite,
    load_mask,
    save_volume,
    write_volumes,
)

ORIENTATIONS = {
    'RAS': np.diag([2.0, 2.5, 3.0, 1.0]),
    'LAS': np.diag([-2.0, 2.5, 3.0, 1.0]),
    'LPS': np.diag([-2.0, -2.5, 3.0, 1.0]),
    'oblique': np.array(
        [[1.9, -0.7, 0.2, -30], [0.6, 2.3, -0.6, 20], [0.0, 0.6, 2.9, 5], [0, 0, 0, 1]]
    ),
}


@pytest.fixture(params=ORIENTATIONS.values(), ids=ORIENTATIONS.keys())
def series(request, tmp_path, rng):
    """Write a small series in one orientation."""
    affine = request.param
    image = nb.Nifti1Image(rng.integers(0, 900, (5, 4, 3, 6)).astype(np.int16), affine)
    image.header.set_xyzt_units('mm', 'sec')
    image.header.set_zooms((*nb.affines.voxel_sizes(affine), 4.5))
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=2)
    image.header.set_dim_info(slice=2)
    image.header['descrip'] = b'TE=64;Time=134651'
    path = tmp_path / 'in_dwi.nii.gz'
    nb.save(image, path)
    return nb.load(path)


def test_series_round_trip(series, tmp_path):
    """Volumes come back in order, and every bit of the geometry with them."""
    path = tmp_path / 'out.nii.gz'
    volumes = [volume * 1.5 for volume in iterate_volumes(series.get_filename())]
    write_volumes(path, geometry_header(series.header, series.shape), volumes)
    written = nb.load(path)
    assert written.get_data_dtype() == np.float32
    np.testing.assert_array_equal(written.get_fdata(), series.get_fdata() * 1.5)
    np.testing.assert_array_equal(written.get_qform(), series.get_qform())
    np.testing.assert_array_equal(written.get_sform(), series.get_sform())
    for get in ('get_zooms', 'get_xyzt_units', 'get_dim_info'):
        assert getattr(written.header, get)() == getattr(series.header, get)()
    codes = [int(written.header[key]) for key in ('qform_code', 'sform_code')]
    assert codes == [1, 2]


@pytest.mark.parametrize('kind', ['i1', 'u1', '<i2', '>i2', '<u2', '<i4', '<f4', '>f4', '<f8'])
@pytest.mark.parametrize('slope', [None, 0.5])
@pytest.mark.parametrize('ending', ['.nii', '.nii.gz'])
def test_volumes_as_stored_are_the_same_numbers(kind, slope, ending, tmp_path, rng):
    """They are left as they are where nothing scales them, and have four bytes at most."""
    stored = rng.integers(0, 100, (4, 3, 2, 3)).astype(kind)
    header = nb.Nifti1Header(endianness='>' if kind.startswith('>') else '<')
    header.set_data_dtype(stored.dtype)
    image = nb.Nifti1Image(stored, np.eye(4), header)
    if slope is not None:
        image.header.set_slope_inter(slope, -3)
    path = tmp_path / f'dwi{ending}'
    nb.save(image, path)
    read = list(iterate_volumes(path, as_stored=True))
    for volume, expected in zip(read, iterate_volumes(path), strict=True):
        np.testing.assert_array_equal(volume, expected)
        assert expected.dtype == np.float64
    stays = slope is None and stored.itemsize <= 4
    assert read[0].dtype == (nb.load(path).get_data_dtype() if stays else np.float64)
    assert nb.load(path).get_data_dtype() == stored.dtype


def test_free_text_stays_behind(series, tmp_path):
    """Converters write times into the header; outputs have none."""
    path = save_volume(
        tmp_path / 'b0.nii.gz',
        np.zeros(series.shape[:3]),
        geometry_header(series.header, series.shape[:3]),
    )
    assert nb.load(path).header['descrip'].item() == b''


def test_bytes_do_not_depend_on_time_or_name(series, tmp_path, monkeypatch):
    """Two writes at different times under different names are the same bytes."""
    header = geometry_header(series.header, series.shape[:3])
    data = np.asarray(series.dataobj[..., 0])
    save_volume(tmp_path / 'a.nii.gz', data, header)
    later = time.time() + 1e6
    monkeypatch.setattr(time, 'time', lambda: later)
    save_volume(tmp_path / 'b.nii.gz', data, header)
    assert (tmp_path / 'a.nii.gz').read_bytes() == (tmp_path / 'b.nii.gz').read_bytes()


@pytest.mark.parametrize('count', [5, 7])
def test_wrong_number_of_volumes_is_an_error(series, tmp_path, count):
    """A header that promises six volumes gets six."""
    volumes = [np.zeros(series.shape[:3])] * count
    with pytest.raises(ValueError, match=f'{count} volumes written where the header has 6'):
        write_volumes(tmp_path / 'x.nii.gz', geometry_header(series.header, series.shape), volumes)


def test_not_finite_becomes_zero(tmp_path):
    """The summary images never see nan or inf."""
    data = np.ones((2, 2, 2, 3), np.float32)
    data[0, 0, 0] = [np.nan, np.inf, -np.inf]
    nb.save(nb.Nifti1Image(data, np.eye(4)), tmp_path / 'dwi.nii.gz')
    assert load_finite(tmp_path / 'dwi.nii.gz', [0, 2])[0, 0, 0].tolist() == [0, 0]


def test_masks_are_bytes(series, tmp_path):
    """Booleans are saved as uint8 and read as booleans."""
    mask = np.zeros(series.shape[:3], bool)
    mask[1, 2, 0] = True
    path = save_volume(
        tmp_path / 'm.nii.gz', mask, grid_header(series.header, mask.shape, np.eye(4))
    )
    assert nb.load(path).get_data_dtype() == np.uint8
    np.testing.assert_array_equal(load_mask(path), mask)


def test_canonical_grid_keeps_the_space(series):
    """A finer grid has the affine it is given, and the code of the input's."""
    affine = series.affine @ np.diag([0.5, 0.5, 1, 1])
    header = grid_header(series.header, (10, 8, 3), affine)
    np.testing.assert_allclose(header.get_best_affine(), affine, atol=1e-5)
    assert int(header['sform_code']) == 2
    assert int(header['qform_code']) == 1


def test_an_error_in_the_middle_comes_after_what_was_read(tmp_path, rng):
    """A file that was cut off gives its first volumes, then the error, in the caller's thread."""
    path = tmp_path / 'series.nii.gz'
    nb.save(nb.Nifti1Image(rng.normal(size=(16, 16, 16, 6)), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    read = 0
    with pytest.raises((EOFError, OSError, ValueError)):  # noqa: PT012
        for volume in iterate_volumes(path):
            assert volume.shape == (16, 16, 16)
            read += 1
    assert 1 <= read < 6


def test_who_stops_early_leaves_no_thread(tmp_path, rng):
    """The file is closed, and nothing goes on."""
    path = tmp_path / 'series.nii.gz'
    nb.save(nb.Nifti1Image(rng.normal(size=(8, 8, 8, 6)), np.eye(4)), path)
    before = threading.active_count()
    volumes = iterate_volumes(path)
    next(volumes)
    volumes.close()
    assert threading.active_count() == before


def test_a_disk_that_is_full_is_told(tmp_path, monkeypatch):
    """What fails while a thread deflates is raised where volumes are handed over."""
    header = nb.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape((4, 4, 4, 3))
    full = OSError(errno.ENOSPC, 'No space left on device')

    def write(self, content):
        if len(content) == 4 * 4**3:
            raise full
        return len(content)

    monkeypatch.setattr('bidsharmony.interfaces.volumes.igzip.IGzipFile.write', write)
    monkeypatch.setattr('bidsharmony.interfaces.volumes.igzip.IGzipFile.tell', lambda self: 348)
    with pytest.raises(OSError, match='No space left'):
        write_volumes(tmp_path / 'x.nii.gz', header, [np.zeros((4, 4, 4))] * 3)
