"""Virtual heads in 3-D: the series that a scanner makes of them, and its truth.

The anisotropy of tissues (`tissue.TISSUES`) is of the size that tensor studies of adults report:
Pierpaoli et al., Radiology 1996;201:637 (white matter); Bhagat & Beaulieu, J Magn Reson Imaging
2004;20:216 (cortex, and white matter under it); Pfefferbaum et al., Neurobiol Aging 2010;31:482
(deep grey nuclei). In a group map of FA (TractSeg's, 1.25 mm) we measured medians of .39 in the
white matter and .17 in the grey matter of the ICBM152 template. Directions are invented.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from bidsharmony.physics.fields import smooth_field
from bidsharmony.physics.heads import SUSCEPTIBILITY_STEP, Head
from bidsharmony.physics.lesions import Lesion, lesion_properties
from bidsharmony.physics.pairs import (
    CANONICAL_FWHM,
    SOLID,
    canonical_images,
    canonical_profile,
    to_grid,
)
from bidsharmony.physics.phantom import PhantomScanner
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.scanner import KSpace, acquire, blur
from bidsharmony.physics.signal import (
    CANONICAL_B_VALUE,
    TissueTable,
    nominal_table,
    tissue_signal,
)
from bidsharmony.physics.slabs import REACH, Slab, profile_weights
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES, TISSUES

LESION_RADII = (6.0, 12.0)  # mm
_ANISOTROPY = np.array([tissue.anisotropy for tissue in TISSUES.values()])


def fibre_directions(x: np.ndarray, y: np.ndarray, z: float) -> np.ndarray:
    """Return an invented, smooth field of fibre directions for one slice.

    Fibres cross the midline there, run upwards at mid distance and along the brain at its sides.

    Parameters
    ----------
    x, y : (rows, columns) float
        mm from the head's middle, to the right and to the front.
    z : float
        mm above the middle.

    Returns
    -------
    (rows, columns, 3) float32
        Unit vectors in RAS.
    """
    lateral = np.abs(x)
    across = np.exp(-((lateral / 14) ** 2))
    upwards = np.exp(-(((lateral - 26) / 10) ** 2))
    along = np.clip((lateral - 22) / 20, 0.1, 1)
    field = np.stack(
        [
            np.sign(x) * across + 0.3 * np.sin(y / 18),
            along + 0.3 * np.cos(x / 15),
            upwards + 0.3 * np.sin((y + z) / 20),
        ],
        axis=-1,
    )
    return (field / np.linalg.norm(field, axis=-1, keepdims=True)).astype(np.float32)


def axial_excess(anisotropy: np.ndarray) -> np.ndarray:
    """Return a in ``D(g) = MD (1 + a (3 cos^2 - 1))`` for an axially symmetric tensor of given FA.

    With eigenvalues ``MD (1 + 2 a)`` and ``MD (1 - a)`` twice, ``FA = 3 a / sqrt(3 + 6 a^2)``.

    Examples
    --------
    >>> a = float(axial_excess(np.array(0.6)))
    >>> float(round(3 * a / np.sqrt(3 + 6 * a**2), 6))
    0.6
    """
    return anisotropy * np.sqrt(3) / np.sqrt(9 - 6 * anisotropy**2)


def gradient_directions(n: int) -> np.ndarray:
    """Return `n` directions spread evenly: orthogonal axes for 3, else by repulsion (dipy).

    Returns
    -------
    (n, 3) float
        Unit vectors in RAS.
    """
    if n == 3:
        return np.eye(3)
    from dipy.core.sphere import HemiSphere, disperse_charges

    start = np.random.default_rng(n).standard_normal((n, 3))
    start /= np.linalg.norm(start, axis=1, keepdims=True)
    sphere, _ = disperse_charges(HemiSphere(xyz=start), 2000)
    return sphere.vertices


@dataclass(frozen=True)
class Cut:
    """An axial slice of a head as phase encoding shifts it.

    Attributes
    ----------
    slab : Slab
        Without texture of its own.
    x, y : (F, F) float32
        Where in the head a pixel's content lies, mm from the middle.
    z : (2 REACH + 1,) float
        Where its sub-slices lie, mm above the middle.
    shift : (F, F) float32
        mm by which y is ahead of the pixel.
    """

    slab: Slab
    x: np.ndarray
    y: np.ndarray
    z: np.ndarray
    shift: np.ndarray


def cut_slab(head: Head, position: float, fov: int, warp_mm: float = 0.0) -> Cut:
    """Cut an axial slice at a position (mm, the head's array axis), unposed and untextured.

    Parameters
    ----------
    head : Head
    position : float
    fov : int
        mm.
    warp_mm : float
        Peak shift along the rows by susceptibility (`Head.susceptibility`).

    Returns
    -------
    Cut
    """
    # a pixel's centre lies over a voxel's, even where the sizes differ by an odd number
    row, column = np.indices((fov, fov), dtype=np.float32)
    row, column = (
        index + (n - fov) // 2
        for index, n in zip((row, column), (head.codes.shape[1], head.codes.shape[0]), strict=True)
    )
    planes = np.rint(position + np.arange(-REACH, REACH + 1)).astype(int)
    shift = np.zeros((fov, fov), np.float32)
    squeeze = None
    if warp_mm:
        nodes = np.stack([column, row, np.full_like(row, position)]) / SUSCEPTIBILITY_STEP
        offset = ndimage.map_coordinates(head.susceptibility, nodes, order=1, mode='nearest')
        shift = warp_mm * ndimage.gaussian_filter(offset, SUSCEPTIBILITY_STEP / 2)
        squeeze = np.log(np.clip(1 + np.gradient(shift, axis=0), 0.3, 2.0)).astype(np.float32)
    index = [column, row + shift]
    whole = [np.rint(i).astype(int) for i in index]
    outside = np.zeros((fov, fov), bool)
    for i, n in zip(whole, head.codes.shape, strict=False):
        outside |= (i < 0) | (i >= n)
        np.clip(i, 0, n - 1, out=i)
    inside_planes = np.clip(planes, 0, head.codes.shape[2] - 1)
    codes = np.moveaxis(head.codes[whole[0], whole[1]][..., inside_planes], -1, 0).copy()
    codes[:, outside] = 0
    grain = None
    if head.texture is not None:
        grain = np.moveaxis(head.texture[whole[0], whole[1]][..., inside_planes], -1, 0)
        grain = np.where(outside, 1, grain).astype(np.float32)
    slab = Slab(codes, grain=grain, squeeze=squeeze)
    middle = (np.array(head.codes.shape) - 1) / 2
    x, y = index[0] - middle[0], index[1] - middle[1]
    return Cut(slab, x.astype(np.float32), y.astype(np.float32), planes - middle[2], shift)


@dataclass(frozen=True)
class Focus:
    """A lesion in 3-D: a sphere, as far as it lies in solid brain tissue.

    Attributes
    ----------
    kind : str
        One of `lesions.KINDS`.
    centre : (x, y, z)
        mm from the middle of the head's volume, RAS.
    radius : float
        mm.
    t2_scale, diffusivity_scale, fluid : float
        See `lesions.Lesion`.
    """

    kind: str
    centre: tuple[float, float, float]
    radius: float
    t2_scale: float
    diffusivity_scale: float
    fluid: float

    def into(self, cut: Cut, profile: np.ndarray) -> tuple[Slab, np.ndarray]:
        """Put the lesion into a slice of given profile; return it and the weight, (F, F)."""
        x0, y0, z0 = self.centre
        flat = (cut.x - x0) ** 2 + (cut.y - y0) ** 2
        weight = np.zeros_like(cut.x)
        for codes, z, share in zip(cut.slab.codes, cut.z, profile, strict=True):
            if abs(z - z0) < self.radius + 1 and share > 0:
                reach = np.clip(self.radius - np.sqrt(flat + (z - z0) ** 2) + 0.5, 0, 1)
                weight += share * reach * SOLID[codes]
        if not weight.any():
            return cut.slab, weight
        lesion = Lesion(self.kind, weight, self.t2_scale, self.diffusivity_scale, self.fluid)
        return replace(cut.slab, lesions=(lesion,)), weight


def draw_focus(head: Head, kind: str, rng: np.random.Generator) -> Focus:
    """Draw a lesion of 12 to 24 mm in deep white matter."""
    depth = ndimage.distance_transform_edt(head.codes == TISSUE_NAMES.index('white matter'))
    places = np.argwhere(depth >= min(0.6 * depth.max(), LESION_RADII[0]))
    place = places[rng.integers(len(places))] - (np.array(head.codes.shape) - 1) / 2
    radius = float(rng.uniform(*LESION_RADII))
    return Focus(kind, tuple(place.tolist()), radius, **lesion_properties(kind, rng))


@dataclass(frozen=True)
class Truth:
    """What a scan would have shown on the canonical scanner, and what it is made of.

    The grid has 1 mm pixels and the scan's own slices, field of view and distortion. `maps` holds
    (I, J, K) arrays: dwiref and trace in the canonical unit; ADC in mm2/s, of these two; FA; brain
    and lesion, bool; coil, the factor on the signal; shift, mm; tissue, positions in
    `TISSUE_NAMES`; and V1, (I, J, K, 3), unit vectors along the voxel axes.
    """

    affine: np.ndarray
    maps: dict[str, np.ndarray]


@dataclass(frozen=True)
class Scan:
    """A diffusion series and its truth.

    Attributes
    ----------
    series : (I, J, K, N) float32
        In units of the head's white-matter b=0; I runs to the left, J to anterior, K upwards.
    affine : (4, 4) float
    bvals : (N,) float
        s/mm2.
    bvecs : (N, 3) float
        Along the voxel axes, as FSL has it.
    lesion : (I, J, K) bool
        On the grid of the series.
    truth : Truth
    """

    series: np.ndarray
    affine: np.ndarray
    bvals: np.ndarray
    bvecs: np.ndarray
    lesion: np.ndarray
    truth: Truth


def scan_head(
    head: Head,
    scanner: PhantomScanner,
    rng: np.random.Generator,
    *,
    table: TissueTable | None = None,
    focus: Focus | None = None,
) -> Scan:
    """Scan a head: the protocol's images at b=0, and its directions.

    Parameters
    ----------
    head : Head
    scanner : PhantomScanner
    rng : numpy.random.Generator
    table : TissueTable, optional
        The nominal constants if None.
    focus : Focus, optional

    Returns
    -------
    Scan
    """
    # integer levels are those of the whole series (`PhantomScanner.slope`)
    protocol, fov = replace(scanner.protocol, levels=0), scanner.fov
    table = nominal_table() if table is None else table
    kspace = KSpace(protocol, fov)
    directions = gradient_directions(protocol.directions)
    extent = np.flatnonzero(BRAIN_TISSUES[head.codes].any(axis=(0, 1)))
    positions = np.arange(extent[0] - 4, extent[-1] + 4, protocol.spacing)
    coil = _coil(fov, len(positions), scanner.coil, rng)
    profile = profile_weights(protocol.thickness, np.ones(1), protocol.spacing)
    white = tissue_signal(table, protocol.contrast)[0][TISSUE_NAMES.index('white matter')]
    slices, lesions, truths = [], [], []
    for position, field in zip(positions, coil, strict=True):
        cut = cut_slab(head, position, fov, protocol.warp_mm)
        slab, lesion = focus.into(cut, profile) if focus else (cut.slab, np.zeros_like(cut.x))
        images = _directed(cut, slab, table, protocol, profile, directions) / np.float32(white)
        if slab.squeeze is not None:
            images = images * np.exp(slab.squeeze)
        averages = (1,) * len(images)
        slices.append(acquire(images * field, kspace, 1 / protocol.snr, averages, rng))
        lesions.append(to_grid(lesion[None], kspace.recon, order=1)[0] >= 0.5)
        truths.append({**_truth(head, cut, table, focus), 'coil': field})
    series = _volume(np.stack(slices).swapaxes(0, 1))  # (N, K, rows = y, columns = x)
    first = positions[0] - (head.codes.shape[2] - 1) / 2
    n_b0 = protocol.b0_averages
    bvals = np.r_[np.zeros(n_b0), np.full(len(directions), protocol.b_value)]
    # stored left to right reversed (negative determinant): b-vectors follow the voxel axes
    bvecs = np.r_[np.zeros((n_b0, 3)), directions * [-1, 1, 1]]
    maps = {name: _volume(np.stack([truth[name] for truth in truths])) for name in truths[0]}
    maps['V1'] = _volume(np.stack([truth['V1'] for truth in truths]).transpose(3, 0, 1, 2))
    return Scan(
        series=series,
        affine=_affine(fov, kspace.recon, protocol.spacing, first),
        bvals=bvals,
        bvecs=bvecs,
        lesion=_volume(np.stack(lesions)),
        truth=Truth(_affine(fov, fov, protocol.spacing, first), maps),
    )


def _directed(
    cut: Cut,
    slab: Slab,
    table: TissueTable,
    protocol: Protocol,
    profile: np.ndarray,
    directions: np.ndarray,
) -> np.ndarray:
    """Return a slice's noise-free images at b=0 and of every direction, (N, F, F) float32."""
    b0, trace = slab.images(table, protocol.contrast, (0.0, protocol.b_value), profile)
    attenuation = np.log(np.maximum(b0, 1e-6) / np.maximum(trace, 1e-6))
    excess = axial_excess(_anisotropy(slab, profile))
    fibres = fibre_directions(cut.x, cut.y, float(cut.z[REACH]))
    cosine2 = np.moveaxis((fibres @ directions.T.astype(np.float32)) ** 2, -1, 0)
    weighted = trace * np.exp(-attenuation * excess * (3 * cosine2 - 1))
    return np.concatenate([np.repeat(b0[None], protocol.b0_averages, axis=0), weighted])


def _anisotropy(slab: Slab, profile: np.ndarray) -> np.ndarray:
    """Return the mean FA over a slice profile; fluid of a resection has none."""
    mean = slab.mean(profile, _ANISOTROPY)[0]
    for lesion in slab.lesions:
        mean = mean * (1 - lesion.fluid * lesion.weight)
    return mean


def _truth(head: Head, cut: Cut, table: TissueTable, focus: Focus | None) -> dict[str, np.ndarray]:
    """Return the truth of one slice, each map (F, F) but V1, which is (F, F, 3)."""
    profile = canonical_profile()
    slab, lesion = focus.into(cut, profile) if focus else (cut.slab, np.zeros_like(cut.x))
    b0, trace = blur(canonical_images(head, slab, table), CANONICAL_FWHM)
    brain = slab.brain(profile) >= 0.5
    adc = np.log(np.maximum(b0, 1e-6) / np.maximum(trace, 1e-6)) / CANONICAL_B_VALUE
    anisotropy = _anisotropy(slab, profile) * brain
    fibres = fibre_directions(cut.x, cut.y, float(cut.z[REACH])) * np.float32([-1, 1, 1])
    return {
        'dwiref': b0,
        'trace': trace,
        'ADC': (adc * brain).astype(np.float32),
        'FA': anisotropy.astype(np.float32),
        'V1': fibres * (anisotropy > 0)[..., None],
        'brain': brain,
        'lesion': lesion >= 0.5,
        'shift': cut.shift.astype(np.float32),
        'tissue': slab.fractions(profile).argmax(axis=0).reshape(brain.shape).astype(np.uint8),
    }


def _volume(planes: np.ndarray) -> np.ndarray:
    """Turn ([N,] K, y, x) planes into an (I, J, K[, N]) volume whose I runs to the left."""
    axes = (2, 1, 0) if planes.ndim == 3 else (3, 2, 1, 0)
    return np.ascontiguousarray(planes.transpose(axes)[::-1])


def _affine(fov: int, size: int, spacing: float, first: float) -> np.ndarray:
    """Return the affine of a grid over the field of view whose first slice lies `first` mm up."""
    pixel = fov / size
    affine = np.diag([-pixel, pixel, spacing, 1.0])
    affine[:3, 3] = [(fov - pixel) / 2, -(fov - pixel) / 2, first]
    return affine


def _coil(fov: int, n_slices: int, amplitude: float, rng: np.random.Generator) -> np.ndarray:
    """Draw a smooth positive receive field over the volume, (K, fov, fov) float32."""
    field = smooth_field((n_slices, fov, fov), max(n_slices, fov) / 1.5, rng, order=3)
    return np.exp(amplitude * field).astype(np.float32)
