"""Estimate the receive coil's bias field with N4, and see that it helps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bidsharmony.numerics.itk import load_ants

ITERATIONS = (50, 50, 50, 50)
TOLERANCE = 1e-3
"""Of an iteration's change: ITK's own default. On coils that are known it is now better, now worse
than 1e-7, which iterations rarely reach, by a tenth and in half of the time
(``benchmarks/bias.py``)."""

KNOT_SPACING = 200.0
"""Distance of the field's spline knots (mm), as fMRIPrep has it: coils are smooth."""


class BiasField(NamedTuple):
    """Hold a field of mean 1 in the brain, (I, J, K), and how it was obtained."""

    field: np.ndarray
    facts: dict


def shrink_factors(n_slices: int) -> tuple[int, ...]:
    """Choose by the number of slices how much N4 may shrink the image, best first.

    Measured on slabs: at shrink 4, N4 silently does nothing up to 6 slices and makes 8 to 10
    slices worse; at 2 it works from 8 slices, at 1 from 2. Where 4 makes a short stack worse, 2
    often still helps.

    Examples
    --------
    >>> [shrink_factors(n) for n in (2, 7, 8, 11, 12, 60)]
    [(1,), (1,), (2, 1), (2, 1), (4, 2), (4, 2)]
    """
    if n_slices < 8:
        return (1,)
    return (2, 1) if n_slices < 12 else (4, 2)


def variation(image: np.ndarray, mask: np.ndarray) -> float:
    """Give the coefficient of variation in a mask.

    Examples
    --------
    >>> variation(np.array([1.0, 3.0, 100.0]), np.array([True, True, False]))
    0.5
    """
    inside = image[mask]
    return float(inside.std() / inside.mean())


def estimate_bias(
    b0: np.ndarray,
    mask: np.ndarray,
    zooms: tuple[float, float, float],
    slice_axis: int,
    *,
    apply: bool = True,
) -> BiasField:
    """Estimate the field that shades a mean b=0, or a flat one where none can be had.

    Parameters
    ----------
    b0 : (I, J, K)
    mask : (I, J, K) bool
    zooms : mm
    slice_axis : int
    apply : bool
        False gives a flat field

    Returns
    -------
    BiasField
        positive everywhere; its facts are ``applied``, ``shrink_factor``, ``cv_before``,
        ``cv_after`` and ``note``
    """
    n_slices = b0.shape[slice_axis]
    before = variation(b0, mask)
    flat = np.ones(b0.shape, dtype=np.float32)
    facts = {
        'applied': False,
        'shrink_factor': None,
        'cv_before': before,
        'cv_after': before,
        'note': '',
    }
    if not apply:
        return BiasField(flat, {**facts, 'note': 'Bias correction was switched off.'})
    if n_slices < 2:
        return BiasField(flat, {**facts, 'note': 'One slice only: no bias field was estimated.'})
    note = 'N4 gave no usable field: the image is left as it was.'
    for shrink in shrink_factors(n_slices):
        field = n4_field(b0, mask, zooms, shrink)
        if field is None:
            continue
        after = variation(b0 / field, mask)
        if after < before:
            found = {'applied': True, 'shrink_factor': shrink, 'cv_after': after}
            return BiasField(field, {**facts, **found})
        note = (
            f'N4 raised the variation in the brain from {before:.3f} to {after:.3f}: '
            'its field is not used.'
        )
    return BiasField(flat, {**facts, 'note': note})


def n4_field(
    b0: np.ndarray,
    mask: np.ndarray,
    zooms: tuple[float, float, float],
    shrink: int,
    *,
    tolerance: float = TOLERANCE,
) -> np.ndarray | None:
    """Run N4 once; None if what it gives is not a field.

    Parameters
    ----------
    b0 : (I, J, K)
    mask : (I, J, K) bool
    zooms : mm
    shrink : int
        Factor that the image is thinned out by.
    tolerance : float
        N4 goes to its next level when an iteration changes the field by less, as the coefficient
        of variation of old over new.

    Returns
    -------
    (I, J, K) float32 or None
        Mean 1 in the mask, and nowhere beyond its values there.
    """
    ants = load_ants()
    spacing = [float(zoom) for zoom in zooms]
    field = ants.n4_bias_field_correction(
        ants.from_numpy(np.ascontiguousarray(b0, dtype=np.float32), spacing=spacing),
        mask=ants.from_numpy(np.ascontiguousarray(mask, dtype=np.float32), spacing=spacing),
        shrink_factor=shrink,
        convergence={'iters': list(ITERATIONS), 'tol': tolerance},
        spline_param=KNOT_SPACING,
        return_bias_field=True,
        rescale_intensities=False,
    ).numpy()
    inside = field[mask]
    if not np.isfinite(inside).all() or inside.min() <= 0:
        return None
    # Outside the brain the splines run free: hold them within what the brain saw.
    field = np.clip(np.nan_to_num(field, nan=1.0), inside.min(), inside.max())
    return (field / field[mask].mean(dtype=np.float64)).astype(np.float32)
