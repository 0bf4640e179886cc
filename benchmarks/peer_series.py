"""Peers on diffusion series: MD and FA before, after RISH, after ComBat, and after bidsharmony."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rish
from combat import combat, combat_by_region, quarters
from measures import summary
from peer_methods import reference_scanner
from scipy import ndimage

from bidsharmony.evaluation.batch import between_scanner_cv
from bidsharmony.network.inference import harmonize_summary
from bidsharmony.numerics.gain import apply_gain
from bidsharmony.numerics.grids import resample_to_shape
from bidsharmony.numerics.intensity import robust_scale
from bidsharmony.numerics.tensor import fit_tensors
from bidsharmony.numerics.trace import trace_weighted
from bidsharmony.physics.heads import Head
from bidsharmony.physics.phantom import PhantomScanner
from bidsharmony.physics.protocol import Protocol
from bidsharmony.physics.signal import varied_table
from bidsharmony.physics.tissue import BRAIN_TISSUES, TISSUE_NAMES
from bidsharmony.physics.volumes import Scan, scan_head

DIRECTIONS = 24
POSITIONS = 4  # through a head; the lowest lies below the brain
COIL = 0.03  # what bias correction leaves, logarithmic
GRID = (56, 72)  # of the box round a brain, about 2.5 mm: where maps of all runs meet
RIM = 3  # mm, from pure white matter to where its measures are taken
MAPS = ('md', 'fa')
WHITE = TISSUE_NAMES.index('white matter')
LEAST = 1e-4  # of S_b / S_0, so that it has a logarithm


@dataclass(frozen=True)
class Run:
    """A simulated series of a few slices, and where its brain is.

    Attributes
    ----------
    scan : Scan
    protocol : Protocol
    brain : (I, J, K) bool
        On the grid of the series.
    """

    scan: Scan
    protocol: Protocol
    brain: np.ndarray

    @property
    def directions(self) -> np.ndarray:
        """Gradient directions, (n, 3)."""
        return self.scan.bvecs[self.scan.bvals > 0]

    def attenuation(self, series: np.ndarray | None = None) -> np.ndarray:
        """Return S_b / S_0 of the brain's voxels, (V, n)."""
        series = self.scan.series if series is None else series
        weighted = self.scan.bvals > 0
        inside = series[self.brain].astype(np.float64)
        s0 = np.maximum(inside[:, ~weighted].mean(axis=1, keepdims=True), 1e-6)
        return np.maximum(inside[:, weighted] / s0, LEAST)

    def maps(self, attenuation: np.ndarray) -> dict[str, np.ndarray]:
        """Fit tensors; MD (mm2/s) and FA, (I, J, K), 0 outside the brain."""
        found = fit_tensors(attenuation, self.scan.bvals[self.scan.bvals > 0], self.directions)
        return {name: self.in_brain(getattr(found, name)) for name in MAPS}

    def in_brain(self, values: np.ndarray) -> np.ndarray:
        """Put (V,) values of the brain's voxels where they lie, (I, J, K), 0 elsewhere."""
        out = np.zeros(self.brain.shape)
        out[self.brain] = values
        return out


def simulate_series(
    heads: Sequence[Head], protocols: Sequence[Protocol], seed: int
) -> list[list[Run]]:
    """Scan a few slices of every head on every scanner, with the same directions; [head][scanner].

    Scanners keep their contrast, resolution, thickness, filter and noise. Slices lie far apart, at
    the same places of a head.
    """
    runs = []
    for h, head in enumerate(heads):
        table = varied_table(np.random.default_rng([11, h]))
        extent = np.flatnonzero(BRAIN_TISSUES[head.codes].any(axis=(0, 1)))
        spacing = (extent[-1] - extent[0] + 8) / POSITIONS
        row = []
        for s, protocol in enumerate(protocols):
            few = replace(
                protocol, directions=DIRECTIONS, spacing=float(spacing), levels=0, b_value=1000.0
            )
            scanner = PhantomScanner(
                label=str(s),
                protocol=few,
                fov=208,
                coil=COIL,
                slope=1.0,
                echo_spacing=0.0,
                acceleration=1,
                polarity='j',
                sidecar={},
            )
            rng = np.random.default_rng([seed, 31, h, s])
            row.append(_run(scan_head(head, scanner, rng, table=table), few))
        runs.append(row)
    return runs


def _run(scan: Scan, protocol: Protocol) -> Run:
    """Keep the slices through the brain, and bring masks to the grid of the series."""
    planes = slice(1, POSITIONS)
    truth = replace(
        scan.truth, maps={name: image[:, :, planes] for name, image in scan.truth.maps.items()}
    )
    scan = replace(
        scan,
        series=np.ascontiguousarray(scan.series[:, :, planes]),
        lesion=scan.lesion[:, :, planes],
        truth=truth,
    )
    shape = scan.series.shape[:3]
    brain = resample_to_shape(truth.maps['brain'].astype(np.float32), shape) >= 0.5
    return Run(scan, protocol, brain)


