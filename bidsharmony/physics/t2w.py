"""Heads from images: one brain-extracted T2-weighted volume, separated into tissues.

A T2-weighted spin echo has nearly the contrast of a b=0 image. Its classes of intensity say which
tissue a voxel is; what they cannot say, the individual's own grain, stays as a texture that
multiplies the simulated signal.
"""

from __future__ import annotations

import re
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu

from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.physics.heads import Head, surrounded
from bidsharmony.physics.tissue import TISSUE_NAMES

PARTS = ('all', 'inferior', 'superior')
INFERIOR = 2 / 3  # of the brain's volume lies in the inferior part
TEXTURE_RANGE = (0.4, 2.5)  # wider than what is left where tissue and fluid share a voxel
MARGIN = 18  # mm kept around the brain for what is grown there
DEEP = 30.0  # mm below the brain's surface, from where a cavity is a ventricle
NEIGHBOURS = 6.0  # weight of the neighbourhood's classes against the voxel's own intensity
ROUNDS = 8  # of fitting classes; the tissues' means then move by less than half a grey level each
_SEED_SIZE = 200_000  # voxels that seed the classes


def t2w_head(path: Path, part: str = 'all') -> Head:
    """Make a head from one brain-extracted T2-weighted volume.

    No bias is corrected: the volume is expected as a scanner's own normalisation leaves it, and
    what shading is left goes into the texture.

    Parameters
    ----------
    path : Path
        Zero outside the brain; other than 1 mm voxels are resampled.
    part : {'all', 'inferior', 'superior'}
        All of it, the lower two thirds of the brain's volume, or the rest. The volume is cut
        there, so that no slice of one part sees the other.

    Returns
    -------
    Head
        With texture. Deep grey matter, brain stem and cerebellum go by their intensity, as white
        matter or cortex; their own brightness is in the texture.

    Raises
    ------
    ValueError
        If the part is unknown, or the file holds no extracted brain.
    """
    if part not in PARTS:
        raise ValueError(f'unknown part {part!r}; choose one of {", ".join(PARTS)}')
    image = nib.as_closest_canonical(nib.load(path))
    if len(image.shape) != 3:
        raise ValueError(f'{path}: {len(image.shape)} axes, not 3. Name a single volume.')
    data = np.asarray(image.dataobj, np.float32)
    extracted = np.mean(data > 0)
    if not 0 < extracted < 0.9:
        raise ValueError(
            f'{path}: {extracted:.0%} of the voxels are above 0. Give a brain-extracted volume.'
        )
    name = re.sub(r'\.nii(\.gz)?$', '', Path(path).name)
    head = intensity_head(name, np.pad(_one_mm(data, image.header.get_zooms()), MARGIN))
    if part == 'all':
        return head
    areas = np.cumsum(head.brain_areas['axial'])
    cut = int(np.searchsorted(areas, INFERIOR * areas[-1]))
    kept = slice(None, cut) if part == 'inferior' else slice(cut, None)
    return Head(f'{name}-{part}', head.codes[:, :, kept].copy(), head.texture[:, :, kept].copy())


def intensity_head(name: str, intensity: np.ndarray) -> Head:
    """Separate an extracted T2-weighted volume into tissues and texture, and grow surroundings.

    Parameters
    ----------
    name : str
    intensity : (I, J, K) float
        At 1 mm in RAS orientation, 0 outside the brain and for `MARGIN` mm about it.

    Returns
    -------
    Head
    """
    found = _largest(intensity > 0)
    dark, white, grey, fluid = separate(intensity, found)
    # what is dark and opens to the outside is left of dura and bone; what does not, a vessel
    brain = ndimage.binary_fill_holes(_largest(~_outside(dark | ~found)))
    codes = np.zeros(intensity.shape, np.uint8)
    codes[brain] = TISSUE_NAMES.index('vessel')
    # a hole in the extraction is fluid: extraction takes fluid away, not tissue
    fluid = fluid | (brain & ~found)
    cavity = _ventricles(fluid, brain)
    for tissue, where in (
        ('white matter', white),
        ('cortex', grey),
        ('cerebrospinal fluid', fluid & ~cavity),
        ('ventricle', cavity),
    ):
        codes[where & brain] = TISSUE_NAMES.index(tissue)
    texture = texture_of(intensity, codes, brain & found)
    return Head(name, surrounded(codes, brain), texture)


