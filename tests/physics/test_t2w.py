"""A head from a T2-weighted volume: tissues come back out, and the texture keeps the rest."""

import nibabel as nib
import numpy as np
import pytest

from bidsharmony.physics.heads import brain_positions, draw_slab
from bidsharmony.physics.pairs import draw_twins
from bidsharmony.physics.signal import CANONICAL_CONTRAST, nominal_table, tissue_signal
from bidsharmony.physics.t2w import MARGIN, separate, surrounded, t2w_head, texture_of
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES

SIGNAL = 200 * tissue_signal(nominal_table(), CANONICAL_CONTRAST)[0]
SIZE = 90
NOISE = 3.0  # white matter's signal is 45, cortex's 57


def code(name: str) -> int:
    return TISSUE_NAMES.index(name)


def labels() -> np.ndarray:
    """Return a ball of folded cortex in fluid, with white matter, a vessel and a ventricle."""
    place = np.indices((SIZE,) * 3) - (SIZE - 1) / 2
    distance = np.sqrt((place**2).sum(axis=0))
    fold = 2 * np.sin(place[0] / 4) * np.sin(place[1] / 4)
    codes = np.zeros((SIZE,) * 3, np.uint8)
    codes[distance <= 42] = code('cerebrospinal fluid')
    codes[distance <= 38 + fold] = code('cortex')
    codes[distance <= 32 + fold] = code('white matter')
    codes[distance <= 8] = code('ventricle')
    codes[(np.hypot(place[0] - 20, place[1]) < 2.5) & (distance < 28)] = code('vessel')
    return codes


@pytest.fixture(scope='module')
def truth() -> np.ndarray:
    return labels()


@pytest.fixture(scope='module')
def intensity(truth) -> np.ndarray:
    rng = np.random.default_rng(3)
    signal = SIGNAL.copy()
    signal[code('vessel')] = 10.0
    brain = truth > 0
    noisy = signal[truth] + NOISE * rng.standard_normal(truth.shape)
    return np.where(brain, np.maximum(np.rint(noisy), 1), 0).astype(np.float32)


@pytest.fixture(scope='module')
def t2w_file(intensity, tmp_path_factory):
    file = tmp_path_factory.mktemp('t2w') / 'sub-1_T2w.nii.gz'
    nib.Nifti1Image(intensity, np.eye(4)).to_filename(file)
    return file


@pytest.fixture(scope='module')
def head(t2w_file):
    return t2w_head(t2w_file)