def rish_attenuations(runs: list[list[Run]], reference: int) -> list[list[np.ndarray]]:
    """Harmonize S_b / S_0 of every run by RISH; [head][scanner] of (V, n).

    The template is the box round the brain; energies are averaged there over all heads, and the
    scale is read off at every voxel.
    """
    brains = [row[0].scan.truth.maps['brain'] for row in runs]
    template = []
    for s in range(len(runs[0])):
        total = 0.0
        for row, brain in zip(runs, brains, strict=True):
            run = row[s]
            energy = rish.energies(rish.coefficients(run.attenuation(), run.directions))
            parts = [energy[:, degree] for degree in range(energy.shape[1])]
            maps = [boxed(run.in_brain(part), brain) for part in [np.ones(len(energy)), *parts]]
            total = total + np.stack(maps)
        share, *energy = total
        template.append([part / np.maximum(share, 0.1) for part in energy])
    scales = np.sqrt(np.array(template)[reference] / np.maximum(template, 1e-12))
    found = []
    for row, brain in zip(runs, brains, strict=True):
        found.append([])
        for s, run in enumerate(row):
            own = [unboxed(scale, brain, run.brain.shape)[run.brain] for scale in scales[s]]
            made = rish.rescaled(run.attenuation(), run.directions, np.stack(own, axis=1))
            found[-1].append(np.maximum(made, LEAST))
    return found


