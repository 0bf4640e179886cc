"""A head that was moved by a known affine is found again, whatever its contrast, bit by bit."""

import subprocess

import numpy as np
import pytest

from bidsharmony.evaluation.lesions import dice
from bidsharmony.numerics.registration import Mover, covering_grid, register
from tests.templates import MOVED, SHAPE, grid, scan_tissue, tissue_at

CORE = (25.0, -15.0, 8.0)
"""Off the centre: which way is front and right can be told."""


def found(folder, levels):
    """Register the head to itself where it was moved to, in a contrast of its own."""
    folder.mkdir()
    tissue, affine = scan_tissue(CORE)
    template = np.float32(levels)[tissue_at(SHAPE, grid(), MOVED, CORE)]
    return register(np.float32([0, 500, 800])[tissue], affine, template, grid(), folder)


@pytest.fixture(scope='module')
def alike(tmp_path_factory):
    """Register to a template of the scan's own contrast."""
    return found(tmp_path_factory.mktemp('alike') / 'ants', [0, 500, 800])


@pytest.mark.parametrize('levels', [(0, 500, 800), (0, 900, 200)], ids=['T2w', 'T1w'])
def test_a_moved_head_is_found(tmp_path, levels):
    """Brain and core lie on those of the template; without the transform they do not."""
    field, field_affine = found(tmp_path / 'ants', levels)
    tissue, affine = scan_tissue(CORE)
    truth = tissue_at(SHAPE, grid(), MOVED, CORE)
    there = Mover(field, field_affine, SHAPE, grid())
    still = Mover(np.zeros_like(field), field_affine, SHAPE, grid())
    for level, least, most in ((1, 0.95, 0.9), (2, 0.85, 0.65)):
        mask = (tissue >= level).astype(np.float32)
        assert dice(there(mask, affine) >= 0.5, truth >= level) > least
        assert dice(still(mask, affine) >= 0.5, truth >= level) < most


def test_displacement_is_that_of_the_known_affine(alike):
    """At the core: from its place in the template to that in the scan, in ITK's axes."""
    field, field_affine = alike
    place = MOVED @ [*CORE, 1]
    voxel = np.rint(np.linalg.inv(field_affine) @ place)[:3].astype(int)
    known = np.array([-1, -1, 1]) * (np.array(CORE) - place[:3])
    assert np.abs(field[tuple(voxel)] - known).max() < 4  # mm, of voxels of 8


def test_the_same_images_give_the_same_bits(alike, tmp_path):
    """The metric samples voxels at random, from a fixed seed, on one thread."""
    again, _ = found(tmp_path / 'ants', [0, 500, 800])
    assert again.tobytes() == alike[0].tobytes()


def test_field_covers_the_template():
    """No voxel of a template lies outside, where ITK would not move it."""
    oblique = grid()
    oblique[:3, :3] = oblique[:3, :3] @ np.linalg.qr([[9, 1, 0], [-1, 9, 1], [0, 1, 9]])[0]
    shape, affine = covering_grid(SHAPE, oblique, voxel=9.0)
    last = np.linalg.inv(affine) @ oblique @ [*(np.array(SHAPE) - 1), 1]
    assert (last[:3] <= np.array(shape) - 1 + 1e-6).all()
    assert (last[:3] > np.array(shape) - 2).all()


@pytest.mark.parametrize(
    ('script', 'error', 'said'),
    [
        ('import sys; sys.exit("No space left on device")', RuntimeError, 'No space left'),
        ('import os; os.kill(os.getpid(), 9)', MemoryError, 'was killed'),
    ],
)
def test_what_ends_a_registration_is_told(tmp_path, monkeypatch, script, error, said):
    """By its last words, or by what the kernel does where memory ends."""
    run = subprocess.run

    def fail(command, **options):
        return run([command[0], '-c', script], **options)

    monkeypatch.setattr(subprocess, 'run', fail)
    with pytest.raises(error, match=said):
        found(tmp_path / 'ants', [0, 500, 800])
