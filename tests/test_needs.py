"""What a participant needs is held against what the machine has left."""

import errno
import gzip
import math
import shutil
from collections import namedtuple
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bidsharmony.settings import Settings
from bidsharmony.supervise import needs
from bidsharmony.supervise.needs import MB, Machine, Needs, available_mb, check_disk
from bidsharmony.supervise.reasons import judge
from tests import tiny_dataset
from tests.test_supervise import job_of

ZOOMS = (2.0, 2.0, 2.0)
SMALL = Needs(memory=100, output=20, work=30)


def settings_of(output_dir: Path, **more) -> Settings:
    """Make settings of which only what is named here matters."""
    return Settings(bids_dir=Path('/d'), output_dir=output_dir, **more)


@pytest.fixture
def disk(monkeypatch):
    """Have file systems with as many MB free as the test says."""
    usage = namedtuple('usage', 'total used free')
    free = {}

    def disk_usage(path):
        return usage(0, 0, next(mb for name, mb in free.items() if name in str(path)) * MB)

    monkeypatch.setattr(shutil, 'disk_usage', disk_usage)
    return free


@pytest.mark.parametrize(('mem_mb', 'fits'), [(needs.SERVER_MB + 199, False), (9000, True)])
def test_memory_is_shared_out(tmp_path, mem_mb, fits):
    """The second one waits until both fit; whoever is alone is let go on."""
    machine = Machine(settings_of(tmp_path, mem_mb=mem_mb))
    assert machine.has_room(SMALL, [SMALL]) is fits
    assert machine.has_room(SMALL, [])


def test_one_that_may_be_too_large_is_told(tmp_path, caplog):
    """It runs, since an estimate may be wrong, but nobody is surprised."""
    Machine(settings_of(tmp_path, mem_mb=100)).has_room(SMALL, [])
    assert 'and 100 MB are there' in caplog.text


def test_disk_is_shared_out(tmp_path, disk):
    """The second one waits while the disk would not hold both."""
    disk['out'] = 90
    machine = Machine(settings_of(tmp_path / 'out', mem_mb=9000))
    (tmp_path / 'out').mkdir()
    assert not machine.has_room(SMALL, [SMALL])
    disk['out'] = 110
    assert machine.has_room(SMALL, [SMALL])


def test_a_disk_that_is_too_small_is_found_before_any_work(tmp_path, disk):
    """In one line, with its name and what is missing, as the machine's fault."""
    disk['out'] = 49
    settings = settings_of(tmp_path / 'out')
    (tmp_path / 'out').mkdir()
    with pytest.raises(OSError, match='49 MB are free and about 50 MB are needed') as caught:
        check_disk(SMALL, settings)
    code, reason = judge(job_of(tmp_path / 'out'), str(caught.value), caught.value)
    assert code == errno.ENOSPC
    assert reason.startswith('out: 49 MB')
    disk['out'] = 51
    check_disk(SMALL, settings)


def test_a_work_folder_elsewhere_is_asked_for_itself(tmp_path, disk, monkeypatch):
    """Each file system holds its part."""
    out, work = tmp_path / 'out', tmp_path / 'scratch'
    out.mkdir()
    work.mkdir()
    stat = namedtuple('stat', 'st_dev')
    kept = Path.stat
    monkeypatch.setattr(
        Path, 'stat', lambda self, **k: stat(7) if self == work else kept(self, **k)
    )
    disk |= {'out': 25, 'scratch': 29}
    with pytest.raises(OSError, match='29 MB are free and about 30 MB'):
        check_disk(SMALL, settings_of(out, work_dir=work))
    disk['scratch'] = 31
    check_disk(SMALL, settings_of(out, work_dir=work))


def test_an_output_that_is_not_there_yet(tmp_path):
    """The file system that it will be on counts."""
    check_disk(Needs(1, 1, 1), settings_of(tmp_path / 'a' / 'b'))


def group(root: Path, path: str, files: dict[str, str]) -> None:
    """Write what the kernel tells of a control group."""
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def kernel(tmp_path: Path, groups: str) -> tuple[Path, Path]:
    """Write a ``/proc`` with 8,000 MB available, and give the place of the control groups."""
    proc = tmp_path / 'proc'
    group(proc, 'self', {'cgroup': groups})
    group(proc, '', {'meminfo': 'MemTotal: 9 kB\nMemAvailable: 8192000 kB\nHugePages_Free: 0\n'})
    return proc, tmp_path / 'cgroups'


def test_available_without_limits(tmp_path, monkeypatch):
    """What the kernel could give without swapping."""
    monkeypatch.delenv('SLURM_MEM_PER_NODE', raising=False)
    proc, cgroups = kernel(tmp_path, '0::/\n')
    assert available_mb(proc, cgroups) == 8000
    monkeypatch.setenv('SLURM_MEM_PER_NODE', '4000')
    assert available_mb(proc, cgroups) == 4000
    assert available_mb(tmp_path / 'no', cgroups) == 4000
    monkeypatch.delenv('SLURM_MEM_PER_NODE')
    assert available_mb(tmp_path / 'no', cgroups) == math.inf


