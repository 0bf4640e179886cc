"""Virtual heads: anatomy, lesions and texture, cut into slices with a slice profile."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from bidsharmony.numerics.intensity import trimmed_tissue
from bidsharmony.physics.fields import draw_textures, smooth_field
from bidsharmony.physics.lesions import draw_lesion
from bidsharmony.physics.scanner import blur
from bidsharmony.physics.signal import (
    CANONICAL_B_VALUE,
    CANONICAL_CONTRAST,
    nominal_table,
)
from bidsharmony.physics.slabs import REACH, Slab
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES, tissue_codes

PLANES = ('axial', 'coronal', 'sagittal')
SUSCEPTIBILITY_STEP = 4  # mm
SHARES_STEP = 6  # mm between the slices that a head's scale is read from
_SURROUNDINGS = (
    (0.0, 2.5, 'cerebrospinal fluid'),
    (2.5, 7.5, 'bone'),
    (7.5, 12.5, 'soft tissue'),
    (12.5, 15.0, 'skin'),
)  # mm from the brain
# axes of a RAS volume as (slice, row, column); rows run along the phase-encode axis
_PLANE_AXES = {'axial': (2, 1, 0), 'coronal': (1, 2, 0), 'sagittal': (0, 1, 2)}


@dataclass(frozen=True)
class Head:
    """One individual: tissue codes at 1 mm in RAS orientation.

    Attributes
    ----------
    name : str
    codes : (I, J, K) uint8
        Positions in `TISSUE_NAMES`.
    texture : (I, J, K) float16, optional
        Factor on the signal within tissue, from a real volume; 1 where it says nothing.
    """

    name: str
    codes: np.ndarray
    texture: np.ndarray | None = None

    @cached_property
    def susceptibility(self) -> np.ndarray:
        """Field offset around the air of the skull base, every 4 mm, peak 1; float32.

        Air in the sinuses and ear canals shifts the field of the brain above it. Its map is what
        enclosed air and mucosa below the brain's middle look like through a wide Gaussian: the
        extent (about 25 mm) is that of published field maps (Jezzard & Balaban, Magn Reson Med
        1995;34:65), the shape a stand-in for the dipole.
        """
        coarse = self.codes[::SUSCEPTIBILITY_STEP, ::SUSCEPTIBILITY_STEP, ::SUSCEPTIBILITY_STEP]
        solid = ndimage.binary_fill_holes(coarse > 0)
        hollow = (solid & (coarse == 0)) | (coarse == TISSUE_NAMES.index('mucosa'))
        brain = BRAIN_TISSUES[coarse]
        middle = int(np.flatnonzero(brain.any(axis=(0, 1))).mean())
        hollow[:, :, middle:] = False
        field = ndimage.gaussian_filter(hollow.astype(np.float32), 10 / SUSCEPTIBILITY_STEP)
        peak = float(field[brain].max()) if brain.any() else 0.0
        return np.minimum(field / peak, 1.0) if peak > 0 else field

    @cached_property
    def _shares(self) -> dict[tuple[bytes, float], np.ndarray]:
        return {}

    def tissue_shares(self, profile: np.ndarray, fwhm: float) -> np.ndarray:
        """Return each tissue's share of what `robust_scale` averages at a resolution; (T,) float.

        Fluid has one too: cortex is thin, and what is taken for tissue holds some of its fluid.

        Parameters
        ----------
        profile : (2 REACH + 1,) float
            Slice profile.
        fwhm : float
            In-plane resolution, mm.
        """
        key = (np.asarray(profile, np.float32).tobytes(), fwhm)
        if key not in self._shares:
            self._shares[key] = self._measure_shares(profile, fwhm)
        return self._shares[key]

    def _measure_shares(self, profile: np.ndarray, fwhm: float) -> np.ndarray:
        table, b_values = nominal_table(), (0.0, CANONICAL_B_VALUE)
        slabs = [
            Slab(np.moveaxis(self.codes[..., z - REACH : z + REACH + 1], -1, 0))
            for z in brain_positions(self)[::SHARES_STEP]
        ]
        images = [
            blur(s.images(table, CANONICAL_CONTRAST, b_values, profile), fwhm) for s in slabs
        ]
        masks = [slab.brain(profile) > 0.5 for slab in slabs]
        inside = [image[:, mask] for image, mask in zip(images, masks, strict=True)]
        kept = trimmed_tissue(*np.concatenate(inside, axis=1))
        total, first = np.zeros(len(TISSUE_NAMES)), 0
        for slab, mask in zip(slabs, masks, strict=True):
            count = np.count_nonzero(mask)
            chosen = np.zeros(mask.shape, np.float32)
            chosen[mask] = kept[first : first + count]
            first += count
            # a blurred pixel is made of its neighbours' tissue
            total += slab.fractions(profile).reshape(len(total), -1) @ blur(chosen, fwhm).ravel()
        return total / total.sum()

    @cached_property
    def brain_areas(self) -> dict[str, np.ndarray]:
        """Brain pixels of every slice, by plane."""
        brain = BRAIN_TISSUES[self.codes]
        return {
            plane: np.count_nonzero(brain, axis=tuple(axes[1:]))
            for plane, axes in _PLANE_AXES.items()
        }


def load_head(label_file: Path) -> Head:
    """Load a label map (1 mm) as a head.

    Parameters
    ----------
    label_file : Path

    Returns
    -------
    Head

    Raises
    ------
    ValueError
        If the voxels are not 1 mm.
    """
    image = nib.as_closest_canonical(nib.load(label_file))
    if not np.allclose(image.header.get_zooms()[:3], 1.0, atol=0.05):
        raise ValueError(
            f'{label_file}: voxels of {image.header.get_zooms()[:3]} mm. '
            'Resample the label map to 1 mm.'
        )
    name = re.sub(r'\.nii(\.gz)?$', '', Path(label_file).name)
    return Head(name, np.ascontiguousarray(tissue_codes(np.asarray(image.dataobj))))


def surrounded(codes: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Grow fluid, a skull and a scalp around a brain.

    Parameters
    ----------
    codes : (I, J, K) uint8
        At 1 mm; what lies outside the brain is overwritten up to 15 mm from it.
    brain : (I, J, K) bool

    Returns
    -------
    (I, J, K) uint8
    """
    out = codes.copy()
    distance = ndimage.distance_transform_edt(~brain)
    for low, high, tissue in _SURROUNDINGS:
        out[(distance > low) & (distance <= high)] = TISSUE_NAMES.index(tissue)
    return out


