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
from bidsharmony.audit.windows import crops, prepared

SUBJECTS, SCANNERS, SLICES = 6, 2, 8
RECIPE = Recipe(epochs=5, cycles=2, folds=1)


class Small(nn.Module):
    """Answers as ResNet-50 does, from the mean of a few filtered images."""

    def __init__(self, n_scanners: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(2, 8, 5, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )  # fmt: skip
        self.head = nn.Linear(8, n_scanners)

    def forward(self, images):
        features = self.body(images)
        return self.head(features), features


@pytest.fixture
def small(monkeypatch):
    """Train the small network, faster."""
    monkeypatch.setattr(deep, 'build_probe', Small)
    monkeypatch.setattr(deep, 'LEARNING_RATE', 0.05)


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


def test_crops_are_parts_of_the_image():
    """Windows move, some are mirrored, and all come from inside."""
    images = torch.arange(128.0 * 128).reshape(1, 1, 128, 128).repeat(20, 1, 1, 1)
    cut = crops(images, np.random.default_rng(0))
    assert cut.shape == (20, 1, 96, 96)
    steps = {float(image[0, 0, 1] - image[0, 0, 0]) for image in cut}
    assert steps == {1.0, -1.0}
    assert len({float(image.min()) for image in cut}) > 10
    assert torch.equal(crops(images, None), images[..., 16:112, 16:112])


def test_resnet():
    """ResNet-50 with two channels whose stem strides by 2."""
    probe = deep.build_probe(7).eval()
    with torch.inference_mode():
        logits, features = probe(torch.zeros(1, 2, 96, 96))
    assert logits.shape == (1, 7)
    assert features.shape == (1, 2048)
    assert probe.body.conv1.stride == (2, 2)
    # that of He et al. (2016) has 25,557,032 parameters: here a thousand classes and the third
    # channel of the stem are less, and the four shortcuts have biases
    expected = 25_557_032 - 2_049_000 - 64 * 49 + 3840
    assert sum(p.numel() for p in probe.body.parameters()) == expected
