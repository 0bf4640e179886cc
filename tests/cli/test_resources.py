"""``--dry-run`` tells what will be taken of memory and disk, as the run itself estimates it."""

import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.bids import collect_dwi
from bidsharmony.cli import resources as module
from bidsharmony.cli.participant import main
from bidsharmony.settings import Settings
from bidsharmony.supervise.needs import MB, SERVER_MB, run_needs
from tests.datasets import write_dataset

SHAPES = {'01': (64, 64, 32, 4), '02': (64, 64, 32, 20), '03': (32, 32, 8, 2)}


@pytest.fixture
def dataset(tmp_path, monkeypatch) -> Path:
    """Write three participants of different sizes and one empty image; 5000 MB are free."""
    images = [f'sub-{subject}/dwi/sub-{subject}_dwi.nii.gz' for subject in (*SHAPES, '04')]
    root = write_dataset(tmp_path / 'raw', dict.fromkeys(images, ''))
    for name, shape in zip(images, SHAPES.values(), strict=False):
        nb.Nifti1Image(np.zeros(shape, np.uint8), np.eye(4)).to_filename(root / name)
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(0, 0, 5000 * MB))
    return root


def told(root: Path, **more) -> list[str]:
    """Give the lines about a dataset."""
    settings = Settings(bids_dir=root, output_dir=root.parent / 'out', **more)
    return module.resources(collect_dwi(root), settings).splitlines()


def test_each_participant_has_its_estimate(dataset):
    """The one that decides who may start."""
    settings = Settings(bids_dir=dataset, output_dir=dataset.parent / 'out')
    rows = {line.split()[0]: line.split() for line in told(dataset)[1:5]}
    for subject, shape in SHAPES.items():
        needs = run_needs(shape, (1, 1, 1), settings)
        expected = [f'{-int(-mb // 1)}' for mb in (needs.memory, needs.output, needs.work)]
        assert rows[f'sub-{subject}'][1::2] == expected
    assert ' '.join(rows['sub-04'][7:]) == 'without 1 image that cannot be read'


@pytest.mark.parametrize(
    ('nprocs', 'mem_mb', 'met', 'verdict'),
    [
        (1, 9000, ['02'], 'fits'),
        (2, 9000, ['02', '01'], 'fits'),
        (2, 900, ['02', '01'], 'participants will wait for each other'),
        (2, 700, ['02', '01'], 'not enough for the largest participant alone'),
    ],
)
def test_memory_is_held_against_what_is_there(dataset, nprocs, mem_mb, met, verdict):
    """The largest that may meet, and what they share."""
    line = told(dataset, nprocs=nprocs, mem_mb=mem_mb)[-2]
    settings = Settings(bids_dir=dataset, output_dir=dataset)
    together = SERVER_MB + sum(run_needs(SHAPES[name], (1, 1, 1), settings).memory for name in met)
    assert line == (
        f'memory at --nprocs {nprocs}: up to {-int(-together // 1)} MB (350 MB of them shared), '
        f'{mem_mb} MB are there: {verdict}'
    )


def test_disk_is_held_against_what_is_free(dataset, monkeypatch):
    """All outputs stay, and only the work folders of those that run at a time are there."""
    settings = Settings(bids_dir=dataset, output_dir=dataset)
    each = [run_needs(shape, (1, 1, 1), settings) for shape in (*SHAPES.values(), (0, 0, 0))]
    wanted = sum(needs.output for needs in each) + max(needs.work for needs in each)
    line = told(dataset)[-1]
    assert line == (
        f'disk of {dataset.parent}: up to {-int(-wanted // 1)} MB, 5000 MB are free: fits'
    )
    usage = namedtuple('usage', 'total used free')
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage(0, 0, (wanted - 1) * MB))
    assert told(dataset)[-1].endswith('not enough, make room there')


def test_it_is_part_of_the_dry_run(dataset, capsys):
    """After the scanners; nothing is written."""
    assert main([str(dataset), str(dataset.parent / 'out'), 'participant', '--dry-run']) == 0
    out = capsys.readouterr().out
    assert out.index('scanner') < out.index('memory at --nprocs 1')
    assert not (dataset.parent / 'out').exists()
