"""Co-occurrence of checkerboards, stripes and constants is known on paper."""

import numpy as np
import pytest
from scipy import ndimage

from bidsharmony.numerics.texture import FEATURES, _quantise, glcm_features

BOARD = np.indices((16, 16)).sum(axis=0) % 2
STRIPES = np.indices((16, 16))[0] % 2
FULL = np.ones((1, 16, 16), bool)
LEVELS_APART = 31


@pytest.mark.parametrize(
    ('image', 'distance', 'share_unequal'),
    [
        # one step along a row or a column changes the field, one along a diagonal does not
        (BOARD, 1, 0.5),
        (BOARD, 2, 0.0),
        (BOARD, 4, 0.0),
        # stripes change with the row, which three of the four angles move by
        (STRIPES, 1, 0.75),
    ],
)
def test_known_pictures(image, distance, share_unequal):
    """Contrast, dissimilarity and homogeneity count the pairs that differ."""
    found = glcm_features(image[None], FULL, distances=(distance,))
    assert found[f'contrast_d{distance}'] == pytest.approx(share_unequal * LEVELS_APART**2)
    assert found[f'dissimilarity_d{distance}'] == pytest.approx(share_unequal * LEVELS_APART)
    expected = 1 - share_unequal + share_unequal / (1 + LEVELS_APART**2)
    assert found[f'homogeneity_d{distance}'] == pytest.approx(expected)
    # half of the pairs lie in each of two cells, at every angle
    assert found[f'ASM_d{distance}'] == pytest.approx(0.5, abs=0.01)
    assert found[f'energy_d{distance}'] == pytest.approx(np.sqrt(0.5), abs=0.01)
    assert found[f'entropy_d{distance}'] == pytest.approx(1, abs=0.01)
    assert found[f'correlation_d{distance}'] == pytest.approx(1 - 2 * share_unequal, abs=0.02)


@pytest.mark.parametrize(
    ('slices', 'masks'),
    [
        (np.full((2, 8, 8), 3.0), np.ones((2, 8, 8), bool)),
        (np.full((2, 8, 8), np.nan), np.ones((2, 8, 8), bool)),
        (np.zeros((2, 8, 8)), np.zeros((2, 8, 8), bool)),
        (np.zeros((0, 8, 8)), np.zeros((0, 8, 8), bool)),
        (np.zeros((1, 8, 8)), np.eye(8, dtype=bool)[None] & (np.arange(8) < 1)),
    ],
    ids=['constant', 'NaN', 'empty mask', 'no slice', 'one pixel'],
)
def test_no_texture(slices, masks):
    """Every feature has a finite value for a constant image, and where nothing can be counted."""
    found = glcm_features(slices, masks)
    assert sorted(found) == sorted(f'{name}_d{d}' for name in FEATURES for d in (1, 2, 4))
    assert np.isfinite(list(found.values())).all()
    assert found['contrast_d1'] == found['entropy_d4'] == 0
    assert found['correlation_d1'] == 1


def test_constant_image():
    """One level: perfectly homogeneous."""
    found = glcm_features(np.full((1, 8, 8), -2.0), np.ones((1, 8, 8), bool))
    for name, value in (('homogeneity', 1), ('ASM', 1), ('energy', 1), ('dissimilarity', 0)):
        assert found[f'{name}_d2'] == value


def test_white_noise_is_uncorrelated(rng):
    """Noise spread evenly over the levels has next to the highest entropy and no correlation."""
    found = glcm_features(rng.uniform(size=(8, 48, 48)), np.ones((8, 48, 48), bool))
    assert abs(found['correlation_d1']) < 0.02
    assert found['entropy_d1'] == pytest.approx(10, abs=0.1)  # log2(32 * 32)
    assert found['contrast_d1'] == pytest.approx((32**2 - 1) / 6, rel=0.05)


def test_scale_offset_outside_and_outliers_do_not_matter(rng):
    """Only the order of gray values in the mask counts, cut at two percentiles."""
    slices = rng.normal(size=(3, 24, 24))
    masks = np.zeros(slices.shape, bool)
    masks[:, 4:20, 4:20] = True
    expected = glcm_features(slices, masks)
    slices[~masks] = 1e6
    assert glcm_features(slices, masks) == expected
    assert glcm_features(8 * slices + 64, masks) == pytest.approx(expected)
    slices[0, 10, 10] = 1e9
    assert glcm_features(slices, masks) == pytest.approx(expected, rel=0.05, abs=0.02)


def test_pairs_add_up_over_slices(rng):
    """A slice twice is the same texture as once."""
    image, mask = rng.normal(size=(1, 24, 24)), np.ones((1, 24, 24), bool)
    once = glcm_features(image, mask)
    twice = glcm_features(np.repeat(image, 2, axis=0), np.repeat(mask, 2, axis=0))
    assert twice == pytest.approx(once, rel=0.05, abs=0.02)


# What mirp 2.4.2, a program that conforms to the Image Biomarker Standardisation Initiative, finds
# in `holed_slices`; `test_mirp_still_says_so` asks it again where it is installed.
MIRP = {
    'contrast': ('cm_contrast', 19.51701034),
    'dissimilarity': ('cm_dissimilarity', 3.445571465),
    'homogeneity': ('cm_inv_diff_mom', 0.2546642138),
    'ASM': ('cm_energy', 0.00329044154),
    'correlation': ('cm_corr', 0.7745490065),
    'entropy': ('cm_joint_entr', 8.615456359),
}


def holed_slices() -> tuple[np.ndarray, np.ndarray]:
    """Draw smooth noise, and masks with holes and edges of their own."""
    rng = np.random.default_rng(0)
    slices = ndimage.gaussian_filter(rng.normal(size=(3, 40, 48)), (0, 1.2, 1.2))
    masks = np.zeros(slices.shape, bool)
    masks[:, 5:33, 6:40] = True
    masks[1, 5:10], masks[2, :, 20:24] = False, False
    return slices, masks


@pytest.mark.parametrize('name', MIRP)
def test_agrees_with_mirp(name):
    """At distance 1: further off, mirp counts other diagonal neighbours than scikit-image does."""
    found = glcm_features(*holed_slices(), distances=[1])
    assert found[f'{name}_d1'] == pytest.approx(MIRP[name][1], rel=1e-6)


def test_mirp_still_says_so():
    """The figures above are what mirp finds in the same levels."""
    mirp = pytest.importorskip('mirp', reason='mirp (extra "crosscheck", 1.5 GB) is not installed')
    slices, masks = holed_slices()
    (found,) = mirp.extract_features(
        image=_quantise(slices, masks, 32).astype(float),
        mask=masks.astype(int),
        by_slice=True,
        base_discretisation_method='none',
        base_feature_families='glcm',
        glcm_distance=[1.0],
        glcm_spatial_method='2.5d_direction_merge',
    )
    for label, value in MIRP.values():
        assert float(found[f'{label}_d1_2.5d_d_mrg'].iloc[0]) == pytest.approx(value, rel=1e-6)