def template_head(name: str, grey: np.ndarray, white: np.ndarray, brain: np.ndarray) -> Head:
    """Make a head from tissue-probability maps at 1 mm in RAS orientation.

    The brain is grey, white and, where neither prevails, cerebrospinal fluid; a skull and a scalp
    are grown around it. An average has no individual texture, so it serves demonstrations only.

    Parameters
    ----------
    name : str
    grey, white : (I, J, K) float in 0..1
    brain : (I, J, K) bool

    Returns
    -------
    Head
    """
    fluid = np.where(brain, np.clip(1 - grey - white, 0, 1), 0)
    winner = np.argmax(np.stack([grey * brain, white * brain, fluid]), axis=0)
    names = np.array([TISSUE_NAMES.index(n) for n in ('cortex', 'white matter', 'ventricle')])
    codes = np.where(brain, names[winner], 0).astype(np.uint8)
    return Head(name, surrounded(codes, brain))


def warped_head(head: Head, name: str, rng: np.random.Generator, amplitude: float = 2.0) -> Head:
    """Deform a head smoothly, by about `amplitude` mm, into another one's shape."""
    shape = head.codes.shape
    coordinates = np.indices(shape, dtype=np.float32)
    for axis in range(3):
        coordinates[axis] += amplitude * smooth_field(shape, 80, rng, order=3)
    codes = ndimage.map_coordinates(head.codes, coordinates, order=0, mode='nearest')
    return Head(name, codes)


