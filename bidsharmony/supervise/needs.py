"""What a participant needs of memory and disk, and what the machine has left of both."""

from __future__ import annotations

import contextlib
import errno
import gzip
import logging
import math
import os
import shutil
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bidsharmony.bids import DwiRun
from bidsharmony.bids.templates import find_templates
from bidsharmony.settings import Settings

SERVER_MB = 350.0
"""Of the process that participants are forked from: libraries that they share."""

LEAST_MB = 500.0
"""Of a participant's own process, whatever its images."""

VOLUMES = 60
"""Maps, volumes and what the network holds of them, each of a volume's size in 32 bits."""

FINER_VOLUMES = 24
"""Volumes that are at hand at a time on the grid of ``--output-resolution``."""

THREAD_MB, THREADS_COUNTED = 90.0, 2
"""Of each thread that passes slices through the network, beyond those that `LEAST_MB` counts."""

BESIDE_MB = 160.0
"""Of the fork that draws figures of one run while the network has the next one."""

DENOISED = 5.5
"""Times the whole series, in 32 bits, that MP-PCA holds at its peak."""

FIELD_MB, FIELD_OUTPUT_MB = 400.0, 8.0
"""Of a registration to a template, and of the displacement field that it writes."""

MB = 2**20

NIFTI1_BYTES, NIFTI2_BYTES = 348, 540
"""Sizes of the headers, which each begins with."""

# size, and where shape and voxel are: types, first byte
_LAYOUTS = ((NIFTI1_BYTES, '8h', 40, '8f', 76), (NIFTI2_BYTES, '8q', 16, '8d', 104))

NOTHING = (0, 0, 0)

LOGGER = logging.getLogger('bidsharmony')


class NoRoomError(OSError):
    """Say that the disk has no room for what a participant writes."""


@dataclass(frozen=True)
class Needs:
    """Hold what a participant takes at most, MB (2^20 bytes).

    ``memory`` is its own, beside what it shares with others; ``output`` and ``work`` are on disk.
    """

    memory: float
    output: float
    work: float


def needs_of(runs: Sequence[DwiRun], settings: Settings) -> Needs:
    """Estimate what a participant needs from the headers of its images.

    Runs are processed one after the other, but for figures, so that the largest one counts for the
    memory, and what they leave adds up on the disk. What cannot be read needs next to nothing: it
    is refused.
    """
    each = [run_needs(*grid_of(run.image), settings) for run in runs]
    beside = len(each) > 1 and settings.threads > 1 and settings.use_plugin is None
    return Needs(
        max((needs.memory for needs in each), default=0.0) + BESIDE_MB * beside,
        sum(needs.output for needs in each),
        sum(needs.work for needs in each),
    )


def shape_of(image: Path) -> tuple[int, ...]:
    """Read the shape out of a NIfTI header; that of nothing where there is none."""
    return grid_of(image)[0]