def inner(volume: np.ndarray) -> np.ndarray:
    return volume[MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize(
    ('tissue', 'bound'),
    [
        ('white matter', 0.97),
        ('cortex', 0.95),
        ('ventricle', 0.97),
        ('cerebrospinal fluid', 0.97),
        ('vessel', 0.85),
    ],
)
def test_tissues_come_back(head, truth, tissue, bound):
    inside = truth > 0
    found = (inner(head.codes) == code(tissue)) & inside
    assert dice(found, truth == code(tissue)) > bound


def test_classes_do_not_overlap(intensity):
    brain = intensity > 0
    classes = np.stack(separate(intensity, brain))
    np.testing.assert_array_equal(classes.sum(axis=0), brain)


def test_texture_is_one_on_average_and_gives_the_input_back(head, intensity):
    codes, texture = inner(head.codes), inner(head.texture).astype(np.float64)
    seen = intensity > 0
    for tissue in ('white matter', 'cortex', 'ventricle', 'cerebrospinal fluid'):
        where = seen & (codes == code(tissue))
        assert texture[where].mean() == pytest.approx(1, abs=2e-3)
        again = intensity[where].mean() * texture[where]
        assert np.median(np.abs(again / intensity[where] - 1)) < 2e-3
        assert np.mean(np.abs(again / intensity[where] - 1) < 0.01) > 0.99
    # noise is all there is to keep in the ball's white matter
    where = codes == code('white matter')
    assert texture[where].std() == pytest.approx(NOISE / SIGNAL[code('white matter')], rel=0.1)
    assert (head.texture[~BRAIN_TISSUES[head.codes]] == 1).all()


def test_surroundings_lie_around_the_brain_only(truth):
    padded, brain = np.pad(truth, MARGIN), np.pad(truth > 0, MARGIN)
    codes = surrounded(padded, brain)
    np.testing.assert_array_equal(codes[brain], padded[brain])
    line = codes[:, SIZE // 2 + MARGIN, SIZE // 2 + MARGIN]
    layers = [TISSUE_NAMES[line[i]] for i in np.flatnonzero(np.diff(line, prepend=line[0]))][:4]
    assert layers == ['skin', 'soft tissue', 'bone', 'cerebrospinal fluid']


def test_parts_are_two_thirds_and_the_rest(t2w_file, head):
    lower, upper = (t2w_head(t2w_file, part) for part in ('inferior', 'superior'))
    height = lower.codes.shape[2]
    np.testing.assert_array_equal(np.concatenate([lower.codes, upper.codes], axis=2), head.codes)
    np.testing.assert_array_equal(lower.texture, head.texture[:, :, :height])
    share = np.divide(*(np.count_nonzero(BRAIN_TISSUES[h.codes]) for h in (lower, head)))
    assert share == pytest.approx(2 / 3, abs=0.02)
    assert len({lower.name, upper.name, head.name}) == 3


def test_orientation_and_voxel_size_do_not_matter(t2w_file, head, tmp_path):
    image = nib.load(t2w_file)
    turned = image.as_reoriented(nib.orientations.axcodes2ornt(('P', 'I', 'R')))
    turned.to_filename(tmp_path / 'a_T2w.nii.gz')
    np.testing.assert_array_equal(t2w_head(tmp_path / 'a_T2w.nii.gz').codes, head.codes)
    fine = np.repeat(np.asarray(image.dataobj), 2, axis=0)
    nib.Nifti1Image(fine, np.diag([0.5, 1, 1, 1])).to_filename(tmp_path / 'b_T2w.nii.gz')
    np.testing.assert_array_equal(t2w_head(tmp_path / 'b_T2w.nii.gz').codes, head.codes)


def test_texture_reaches_the_simulated_slice(head):
    position = int(brain_positions(head)[len(brain_positions(head)) // 2])
    slabs = [
        draw_slab(h, 96, np.random.default_rng(5), lesion_chance=0, position=position)
        for h in (head, type(head)(head.name, head.codes))
    ]
    profile = np.zeros(len(slabs[0].codes))
    profile[len(profile) // 2] = 1
    with_grain, without = (
        slab.images(nominal_table(), CANONICAL_CONTRAST, (0.0,), profile)[0] for slab in slabs
    )
    grain = slabs[0].grain[len(profile) // 2]
    solid = without > 0.01
    np.testing.assert_allclose(
        (with_grain / np.where(solid, without, 1))[solid], grain[solid], 1e-4
    )
    assert grain[solid].std() > 0.02


def test_texture_is_clipped():
    codes = np.ones(1000, np.uint8)
    wild = np.ones(1000)
    wild[0] = 100.0
    assert float(texture_of(wild, codes, codes > 0).max()) <= 2.5


@pytest.mark.parametrize(
    ('data', 'part', 'message'),
    [
        (np.ones((8, 8, 8)), 'all', '100% of the voxels'),
        (np.zeros((8, 8, 8)), 'all', '0% of the voxels'),
        (np.ones((8, 8, 8, 2)), 'all', '4 axes, not 3'),
        (np.ones((8, 8, 8)), 'left', "unknown part 'left'"),
    ],
)
def test_what_is_no_extracted_brain_is_refused(tmp_path, data, part, message):
    file = tmp_path / 'x_T2w.nii.gz'
    nib.Nifti1Image(data.astype(np.float32), np.eye(4)).to_filename(file)
    with pytest.raises(ValueError, match=message):
        t2w_head(file, part)


@pytest.mark.slow
def test_a_real_volume_has_the_proportions_of_a_brain(shared_data):
    files = sorted((shared_data / 'anatomy').rglob('*_T2w.nii.gz'))
    if not files:
        pytest.skip('no T2-weighted volume in the real data')
    head = t2w_head(files[0])
    voxels = np.bincount(head.codes.ravel(), minlength=len(TISSUE_NAMES))
    counts = dict(zip(TISSUE_NAMES, voxels / 1000, strict=True))  # ml
    solid = counts['white matter'] + counts['cortex']
    # the volume was brought to a template's space, which is larger than most brains
    assert 1200 < solid < 1700
    assert 0.7 < counts['white matter'] / counts['cortex'] < 1.4
    assert 20 < counts['ventricle'] < 120
    assert counts['vessel'] < 0.02 * solid
    texture = head.texture.astype(np.float32)
    for tissue in ('white matter', 'cortex'):
        where = head.codes == code(tissue)
        assert texture[where].mean() == pytest.approx(1, abs=2e-3)
        assert 0.05 < texture[where].std() < 0.3
    first, second = draw_twins([head], np.random.default_rng(1))
    assert np.isfinite(first.source).all()
    np.testing.assert_array_equal(first.brain, second.brain)
