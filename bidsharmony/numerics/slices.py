"""Profiles of slices, how averaging brings them to one that every scanner can reach, and which
slices show enough of a brain to be measured."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage, special
from scipy.optimize import nnls

FWHM_PER_SD = 2 * np.sqrt(2 * np.log(2))
SHOWS_BRAIN = 0.25  # of the largest slice's brain: slices that a scan's marks are read from
_EDGE_PLACES = 4000
_NO_WEIGHT = 1e-3  # what a neighbour adds less of is not worth a slice of reach


def slice_profile(thickness: float, offsets: np.ndarray) -> np.ndarray:
    """Sample the profile of a slice of given full width at half maximum.

    A box convolved with a Gaussian of a fifth of its width: the imperfect edges of a selective
    pulse.

    Parameters
    ----------
    thickness : float
        mm.
    offsets : (n,) float
        mm from the slice's centre.

    Returns
    -------
    (n,) float
        Of unit integral over mm.

    Examples
    --------
    >>> profile = slice_profile(3.0, np.array([0.0, 1.5, 3.0]))
    >>> round(float(profile[1] / profile[0]), 2), round(float(profile[2] / profile[0]), 2)
    (0.5, 0.0)
    """
    sigma = 0.2 * thickness / FWHM_PER_SD
    offsets = np.asarray(offsets, float)
    upper = special.erf((offsets + thickness / 2) / (np.sqrt(2) * sigma))
    lower = special.erf((offsets - thickness / 2) / (np.sqrt(2) * sigma))
    return (upper - lower) / (2 * thickness)


@lru_cache(maxsize=4096)
def throughplane_kernel(thickness: float, spacing: float, canonical: float) -> np.ndarray:
    """Weigh neighbouring slices so that a scanner's slice profile becomes like the canonical one.

    The canonical profile is a Gaussian; a scanner's is taken for a box. They are compared at an
    edge that crosses the slices squarely: the weights are the non-negative, symmetric ones by
    which the scanner's slices show the edge as the canonical slice would, by least squares over
    every position of the edge.

    Parameters
    ----------
    thickness : float
        Of the slices as acquired, mm.
    spacing : float
        From the centre of one slice to that of the next, mm.
    canonical : float
        Full width at half maximum of the canonical profile, mm.

    Returns
    -------
    kernel : (2r + 1,) float64, read-only
        Non-negative, symmetric, sum 1; ``[1.0]`` where averaging brings the profile no nearer.

    Raises
    ------
    ValueError
        If a length is not a positive number.

    Examples
    --------
    >>> throughplane_kernel(3.0, 3.0, 4.0).round(2)
    array([0.14, 0.71, 0.14])
    >>> throughplane_kernel(6.0, 6.0, 4.0)
    array([1.])
    """
    for name, length in (
        ('thickness', thickness),
        ('spacing', spacing),
        ('canonical thickness', canonical),
    ):
        if not (np.isfinite(length) and length > 0):
            raise ValueError(f'{name} {length!r}: not a positive number of mm.')
    reach = int(np.ceil(2 * canonical / spacing))  # twice the width leaves nothing of a Gaussian
    # an edge is antisymmetric: half of it tells all
    place = np.linspace(0, (thickness + canonical) + (reach + 1) * spacing, _EDGE_PLACES)

    def edge(shift: float = 0.0) -> np.ndarray:
        return np.clip((place - shift) / thickness + 0.5, 0, 1)

    alone = edge()
    pairs = [edge(k * spacing) + edge(-k * spacing) - 2 * alone for k in range(1, reach + 1)]
    wanted = special.ndtr(place / (canonical / FWHM_PER_SD))
    side, _ = nnls(np.stack(pairs, axis=1), wanted - alone)
    side = np.trim_zeros(np.where(side > _NO_WEIGHT, side, 0.0), 'b')
    side /= max(1.0, 2 * side.sum())  # the middle is not negative either
    kernel = np.concatenate([side[::-1], [1 - 2 * side.sum()], side])
    kernel.flags.writeable = False
    return kernel


def through_plane(volume: np.ndarray, axis: int, kernel: np.ndarray) -> np.ndarray:
    """Convolve along the slice axis; beyond the outermost slices they are repeated.

    Parameters
    ----------
    volume : (..., K, ...) float
    axis : int
        The slice axis.
    kernel : (2r + 1,) float
        Symmetric, sum 1.

    Returns
    -------
    (..., K, ...) float32, or float64 if that came in

    Examples
    --------
    >>> through_plane(np.array([[0.0, 0, 4, 0, 0]]), 1, np.array([0.25, 0.5, 0.25]))
    array([[0., 1., 2., 1., 0.]])
    """
    data = np.asarray(volume)
    data = data.astype(np.result_type(data.dtype, np.float32), copy=True)
    if len(kernel) == 1:
        return data
    return ndimage.correlate1d(data, kernel, axis=axis, mode='nearest')


def telling(masks: np.ndarray) -> np.ndarray:
    """Find the slices that show enough of the brain for a scan to be read from them.

    Parameters
    ----------
    masks : (S, H, W) bool

    Returns
    -------
    (n,) int
        Their indices, in order; none where no slice shows any brain.

    Examples
    --------
    >>> masks = np.zeros((3, 4, 4), bool)
    >>> masks[1], masks[2, 0, :3] = True, True
    >>> telling(masks)
    array([1])
    """
    areas = np.count_nonzero(masks, axis=(1, 2))
    return np.flatnonzero(areas >= max(SHOWS_BRAIN * areas.max(initial=0), 1))