def draw_slab(
    head: Head,
    fov: int,
    rng: np.random.Generator,
    plane: str = 'axial',
    lesion_chance: float = 0.4,
    position: int | None = None,
    warp_mm: float = 0.0,
) -> Slab:
    """Cut a random slice through the brain of a head, posed, warped and textured.

    Parameters
    ----------
    head : Head
    fov : int
        mm.
    rng : numpy.random.Generator
    plane : {'axial', 'coronal', 'sagittal'}
    lesion_chance : float
        Probability of at least one lesion.
    position : int, optional
        Index of the slice along its axis, drawn if None.
    warp_mm : float
        Peak shift along the rows by susceptibility (`Head.susceptibility`); its sign is the
        polarity of phase encoding. The truth is warped alike: undoing it needs a field map.

    Returns
    -------
    Slab
    """
    axes = _PLANE_AXES[plane]
    volume = np.transpose(head.codes, axes)
    if position is None:
        position = int(rng.choice(brain_positions(head, plane)))
    rows, columns = _pose(BRAIN_TISSUES[volume[position]], fov, rng)
    # the slab leans a little: through-plane position varies linearly over the slice
    tilt = rng.uniform(-0.25, 0.25, 2)
    y, x = np.indices((fov, fov), dtype=np.float32) - fov / 2
    planes = position + tilt[0] * y + tilt[1] * x
    squeeze = None
    if warp_mm:
        shift = warp_mm * _susceptibility_at(head, axes, planes, rows, columns)
        squeeze = np.log(np.clip(1 + np.gradient(shift, axis=0), 0.3, 2.0)).astype(np.float32)
        # the zoom is near 1, so that a shift of pixels is one of mm
        rows = rows + shift
    r = np.clip(np.rint(rows).astype(int), 0, volume.shape[1] - 1)
    c = np.clip(np.rint(columns).astype(int), 0, volume.shape[2] - 1)
    outside = (np.rint(rows) != r) | (np.rint(columns) != c)
    lean = np.rint(planes).astype(int)
    # positions in the head's memory: a third of the time of three indices
    slice_step, row_step, column_step = (
        int(np.prod(head.codes.shape[axis + 1 :])) for axis in axes
    )
    base = r * row_step + c * column_step

    def gather(source: np.ndarray) -> np.ndarray:
        flat = np.ravel(source)
        return np.stack(
            [
                flat[np.clip(lean + offset, 0, len(volume) - 1) * slice_step + base]
                for offset in range(-REACH, REACH + 1)
            ]
        )

    codes = gather(head.codes)
    codes[:, outside] = 0
    grain = None
    if head.texture is not None:
        grain = gather(head.texture).astype(np.float32)
        grain[:, outside] = 1
    slab = Slab(codes, draw_textures(fov, REACH, rng), grain=grain, squeeze=squeeze)
    tissue = BRAIN_TISSUES[codes[REACH]].astype(np.float32)
    if rng.random() < lesion_chance and tissue.any():
        lesions = tuple(draw_lesion(tissue, rng) for _ in range(rng.integers(1, 4)))
        slab = replace(slab, lesions=lesions)
    return slab


def brain_positions(head: Head, plane: str = 'axial') -> np.ndarray:
    """Return the indices of slices that hold enough brain, far enough from the volume's ends."""
    areas = head.brain_areas[plane]
    found = np.flatnonzero(areas > 0.12 * areas.max())
    return found[(found >= REACH) & (found < len(areas) - REACH)]


def _susceptibility_at(head: Head, axes: tuple[int, ...], *coordinates: np.ndarray) -> np.ndarray:
    """Sample a head's susceptibility field at a slice's coordinates (slice, row, column)."""
    field = np.transpose(head.susceptibility, axes)
    index = tuple(
        np.clip(np.rint(c / SUSCEPTIBILITY_STEP).astype(int), 0, n - 1)
        for c, n in zip(coordinates, field.shape, strict=True)
    )
    # nearest nodes, so smooth once more over their distance
    return ndimage.gaussian_filter(field[index], SUSCEPTIBILITY_STEP)


def _pose(brain: np.ndarray, fov: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return source row and column coordinates of each pixel: rotation, zoom, shift and warp."""
    centre = np.array(ndimage.center_of_mass(brain)) + rng.uniform(-8, 8, 2)
    angle = np.deg2rad(rng.uniform(-15, 15))
    zoom = rng.uniform(0.92, 1.1, 2)
    flip = 1 if rng.random() < 0.5 else -1  # heads are near mirror images of themselves
    y, x = np.indices((fov, fov), dtype=np.float32) - (fov - 1) / 2
    x = x * flip
    warp = rng.uniform(0, 2.5)
    rows = centre[0] + zoom[0] * (np.cos(angle) * y - np.sin(angle) * x)
    columns = centre[1] + zoom[1] * (np.sin(angle) * y + np.cos(angle) * x)
    rows = rows + warp * smooth_field((fov, fov), 32, rng, order=3)
    columns = columns + warp * smooth_field((fov, fov), 32, rng, order=3)
    return rows, columns
