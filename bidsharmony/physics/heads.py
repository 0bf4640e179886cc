"""Virtual heads: anatomy, lesions and texture, cut into slices with a slice profile."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from bidsharmony.physics.scanner import slice_profile
from bidsharmony.physics.signal import Contrast, TissueTable, tissue_signal
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES, tissue_codes

PLANES = ('axial', 'coronal', 'sagittal')
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
    """

    name: str
    codes: np.ndarray

    @cached_property
    def brain_counts(self) -> np.ndarray:
        """Voxels of each brain tissue; (T,) int, zero outside the brain."""
        counts = np.bincount(self.codes.ravel(), minlength=len(TISSUE_NAMES))
        return np.where(BRAIN_TISSUES, counts, 0)

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
    distance = ndimage.distance_transform_edt(~brain)
    for low, high, tissue in (
        (0, 2.5, 'cerebrospinal fluid'),
        (2.5, 7.5, 'bone'),
        (7.5, 12.5, 'soft tissue'),
        (12.5, 15, 'skin'),
    ):
        shell = (distance > low) & (distance <= high)
        codes[shell] = TISSUE_NAMES.index(tissue)
    return Head(name, codes)


def smooth_field(
    shape: tuple[int, ...], scale: float, rng: np.random.Generator, order: int = 1
) -> np.ndarray:
    """Draw a random field of unit standard deviation that varies over about `scale` pixels.

    Parameters
    ----------
    shape : tuple of int
    scale : float
        Distance between the field's independent nodes, pixels.
    rng : numpy.random.Generator
    order : int
        Spline order between nodes.

    Returns
    -------
    float32 array of `shape`
    """
    nodes = [max(int(np.ceil(n / scale)) + 1, 2) for n in shape]
    values = rng.standard_normal(nodes).astype(np.float32)
    for axis, n in enumerate(shape):
        basis = _spline_basis(nodes[axis], n, order)
        values = np.moveaxis(np.tensordot(values, basis, axes=(axis, 0)), -1, axis)
    # interpolation between nodes loses variance
    return values / max(float(values.std()), 1e-6)


@lru_cache(maxsize=1024)
def _spline_basis(nodes: int, n: int, order: int) -> np.ndarray:
    """Return the splines of unit nodes sampled at `n` points, (nodes, n) float32."""
    position = np.linspace(0, nodes - 1, n)
    return np.stack(
        [
            ndimage.map_coordinates(unit, [position], order=order, mode='nearest')
            for unit in np.eye(nodes)
        ]
    ).astype(np.float32)


def warped_head(head: Head, name: str, rng: np.random.Generator, amplitude: float = 2.0) -> Head:
    """Deform a head smoothly, by about `amplitude` mm, into another one's shape."""
    shape = head.codes.shape
    coordinates = np.indices(shape, dtype=np.float32)
    for axis in range(3):
        coordinates[axis] += amplitude * smooth_field(shape, 80, rng, order=3)
    codes = ndimage.map_coordinates(head.codes, coordinates, order=0, mode='nearest')
    return Head(name, codes)


@dataclass(frozen=True)
class Lesion:
    """A lesion's weight (1 inside, soft rim) and what it does to the tissue it sits in."""

    weight: np.ndarray  # (F, F) float32
    t2_scale: float
    diffusivity_scale: float


@dataclass(frozen=True)
class Slab:
    """A slice through a head before any scanner: tissue codes of its sub-slices, and its texture.

    Attributes
    ----------
    codes : (P, F, F) uint8
        Sub-slices 1 mm apart, warped in plane; F is the field of view in mm.
    weights : (P,) float32
        Slice profile.
    density_texture, t2_texture, diffusivity_texture : (F, F) float32
        Relative variation of proton density, 1/T2 and diffusivity within tissue.
    lesions : tuple of Lesion
    """

    codes: np.ndarray
    weights: np.ndarray
    density_texture: np.ndarray
    t2_texture: np.ndarray
    diffusivity_texture: np.ndarray
    lesions: tuple[Lesion, ...] = ()

    def mean(self, per_tissue: np.ndarray) -> np.ndarray:
        """Average a property of tissues over the slice profile; (T,) to (F, F) float32."""
        return np.tensordot(self.weights, per_tissue.astype(np.float32)[self.codes], axes=(0, 0))

    def brain(self) -> np.ndarray:
        """Return the brain's fraction of each pixel; (F, F) float32."""
        return self.mean(BRAIN_TISSUES)

    def head(self) -> np.ndarray:
        """Return the fraction of each pixel that is not air; (F, F) float32."""
        return self.mean(np.arange(len(TISSUE_NAMES)) > 0)

    def images(
        self, table: TissueTable, contrast: Contrast, b_values: tuple[float, ...]
    ) -> np.ndarray:
        """Compute the noise-free images at 1 mm.

        Texture and lesions act on the slab's signal-weighted mean relaxation rate and
        attenuation: exact where a pixel is one tissue, a first-order mixture elsewhere.

        Parameters
        ----------
        table : TissueTable
        contrast : Contrast
        b_values : tuple of float
            s/mm2, one image each.

        Returns
        -------
        (len(b_values), F, F) float32
        """
        base, rate = tissue_signal(table, contrast)
        mean = self.mean(base)
        safe = np.maximum(mean, 1e-6)
        te_rate = contrast.echo_time * self.mean(base * rate) / safe
        log_b0 = -te_rate * self.t2_texture
        for lesion in self.lesions:
            log_b0 = log_b0 + te_rate * (1 - 1 / lesion.t2_scale) * lesion.weight
        out = []
        for b_value in b_values:
            image = mean
            log_signal = log_b0
            if b_value > 0:
                weighted, _ = tissue_signal(table, contrast, b_value)
                image = self.mean(weighted)
                attenuation = np.log(safe / np.maximum(image, 1e-6))
                log_signal = log_signal - attenuation * self.diffusivity_texture
                for lesion in self.lesions:
                    log_signal = (
                        log_signal + attenuation * (1 - lesion.diffusivity_scale) * lesion.weight
                    )
            out.append(image * (1 + self.density_texture) * np.exp(log_signal))
        return np.stack(out).astype(np.float32)