def grid_of(image: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Read shape and voxel (mm) out of a NIfTI header; those of nothing where there is none.

    nibabel would bring half a second of imports, which the supervisor does without.
    """
    opened = gzip.open if image.name.endswith('.gz') else open
    # anything may be in a file that nobody has checked yet
    with contextlib.suppress(OSError, EOFError, zlib.error, struct.error):
        with opened(image, 'rb') as file:
            head = file.read(NIFTI2_BYTES)
        for order in '<>':
            for size, layout, start, sizes, pixdim in _LAYOUTS:
                if struct.unpack_from(f'{order}i', head)[0] == size:
                    rank, *shape = struct.unpack_from(f'{order}{layout}', head, start)
                    zooms = struct.unpack_from(f'{order}{sizes}', head, pixdim)[1:4]
                    found = tuple(shape[:rank])
                    if len(found) >= 3 and min(found) > 0:
                        return found, zooms
                    return NOTHING, NOTHING
    return NOTHING, NOTHING


def run_needs(shape: Sequence[int], zooms: Sequence[float], settings: Settings) -> Needs:
    """Estimate what a run needs; ``benchmarks/resources.py`` holds it against measurements.

    Of the memory, the libraries and the network are the most; maps and volumes that are at hand at
    a time come on top. How many volumes a series has counts for the disk, and for MP-PCA alone,
    which holds them all.

    Parameters
    ----------
    shape : (I, J, K) or (I, J, K, N)
    zooms : three float
        Voxel, mm.
    settings : Settings
    """
    volume = 4 * math.prod(shape[:3]) / MB
    number = shape[3] if len(shape) > 3 else 1
    written = volume
    if (voxel := settings.output_resolution) and all(0 < zoom < math.inf for zoom in zooms):
        written *= math.prod(zooms) / voxel**3
    memory = LEAST_MB
    # on a cluster the steps take their memory elsewhere
    if settings.use_plugin is None:
        memory += VOLUMES * volume + FINER_VOLUMES * max(written - volume, 0)
        memory += THREAD_MB * max(settings.threads - THREADS_COUNTED, 0)
        if settings.denoise == 'mppca':
            memory = max(memory, LEAST_MB + DENOISED * number * volume)
    # maps stay on the grid of the scan, or lie on the canonical one
    maps = max(volume, written)
    output, work = 20 + number * written + 8 * maps, 20 + number * written + 10 * maps
    for step in (settings.denoise != 'none', settings.rician):
        work += step * (number + 2) * volume
    for template in find_templates(settings.output_spaces, settings.templateflow_home):
        grid = 4 * math.prod(shape_of(template.home / template.image)) / MB
        if settings.use_plugin is None:
            # one after the other, and not while a series is at hand
            memory = max(memory, LEAST_MB + FIELD_MB + 12 * grid)
        output += FIELD_OUTPUT_MB + 5 * grid
        work += 3 * FIELD_OUTPUT_MB + 5 * grid
    return Needs(memory, output, work)


class Machine:
    """Decide who may start: what waits is started as soon as others have made room.

    A participant that runs alone is always let go on. If the memory is not enough the kernel
    says so, and of the disk it says so itself.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.memory = settings.mem_mb or available_mb()

    def has_room(self, needs: Needs, running: Sequence[Needs]) -> bool:
        """See whether one more participant fits beside those that run."""
        memory = SERVER_MB + sum(item.memory for item in (*running, needs))
        if memory > self.memory and not running:
            LOGGER.warning(
                'A participant may take %.0f MB of memory, and %.0f MB are there.',
                memory,
                self.memory,
            )
        if not running:
            return True
        return memory <= self.memory and not self._short_of_disk((*running, needs))

    def _short_of_disk(self, needs: Sequence[Needs]) -> bool:
        return any(free < wanted for _, free, wanted in places(needs, self._settings))


def places(needs: Sequence[Needs], settings: Settings) -> list[tuple[Path, float, float]]:
    """List the file systems that are written to, with the MB that are free and that are wanted.

    Parameters
    ----------
    needs : sequence of Needs
    settings : Settings

    Returns
    -------
    list of (folder, free, wanted)
        the output, and the work folder where that is on another file system
    """
    output = existing(settings.output_dir)
    wanted = {output: sum(item.output for item in needs)}
    work = existing(settings.work_dir or settings.output_dir)
    if work.stat().st_dev == output.stat().st_dev:
        work = output
    wanted[work] = wanted.get(work, 0.0) + sum(item.work for item in needs)
    return [(place, shutil.disk_usage(place).free / MB, mb) for place, mb in wanted.items()]


def check_disk(needs: Needs, settings: Settings) -> None:
    """Make sure that what a participant writes will fit.

    Raises
    ------
    NoRoomError
        ENOSPC, with the folder and what is free there
    """
    for place, free, wanted in places([needs], settings):
        if free < wanted:
            raise NoRoomError(
                errno.ENOSPC,
                f'{free:.0f} MB are free and about {wanted:.0f} MB are needed. Make room there'
                + ('' if settings.work_dir else ' or give --work-dir elsewhere'),
                str(place),
            )


def existing(folder: Path) -> Path:
    """Find the nearest folder above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def available_mb(proc: Path = Path('/proc'), cgroups: Path = Path('/sys/fs/cgroup')) -> float:
    """Return the memory that this process and its children may still take, MB.

    The least of what the kernel could give without swapping, the limits of the control groups
    that this process is in (as containers and batch systems set them) less what is in use there,
    and what SLURM granted to the job.
    """
    found = [math.inf]
    with contextlib.suppress(OSError, KeyError):
        found.append(_table(proc / 'meminfo')['MemAvailable:'] / 1024)
    with contextlib.suppress(OSError, ValueError):
        for line in (proc / 'self' / 'cgroup').read_text().splitlines():
            _, controllers, path = line.split(':', 2)
            if controllers == '':
                found.append(_left(cgroups, path, ('memory.max', 'memory.current')))
            elif 'memory' in controllers.split(','):
                names = 'memory.limit_in_bytes', 'memory.usage_in_bytes'
                found.append(_left(cgroups / 'memory', path, names))
    with contextlib.suppress(ValueError):
        found.append(float(os.environ.get('SLURM_MEM_PER_NODE') or math.inf))
    return min(found)


def _left(root: Path, path: str, names: tuple[str, str]) -> float:
    """Return what a control group and those above it have left, MB."""
    group = root / path.lstrip('/')
    left = math.inf
    # in a container the path may be that of the host: what is mounted there is then the root
    for folder in (group, *group.parents):
        if not folder.is_relative_to(root):
            break
        with contextlib.suppress(OSError, ValueError):
            limit, usage = (int((folder / name).read_text()) for name in names)
            left = min(left, (limit - usage + _cached(folder / 'memory.stat')) / MB)
    return left


def _cached(path: Path) -> int:
    """Return the bytes of files that stay in memory until it is wanted for something else."""
    with contextlib.suppress(OSError):
        found = _table(path)
        return found.get('total_inactive_file', found.get('inactive_file', 0))
    return 0


def _table(path: Path) -> dict[str, int]:
    """Read names and whole numbers, one pair to a line.

    Raises
    ------
    OSError
    """
    pairs = (line.split()[:2] for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
