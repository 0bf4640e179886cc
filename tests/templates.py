"""Write a small folder as TemplateFlow lays it out, with the head of `tiny_dataset` in it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nb
import numpy as np

from tests import tiny_dataset

NAME = 'Tiny'
ZOOM = 7.0  # mm
SHAPE = (30, 30, 22)
RADII = 0.8 * np.array([92.0, 92.0, 55.0])
"""Half axes of the brain of `tiny_dataset`, mm."""

turn = np.deg2rad(12)
MOVED = np.array(
    [
        [1.08 * np.cos(turn), -np.sin(turn), 0, 14.0],
        [np.sin(turn), 0.95 * np.cos(turn), 0, -11.0],
        [0, 0, 1.1, 9.0],
        [0, 0, 0, 1],
    ]
)
"""What leads from a place of the scan to that of the template, mm."""


def grid() -> np.ndarray:
    """Give the RAS affine of the template, centred on 0."""
    affine = np.diag([ZOOM, ZOOM, ZOOM, 1.0])
    affine[:3, 3] = -ZOOM * (np.array(SHAPE) - 1) / 2
    return affine


def tissue_at(
    shape: tuple[int, ...],
    affine: np.ndarray,
    moved: np.ndarray | None = None,
    core: tuple[float, float, float] = (0, 0, 0),
) -> np.ndarray:
    """Draw brain (1) and a core of fluid (2) around ``core`` (mm of the scan) on any grid."""
    back = np.linalg.inv(np.eye(4) if moved is None else moved) @ affine
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), axis=-1)
    places = voxels @ back[:3, :3].T + back[:3, 3]
    brain = np.linalg.norm(places / RADII, axis=-1) < 1
    fluid = np.linalg.norm((places - core) / RADII, axis=-1) < 0.5
    return brain.astype(int) + (brain & fluid)


def write_template(
    home: Path,
    name: str = NAME,
    *,
    cohort: int | None = None,
    res: str = '_res-01',
    contrasts: tuple[str, ...] = ('T2w', 'T1w'),
    mask: bool = True,
) -> Path:
    """Write the images of one resolution of a template, and its brain; returns their folder."""
    marked = '' if cohort is None else f'cohort-{cohort}'
    folder = home / f'tpl-{name}' / marked
    folder.mkdir(parents=True, exist_ok=True)
    stem = f'tpl-{name}{marked and f"_{marked}"}{res}'
    tissue = tissue_at(SHAPE, grid(), MOVED)
    levels = {'T2w': (0, 500, 800), 'T1w': (0, 900, 200)}
    for contrast in contrasts:
        save(folder / f'{stem}_{contrast}.nii.gz', np.float32(levels[contrast])[tissue])
    if mask:
        save(folder / f'{stem}_desc-brain_mask.nii.gz', (tissue > 0).astype(np.uint8))
    return folder


def save(path: Path, data: np.ndarray) -> None:
    """Write an image on the template's grid."""
    nb.save(nb.Nifti1Image(data, grid()), path)


def scan_tissue(core: tuple[float, float, float] = (0, 0, 0)) -> tuple[np.ndarray, np.ndarray]:
    """Draw the same head where the scanner has it, with its affine."""
    return tissue_at(tiny_dataset.SHAPE, tiny_dataset.affine(), core=core), tiny_dataset.affine()
