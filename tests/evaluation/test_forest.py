"""The forest finds a scanner that was planted, and nothing where there is none."""

import numpy as np
import pytest
from scipy import ndimage, stats

from bidsharmony.evaluation.forest import (
    axis_features,
    balanced_accuracy,
    eight_bits,
    gray_window,
    guess_scanners,
    slice_features,
)

SIZE, INDIVIDUALS, SLICES, SCANNERS = 48, 4, 6, 3
MASK = np.hypot(*(np.indices((SIZE, SIZE)) - SIZE / 2)) < 20


def scans(rng, blurs):
    """Return 8-bit slices (n, 1, H, W), scanners and individuals: fresh texture, own blur."""
    images, scanners, individuals = [], [], []
    for individual in range(INDIVIDUALS):
        for _ in range(SLICES):
            for scanner, blur in enumerate(blurs):
                texture = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE)), blur)
                images.append(100 + 30 * texture / texture[MASK].std())
                scanners.append(scanner)
                individuals.append(individual)
    images = np.stack(images)[:, None]
    window = gray_window(images[:, 0], np.broadcast_to(MASK, images[:, 0].shape))
    return eight_bits(images, *window), np.array(scanners), np.array(individuals)


def features(images):
    return np.stack([slice_features(image, MASK) for image in images])


def test_planted_resolution_is_found(rng):
    images, scanners, individuals = scans(rng, (0.6, 0.8, 1.0))
    guesses = guess_scanners(features(images), scanners, individuals, trees=60)
    assert guesses.accuracy > 0.9
    assert guesses.training_accuracy > 0.98
    assert guesses.by_individual().shape == (INDIVIDUALS,)
    assert guesses.by_individual().mean() == pytest.approx(guesses.accuracy)


def test_identical_scanners_give_chance(rng):
    """Within what a coin of three sides gives in 99.9 % of all cases."""
    images, scanners, individuals = scans(rng, (0.8,) * SCANNERS)
    guesses = guess_scanners(features(images), scanners, individuals, trees=60)
    n = len(scanners)
    low, high = stats.binom.interval(0.999, n, 1 / SCANNERS)
    assert low <= (guesses.guessed == scanners).sum() <= high


def test_frozen_forest_fails_on_what_was_shifted_and_a_new_one_does_not(rng):
    """Why a frozen probe is never quoted alone: the mark is all there, only elsewhere."""
    scanners = np.tile(np.arange(SCANNERS), INDIVIDUALS * SLICES)
    individuals = np.repeat(np.arange(INDIVIDUALS), SCANNERS * SLICES)
    before = scanners[:, None] + 0.1 * rng.standard_normal((len(scanners), 4))
    after = before + 10
    frozen = guess_scanners(before, scanners, individuals, tested=after, trees=20)
    again = guess_scanners(after, scanners, individuals, trees=20)
    assert frozen.accuracy == pytest.approx(1 / SCANNERS)
    assert again.accuracy > 0.95


def test_an_individual_is_never_in_both_halves():
    """A mark of individuals instead of scanners helps nobody."""
    individuals = np.repeat(np.arange(4), 10)
    scanners = individuals % 2  # so that knowing the individual would tell the scanner
    marks = 10.0 * individuals[:, None]
    with pytest.raises(ValueError, match='1 scanners'):
        guess_scanners(marks, np.zeros(40, int), individuals)
    guesses = guess_scanners(marks + 5 * (individuals == 0)[:, None], scanners, individuals)
    assert guesses.training_accuracy == 1
    assert guesses.accuracy <= 0.5


def test_guesses_repeat(rng):
    values = rng.standard_normal((60, 3))
    labels, people = np.arange(60) % 3, np.arange(60) // 15
    first, second = (guess_scanners(values, labels, people, trees=10, seed=4) for _ in range(2))
    np.testing.assert_array_equal(first.guessed, second.guessed)


def test_balanced_accuracy_weighs_scanners_not_slices():
    truth = np.array([0] * 8 + [1] * 2)
    assert balanced_accuracy(truth, np.array([0] * 8 + [1, 0])) == pytest.approx(0.75)


def test_features_see_nothing_outside_the_mask(rng):
    image = rng.integers(0, 256, (2, SIZE, SIZE), dtype=np.uint8)
    other = np.where(MASK, image, 255 - image)
    np.testing.assert_array_equal(slice_features(image, MASK), slice_features(other, MASK))


def test_rows_and_columns_are_told_apart(rng):
    """Blur along one axis shows along that axis; turned, the other way round."""
    noise = rng.standard_normal((SIZE, SIZE))
    along_rows = ndimage.gaussian_filter1d(noise, 1.5, axis=0)
    rows, columns = axis_features(along_rows[None], MASK).reshape(2, -1)
    assert rows[-8:].mean() < columns[-8:].mean() - 1
    turned = axis_features(along_rows.T[None], MASK.T).reshape(2, -1)
    np.testing.assert_allclose(turned, [columns, rows], atol=1e-9)