def through_bidsharmony(run: Run, weights: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Harmonize a run by the network; the shipped one if None is given.

    Returns
    -------
    attenuation : (V, n) float64
        Of the series times the gain.
    adc : (F, F, K) float64
        Of the canonical images, mm2/s, on pixels of 1 mm.
    """
    scan, protocol = run.scan, run.protocol
    b0 = scan.series[..., scan.bvals == 0].mean(axis=-1)
    b0_ixs = np.flatnonzero(scan.bvals == 0)
    trace = trace_weighted(
        scan.series, scan.bvals, scan.bvecs, b0_ixs=b0_ixs, mask=run.brain
    ).trace
    pixel = float(np.linalg.norm(scan.affine[:3, 0]))
    made = harmonize_summary(
        b0,
        trace,
        scan.affine,
        axis=2,
        scale=robust_scale(b0, trace, run.brain),
        metadata=protocol.metadata(),
        mask=run.brain,
        weights=weights,
        zero_filling=max(round(protocol.pixel / pixel), 1),
    )
    series = apply_gain(scan.series, made.gain)
    adc = np.log(np.maximum(made.b0, 1e-3) / np.maximum(made.trace, 1e-3)) / 1000
    return run.attenuation(series), adc


def boxed(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Sample (I, J, K) over the box round a brain, (F, F, K) bool of the same field; (*GRID, K).

    Examples
    --------
    >>> brain = np.zeros((208, 208, 1), bool)
    >>> brain[50:106, 60:132] = True
    >>> ramp = np.indices((208, 208, 1))[0] * 1.0
    >>> boxed(ramp, brain)[[0, -1], 0, 0].tolist()
    [50.0, 105.0]
    """
    places = []
    for axis, (start, size) in enumerate(_box(brain)):
        centres = start + (np.arange(GRID[axis]) + 0.5) * size / GRID[axis]
        places.append(centres * image.shape[axis] / brain.shape[axis] - 0.5)
    return _sampled(image, places)


def unboxed(image: np.ndarray, brain: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Sample what `boxed` returned on a grid of the whole field again; beyond, the edge goes on.

    Examples
    --------
    >>> brain = np.zeros((208, 208, 1), bool)
    >>> brain[50:106, 60:132] = True
    >>> ramp = np.indices((208, 208, 1))[0] * 1.0
    >>> unboxed(boxed(ramp, brain), brain, ramp.shape)[[0, 60, 207], 0, 0].tolist()
    [50.0, 60.0, 105.0]
    """
    places = []
    for axis, (start, size) in enumerate(_box(brain)):
        centres = (np.arange(shape[axis]) + 0.5) * brain.shape[axis] / shape[axis]
        places.append((centres - start) * GRID[axis] / size - 0.5)
    return _sampled(image, places)


def _box(brain: np.ndarray) -> list[tuple[int, int]]:
    """Return first index and size of the box round a brain along both axes of its slices."""
    rows = [np.flatnonzero(brain.any(axis=(1 - axis, 2))) for axis in range(2)]
    return [(int(where[0]), int(where[-1] + 1 - where[0])) for where in rows]


def _sampled(image: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """Sample every slice of (I, J, K) at the crossings of rows and columns, in pixels."""
    grid = np.meshgrid(*places, indexing='ij')
    planes = np.moveaxis(np.asarray(image, np.float64), 2, 0)
    return np.stack(
        [ndimage.map_coordinates(plane, grid, order=1, mode='nearest') for plane in planes], axis=2
    )


def compare(
    heads: Sequence[Head],
    protocols: Sequence[Protocol],
    seed: int,
    weights: Path | None = None,
) -> tuple[dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Measure MD and FA of white matter by every method; and what could not be run.

    Returns
    -------
    figures : dict
        By method; in percent between-scanner CV (``md_cv``, ``fa_cv``) and mean absolute error of
        a run's mean (``md_error``, ``fa_error``), ``fa_voxel_error``, the mean absolute error of
        a voxel, and ``seconds_per_run``.
    not_run : list of dict
    """
    runs = simulate_series(heads, protocols, seed)
    n_runs = len(heads) * len(protocols)
    seconds = dict.fromkeys(('input', 'RISH', 'bidsharmony, series'), 0.0)
    attenuations: dict[str, list] = {'input': [[run.attenuation() for run in r] for r in runs]}
    mark = time.process_time()
    attenuations['RISH'] = rish_attenuations(runs, reference_scanner(protocols))
    seconds['RISH'] = time.process_time() - mark
    mark = time.process_time()
    passed = [[through_bidsharmony(run, weights) for run in row] for row in runs]
    seconds['bidsharmony, series'] = time.process_time() - mark
    attenuations['bidsharmony, series'] = [[one[0] for one in row] for row in passed]

    brains = [row[0].scan.truth.maps['brain'] for row in runs]

    def meet(images: list[list[np.ndarray]]) -> np.ndarray:
        return np.array(
            [[boxed(i, brain) for i in row] for row, brain in zip(images, brains, strict=True)]
        )

    everywhere = meet([[run.brain.astype(float) for run in row] for row in runs])
    shared = (everywhere > 0.999).all(axis=(0, 1))
    truth = {
        name: meet([[row[0].scan.truth.maps[key].astype(float)] for row in runs])[:, 0][:, shared]
        for name, key in (('md', 'ADC'), ('fa', 'FA'))
    }
    white = meet([[_pure_white(row[0])] for row in runs])[:, 0][:, shared] > 0.999
    maps: dict[str, dict[str, np.ndarray]] = {}
    for method, by_head in attenuations.items():
        fitted = [
            [run.maps(a) for run, a in zip(row, parts, strict=True)]
            for row, parts in zip(runs, by_head, strict=True)
        ]
        maps[method] = {
            name: meet([[one[name] for one in row] for row in fitted])[:, :, shared]
            for name in MAPS
        }
    not_run = []
    try:
        mark = time.process_time()
        maps['ComBat, maps'] = {name: combat(maps['input'][name]) for name in MAPS}
        seconds['ComBat, maps'] = time.process_time() - mark
        mark = time.process_time()
        regions = quarters(shared.shape)[shared]
        maps['ComBat, regions'] = {
            name: combat_by_region(maps['input'][name], white, regions) for name in MAPS
        }
        seconds['ComBat, regions'] = time.process_time() - mark
    except ImportError as error:
        not_run.append({'what': 'ComBat', 'reason': str(error)})
    canonical = meet([[one[1] for one in row] for row in passed])[:, :, shared]
    maps['bidsharmony, canonical ADC'] = {'md': canonical}
    seconds['bidsharmony, canonical ADC'] = seconds['bidsharmony, series']
    order = ('input', 'RISH', 'ComBat, maps', 'ComBat, regions')
    order += ('bidsharmony, series', 'bidsharmony, canonical ADC')
    figures = {
        method: {
            **_figures(maps[method], truth, white),
            'seconds_per_run': seconds[method] / n_runs,
        }
        for method in order
        if method in maps
    }
    figures['bidsharmony, series']['largest_change_from_input'] = max(
        float(np.abs(maps['bidsharmony, series'][n] / maps['input'][n] - 1).max()) for n in MAPS
    )
    figures['input']['voxels_of_a_head'] = float(white.sum(axis=1).mean())
    return figures, not_run


def _pure_white(run: Run) -> np.ndarray:
    """Return where a head is white matter and no other tissue is near, (F, F, K) float."""
    white = run.scan.truth.maps['tissue'] == WHITE
    near = np.ones((2 * RIM + 1, 2 * RIM + 1, 1), bool)
    return ndimage.binary_erosion(white, near).astype(float)


def _figures(
    maps: dict[str, np.ndarray], truth: dict[str, np.ndarray], white: np.ndarray
) -> dict[str, Any]:
    """Measure maps, (H, S, V) each, against the truth, (H, V), in white matter, (H, V)."""
    out = {}
    for name, image in maps.items():
        means = np.stack([image[h][:, w].mean(axis=1) for h, w in enumerate(white)])
        true = np.array([truth[name][h][w].mean() for h, w in enumerate(white)])
        out[f'{name}_cv'] = summary(100 * between_scanner_cv(means)[None])
        out[f'{name}_error'] = summary(100 * np.abs(means / true[:, None] - 1)[None])
        if name == 'fa':
            voxels = [
                np.abs(image[h] - truth['fa'][h])[:, w].mean(axis=1) for h, w in enumerate(white)
            ]
            out['fa_voxel_error'] = summary(np.stack(voxels)[None])
    return out