def draw_lesion(brain: np.ndarray, rng: np.random.Generator) -> Lesion:
    """Draw an ischaemic or oedematous lesion of 4 to 45 mm inside the brain of a slice.

    Ischaemia lowers diffusivity to .4-.8 of the tissue's, oedema and tumour raise it to 1.3-1.9;
    both lengthen T2 by up to 1.8 (method, section 4).
    """
    inside = np.argwhere(brain > 0.5)
    row, column = inside[rng.integers(len(inside))]
    radius = 0.5 * float(np.exp(rng.uniform(np.log(4), np.log(45))))
    y, x = np.indices(brain.shape, dtype=np.float32)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.8)
    u = (x - column) * np.cos(angle) + (y - row) * np.sin(angle)
    v = -(x - column) * np.sin(angle) + (y - row) * np.cos(angle)
    distance = np.hypot(u / np.sqrt(stretch), v * np.sqrt(stretch))
    ragged = 1 + 0.25 * smooth_field(brain.shape, max(radius / 2, 3), rng)
    weight = np.clip((radius * ragged - distance) / 1.5 + 0.5, 0, 1) * brain
    ischaemia = rng.random() < 0.6
    return Lesion(
        weight.astype(np.float32),
        t2_scale=float(rng.uniform(1.0, 1.8)),
        diffusivity_scale=float(rng.uniform(0.4, 0.8) if ischaemia else rng.uniform(1.3, 1.9)),
    )


def draw_slab(
    head: Head,
    thickness: float,
    fov: int,
    rng: np.random.Generator,
    plane: str = 'axial',
    lesion_chance: float = 0.4,
) -> Slab:
    """Cut a random slice through the brain of a head, posed, warped and textured.

    Parameters
    ----------
    head : Head
    thickness : float
        mm, full width at half maximum of the slice profile.
    fov : int
        mm.
    rng : numpy.random.Generator
    plane : {'axial', 'coronal', 'sagittal'}
    lesion_chance : float
        Probability of at least one lesion.

    Returns
    -------
    Slab
    """
    volume = np.transpose(head.codes, _PLANE_AXES[plane])
    areas = head.brain_areas[plane]
    offsets, weights = slice_profile(thickness)
    reach = int(offsets[-1])
    candidates = np.flatnonzero(areas > 0.12 * areas.max())
    candidates = candidates[(candidates >= reach) & (candidates < len(volume) - reach)]
    position = int(rng.choice(candidates))
    rows, columns = _pose(BRAIN_TISSUES[volume[position]], fov, rng)
    # the slab leans a little: through-plane position varies linearly over the slice
    tilt = rng.uniform(-0.25, 0.25, 2)
    y, x = np.indices((fov, fov), dtype=np.float32) - fov / 2
    lean = np.rint(tilt[0] * y + tilt[1] * x).astype(int)
    r = np.clip(np.rint(rows).astype(int), 0, volume.shape[1] - 1)
    c = np.clip(np.rint(columns).astype(int), 0, volume.shape[2] - 1)
    inside = (np.rint(rows) == r) & (np.rint(columns) == c)
    codes = np.stack(
        [
            np.where(inside, volume[np.clip(position + lean + o, 0, len(volume) - 1), r, c], 0)
            for o in offsets
        ]
    )
    slab = Slab(codes, weights.astype(np.float32), *_textures(fov, rng))
    tissue = slab.brain()
    if rng.random() < lesion_chance and (tissue > 0.5).any():
        lesions = tuple(draw_lesion(tissue, rng) for _ in range(rng.integers(1, 4)))
        slab = replace(slab, lesions=lesions)
    return slab


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


def _textures(fov: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw density, relaxation and diffusivity textures over fine and coarse scales."""
    shape = (fov, fov)

    def texture(amplitude: float) -> np.ndarray:
        fine = smooth_field(shape, rng.uniform(2, 5), rng)
        coarse = smooth_field(shape, rng.uniform(12, 40), rng)
        return np.clip(amplitude * (fine + coarse), -0.3, 0.3).astype(np.float32)

    return (
        texture(rng.uniform(0, 0.02)),
        texture(rng.uniform(0, 0.04)),
        texture(rng.uniform(0, 0.06)),
    )
