"""The deep probe finds a planted scanner, none where there is none, and goes on after a stop.

A network of two layers stands in for ResNet-50 where it is trained, which has a test of its own.
"""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from bidsharmony.audit import deep
from bidsharmony.audit.deep import Recipe, deep_probe
from bidsharmony.audit.folds import split_subjects
from bidsharmony.audit.sample import Sample
from bidsharmony.audit.windows import FIELD, STEP, WINDOW, bands_of, places, prepared, windows

SUBJECTS, SCANNERS, SLICES = 6, 2, 8
RECIPE = Recipe(epochs=5, cycles=2, folds=1)


class Small(nn.Module):
    """Answers as ResNet-50 does, from the mean of a few filtered images."""

    def __init__(self, n_scanners: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(deep.CHANNELS, affine=False), nn.Conv2d(deep.CHANNELS, 8, 5, stride=2),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(8, n_scanners)

    def forward(self, images):
        features = self.body(images)
        return self.head(features), features


@pytest.fixture
def small(monkeypatch):
    """Train the small network, faster."""
    monkeypatch.setattr(deep, 'build_probe', Small)
    monkeypatch.setattr(deep, 'LEARNING_RATE', 0.003)


@pytest.fixture(scope='module')
def sample():
    """Scanner 1 is half as bright before harmonization; after, only noise tells runs apart."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-80:80, -80:80]
    brain = np.hypot(rows / 65, columns / 55) < 1
    who, where, which = (i.ravel() for i in np.indices((SUBJECTS, SCANNERS, SLICES)))
    before, after = [], []
    for subject, scanner, number in zip(who, where, which, strict=True):
        grain = np.random.default_rng([subject, number]).normal(size=(2, 160, 160))
        truth = 1 + ndimage.gaussian_filter(grain, (0, 1, 1))
        noise = 0.05 * rng.normal(size=(2, *truth.shape))
        before.append((1 - 0.5 * scanner) * truth + noise[0])
        after.append(truth + noise[1])
    n = len(who)
    return Sample(
        np.array(before, np.float16),
        np.array(after, np.float16),
        np.repeat(brain[None], n, axis=0),
        where,
        who,
        who * SCANNERS + where,
        ('A', 'B'),
        tuple('abcdef'),
        tuple(str(run) for run in range(SUBJECTS * SCANNERS)),
    )


def test_planted_scanner_is_found_before_and_gone_after(small, sample):
    """Before: recognised. Frozen and retrained after: one answer in two is right, by chance."""
    probe = deep_probe(sample, recipe=RECIPE)
    assert probe.before.accuracy >= 0.95
    assert probe.before.training_accuracy >= 0.95
    assert abs(probe.frozen.accuracy - 0.5) <= 0.25
    assert abs(probe.retrained.accuracy - 0.5) <= 0.25
    assert probe.features_before.shape == probe.features_after.shape == (32, 8)


def test_subjects_are_taught_or_tested(small, sample):
    """A third is asked about; with three parts each subject is, once."""
    third = deep_probe(sample, recipe=Recipe(epochs=1, cycles=1))
    assert len(np.unique(third.before.individuals)) == 2
    every = deep_probe(sample, recipe=Recipe(epochs=1, cycles=1, folds=3))
    assert sorted(every.before.individuals) == sorted(sample.subjects)


def test_interrupted_audit_goes_on_to_the_same_answers(small, sample, tmp_path, monkeypatch):
    """Stopped after some epochs, it ends as if it had not been; asked again, it trains nothing."""
    whole = deep_probe(sample, recipe=RECIPE)

    def stop(line: str) -> None:
        if 'after' in line and 'epoch 3' in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        deep_probe(sample, recipe=RECIPE, keep=tmp_path, report=stop)
    lines = []
    again = deep_probe(sample, recipe=RECIPE, keep=tmp_path, report=lines.append)
    assert any('goes on after epoch 3' in line for line in lines)
    np.testing.assert_array_equal(again.features_after, whole.features_after)
    np.testing.assert_array_equal(again.retrained.guessed, whole.retrained.guessed)

    monkeypatch.setattr(deep, '_train', None)
    third = deep_probe(sample, recipe=RECIPE, keep=tmp_path)
    np.testing.assert_array_equal(third.frozen.guessed, whole.frozen.guessed)
    assert third.retrained.training_accuracy == whole.retrained.training_accuracy
    assert not list(tmp_path.glob('*.pt'))


def test_damaged_state_is_no_state(small, sample, tmp_path):
    """What cannot be read is trained anew."""
    keep = tmp_path / 'audit'
    with pytest.raises(KeyboardInterrupt):
        deep_probe(sample, recipe=RECIPE, keep=keep, report=_interrupt)
    (state,) = keep.glob('*.pt')
    state.write_bytes(b'not a state')
    again = deep_probe(sample, recipe=RECIPE, keep=keep)
    whole = deep_probe(sample, recipe=RECIPE)
    np.testing.assert_array_equal(again.before.guessed, whole.before.guessed)


def _interrupt(line: str) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ('scanners', 'subjects'),
    [
        ([0, 1, 0, 1], [0, 0, 1, 1]),  # two subjects
        ([0, 0, 0, 1, 1, 1], [0, 1, 2, 3, 3, 4]),  # two on the second scanner
    ],
)
def test_too_few_subjects(scanners, subjects):
    """Nobody is taught and tested: then there is no answer, and the reason says so."""
    with pytest.raises(ValueError, match='cannot be split into 3 parts'):
        split_subjects(np.array(scanners), np.array(subjects))


def test_parts_of_subjects_that_were_on_one_scanner_each():
    """Each part has subjects of both scanners, and no subject is in two."""
    scanners, subjects = np.repeat([0, 1], 6), np.arange(12) // 2
    parts = split_subjects(scanners, subjects)
    assert all(set(scanners[part]) == {0, 1} for part in parts)
    assert np.sum(parts, axis=0).tolist() == [1] * 12


def test_matrix_does_not_show_at_the_rim():
    """A brain cut out along coarse pixels gives nearly what one along fine ones gives."""
    rows, columns = np.mgrid[-80:80, -80:80]
    fine = np.hypot(rows / 65, columns / 55) < 1
    coarse = np.kron(fine[2::4, 2::4], np.ones((4, 4))) > 0
    images = np.ones((1, 1, 160, 160)) + 0.1 * np.sin(rows / 3)
    one, other = (prepared(images, mask[None]) for mask in (fine, coarse))
    assert np.abs(one - other).max() < 0.5 * np.abs(one).max()
    assert np.abs((fine ^ coarse) * 1.0).max() == 1


def test_windows_are_parts_of_the_image():
    """They move, some are mirrored along either axis, and bands lie where the image does."""
    images = np.arange(float(FIELD**2), dtype=np.float32).reshape(1, 1, FIELD, FIELD)
    images = images.repeat(40, axis=0)
    bands = images[:, :, ::STEP, ::STEP]
    cut = windows(images, bands, np.random.default_rng(0))
    assert cut.shape == (40, 2, WINDOW, WINDOW)
    image, band = cut[:, 0], cut[:, 1]
    assert {float(step) for step in image[:, 0, 1] - image[:, 0, 0]} == {1.0, -1.0}
    assert {float(step) for step in image[:, 1, 0] - image[:, 0, 0]} == {144.0, -144.0}
    assert len({float(one.min()) for one in image}) > 20
    apart = (image - band).abs()
    assert float(apart.max()) <= (STEP - 1) * (FIELD + 1)
    still = windows(images, bands, None)[:, 0]
    assert np.array_equal(still, images[:, 0, 40:104, 40:104])


def test_windows_that_ask_cover_the_image():
    """Every pixel is in one of them."""
    seen = np.zeros((FIELD, FIELD), bool)
    for row, column in places():
        seen[row * STEP :, column * STEP :][:WINDOW, :WINDOW] = True
    assert seen.all()


def test_a_scanner_shows_in_the_bands(rng):
    """Noise of twice the level is a logarithm apart in every band, along rows and columns."""
    levels = np.array([0.05, 0.1])
    noise = 0.5 + levels[:, None, None] * rng.normal(size=(FIELD, FIELD))
    one, two = bands_of(noise[:, None]).mean(axis=(2, 3), dtype=float)
    # a step of gray is added to both
    np.testing.assert_allclose(two - one, np.log(2), atol=0.12)


def test_axes_are_told_apart(rng):
    """What is blurred along rows lacks fine bands there and not along columns."""
    noise = 0.5 + 0.1 * rng.normal(size=(FIELD, FIELD))
    blurred = ndimage.gaussian_filter1d(noise, 2, axis=1)
    sharp, smooth = bands_of(np.stack([noise, blurred])[:, None]).mean(axis=(2, 3), dtype=float)
    columns, rows = np.split(sharp - smooth, 2)
    assert rows[-1] > 1.5
    assert np.ptp(columns) < 0.2


def test_resnet():
    """ResNet-50 for images and bands whose stem strides by 2."""
    probe = deep.build_probe(7).eval()
    with torch.inference_mode():
        logits, features = probe(torch.zeros(1, deep.CHANNELS, WINDOW, WINDOW))
    assert logits.shape == (1, 7)
    assert features.shape == (1, 2048)
    assert probe.body.conv1.stride == (2, 2)
    # that of He et al. (2016) has 25,557,032 parameters: here a thousand classes are less, 31
    # channels of the stem are more, and the four shortcuts have biases
    expected = 25_557_032 - 2_049_000 + 31 * 64 * 49 + 3840
    assert sum(p.numel() for p in probe.body.parameters()) == expected
