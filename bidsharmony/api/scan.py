"""Harmonize one scan from its b=0 and its trace image, without files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import ArrayLike

from bidsharmony.api.arguments import (
    UNKNOWN_ORIENTATION,
    Grid,
    ImageLike,
    as_image,
    check_b_value,
    check_grid,
    read_grid,
    read_mask,
    read_metadata,
    read_volume,
)
from bidsharmony.evaluation.scan import scan_figures, scan_warnings
from bidsharmony.network.facts import reported_facts, scanner_facts, trace_b_value, zero_filling
from bidsharmony.network.summary import harmonize_run
from bidsharmony.network.weights import Weights
from bidsharmony.numerics.bias import estimate_bias
from bidsharmony.numerics.diffusion import found_brain
from bidsharmony.numerics.gain import apply_gain, series_factor
from bidsharmony.numerics.rounding import rounded
from bidsharmony.numerics.trace import TraceImage, trace_weighted

CANONICAL = ('b0', 'trace', 'adc', 'uncertainty', 'blend', 'canonical_mask')
"""Fields of `Harmonized` on the canonical grid."""

OWN = ('gain', 'bias_field', 'mask')
"""Fields of `Harmonized` on the grid of the scan."""


@dataclass(frozen=True, eq=False, repr=False)
class Harmonized:
    """Hold a scan as the canonical scanner would have made it, and the gain of its series.

    Attributes
    ----------
    b0, trace : (I', J', K') float32
        Canonical b=0, and trace image at b=1000 s/mm2; the b=0 of white matter is about 1.
    adc : (I', J', K') float32
        Of the two, mm2/s; 0 outside the brain.
    uncertainty : (I', J', K') float32
        Expected absolute error of the canonical images, in their unit.
    blend : (I', J', K') float32
        Weight of the scan times the gain in them, 0 to 1: where the scan overrules the network.
    canonical_mask : (I', J', K') bool
        The brain on the canonical grid.
    affine : (4, 4) float64
        Of the canonical grid, mm.
    gain, bias_field : (I, J, K) float32
        What multiplies the scan, and the receive field (mean 1 in the brain) that divides it.
    mask : (I, J, K) bool
        The brain on the grid of the scan.
    strength : float
        Of the harmonization, 0 to 1.
    facts : dict
        What was told, measured and done. Its sections are those of the qc file, ``sidecar``
        (``used``, ``missing``, and ``derived`` from the grid), ``summary``, ``bias``, ``network``
        and ``forward``, their numbers rounded alike.
    warnings : tuple of str
        What a reader of the images must know.
    grid : Grid
        Where the voxels of the scan lie.
    """

    b0: np.ndarray
    trace: np.ndarray
    adc: np.ndarray
    uncertainty: np.ndarray
    blend: np.ndarray
    canonical_mask: np.ndarray
    affine: np.ndarray
    gain: np.ndarray
    bias_field: np.ndarray
    mask: np.ndarray
    strength: float
    facts: dict[str, Any]
    warnings: tuple[str, ...]
    grid: Grid = field(repr=False)

    def __repr__(self) -> str:
        """Say how large it is, how far it went and how much of it is the scan's own."""
        return (
            f'<Harmonized {self.grid.shape} to {self.b0.shape}, strength {self.strength:g}, '
            f'blended {100 * self.blended_fraction:.1f} %, {len(self.warnings)} warnings>'
        )

    @property
    def blended_fraction(self) -> float:
        """Share of the canonical images, in the brain, that is the scan times the gain."""
        return self.facts['forward']['blended_fraction']

    @property
    def factor(self) -> np.ndarray:
        """The one field that every volume of the series is multiplied by, (I, J, K) float64."""
        return series_factor(self.gain, self.bias_field, self.strength)

    def images(self) -> dict[str, nb.Nifti1Image]:
        """Return every map as a NIfTI image, by the name of its attribute.

        Canonical images and their maps lie on the canonical grid, ``gain``, ``bias_field`` and
        ``mask`` on that of the scan. Masks are uint8, all others float32.
        """
        own, canonical = self.grid.affine, self.affine
        return {
            name: _nifti(getattr(self, name), canonical if name in CANONICAL else own, self.grid)
            for name in (*CANONICAL, *OWN)
        }

    def apply(
        self, series: ImageLike, *, out: np.ndarray | None = None
    ) -> np.ndarray | nb.Nifti1Image:
        """Multiply a series by the one gain over bias field: no ratio of its volumes changes.

        Parameters
        ----------
        series : array, nibabel image or path
            (I, J, K, N), or one volume, on the grid of b0, in the same unit; an image is read a
            volume at a time.
        out : float32 or float64 array of its shape, optional
            Where the result is put, for instance a memory map, or `series` itself; then no more
            than one volume is copied.

        Returns
        -------
        float32, like `series`
            `out` where it is given; an image, with its header, where `series` is one.

        Raises
        ------
        ValueError
            If the grid is another one, or values are not real numbers.
        """
        image = as_image('series', series)
        voxels = np.asarray(series) if image is None else _kept_open(image.dataobj)
        if len(voxels.shape) not in (3, 4):
            raise ValueError(
                f'series has {len(voxels.shape)} dimensions {voxels.shape}, a series has 4. '
                'Give (I, J, K, N).'
            )
        check_grid('series', voxels.shape, image, self.grid)
        kind = np.dtype(voxels.dtype if image is None else image.get_data_dtype())
        if kind.kind not in 'iuf':
            raise ValueError(f'series holds {kind.name} values. Give real magnitudes.')
        factor = self.factor
        if image is None:
            return apply_gain(voxels, factor, out=out)
        data = np.empty(voxels.shape, np.float32) if out is None else out
        if data.shape != voxels.shape:
            raise ValueError(f'out has shape {data.shape}, series {voxels.shape}. Make it equal.')
        if data.ndim == 3:
            apply_gain(np.asarray(voxels), factor, out=data)
        else:
            for ix in range(data.shape[3]):
                apply_gain(np.asarray(voxels[..., ix]), factor, out=data[..., ix])
        header = image.header if isinstance(image.header, nb.Nifti1Header) else None
        made = nb.Nifti1Image(data, image.affine, header)
        made.header.set_data_dtype(np.float32)
        return made


def harmonize(
    b0: ImageLike,
    trace: ImageLike | TraceImage,
    metadata: Mapping[str, Any] | str | os.PathLike,
    *,
    affine: ArrayLike | None = None,
    voxel_mm: Sequence[float] | None = None,
    slice_axis: int | None = None,
    mask: ImageLike | None = None,
    b_value: float | None = None,
    bias_correction: bool = True,
    strength: float = 1.0,
    canonical_resolution: float | None = None,
    weights: str | os.PathLike | Weights | None = None,
    threads: int = 1,
) -> Harmonized:
    """Harmonize a scan: what the command does to a run, on arrays or images.

    Parameters
    ----------
    b0 : array, nibabel image or path
        Mean b=0 as scanned, (I, J, K), any real type and unit. Where it is an image, its header
        says where voxels lie.
    trace : array, nibabel image, path, or TraceImage
        Trace-weighted image, (I, J, K), on the same grid and in the same unit; or what
        `numerics.trace.trace_weighted` makes of a series with directions.
    metadata : mapping or path of a JSON file
        What the sidecar says, BIDS keys and units: ``MagneticFieldStrength`` (T), ``EchoTime``,
        ``RepetitionTime`` (s), ``SliceThickness`` (mm), ``BaseResolution`` or
        ``AcquisitionMatrixPE``. None is required; what cannot be true counts as missing, with a
        warning.
    affine : (4, 4), optional
        Voxel to mm in RAS+, for arrays.
    voxel_mm : (3,), optional
        Instead of `affine`, where orientation is not known.
    slice_axis : int, optional
        Along which slices were taken; by default what the header says, else the axis of clearly
        larger voxels, else the last.
    mask : array, nibabel image or path, optional
        Brain, (I, J, K), above 0; by default it is found in `b0`.
    b_value : s/mm2, optional
        Of `trace`; by default what `metadata` states (``DiffusionBValue``), else 1000 with a
        warning.
    bias_correction : bool
        Whether N4 divides the receive field out.
    strength : float
        1 harmonizes all the way; 0 leaves the series as it is.
    canonical_resolution : float, optional
        In-plane width (FWHM) of the canonical images, mm, where it is to be coarser than that of
        the weights.
    weights : path or Weights, optional
        Instead of the shipped ones; what `network.weights.load_weights` returns is not read again.
    threads : int
        For torch.

    Returns
    -------
    Harmonized

    Raises
    ------
    ValueError
        In one line, with argument, cause and remedy.

    Notes
    -----
    Motion, eddy currents and distortion are not corrected. N4 runs on two threads: for that,
    ``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS`` is set to 2 in this process. Where ITK was used
    before, its number of threads stays, and the last digits of the bias field may differ from
    those of the command.

    Examples
    --------
    A disc that diffuses like tissue, with a core of fluid; nothing shades it:

    >>> import numpy as np
    >>> from bidsharmony import harmonize
    >>> radius = np.hypot(*np.indices((20, 20, 2))[:2] - 9.5)
    >>> b0 = 700.0 * (radius < 8) + 400.0 * (radius < 3)
    >>> trace = b0 * np.exp(-1000 * np.where(radius < 3, 2.5e-3, 0.8e-3))  # mm2/s
    >>> sidecar = {'MagneticFieldStrength': 1.5, 'EchoTime': 0.09, 'DiffusionBValue': 1000}
    >>> place = np.diag([4.0, 4.0, 6.0, 1.0])  # mm
    >>> found = harmonize(b0, trace, sidecar, affine=place, bias_correction=False)
    >>> found.facts['sidecar']['used']['EchoTime'], found.facts['sidecar']['missing']
    (0.09, ['RepetitionTime'])

    White matter of a b=0 is about 1 now, and no ratio of volumes has moved:

    >>> bool(0.3 < np.median(found.b0[found.canonical_mask]) < 3)
    True
    >>> series = np.stack([b0, trace], axis=-1)
    >>> after = found.apply(series)
    >>> ratio = trace[found.mask] / b0[found.mask]
    >>> np.allclose(after[found.mask, 1] / after[found.mask, 0], ratio, rtol=1e-6)
    True
    """
    b0_data, image = read_volume('b0', b0)
    grid = read_grid(b0_data.shape, image, affine=affine, voxel_mm=voxel_mm, axis=slice_axis)
    _check_numbers(strength, canonical_resolution, threads)
    sidecar = read_metadata(metadata)
    brain = found_brain(b0_data, zooms=grid.zooms) if mask is None else read_mask(mask, grid)
    made, notes = _trace_image(b0_data, trace, sidecar, b_value, brain, grid)
    facts = scanner_facts(sidecar, grid.shape, tuple(grid.zooms.tolist()), grid.axis)
    filled = zero_filling(facts.metadata, tuple(grid.zooms.tolist()), grid.axis)
    bias = estimate_bias(b0_data, brain, grid.zooms, grid.axis, apply=bias_correction)
    run = harmonize_run(
        b0_data / bias.field,
        made.trace / bias.field,
        brain,
        grid.affine,
        axis=grid.axis,
        metadata=facts.metadata,
        b_acquired=made.b_acquired,
        strength=float(strength),
        zero_filling=filled,
        fwhm_mm=None if canonical_resolution is None else float(canonical_resolution),
        weights=weights if weights is None or isinstance(weights, Weights) else Path(weights),
        threads=int(threads),
    )
    figures = scan_figures(
        b0_data, made.adc, brain, grid.zooms, axis=grid.axis, zero_filling=filled
    )
    warnings = scan_warnings(
        figures,
        b_acquired=made.b_acquired,
        extrapolated=made.extrapolated,
        blended_fraction=run.facts['forward']['blended_fraction'],
    )
    unknown = (UNKNOWN_ORIENTATION,) if voxel_mm is not None else ()
    network = {key: value for key, value in run.facts.items() if key != 'forward'}
    scale = network.pop('robust_scale')
    return Harmonized(
        b0=run.images.b0,
        trace=run.images.trace,
        adc=run.adc,
        uncertainty=run.images.uncertainty,
        blend=run.images.blend,
        canonical_mask=run.mask,
        affine=run.images.affine,
        gain=run.images.gain,
        bias_field=bias.field,
        mask=brain,
        strength=float(strength),
        facts=rounded(
            {
                'sidecar': reported_facts(facts, made.b_acquired),
                'summary': {**made.facts, 'robust_scale': scale, **figures},
                'bias': bias.facts,
                'network': network,
                'forward': run.facts['forward'],
            }
        ),
        warnings=(*unknown, *notes, *facts.warnings, *warnings),
        grid=grid,
    )


def _check_numbers(strength: float, canonical_resolution: float | None, threads: int) -> None:
    """Refuse numbers that mean nothing.

    Raises
    ------
    ValueError
    """
    if not 0 <= strength <= 1:
        raise ValueError(f'strength is {strength:g}. Give a number from 0 to 1.')
    if canonical_resolution is not None and not 0 < canonical_resolution < np.inf:
        raise ValueError(f'canonical_resolution is {canonical_resolution:g}. Give a width in mm.')
    if threads < 1:
        raise ValueError(f'threads is {threads}. Give at least 1.')


def _trace_image(
    b0: np.ndarray,
    trace: ImageLike | TraceImage,
    sidecar: Mapping[str, Any],
    b_value: float | None,
    mask: np.ndarray,
    grid: Grid,
) -> tuple[TraceImage, tuple[str, ...]]:
    """Bring a trace image to b=1000 s/mm2; give it with warnings on what was assumed.

    Raises
    ------
    ValueError
    """
    if isinstance(trace, TraceImage):
        if b_value is not None:
            raise ValueError('b_value is given, and the TraceImage has its own. Leave it out.')
        check_grid('trace', trace.trace.shape, None, grid)
        return trace, ()
    data, image = read_volume('trace', trace)
    check_grid('trace', data.shape, image, grid)
    levels = [float(np.median(volume[mask])) for volume in (b0, data)]
    if not levels[0] > 0:
        raise ValueError(f'b0 has a median of {levels[0]:g} in the brain. Give magnitudes of b=0.')
    if not levels[1] < levels[0]:
        raise ValueError(
            f'trace is as bright as b0 or brighter (medians in the brain: {levels[1]:g} and '
            f'{levels[0]:g}), which diffusion cannot make it. Swap them, or check their scaling.'
        )
    warnings: tuple[str, ...] = ()
    if b_value is None:
        b_value, warnings = trace_b_value(sidecar)
    pair = trace_weighted(
        np.stack([b0, data], axis=-1),
        np.array([0.0, check_b_value(b_value)]),
        np.zeros((2, 3)),
        b0_ixs=[0],
        mask=mask,
    )
    return pair, warnings


def _kept_open(voxels: Any) -> Any:
    """Keep a compressed file open between volumes: each would be read from the start otherwise."""
    if not isinstance(voxels, ArrayProxy):
        return voxels
    spec = (voxels.shape, voxels.dtype, voxels.offset, voxels.slope, voxels.inter)
    return ArrayProxy(voxels.file_like, spec, keep_file_open=True)


def _nifti(data: np.ndarray, affine: np.ndarray, grid: Grid) -> nb.Nifti1Image:
    """Make an image that lies in the space of the scan."""
    kind = np.uint8 if data.dtype == bool else np.float32
    image = nb.Nifti1Image(data.astype(kind), affine)
    image.set_sform(affine, code=grid.space)
    image.set_qform(affine, code=grid.space)
    image.header.set_xyzt_units('mm')
    image.header.set_dim_info(slice=grid.axis)
    return image