@pytest.mark.parametrize(('version', 'left'), [(2, 700), (1, 1700)])
def test_available_in_a_control_group(tmp_path, monkeypatch, version, left):
    """The limit of the group, or of one above it, less what is in use; cached files count not."""
    monkeypatch.delenv('SLURM_MEM_PER_NODE', raising=False)
    if version == 2:
        proc, cgroups = kernel(tmp_path, '0::/batch/job\n')
        limit = {'memory.max': f'{1000 * MB}\n', 'memory.current': f'{500 * MB}\n'}
        group(cgroups, 'batch', {**limit, 'memory.stat': f'file 1\ninactive_file {200 * MB}\n'})
        group(cgroups, 'batch/job', {'memory.max': 'max\n', 'memory.current': '5\n'})
    else:
        # in a container the host's path is not there, and what is mounted is the group itself
        proc, cgroups = kernel(tmp_path, '5:cpu:/\n4:cpuacct,memory:/docker/abc\n0::/x\n')
        names = 'memory.limit_in_bytes', 'memory.usage_in_bytes'
        sizes = f'{2000 * MB}', f'{300 * MB}'
        group(cgroups / 'memory', '', dict(zip(names, sizes, strict=True)))
    assert available_mb(proc, cgroups) == left


def test_this_machine_has_some():
    """What the real kernel says can be read."""
    assert 0 < available_mb() < math.inf


@pytest.mark.parametrize('kind', [nb.Nifti1Image, nb.Nifti2Image])
@pytest.mark.parametrize('order', '<>')
@pytest.mark.parametrize('ending', ['.nii', '.nii.gz'])
def test_shapes_are_read(tmp_path, kind, order, ending):
    """Both versions of the header, both byte orders, compressed and not."""
    affine = np.diag([2.0, 2.5, 3.0, 1.0])
    image = kind(np.zeros((5, 6, 7, 2), np.int16), affine)
    image = kind(image.dataobj, affine, image.header.as_byteswapped(order))
    path = tmp_path / f'sub-01_dwi{ending}'
    nb.save(image, path)
    assert nb.load(path).header.endianness == order
    assert needs.shape_of(path) == (5, 6, 7, 2)
    assert needs.grid_of(path)[1] == pytest.approx((2.0, 2.5, 3.0))


@pytest.mark.parametrize(
    'content', [None, b'', b'no image', bytes(540), gzip.compress(b'\x5c', mtime=0)]
)
def test_what_cannot_be_read_needs_no_more_than_the_least(tmp_path, content):
    """The gate refuses it."""
    image = tmp_path / 'sub-01_dwi.nii.gz'
    if content is not None:
        image.write_bytes(content)
    assert needs.shape_of(image) == (0, 0, 0)


def test_needs_grow_with_the_series(tmp_path):
    """The memory with the voxels of a volume, the disk with all of them."""
    settings = settings_of(tmp_path)
    small = needs.run_needs((64, 64, 30, 10), ZOOMS, settings)
    large = needs.run_needs((128, 128, 60, 10), ZOOMS, settings)
    longer = needs.run_needs((64, 64, 30, 100), ZOOMS, settings)
    assert small.memory < large.memory
    assert longer.memory == small.memory
    assert small.output < longer.output
    assert small.work < longer.work
    # where the steps are jobs of a cluster, the process here waits for them
    there = settings_of(tmp_path, use_plugin=('SLURM', {}))
    assert needs.run_needs((128, 128, 60, 10), ZOOMS, there).memory < small.memory
    # a voxel of half the size along each axis
    finer = needs.run_needs((64, 64, 30, 10), ZOOMS, settings_of(tmp_path, output_resolution=1.0))
    assert finer.output - 20 == pytest.approx(8 * (small.output - 20))
    assert finer.memory > small.memory
    coarser = needs.run_needs(
        (64, 64, 30, 10), ZOOMS, settings_of(tmp_path, output_resolution=4.0)
    )
    # the maps do not shrink with the series
    volume = 4 * 64 * 64 * 30 / MB
    assert coarser.output == pytest.approx(20 + (10 / 8 + 8) * volume)
    assert needs.run_needs((64, 64, 30, 10), ZOOMS, settings_of(tmp_path, rician=True)).work > (
        small.work
    )


def test_mppca_holds_the_whole_series(tmp_path):
    """And threads of the network hold slices."""
    shape = (128, 128, 60, 100)
    plain = needs.run_needs(shape, ZOOMS, settings_of(tmp_path, omp_nthreads=1))
    denoised = needs.run_needs(shape, ZOOMS, settings_of(tmp_path, denoise='mppca'))
    assert denoised.memory > 5 * 4 * math.prod(shape) / MB
    more = needs.run_needs(shape, ZOOMS, settings_of(tmp_path, omp_nthreads=8))
    assert more.memory == plain.memory + 6 * needs.THREAD_MB
    raw = tiny_dataset.write_run(tmp_path, 'sub-01')
    assert needs.shape_of(raw) == (*tiny_dataset.SHAPE, 7)