def separate(intensity: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, ...]:
    """Separate a T2-weighted brain by intensity, with a say for each voxel's neighbours.

    Four normal distributions (dark, white, grey, fluid) are fitted by expectation maximisation; a
    voxel's prior is what itself and its 26 neighbours are (mean field of a Markov random field, as
    in Zhang, Brady & Smith, IEEE Trans Med Imaging 2001;20:45). The fluid's distribution also
    takes what shares a voxel with tissue; of that, the darker half goes back to grey.

    Parameters
    ----------
    intensity : (I, J, K) float
    brain : (I, J, K) bool

    Returns
    -------
    dark, white, grey, fluid : (I, J, K) bool
        Disjoint; together they are the brain.
    """
    box = ndimage.find_objects(brain.astype(np.uint8))[0]
    inside = brain[box]
    values = intensity[box][inside].astype(np.float32)
    start = np.digitize(values, _edges(values))
    belonging = np.stack([start == i for i in range(4)]).astype(np.float32)
    prior = np.zeros_like(belonging)
    volume = np.zeros(inside.shape, np.float32)
    for _ in range(ROUNDS):
        # maximisation: shares, means and spreads of the classes as they are
        weight = belonging.sum(axis=1, keepdims=True) + 1e-6
        means = (belonging @ values)[:, None] / weight
        variance = (belonging * (values - means) ** 2).sum(axis=1, keepdims=True) / weight
        variance = np.maximum(variance, (1e-3 * means.max()) ** 2)  # flat classes stay classes
        # expectation: to which class each voxel belongs
        score = np.log(weight / weight.sum()) - np.log(variance) / 2
        score = score - (values - means) ** 2 / (2 * variance) + NEIGHBOURS * prior
        belonging = np.exp(score - score.max(axis=0))
        belonging /= belonging.sum(axis=0)
        for i in range(4):
            volume[inside] = belonging[i]
            prior[i] = ndimage.uniform_filter(volume, 3, mode='constant')[inside]
    winner = belonging.argmax(axis=0)
    grey_mean, fluid_mean = float(means[2, 0]), float(means[3, 0])
    bright = values[(winner == 3) & (values > fluid_mean)]
    pure = float(bright.mean()) if bright.size else fluid_mean
    winner[(winner == 3) & (values < (grey_mean + pure) / 2)] = 2
    classes = np.full(intensity.shape, 4, np.uint8)
    classes[brain] = winner
    return tuple(classes == i for i in range(4))


def texture_of(intensity: np.ndarray, codes: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Divide the observed by its tissue's mean intensity: mean 1 in every tissue, 1 outside.

    Parameters
    ----------
    intensity : (I, J, K) float
    codes : (I, J, K) uint8
    brain : (I, J, K) bool

    Returns
    -------
    (I, J, K) float16
        Within `TEXTURE_RANGE`.

    Examples
    --------
    >>> codes = np.array([1, 1, 0], np.uint8)
    >>> texture_of(np.array([75.0, 125.0, 5.0]), codes, codes > 0).tolist()
    [0.75, 1.25, 1.0]
    """
    out = np.ones(codes.shape, np.float32)
    for code in np.unique(codes[brain]):
        where = brain & (codes == code)
        ratio = intensity[where] / max(float(intensity[where].mean()), 1e-6)
        ratio = np.clip(ratio, *TEXTURE_RANGE)
        out[where] = ratio / ratio.mean()
    return np.clip(out, *TEXTURE_RANGE).astype(np.float16)


def _one_mm(data: np.ndarray, zooms: tuple[float, ...]) -> np.ndarray:
    """Resample to 1 mm by linear interpolation; voxels mostly outside the brain become 0."""
    data = np.maximum(data, 0)
    if np.allclose(zooms, 1.0, atol=0.05):
        return data
    shape = [max(round(n * zoom), 1) for n, zoom in zip(data.shape, zooms, strict=True)]
    brain = resample_to_shape((data > 0).astype(np.float32), shape, order=1)
    # divided by the brain's share, or the edge would darken
    values = resample_to_shape(data, shape, order=1) / np.maximum(brain, 0.5)
    return np.where(brain >= 0.5, values, 0).astype(np.float32)


def _edges(values: np.ndarray) -> np.ndarray:
    """Return three intensities between the classes dark, white, grey and fluid to start from."""
    some = values[:: max(values.size // _SEED_SIZE, 1)]
    # in the logarithm classes are about equally wide; the darkest of five is the extraction's rim
    logs = np.log(np.maximum(some, 0.01 * np.median(some)))
    return np.exp(threshold_multiotsu(logs, 5, nbins=128)[1:])


def _largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest connected component."""
    labels, count = ndimage.label(mask)
    return mask if count < 2 else labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])


def _outside(mask: np.ndarray) -> np.ndarray:
    """Keep what is connected to the volume's corner."""
    labels, _ = ndimage.label(mask)
    return labels == labels[0, 0, 0]


def _ventricles(fluid: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Tell the ventricles: fluid wider than 2 mm that reaches deep into the brain."""
    envelope = ndimage.binary_closing(brain, iterations=3)
    depth = ndimage.distance_transform_edt(envelope)
    labels, count = ndimage.label(ndimage.binary_opening(fluid & (depth > DEEP / 2)))
    if not count:
        return np.zeros_like(fluid)
    deepest = np.atleast_1d(ndimage.maximum(depth, labels, np.arange(1, count + 1)))
    core = np.isin(labels, 1 + np.flatnonzero(deepest > DEEP))
    return ndimage.binary_dilation(core, iterations=2) & fluid
