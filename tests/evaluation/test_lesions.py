"""Discs of known size: what the rule finds, how they overlap, what was not there."""

import numpy as np
import pytest

from bidsharmony.evaluation.lesions import (
    ADC_DARK,
    RULES,
    TRACE_BRIGHT,
    contrast_to_noise,
    dice,
    invented,
    segment,
    surroundings,
)

SIZE = 100
PLACE = np.indices((SIZE, SIZE), dtype=float)


def disc(row, column, radius):
    return np.hypot(PLACE[0] - row, PLACE[1] - column) <= radius


BRAIN = disc(50, 50, 45)
LESION = disc(50, 60, 8)


def scan(adc=0.75, lesion_adc=None, b0=1.0, lesion_b0=None, lesion=LESION):
    """Return b=0 and trace (1, H, W) of a uniform brain with a lesion."""
    adc_map = np.where(lesion, adc if lesion_adc is None else lesion_adc, adc)
    b0_map = np.where(lesion, b0 if lesion_b0 is None else lesion_b0, b0) * BRAIN
    return b0_map[None], (b0_map * np.exp(-adc_map))[None]


@pytest.mark.parametrize('shift', [0, 4, 10, 20])
def test_dice_of_shifted_discs(shift):
    """Two circles of radius r at distance d overlap by the area of a lens."""
    r = 20.0
    lens = 2 * r**2 * np.arccos(shift / (2 * r)) - shift / 2 * np.sqrt(4 * r**2 - shift**2)
    found = dice(disc(50, 40, r), disc(50, 40 + shift, r))
    assert found == pytest.approx(lens / (np.pi * r**2), abs=0.01)


def test_dice_of_nothing():
    nothing = np.zeros((3, 3), bool)
    assert np.isnan(dice(nothing, nothing))
    assert dice(nothing, ~nothing) == 0


@pytest.mark.parametrize(
    ('factor', 'found'), [(ADC_DARK - 0.05, True), (ADC_DARK + 0.05, False), (1.4, False)]
)
def test_restricted_diffusion_is_found_and_facilitated_is_not(factor, found):
    b0, trace = scan(lesion_adc=0.75 * factor)
    result = segment(b0, trace, BRAIN[None], 'adc_dark')[0]
    assert (dice(result, LESION) > 0.97) if found else not result.any()


@pytest.mark.parametrize(('factor', 'found'), [(TRACE_BRIGHT + 0.1, True), (1.2, False)])
def test_bright_trace_is_found(factor, found):
    b0, trace = scan(lesion_b0=factor)
    result = segment(b0, trace, BRAIN[None], 'trace_bright')[0]
    assert (dice(result, LESION) > 0.97) if found else not result.any()


@pytest.mark.parametrize('rule', RULES)
def test_the_rule_knows_no_unit(rule):
    b0, trace = scan(lesion_adc=0.4, lesion_b0=1.2)
    found = segment(b0, trace, BRAIN[None], rule)
    assert found.any()
    np.testing.assert_array_equal(segment(700 * b0, 700 * trace, BRAIN[None], rule), found)


def test_specks_and_what_lies_outside_are_dropped():
    b0, trace = scan(lesion_adc=0.3, lesion=disc(50, 60, 2))  # 13 mm2
    assert not segment(b0, trace, BRAIN[None], 'adc_dark').any()
    assert segment(b0, trace, BRAIN[None], 'adc_dark', pixel=2.0).any()  # 52 mm2
    b0, trace = scan(lesion_adc=0.3)
    assert not segment(b0, trace, BRAIN[None] & ~LESION, 'adc_dark').any()


def test_what_is_black_in_both_images_is_no_lesion():
    b0, trace = scan(lesion_b0=0.01, lesion_adc=0.3)
    assert not segment(b0, trace, BRAIN[None], 'adc_dark').any()


def test_unknown_rule():
    with pytest.raises(ValueError, match='adc_dark, trace_bright'):
        segment(*scan(), BRAIN[None], 'eye')


def test_invented_patches_are_counted():
    truth = disc(30, 30, 6)
    found = disc(31, 33, 6) | disc(70, 70, 5) | disc(70, 30, 5)
    assert invented(found, truth) == 2
    assert invented(truth, truth) == 0
    assert invented(found, np.zeros_like(found)) == 3
    assert invented(np.zeros_like(found), truth) == 0


def test_contrast_to_noise_of_known_noise(rng):
    image = 1 + 0.1 * rng.standard_normal((SIZE, SIZE)) + 0.5 * LESION
    around = surroundings(LESION, BRAIN)
    assert not (around & LESION).any()
    assert contrast_to_noise(image, LESION, around) == pytest.approx(5, rel=0.15)
    assert np.isnan(contrast_to_noise(image, LESION, LESION & ~LESION))
