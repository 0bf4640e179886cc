"""Scores and tests of guesses, counted by hand."""

import numpy as np
import pytest

from bidsharmony.audit.scores import compared, scores, why_not_counted
from bidsharmony.evaluation.forest import Guesses

TRUTH = np.repeat([0, 1, 2], 4)
SUBJECTS = np.tile([5, 6, 7, 8], 3)


def guesses(guessed, training_accuracy=1.0) -> Guesses:
    """Guess the scanners of four subjects on three scanners."""
    return Guesses(TRUTH, np.asarray(guessed), SUBJECTS, training_accuracy)


def test_scores_of_a_known_confusion():
    """Scanner 0 all right, 1 half, 2 never; class 0 is guessed for all that is wrong."""
    found = scores(guesses([0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0]), 3)
    assert found['confusion'] == [[4, 0, 0], [2, 2, 0], [4, 0, 0]]
    assert found['accuracy'] == found['balanced_accuracy'] == found['recall'] == 0.5
    assert found['precision'] == pytest.approx((4 / 10 + 1 + 0) / 3)
    assert found['f1'] == pytest.approx((2 * 0.4 / 1.4 + 2 * 0.5 / 1.5) / 3)
    assert (found['n_slices'], found['n_subjects']) == (12, 4)
    low, high = found['ci95']  # subjects are right 2, 2, 1 and 1 times of 3
    assert 1 / 3 <= low <= 0.5 <= high <= 2 / 3


def test_a_scanner_that_nobody_names_stays_in_the_matrix():
    """The order is that of the labels, whatever was guessed."""
    found = scores(Guesses(np.array([0, 0]), np.array([0, 2]), np.array([0, 1]), 1.0), 3)
    assert found['confusion'] == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]


def test_tests_look_at_slices_and_at_subjects():
    """Twelve slices lost at once are much for McNemar and little for four subjects."""
    found = compared(guesses(TRUTH), guesses((TRUTH + 1) % 3))
    assert found == {'mcnemar_p': 2 / 2**12, 'permutation_p': 2 / 2**4}
    assert compared(guesses(TRUTH), guesses(TRUTH)) == {'mcnemar_p': 1.0, 'permutation_p': 1.0}


def test_guesses_about_other_slices_are_not_compared():
    """The same number of slices is not enough."""
    other = Guesses(TRUTH[::-1], TRUTH, SUBJECTS, 1.0)
    with pytest.raises(ValueError, match='other slices'):
        compared(guesses(TRUTH), other)


@pytest.mark.parametrize(
    ('wrong_before', 'training', 'said'),
    [
        (0, 0.98, ''),
        (0, 0.97, 'retrained, it names the scanner of 97 % of the slices that it learned from'),
        (1, 1.0, 'before harmonization it names the scanner of 92 % of the slices, below 94 %'),
    ],
)
def test_a_probe_counts_if_it_was_trained_well(wrong_before, training, said):
    """Limits of the protocol: .94 before, .98 on its own slices after."""
    guessed = TRUTH.copy()
    guessed[:wrong_before] = 2
    found = why_not_counted(guesses(guessed), guesses(TRUTH * 0, training))
    assert found.startswith(said)
    assert bool(found) == bool(said)
